"""What a worker and a user's own program may read."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path

import pytest

from siglip_ingest.errors import ConfigurationError
from siglip_ingest.sources import SourcePolicy
from siglip_ingest.sources.settings import WHOLE_DISK, SourceSettings

UNRESTRICTED = SourcePolicy(allowed_roots=None, allowed_hosts=frozenset({"0.0.0.0/0", "::/0"}))


def policy_for(*hosts: str) -> SourcePolicy:
    return SourcePolicy(allowed_roots=(), allowed_hosts=frozenset(hosts))


@pytest.mark.parametrize(
    ("entry", "host", "port", "address"),
    [
        pytest.param("nas.example", "nas.example", 80, "10.0.0.5", id="a name"),
        pytest.param("NAS.example.", "nas.example", 80, "10.0.0.5", id="a name in capitals with a dot"),
        pytest.param("nas.example:8080", "nas.example", 8080, "10.0.0.5", id="a name and a port"),
        pytest.param("10.0.0.5", "any.example", 443, "10.0.0.5", id="an address"),
        pytest.param("10.0.0.5:8080", "10.0.0.5", 8080, "10.0.0.5", id="an address and a port"),
        pytest.param("10.0.0.0/8", "any.example", 80, "10.200.0.5", id="a network"),
        pytest.param("10.0.0.0/8:81", "any.example", 81, "10.200.0.5", id="a network and a port"),
        pytest.param("::1", "::1", 80, "::1", id="an IPv6 address"),
        pytest.param("[::1]:8080", "::1", 8080, "::1", id="an IPv6 address and a port"),
        pytest.param("fd00::/8", "any.example", 80, "fd12::1", id="an IPv6 network"),
    ],
)
def test_an_entry_allows_what_it_names(entry: str, host: str, port: int, address: str) -> None:
    assert policy_for(entry).allows_address(host, port, ip_address(address))
    assert not policy_for().allows_address(host, port, ip_address(address))


@pytest.mark.parametrize(
    ("entry", "host", "port", "address"),
    [
        pytest.param("nas.example", "other.example", 80, "10.0.0.5", id="another name"),
        pytest.param("nas.example", "sub.nas.example", 80, "10.0.0.5", id="a name below it"),
        pytest.param("nas.example:8080", "nas.example", 80, "10.0.0.5", id="another port"),
        pytest.param("10.0.0.5:8080", "10.0.0.5", 80, "10.0.0.5", id="another port of the address"),
        pytest.param("10.0.0.0/8", "any.example", 80, "192.168.0.1", id="another network"),
        pytest.param("127.0.0.1", "localhost", 80, "::ffff:127.0.0.1", id="mapped into IPv6"),
    ],
)
def test_an_entry_allows_nothing_else(entry: str, host: str, port: int, address: str) -> None:
    assert not policy_for(entry).allows_address(host, port, ip_address(address))


@pytest.mark.parametrize(
    "entry", ["", "http://host", "host/path", "*.example", "user@host", "host:0", "ä.example", "a b"]
)
def test_an_entry_that_is_no_host_is_refused(entry: str) -> None:
    with pytest.raises(ConfigurationError, match="SIGLIP_ALLOWED_HOSTS has"):
        policy_for(entry)


def test_a_worker_that_is_told_the_whole_disk_reads_every_file() -> None:
    assert SourcePolicy.for_worker(SourceSettings(allowed_roots=WHOLE_DISK)).allows_file("/home/me/a.jpg")


def test_a_worker_reads_no_file_unless_told_and_a_user_any() -> None:
    assert SourcePolicy.for_worker(SourceSettings()).allowed_roots == ()
    assert SourcePolicy.for_user(SourceSettings()).allowed_roots is None
    assert SourcePolicy.for_worker(SourceSettings()).allowed_stores == frozenset()
    assert SourcePolicy.for_user(SourceSettings()).allowed_stores is None
    told = SourceSettings(allowed_roots=(Path("/photos"),), allowed_stores=frozenset({"s3://photos/"}))
    assert SourcePolicy.for_worker(told) == SourcePolicy.for_user(told)
    assert SourcePolicy.for_worker(told).allowed_roots == (Path("/photos"),)


def test_a_file_is_allowed_below_a_root_and_not_beside_it(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "photos")
    policy = SourcePolicy(allowed_roots=(tmp_path / "link",), allowed_hosts=frozenset())
    assert policy.allows_file(f"{tmp_path}/photos/sub/a.jpg")
    assert not policy.allows_file(f"{tmp_path}/photos-of-others/a.jpg")
    assert not policy.allows_file("")
    assert not policy.allows_file("(unreachable)/photos/a.jpg")
    assert UNRESTRICTED.allows_file("/etc/passwd")


@pytest.mark.parametrize(
    ("entry", "uri"),
    [
        pytest.param("s3://photos", "s3://photos/a.jpg", id="a bucket"),
        pytest.param("s3://photos/", "S3://photos/2026/a.jpg", id="a bucket with a slash"),
        pytest.param("s3://photos/2026", "s3://photos/2026/a b#1?.jpg", id="a prefix"),
        pytest.param("s3://photos/a.jpg", "s3://photos/a.jpg", id="an object"),
        pytest.param("*", "gs://any/a.jpg", id="every bucket"),
        pytest.param("webhdfs://name:50070/photos/", "webhdfs://name:50070/photos/a.jpg", id="another protocol"),
    ],
)
def test_a_store_is_allowed_below_what_is_named(entry: str, uri: str) -> None:
    assert SourcePolicy(allowed_roots=(), allowed_hosts=frozenset(), allowed_stores=frozenset({entry})).allows_object(
        uri
    )
    assert not SourcePolicy(allowed_roots=(), allowed_hosts=frozenset()).allows_object(uri)


@pytest.mark.parametrize(
    ("entry", "uri"),
    [
        pytest.param("s3://photos", "s3://photos-of-others/a.jpg", id="a bucket that begins so"),
        pytest.param("s3://photos/2026", "s3://photos/2026-private/a.jpg", id="a prefix that begins so"),
        pytest.param("s3://photos", "gs://photos/a.jpg", id="another store"),
        pytest.param("*", "ftp://intranet/a.jpg", id="a protocol that must be named"),
    ],
)
def test_a_store_is_not_allowed_beside_what_is_named(entry: str, uri: str) -> None:
    policy = SourcePolicy(allowed_roots=(), allowed_hosts=frozenset(), allowed_stores=frozenset({entry}))
    assert not policy.allows_object(uri)


@pytest.mark.parametrize("entry", ["photos", "s3:photos", "s3://", "/photos"])
def test_an_entry_that_is_no_store_is_refused(entry: str) -> None:
    with pytest.raises(ConfigurationError, match="SIGLIP_ALLOWED_STORES has"):
        SourcePolicy(allowed_roots=(), allowed_hosts=frozenset(), allowed_stores=frozenset({entry}))
