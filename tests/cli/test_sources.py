"""`index` of tars, of files without a suffix, and with EXIF data, as a program."""

from __future__ import annotations

import io
import json
import tarfile

from siglip_ingest.demo.world import write_images
from tests.cli.conftest import Terminal
from tests.unit.siglip.preprocess.test_exif import photograph


def test_a_tar_is_indexed_with_what_is_beside_its_images(terminal: Terminal) -> None:
    folder = terminal.folder / "shards"
    write_images(folder / "images", 3, seed=61_000, size=(160, 120))
    with tarfile.open(folder / "photos-000001.tar", "w") as archive:
        for number, path in enumerate(sorted((folder / "images").iterdir())):
            archive.add(path, f"{number:04}.jpg")
            text = f"image number {number}".encode()
            header = tarfile.TarInfo(f"{number:04}.txt")
            header.size = len(text)
            archive.addfile(header, io.BytesIO(text))
    indexed = terminal.run("index", "shards/photos-*.tar", "--collection", "shards", "--json")
    assert indexed.returncode == 0, indexed.stderr
    assert json.loads(indexed.stdout)["done"] == 3
    found = json.loads(terminal.run("search", "a boat", "--collection", "shards", "--json").stdout)
    assert {match["metadata"]["caption"] for match in found} == {f"image number {number}" for number in range(3)}
    assert all("photos-000001.tar#member=000" in match["uri"] for match in found)
    table = terminal.run("search", "a boat", "--collection", "shards").stdout
    assert f"{folder}/photos-000001.tar#member=0000.jpg" in table


def test_files_without_a_suffix_are_found_where_asked_for(terminal: Terminal) -> None:
    folder = terminal.folder / "nameless"
    folder.mkdir()
    (folder / "1").write_bytes(photograph())
    (folder / "notes").write_text("no image")
    refused = terminal.run("index", "nameless", "--collection", "nameless")
    assert refused.returncode == 1
    assert "2 suffixless files were skipped" in refused.stderr
    indexed = terminal.run("index", "nameless", "--collection", "nameless", "--all-files")
    assert (indexed.returncode, indexed.stdout) == (0, "1 done, 0 failed.\n"), indexed.stderr
    assert "1 suffixless file was skipped" in indexed.stderr


def test_exif_data_can_be_filtered_by_where_asked_for(terminal: Terminal) -> None:
    (terminal.folder / "camera.jpg").write_bytes(photograph())
    indexed = terminal.run("index", "camera.jpg", "--collection", "camera", "--exif")
    assert indexed.returncode == 0, indexed.stderr
    by_camera = json.dumps({"camera": "Canon EOS R5"})
    found = json.loads(terminal.run("search", "x", "--collection", "camera", "--filter", by_camera, "--json").stdout)
    assert found[0]["metadata"]["taken_at"] == "2026-05-04T18:30:15.25+02:00"


def test_a_store_that_cannot_be_read_is_one_sentence(terminal: Terminal) -> None:
    nowhere = {"AWS_ENDPOINT_URL": "http://127.0.0.1:9", "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
    refused = terminal.run("index", "s3://bucket/a.jpg", AWS_MAX_ATTEMPTS="1", **nowhere)
    assert refused.returncode == 1
    assert "s3://bucket/a.jpg can't be read" in refused.stderr
    assert "Traceback" not in refused.stderr
    unknown = terminal.run("index", "gopher://host/a.jpg")
    assert "not from gopher://" in unknown.stderr
