"""Images inside tar files: what is found, how it is addressed, and what hostile tars do."""

from __future__ import annotations

import gzip
import io
import json
import logging
import os
import tarfile
import threading
import tracemalloc
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from siglip_ingest.db.images import ImageRow
from siglip_ingest.errors import ImageError, InvalidInputError
from siglip_ingest.ingest import ImageSource
from siglip_ingest.ingest.expand import expand, path_of_uri
from siglip_ingest.ingest.found import ExpandOptions
from siglip_ingest.sources import SourcePolicy, fetch, hide_secrets
from siglip_ingest.sources.members import member_uri, split_member
from tests.images import encode, make_image

POLICY = SourcePolicy(allowed_roots=None, allowed_hosts=frozenset({"127.0.0.1"}))


def write_tar(path: Path, *members: tuple[str, bytes], tar_format: int = tarfile.PAX_FORMAT) -> Path:
    with tarfile.open(path, "w", format=tar_format) as archive:
        for name, content in members:
            header = tarfile.TarInfo(name)
            header.size = len(content)
            archive.addfile(header, io.BytesIO(content))
    return path


def rows_of(source: Any, **options: Any) -> list[ImageRow]:
    return list(expand(source, "c", {}, ExpandOptions(policy=POLICY, **options)))


def fetch_row(row: ImageRow, policy: SourcePolicy = POLICY, max_image_bytes: int = 10**6) -> bytes:
    return fetch(row.uri, max_image_bytes=max_image_bytes, timeout_s=5, policy=policy, version=row.source_version)


def test_members_of_one_name_are_an_image_with_its_key_and_metadata(tmp_path: Path) -> None:
    tar = write_tar(
        tmp_path / "photos-000001.tar",
        ("000/0001.jpg", b"first"),
        ("000/0001.json", json.dumps({"album": "2026", "n": 1}).encode()),
        ("000/0001.txt", b" a boat\n"),
        ("000/0002.png", b"second"),
        ("000/0002.cls", b"7"),
        ("0003.webp", b"third"),
        ("0003.json", json.dumps({"__key__": "mine"}).encode()),
    )
    rows = rows_of(tar)
    assert [(row.uri, row.key, row.metadata) for row in rows] == [
        (f"{tar.as_uri()}#member=000/0001.jpg", "000/0001", {"album": "2026", "n": 1, "caption": "a boat"}),
        (f"{tar.as_uri()}#member=000/0002.png", "000/0002", {}),
        (f"{tar.as_uri()}#member=0003.webp", "mine", {}),
    ]
    assert [fetch_row(row) for row in rows] == [b"first", b"second", b"third"]
    assert {path.name for path in tmp_path.iterdir()} == {tar.name}


def test_what_the_call_says_wins_over_what_the_tar_says(tmp_path: Path) -> None:
    tar = write_tar(tmp_path / "a.tar", ("1.jpg", b"x"), ("1.json", b'{"album": "theirs", "n": 1}'))
    (row,) = expand(ImageSource(tar, metadata={"album": "mine"}), "c", {})
    assert row.metadata == {"album": "mine", "n": 1}


def test_several_images_of_one_name_have_keys_of_their_own(tmp_path: Path) -> None:
    tar = write_tar(tmp_path / "a.tar", ("1.left.jpg", b"l"), ("1.right.jpg", b"r"), ("1.json", b'{"n": 1}'))
    assert [(row.key, row.metadata) for row in rows_of(tar)] == [("1.left", {"n": 1}), ("1.right", {"n": 1})]


