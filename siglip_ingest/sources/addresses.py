"""IP addresses: which are public, how they are spelled, and which a host name has."""

from __future__ import annotations

import socket
import threading
import unicodedata
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import TypeAlias
from urllib.parse import unquote

IPAddress: TypeAlias = IPv4Address | IPv6Address
IPNetwork: TypeAlias = IPv4Network | IPv6Network

# IANA's special-purpose registries (RFC 6890 and its successors), written out: what `ipaddress.is_global` says differs
# between versions of Python.
_NOT_PUBLIC_IPV4 = tuple(
    map(
        IPv4Network,
        (
            "0.0.0.0/8",  # this network, unspecified
            "10.0.0.0/8",  # private
            "100.64.0.0/10",  # carrier-grade NAT; a cloud's metadata at 100.100.100.200
            "127.0.0.0/8",  # loopback
            "168.63.129.16/32",  # a cloud's host agent, which looks public
            "169.254.0.0/16",  # link-local; most clouds' metadata at 169.254.169.254
            "172.16.0.0/12",  # private
            "192.0.0.0/24",  # protocol assignments; a cloud's metadata at 192.0.0.192
            "192.0.2.0/24",  # documentation
            "192.88.99.0/24",  # 6to4 relays
            "192.168.0.0/16",  # private
            "198.18.0.0/15",  # benchmarks
            "198.51.100.0/24",  # documentation
            "203.0.113.0/24",  # documentation
            "224.0.0.0/4",  # multicast
            "240.0.0.0/4",  # reserved, broadcast
        ),
    )
)
# Everything outside of it is private (fc00::/7), link-local, multicast, reserved, or leads to IPv4: mapped
# (::ffff:0:0/96), compatible (::/96), NAT64 (64:ff9b::/96).
_PUBLIC_IPV6 = IPv6Network("2000::/3")
_NOT_PUBLIC_IPV6 = tuple(
    map(
        IPv6Network,
        (
            "2001::/23",  # protocol assignments; Teredo, which leads to IPv4, at 2001::/32
            "2001:db8::/32",  # documentation
            "2002::/16",  # 6to4, which leads to IPv4
            "3fff::/20",  # documentation
        ),
    )
)


def is_public(address: IPAddress) -> bool:
    """Whether an address is one host's on the internet, and not this machine, its neighbours or a way to them."""
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _NOT_PUBLIC_IPV4)
    return address in _PUBLIC_IPV6 and not any(address in network for network in _NOT_PUBLIC_IPV6)


def read_address(host: str) -> IPAddress | None:
    """Read a host that is an IP address, in any spelling that some resolver takes for one; None for a name.

    Octal, hexadecimal, a single number and short forms (`127.1`) are `inet_aton`'s; full-width and circled digits are
    what IDNA maps to plain ones.
    """
    text = unicodedata.normalize("NFKC", unquote(host)).replace("\N{IDEOGRAPHIC FULL STOP}", ".")
    text = text.strip("[]").rstrip(".").partition("%")[0]
    try:
        return ip_address(text)
    except ValueError:
        pass
    try:
        return IPv4Address(socket.inet_aton(text))
    except (OSError, UnicodeError, ValueError):
        return None


def resolve(host: str, port: int, timeout_s: float) -> list[IPAddress]:
    """Ask the system what addresses a name has, in the order in which to try them.

    Raises:
        TimeoutError: If there is no answer in time.
        OSError: If there is no such name.
    """
    if (address := read_address(host)) is not None:
        return [address]
    answers: list[list[IPAddress]] = []
    failures: list[OSError] = []

    def ask() -> None:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except UnicodeError as error:  # a name too long for DNS
            failures.append(OSError(str(error)))
        except OSError as error:
            failures.append(error)
        else:
            answers.append([ip_address(str(row[4][0]).partition("%")[0]) for row in found])

    # getaddrinfo knows no timeout. A thread that it keeps ends by itself once the resolver gives up.
    thread = threading.Thread(target=ask, name="resolve", daemon=True)
    thread.start()
    thread.join(timeout_s)
    if failures:
        raise failures[0]
    if not answers:
        raise TimeoutError
    return list(dict.fromkeys(answers[0]))
