"""Images in object stores: a real S3 protocol, spoken by moto's server."""

from __future__ import annotations

import io
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from siglip_ingest.db.images import ImageRow
from siglip_ingest.errors import ConfigurationError, ImageError, InvalidInputError
from siglip_ingest.ingest import ImageSource
from siglip_ingest.ingest.expand import expand
from siglip_ingest.ingest.found import ExpandOptions
from siglip_ingest.manifests import read_list, read_manifest
from siglip_ingest.sources import SourcePolicy, fetch, hide_secrets
from tests.images import encode, make_image
from tests.stores import Bucket

ANY = SourcePolicy(allowed_roots=(), allowed_hosts=frozenset(), allowed_stores=None)
HARD_KEYS = [
    "a b.jpg",
    "a#b.jpg",
    "a?b=c.jpg",
    "100%.jpg",
    "a%20b.jpg",
    "ä/日本.jpg",
    "a+b&c.jpg",
    "x/y/(1)'.jpg",
    "a*[1].jpg",
]


def rows_of(source: Any, **options: Any) -> list[ImageRow]:
    return list(expand(source, "c", {}, ExpandOptions(policy=ANY, **options)))


def fetch_object(uri: str, *, policy: SourcePolicy = ANY, max_image_bytes: int = 10**6, **options: Any) -> bytes:
    return fetch(uri, max_image_bytes=max_image_bytes, timeout_s=10, policy=policy, **options)


def allow(*entries: str) -> SourcePolicy:
    return SourcePolicy(allowed_roots=(), allowed_hosts=frozenset(), allowed_stores=frozenset(entries))