@pytest.mark.parametrize("tar_format", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
@pytest.mark.parametrize(
    "name",
    [
        "/etc/passwd.jpg",
        "../../a.jpg",
        "a b#member=c?d%20e.jpg",
        "ä/日本.jpg",
        "x/" * 45 + "a.jpg",
        "n" * 95 + ".jpg",
        "a\nb.jpg",
    ],
)
def test_a_name_is_no_more_than_a_name(tmp_path: Path, name: str, tar_format: int) -> None:
    tar = write_tar(tmp_path / "a #1.tar", (name, b"image"), ("b.jpg", b"other"), tar_format=tar_format)
    first, second = rows_of(tar)
    assert split_member(first.uri) == (tar.as_uri(), name)
    assert (fetch_row(first), fetch_row(second)) == (b"image", b"other")


def test_a_very_long_name_is_read(tmp_path: Path) -> None:
    for tar_format in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
        (row,) = rows_of(write_tar(tmp_path / "a.tar", ("d/" * 300 + "a.jpg", b"image"), tar_format=tar_format))
        assert fetch_row(row) == b"image"


def test_a_name_that_is_not_unicode_has_no_key(tmp_path: Path) -> None:
    (row,) = rows_of(write_tar(tmp_path / "a.tar", (os.fsdecode(b"\xff.jpg"), b"image"), tar_format=tarfile.GNU_FORMAT))
    assert row.key is None
    assert row.uri.endswith("#member=%FF.jpg")
    assert fetch_row(row) == b"image"


def test_links_and_sparse_and_hidden_members_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as archive:
        for name, kind in (
            ("hard.jpg", tarfile.LNKTYPE),
            ("soft.jpg", tarfile.SYMTYPE),
            ("pipe.jpg", tarfile.FIFOTYPE),
        ):
            header = tarfile.TarInfo(name)
            header.type, header.linkname = kind, "/etc/passwd"
            archive.addfile(header)
        sparse = tarfile.TarInfo("sparse.jpg")
        sparse.pax_headers = {"GNU.sparse.map": "0,1", "GNU.sparse.size": "9999"}
        sparse.size = 1
        archive.addfile(sparse, io.BytesIO(b"x"))
        for name in ("._a.jpg", "a.jpg"):
            header = tarfile.TarInfo(name)
            header.size = 1
            archive.addfile(header, io.BytesIO(b"x"))
    assert [split_member(row.uri)[1] for row in rows_of(path)] == ["a.jpg"]


def test_a_tar_that_is_cut_off_gives_what_is_whole_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tar = write_tar(tmp_path / "a.tar", *((f"{n}.jpg", b"x" * 1000) for n in range(5)))
    tar.write_bytes(tar.read_bytes()[: 3 * 1536 + 700])
    assert len(rows_of(tar)) == 3
    assert "is cut off or damaged after 4 members" in caplog.text


def test_a_tar_that_is_damaged_in_the_middle_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tar = write_tar(tmp_path / "a.tar", *((f"{n}.jpg", b"x" * 1000) for n in range(5)))
    content = bytearray(tar.read_bytes())
    content[2 * 1536 : 2 * 1536 + 512] = b"\xa5" * 512
    tar.write_bytes(content)
    assert len(rows_of(tar)) == 2
    assert "is damaged after 2 members" in caplog.text


def test_a_whole_tar_says_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tar = write_tar(tmp_path / "a.tar", ("1.jpg", b"x"))
    assert len(rows_of(tar)) == 1
    tar.write_bytes(tar.read_bytes()[:1024])  # some writers leave the last blocks of zeros out
    assert len(rows_of(tar)) == 1
    assert not caplog.records


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        pytest.param("a.tar", b"this is no tar file, " * 100, "can't be read as a tar file", id="no tar"),
        pytest.param("a.tar", b"", "can't be read as a tar file", id="empty"),
        pytest.param("a.tar", b"\0" * 10240, "holds no images that can be read", id="no member"),
        pytest.param("a.tar", gzip.compress(b"x" * 10240), "is compressed", id="compressed by content"),
        pytest.param("a.tar.gz", b"x", "is compressed", id="compressed by name"),
        pytest.param("a.TGZ", b"x", "is compressed", id="compressed by a short name"),
    ],
)
def test_what_is_no_plain_tar_is_refused(tmp_path: Path, name: str, content: bytes, sentence: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InvalidInputError, match=sentence):
        rows_of(tmp_path / name)


def test_a_tar_without_images_says_what_is_in_it(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"2 \.py files were skipped, not a kind of image that is read"):
        rows_of(write_tar(tmp_path / "a.tar", ("a.py", b"x"), ("b.py", b"x"), ("c.txt", b"x")))


def test_a_key_for_a_tar_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="is a tar file: a key names one image"):
        rows_of(ImageSource(write_tar(tmp_path / "a.tar", ("1.jpg", b"x")), key="7"))


@pytest.mark.parametrize("record", [b"{", b"[1]", b'{"a": NaN}', b'{"a": "\\u0000"}', b"[" * 100_000, b"\xff"])
def test_a_record_that_cannot_be_kept_is_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, record: bytes
) -> None:
    (row,) = rows_of(write_tar(tmp_path / "a.tar", ("1.jpg", b"x"), ("1.json", record)))
    assert (row.key, row.metadata) == ("1", {})
    assert "'1.json' isn't a JSON object that can be kept" in caplog.text


