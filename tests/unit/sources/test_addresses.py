"""Which addresses are public, however they are spelled."""

from __future__ import annotations

import socket
import threading
import time
from ipaddress import ip_address
from typing import Any

import pytest

from siglip_ingest.sources.addresses import is_public, read_address, resolve

PRIVATE = {
    "this network": "0.1.2.3",
    "unspecified": "0.0.0.0",
    "private, class A": "10.255.0.1",
    "private, class B": "172.31.255.255",
    "private, class C": "192.168.1.1",
    "carrier-grade NAT": "100.64.0.1",
    "loopback": "127.0.0.1",
    "the end of loopback": "127.255.255.254",
    "link-local and metadata": "169.254.169.254",
    "metadata in carrier-grade NAT": "100.100.100.200",
    "metadata in protocol assignments": "192.0.0.192",
    "a host agent that looks public": "168.63.129.16",
    "documentation": "203.0.113.7",
    "benchmarks": "198.19.0.1",
    "multicast": "239.1.1.1",
    "reserved": "250.0.0.1",
    "broadcast": "255.255.255.255",
    "IPv6 unspecified": "::",
    "IPv6 loopback": "::1",
    "IPv6 link-local": "fe80::1",
    "IPv6 site-local": "fec0::1",
    "IPv6 unique local": "fd00:ec2::254",
    "IPv6 multicast": "ff02::1",
    "IPv6 discard": "100::1",
    "IPv6 documentation": "2001:db8::1",
    "IPv4-mapped": "::ffff:8.8.8.8",
    "IPv4-compatible": "::127.0.0.1",
    "6to4": "2002:7f00:1::",
    "NAT64": "64:ff9b::7f00:1",
    "local NAT64": "64:ff9b:1::7f00:1",
    "Teredo": "2001:0:1::1",
}
SPELLINGS = {
    "plain": "127.0.0.1",
    "decimal": "2130706433",
    "hexadecimal": "0x7f000001",
    "octal": "017700000001",
    "octal parts": "0177.0.0.01",
    "hexadecimal parts": "0x7f.0x0.0.1",
    "two parts": "127.1",
    "three parts": "127.0.1",
    "a trailing dot": "127.0.0.1.",
    "full-width digits": "１２７.０.０.１",
    "circled digits": "①②⑦.⓪.⓪.①",
    "ideographic stops": "127。0。0｡1",
    "percent-encoded": "127%2E0%2e0.1",
}


@pytest.mark.parametrize("address", PRIVATE.values(), ids=PRIVATE)
def test_an_address_that_is_no_ones_on_the_internet_is_not_public(address: str) -> None:
    assert not is_public(ip_address(address))


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "1.1.1.1", "100.63.255.255", "100.128.0.1", "172.32.0.1", "2606:4700::1111", "2001:4860::8"]
)
def test_an_address_on_the_internet_is_public(address: str) -> None:
    assert is_public(ip_address(address))


@pytest.mark.parametrize("host", SPELLINGS.values(), ids=SPELLINGS)
def test_an_address_is_read_in_every_spelling(host: str) -> None:
    assert read_address(host) == ip_address("127.0.0.1")


@pytest.mark.parametrize("host", ["[::1]", "::1", "::1%25lo", "0:0:0:0:0:0:0:1"])
def test_an_ipv6_address_is_read_in_every_spelling(host: str) -> None:
    assert read_address(host) == ip_address("::1")


@pytest.mark.parametrize("host", ["localhost", "example.org", "127.0.0.1.example.org", "", "1.2.3.4.5", "a" * 300])
def test_a_name_is_no_address(host: str) -> None:
    assert read_address(host) is None


def test_a_resolver_that_does_not_answer_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()

    def wait(*_: Any, **__: Any) -> Any:
        release.wait(20)
        raise socket.gaierror(socket.EAI_AGAIN, "later")

    monkeypatch.setattr(socket, "getaddrinfo", wait)
    started = time.monotonic()
    with pytest.raises(TimeoutError):
        resolve("image.example", 80, 0.1)
    assert time.monotonic() - started < 5
    release.set()


def test_a_name_gives_each_of_its_addresses_once(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [(socket.AF_INET, 1, 6, "", (address, 80)) for address in ("8.8.8.8", "1.1.1.1", "8.8.8.8")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: rows)
    assert resolve("image.example", 80, 1) == [ip_address("8.8.8.8"), ip_address("1.1.1.1")]