def make_tar(*members: tuple[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in members:
            header = tarfile.TarInfo(name)
            header.size = len(content)
            archive.addfile(header, io.BytesIO(content))
    return buffer.getvalue()


@pytest.mark.parametrize("key", HARD_KEYS)
def test_an_object_is_found_and_fetched_whatever_its_key(bucket: Bucket, key: str) -> None:
    uri = bucket.put(f"photos/{key}", key.encode())
    (alone,) = rows_of(uri)
    (listed,) = rows_of(f"s3://{bucket.name}/photos/")
    assert alone == listed
    assert alone.uri == uri
    assert fetch_object(uri, policy=allow(f"s3://{bucket.name}/photos/")) == key.encode()


def test_a_prefix_is_searched_with_what_is_below(bucket: Bucket) -> None:
    for key in (
        "photos/b.JPG",
        "photos/a/c.png",
        "photos/notes.txt",
        "photos/.cache/d.jpg",
        "photos/._e.jpg",
        "other/f.jpg",
    ):
        bucket.put(key, b"x")
    bucket.put("photos/folder/", b"")
    expected = [f"s3://{bucket.name}/photos/a/c.png", f"s3://{bucket.name}/photos/b.JPG"]
    assert [row.uri for row in rows_of(f"s3://{bucket.name}/photos/")] == expected
    assert [row.uri for row in rows_of(f"s3://{bucket.name}/photos")] == expected
    assert len(rows_of(f"s3://{bucket.name}")) == 3


def test_a_prefix_is_listed_page_by_page(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(25):
        bucket.put(f"{number:03}.jpg", b"x")
    from s3fs import S3FileSystem

    pages = []
    real = S3FileSystem.call_s3

    def call(self: Any, method: str, *arguments: Any, **options: Any) -> Any:
        pages.append(method)
        return real(self, method, *arguments, **options, MaxKeys=10)

    monkeypatch.setattr(S3FileSystem, "call_s3", call)
    assert len({row.uri for row in rows_of(f"s3://{bucket.name}/")}) == 25
    assert pages == ["list_objects_v2"] * 3


def test_a_pattern_finds_objects(bucket: Bucket) -> None:
    for key in ("a/1.jpg", "a/2.jpg", "a/b/3.jpg", "a/x.png"):
        bucket.put(key, b"x")
    assert [row.uri[-5:] for row in rows_of(f"s3://{bucket.name}/a/*.jpg")] == ["1.jpg", "2.jpg"]
    assert len(rows_of(f"s3://{bucket.name}/a/**/*.jpg")) == 3
    with pytest.raises(InvalidInputError, match="There is no object"):
        rows_of(f"s3://{bucket.name}/a/*.webp")


def test_an_object_that_was_written_again_has_another_version(bucket: Bucket) -> None:
    uri = bucket.put("a.jpg", b"old")
    (old,) = rows_of(uri)
    assert rows_of(uri) == [old]
    bucket.put("a.jpg", b"new")
    assert rows_of(uri)[0].source_version != old.source_version


def test_an_object_may_be_named_anyhow(bucket: Bucket) -> None:
    uri = bucket.put("no-suffix", b"x")
    assert rows_of(ImageSource(uri, key="7", metadata={"a": 1}))[0].key == "7"
    bucket.put("a/1.jpg", b"x")
    with pytest.raises(InvalidInputError, match="a key names one image"):
        rows_of(ImageSource(f"s3://{bucket.name}/a/", key="7"))


def test_all_files_finds_objects_by_content(bucket: Bucket) -> None:
    bucket.put("photos/1", encode(make_image(4, 4), "PNG"))
    bucket.put("photos/2", b"text")
    bucket.put("photos/3", b"")
    assert [row.uri for row in rows_of(f"s3://{bucket.name}/photos/", all_files=True)] == [
        f"s3://{bucket.name}/photos/1"
    ]


def test_a_tar_is_read_in_parts(bucket: Bucket) -> None:
    uri = bucket.put("a#1.tar", make_tar(("x/1.jpg", b"first"), ("x/1.txt", b"a boat"), ("x/2 3.jpg", b"second")))
    bucket.put("b.tar", make_tar(("3.jpg", b"third")))
    rows = rows_of(uri)
    assert [(row.uri, row.key, row.metadata) for row in rows] == [
        (f"{uri}#member=x/1.jpg", "x/1", {"caption": "a boat"}),
        (f"{uri}#member=x/2%203.jpg", "x/2 3", {}),
    ]
    assert [fetch_object(row.uri, version=row.source_version) for row in rows] == [b"first", b"second"]
    assert len(rows_of(f"s3://{bucket.name}/*.tar")) == 3
    bucket.put("a#1.tar", make_tar(("x/0.jpg", b"other"), ("x/1.jpg", b"first")))
    with pytest.raises(ImageError, match="has changed since it was indexed"):
        fetch_object(rows[0].uri, version=rows[0].source_version)


def test_lists_and_manifests_name_objects(bucket: Bucket, tmp_path: Path) -> None:
    uri = bucket.put("a.jpg", b"x")
    (tmp_path / "list.csv").write_text(f"uri,n\n{uri},1\n")
    assert list(read_list([uri])) == [uri]
    (source,) = read_manifest(tmp_path / "list.csv")
    (row,) = rows_of(source)
    assert (row.uri, row.metadata) == (uri, {"n": "1"})


@pytest.mark.parametrize(
    ("uri", "sentence"),
    [
        pytest.param("s3://{bucket}/missing.jpg", "There is no object s3://", id="no object"),
        pytest.param("s3://{bucket}/missing/", "There is no object s3://", id="nothing below"),
        pytest.param("s3://no-such-bucket-here/a.jpg", "There is no object s3://", id="no bucket"),
        pytest.param("s3://no-such-bucket-here/", "There is no object s3://", id="no bucket to list"),
        pytest.param("s3://{bucket}/texts/", "1 .txt file was skipped", id="no images"),
        pytest.param("s3://{bucket}/a/../b.jpg", "isn't the address of an object", id="a step up"),
        pytest.param("s3://", "isn't the address of an object", id="no bucket's name"),
        pytest.param("gopher://host/a.jpg", "not from gopher://", id="an unknown protocol"),
        pytest.param("simplecache::s3://{bucket}/a.jpg", "There is no file", id="a chain"),
        pytest.param("zip://a.jpg::s3://{bucket}/a.zip", "chains", id="a chain with a slash"),
        pytest.param("local:///etc/passwd", "are refused", id="the local disk"),
        pytest.param("s3://me:secret@{bucket}/a.jpg", "has a password in it", id="a password"),
        pytest.param("s3://{bucket}/a\0.jpg", "can't be an address", id="a zero character"),
    ],
)
def test_what_cannot_be_read_is_said_in_a_sentence(bucket: Bucket, uri: str, sentence: str) -> None:
    bucket.put("texts/a.txt", b"x")
    with pytest.raises(InvalidInputError) as caught:
        rows_of(uri.format(bucket=bucket.name))
    assert sentence in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("entries", "key", "code"),
    [
        pytest.param((), "a.jpg", "not_allowed", id="nothing is allowed"),
        pytest.param(("s3://{bucket}/photos/",), "a.jpg", "not_allowed", id="beside the prefix"),
        pytest.param(("s3://{bucket}/photos/",), "photos/../a.jpg", "unsupported_source", id="a step up"),
        pytest.param(("*",), "missing.jpg", "not_found", id="no object"),
        pytest.param(("*",), "large.jpg", "too_large", id="too large"),
    ],
)
def test_a_worker_refuses(bucket: Bucket, entries: tuple[str, ...], key: str, code: str) -> None:
    bucket.put("a.jpg", b"x")
    bucket.put("large.jpg", b"x" * 1001)
    policy = allow(*(entry.format(bucket=bucket.name) for entry in entries))
    with pytest.raises(ImageError) as caught:
        fetch_object(f"s3://{bucket.name}/{key}", policy=policy, max_image_bytes=1000)
    assert (caught.value.code, caught.value.is_retryable) == (code, False)


@pytest.mark.parametrize(
    "uri",
    [
        "local:///etc/passwd",
        "file::/etc/passwd",
        "simplecache::s3://a/b.jpg",
        "zip://a.jpg::file:///etc/a.zip",
        "reference:///etc/passwd",
        "ssh://host/a.jpg",
        "memory://a/b.jpg",
        "tar://a::s3://b/c.tar",
        "LOCAL:///etc/passwd",
        "s3://a/b::file:///etc/passwd",
        "s3://key:secret@a/b.jpg",
    ],
)
def test_what_runs_chains_or_reads_the_disk_is_refused_to_all(uri: str) -> None:
    with pytest.raises(ImageError) as caught:
        fetch_object(uri)
    assert caught.value.code in {"not_allowed", "unsupported_source"}
    assert "secret" not in str(caught.value)


def test_an_object_without_a_byte_is_no_image(bucket: Bucket) -> None:
    assert fetch_object(bucket.put("empty.jpg", b"")) == b""


def test_an_object_of_exactly_the_limit_is_read(bucket: Bucket) -> None:
    assert len(fetch_object(bucket.put("a.jpg", b"x" * 1000), max_image_bytes=1000)) == 1000


def test_many_threads_share_one_file_system(bucket: Bucket) -> None:
    uris = [bucket.put(f"{number}.jpg", str(number).encode()) for number in range(40)]
    with ThreadPoolExecutor(16) as threads:
        assert list(threads.map(fetch_object, uris)) == [str(number).encode() for number in range(40)]
    from siglip_ingest.sources import stores

    assert stores._make_store.cache_info().currsize == 1


def test_wrong_credentials_are_said_without_being_shown(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    from s3fs import S3FileSystem

    async def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError("SignatureDoesNotMatch: a secret that is never shown")

    monkeypatch.setattr(S3FileSystem, "_cat_file", refuse)
    with pytest.raises(ImageError, match="may not be read with the credentials that are set") as caught:
        fetch_object(f"s3://{bucket.name}/a.jpg")
    assert caught.value.code == "permission_denied"
    assert "secret" not in str(caught.value)


def test_a_store_that_does_not_answer_in_time_is_tried_again(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    import asyncio

    from s3fs import S3FileSystem

    async def sleep(*_: Any, **__: Any) -> None:
        await asyncio.sleep(30)

    monkeypatch.setattr(S3FileSystem, "_cat_file", sleep)
    with pytest.raises(ImageError, match="wasn't sent within") as caught:
        fetch(f"s3://{bucket.name}/a.jpg", max_image_bytes=10, timeout_s=0.2, policy=ANY)
    assert (caught.value.code, caught.value.is_retryable) == ("fetch_failed", True)


@pytest.mark.parametrize(("scheme", "extra"), [("s3", "s3"), ("gs", "gcs"), ("az", "azure"), ("abfs", "azure")])
def test_a_missing_package_names_the_extra(scheme: str, extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def lack(protocol: str) -> None:
        raise ImportError(f"Install something to access {protocol}")

    monkeypatch.setattr("fsspec.get_filesystem_class", lack)
    with pytest.raises(ConfigurationError, match=rf"needs another package: pip install '\.\[{extra}\]'"):
        rows_of(f"{scheme}://bucket/a.jpg")
    with pytest.raises(ImageError, match=rf"pip install '\.\[{extra}\]'") as caught:
        fetch_object(f"{scheme}://bucket/a.jpg")
    assert caught.value.code == "not_supported"


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("s3://bucket/a?b#c.jpg", "s3://bucket/a?b#c.jpg"),
        ("s3://key:secret@bucket/a.jpg", "s3://bucket/a.jpg"),
        ("az://container/a.jpg?sig=secret", "az://container/a.jpg"),
        ("abfs://container@account.dfs.core.windows.net/a.jpg", "abfs://container@account.dfs.core.windows.net/a.jpg"),
        ("abfs://me:secret@host/a.jpg", "abfs://host/a.jpg"),
        ("s3://bucket/a.tar#member=b%20c.jpg", "s3://bucket/a.tar#member=b%20c.jpg"),
        ("az://container/a.tar?sig=secret#member=b.jpg", "az://container/a.tar#member=b.jpg"),
    ],
)
def test_messages_show_an_address_without_its_secrets(uri: str, shown: str) -> None:
    assert hide_secrets(uri) == shown