def test_of_a_name_that_is_there_twice_the_last_one_counts(tmp_path: Path) -> None:
    rows = rows_of(write_tar(tmp_path / "a.tar", ("1.jpg", b"old"), ("2.jpg", b"x"), ("1.jpg", b"newer")))
    last = {row.uri: row for row in rows}
    assert len(last) == 2
    assert fetch_row(last[rows[0].uri]) == b"newer"


def test_all_files_finds_members_by_content(tmp_path: Path) -> None:
    png = encode(make_image(4, 4), "PNG")
    tar = write_tar(tmp_path / "a.tar", ("0001", png), ("0002.bin", png), ("notes", b"text"))
    assert [split_member(row.uri)[1] for row in rows_of(tar, all_files=True)] == ["0001", "0002.bin"]


def test_a_tar_that_was_written_again_has_other_versions_and_the_old_ones_are_refused(tmp_path: Path) -> None:
    tar = write_tar(tmp_path / "a.tar", ("1.jpg", b"old"))
    os.utime(tar, ns=(5, 5))
    (old,) = rows_of(tar)
    write_tar(tar, ("0.jpg", b"x"), ("1.jpg", b"new"))
    _, new = rows_of(tar)
    assert (old.uri, fetch_row(new)) == (new.uri, b"new")
    assert old.source_version != new.source_version
    with pytest.raises(ImageError, match="has changed since it was indexed: index it again") as caught:
        fetch_row(old)
    assert (caught.value.code, caught.value.is_retryable) == ("changed", False)


def test_a_tar_of_the_same_names_and_sizes_has_changed_all_the_same(tmp_path: Path) -> None:
    tar = write_tar(tmp_path / "a.tar", ("1.jpg", b"old"))
    os.utime(tar, ns=(5, 5))
    (old,) = rows_of(tar)
    write_tar(tar, ("1.jpg", b"new"))
    with pytest.raises(ImageError, match="has changed since it was indexed"):
        fetch_row(old)


def test_a_place_that_holds_another_member_is_refused(tmp_path: Path) -> None:
    first, second = rows_of(write_tar(tmp_path / "a.tar", ("1.jpg", b"one"), ("2.jpg", b"two")))
    assert first.source_version is not None
    assert second.source_version is not None
    forged = second.source_version.replace("~", "~1")
    for version in (forged, first.source_version.replace("+3~", "+4~"), first.source_version.replace("@512+", "@513+")):
        with pytest.raises(ImageError, match="has changed"):
            fetch(first.uri, max_image_bytes=100, timeout_s=1, policy=POLICY, version=version)


@pytest.mark.parametrize("version", [None, "", "1-2", "1-2@0+5~1", "1-2@-5+5~1", "1-2@" + "9" * 30 + "+5~1"])
def test_a_member_whose_place_is_unknown_is_refused(tmp_path: Path, version: str | None) -> None:
    uri = member_uri((tmp_path / "a.tar").as_uri(), "1.jpg")
    with pytest.raises(ImageError, match="index the tar itself"):
        fetch(uri, max_image_bytes=100, timeout_s=1, policy=POLICY, version=version)


def test_a_tar_is_read_where_files_may_be_read_only(tmp_path: Path) -> None:
    (tmp_path / "allowed").mkdir()
    (tmp_path / "other").mkdir()
    tar = write_tar(tmp_path / "other" / "a.tar", ("allowed/1.jpg", b"image"))
    (tmp_path / "allowed" / "link.tar").symlink_to(tar)
    policy = SourcePolicy(allowed_roots=(tmp_path / "allowed",), allowed_hosts=frozenset())
    for path in (tar, tmp_path / "allowed" / "link.tar"):
        (row,) = rows_of(path)
        with pytest.raises(ImageError) as caught:
            fetch_row(row, policy)
        assert caught.value.code == "not_allowed"


def test_a_member_that_is_too_large_is_refused_before_it_is_read(tmp_path: Path) -> None:
    (row,) = rows_of(write_tar(tmp_path / "a.tar", ("1.jpg", b"x" * 101)))
    with pytest.raises(ImageError) as caught:
        fetch_row(row, max_image_bytes=100)
    assert caught.value.code == "too_large"
    assert len(fetch_row(row, max_image_bytes=101)) == 101


def test_a_member_is_no_file_of_a_folder_and_cannot_be_indexed_by_itself(tmp_path: Path) -> None:
    (row,) = rows_of(write_tar(tmp_path / "a.tar", ("1.jpg", b"x")))
    assert path_of_uri(row.uri) is None
    assert hide_secrets(row.uri) == row.uri
    with pytest.raises(InvalidInputError, match="Give the tar itself"):
        rows_of(row.uri)


def write_many(path: Path, count: int) -> Path:
    """Write a tar of empty members, faster than `tarfile` does."""
    header = tarfile.TarInfo()
    with path.open("wb") as file:
        for number in range(count):
            header.name = f"{number:07}.jpg"
            file.write(header.tobuf(tarfile.USTAR_FORMAT))
        file.write(b"\0" * 1024)
    return path


def test_a_tar_of_a_hundred_thousand_members_is_read(tmp_path: Path) -> None:
    assert sum(1 for _ in expand(write_many(tmp_path / "a.tar", 100_000), "c", {})) == 100_000


def test_more_members_need_no_more_memory(tmp_path: Path) -> None:
    tar = write_many(tmp_path / "a.tar", 10_000)
    rows = expand(tar, "c", {})
    next(rows)
    tracemalloc.start()
    assert sum(1 for _ in rows) == 9_999
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 500_000


class RangeHandler(BaseHTTPRequestHandler):
    """Serves files of a folder, in parts where asked to, unless the path begins with /whole."""

    protocol_version = "HTTP/1.1"
    folder: Path
    asked: list[str]

    def do_GET(self) -> None:
        content = (self.folder / self.path.partition("?")[0].rpartition("/")[2]).read_bytes()
        asked = self.headers.get("Range", "")
        type(self).asked.append(asked)
        if asked and not self.path.startswith("/whole"):
            start, end = map(int, asked.removeprefix("bytes=").split("-"))
            part = content[start : end + 1]
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{start + len(part) - 1}/{len(content)}")
        else:
            part = content
            self.send_response(200)
        self.send_header("ETag", '"v1"')
        self.send_header("Content-Length", str(len(part)))
        self.end_headers()
        self.wfile.write(part)

    def log_message(self, *arguments: Any) -> None:
        pass


@pytest.fixture
def web(tmp_path: Path) -> Iterator[str]:
    RangeHandler.folder, RangeHandler.asked = tmp_path, []
    with ThreadingHTTPServer(("127.0.0.1", 0), RangeHandler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def test_a_tar_on_the_web_is_read_in_parts(tmp_path: Path, web: str) -> None:
    write_tar(tmp_path / "a.tar", ("1.jpg", b"first"), ("1.txt", b"a boat"), ("2.jpg", b"second"))
    rows = rows_of(f"{web}/a.tar?token=secret")
    assert [(row.uri, row.metadata) for row in rows] == [
        (f"{web}/a.tar?token=secret#member=1.jpg", {"caption": "a boat"}),
        (f"{web}/a.tar?token=secret#member=2.jpg", {}),
    ]
    RangeHandler.asked.clear()
    assert [fetch_row(row) for row in rows] == [b"first", b"second"]
    assert all(RangeHandler.asked)
    assert hide_secrets(rows[0].uri) == f"{web}/a.tar#member=1.jpg"


def test_a_server_that_sends_no_parts_is_refused_in_a_sentence(tmp_path: Path, web: str) -> None:
    write_tar(tmp_path / "a.tar", ("1.jpg", b"first"))
    with pytest.raises(InvalidInputError, match="can't be read in parts: its server sends all of it at once"):
        rows_of(f"{web}/whole/a.tar")


def test_a_tar_of_a_private_host_is_not_asked_for(tmp_path: Path, web: str) -> None:
    write_tar(tmp_path / "a.tar", ("1.jpg", b"first"))
    with pytest.raises(InvalidInputError, match="SIGLIP_ALLOWED_HOSTS"):
        list(expand(f"{web}/a.tar", "c", {}))
    assert RangeHandler.asked == []


def test_memory_stays_bounded_where_every_member_has_one_name(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)
    tar = write_tar(tmp_path / "a.tar", *((f"1.{n}.jpg", b"") for n in range(2500)))
    assert len({row.key for row in rows_of(tar)}) == 2500
