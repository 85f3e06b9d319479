"""What `enqueue_images` takes, refuses and writes, and what an `Ingestion` says; against a real database, without a
worker.
"""

from __future__ import annotations

import hashlib
import io
import os
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from siglip_ingest.db import Database, models
from siglip_ingest.errors import InvalidInputError, ServiceError, WorkerUnavailableError
from siglip_ingest.ingest import ImageSource, enqueue_images
from siglip_ingest.siglip.preprocess import formats
from siglip_ingest.types import IngestCounts


@pytest.fixture
def database(database_url: str) -> Any:
    with Database(database_url) as opened:
        yield opened


@pytest.fixture
def model_id(database: Database) -> int:
    with database.connection() as connection:
        return models.register_model(connection, "demo")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    (folder / "sub").mkdir(parents=True)
    for name in ("b.jpg", "a.png", "sub/c.webp", "notes.txt"):
        (folder / name).write_bytes(name.encode())
    return folder


def stored(database: Database) -> list[dict[str, Any]]:
    statement = "SELECT collection, uri, key, source_version, metadata FROM siglip.images ORDER BY image_id"
    with database.connection() as connection:
        cursor = connection.execute(statement)
        names = [column.name for column in cursor.description or ()]
        return [dict(zip(names, row, strict=True)) for row in cursor]


def test_a_folder_gives_its_images_in_order(database: Database, model_id: int, photos: Path) -> None:
    ingestion = enqueue_images(database, photos, model_id=model_id)
    assert [Path(row["uri"]).name for row in stored(database)] == ["a.png", "b.jpg", "c.webp"]
    assert len(ingestion.image_ids) == 3
    assert ingestion.counts() == IngestCounts(queued=3)
    assert ingestion.failures() == []


def test_a_file_is_stored_with_its_absolute_uri_and_version(
    database: Database, model_id: int, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(photos)
    os.utime("a.png", ns=(5, 1234567890))
    enqueue_images(
        database, ["a.png", Path("sub/../a.png"), (photos / "a.png").as_uri()], model_id=model_id, collection="holiday"
    )
    assert stored(database) == [
        {
            "collection": "holiday",
            "uri": (photos / "a.png").as_uri(),
            "key": None,
            "source_version": "1234567890-5",
            "metadata": {},
        }
    ]


def test_a_link_keeps_its_own_name(database: Database, model_id: int, photos: Path) -> None:
    (photos / "link.jpg").symlink_to(photos / "b.jpg")
    enqueue_images(database, [photos / "link.jpg"], model_id=model_id)
    assert stored(database)[0]["uri"].endswith("link.jpg")


def test_addresses_bytes_and_images_are_taken(database: Database, model_id: int) -> None:
    sources = ["https://example.org/a.jpg?size=1", b"bytes of a file", Image.new("CMYK", (3, 2))]
    enqueue_images(database, sources, model_id=model_id)
    uris = {row["uri"] for row in stored(database)}
    assert uris > {"https://example.org/a.jpg?size=1", f"sha256:{hashlib.sha256(b'bytes of a file').hexdigest()}"}
    assert sum(uri.startswith("sha256:") for uri in uris) == 2


def content_of(database: Database) -> Image.Image:
    with database.connection() as connection:
        row = connection.execute("SELECT content FROM siglip.image_bytes").fetchone()
    assert row is not None
    return Image.open(io.BytesIO(row[0]))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_an_image_is_stored_upright_and_without_a_loss(database: Database, model_id: int, mode: str) -> None:
    colors = {"1": 255, "L": 9, "LA": (9, 8), "P": 1, "RGB": (9, 8, 7), "RGBA": (9, 8, 7, 6), "I;16": 999}
    image = Image.new(mode, (3, 2))
    image.putpixel((0, 0), colors[mode])
    image.getexif()[0x0112] = 6  # its left side is up
    enqueue_images(database, image, model_id=model_id)
    stored_image = content_of(database)
    assert (stored_image.mode, stored_image.size) == (mode, (2, 3))
    assert stored_image.getpixel((1, 0)) == image.getpixel((0, 0))
    assert not stored_image.getexif()


def test_an_image_with_broken_exif_data_is_taken_as_it_is(database: Database, model_id: int) -> None:
    image = Image.new("RGB", (3, 2))
    image.info["exif"] = b"Exif\0\0MM\0\0nonsense"
    enqueue_images(database, image, model_id=model_id)
    assert content_of(database).size == (3, 2)


def test_text_that_looks_like_an_escaped_zero_is_metadata(database: Database, model_id: int) -> None:
    metadata = {"a": "\\u0000", "b": "\\\\u0000"}
    enqueue_images(database, b"image", model_id=model_id, metadata=metadata)
    assert stored(database)[0]["metadata"] == metadata


def test_a_source_has_a_key_and_metadata_of_its_own(database: Database, model_id: int, photos: Path) -> None:
    sources = [ImageSource(photos / "a.png", key="7", metadata={"album": "mine", "n": 1}), photos / "b.jpg"]
    enqueue_images(database, sources, model_id=model_id, metadata={"album": "all", "year": 2026})
    assert [(row["key"], row["metadata"]) for row in stored(database)] == [
        ("7", {"album": "mine", "year": 2026, "n": 1}),
        (None, {"album": "all", "year": 2026}),
    ]


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        pytest.param("photos/missing.jpg", "There is no file or folder", id="a missing file"),
        pytest.param("photos/a.png/b.jpg", "There is no file or folder", id="a file in place of a folder"),
        pytest.param("empty", "holds no images that can be read: no file was found in it", id="an empty folder"),
        pytest.param("pipe", "neither a file nor a folder", id="a named pipe"),
        pytest.param("", "can't be the path", id="an empty name"),
        pytest.param("a\0b", "can't be the path", id="a name with a zero character"),
        pytest.param("gopher://host/a.jpg", "not from gopher://", id="another scheme"),
        pytest.param("http://", "isn't a complete address", id="an address without a host"),
        pytest.param(b"", "the bytes object is empty", id="no bytes"),
        pytest.param(7, "not int", id="a number"),
        pytest.param(ImageSource("photos", key="1"), "a key names one image", id="a key for a folder"),
        pytest.param(ImageSource("photos/a.png", metadata={"a": {1, 2}}), "JSON", id="metadata that are not JSON"),
        pytest.param(
            ImageSource("photos/a.png", metadata={"a": "\0"}), "U\\+0000", id="metadata with a zero character"
        ),
        pytest.param(
            ImageSource("photos/a.png", metadata={"\\\0": 1}), "U\\+0000", id="metadata with one after a backslash"
        ),
        pytest.param(ImageSource("photos/a.png", metadata={"a": float("nan")}), "JSON", id="metadata with NaN"),
    ],
)
def test_what_cannot_be_an_image_is_refused_before_anything_is_written(
    database: Database, model_id: int, photos: Path, monkeypatch: pytest.MonkeyPatch, source: Any, sentence: str
) -> None:
    monkeypatch.chdir(photos.parent)
    (photos.parent / "empty").mkdir()
    os.mkfifo(photos.parent / "pipe")
    with pytest.raises(InvalidInputError, match=sentence):
        enqueue_images(database, [photos / "a.png", source], model_id=model_id)
    assert stored(database) == []


@pytest.fixture
def no_heif(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine without pillow-heif."""
    monkeypatch.setattr(formats, "_heif_reader", lambda: None)
    monkeypatch.setattr(formats, "decodable_suffixes", formats.decodable_suffixes.__wrapped__)


@pytest.mark.usefixtures("no_heif")
def test_a_folder_of_what_cannot_be_decoded_says_what_was_skipped(
    database: Database, model_id: int, tmp_path: Path
) -> None:
    for number in range(12):
        (tmp_path / f"{number}.HEIC").touch()
    with pytest.raises(InvalidInputError) as caught:
        enqueue_images(database, tmp_path, model_id=model_id)
    assert str(caught.value) == (
        f"The folder {tmp_path} holds no images that can be read: 12 .heic files were skipped, for which pillow-heif "
        "is needed: pip install '.[worker]' in a clone of siglip_ingest."
    )


@pytest.mark.usefixtures("no_heif")
def test_a_warning_counts_what_was_skipped_of_a_folder(
    database: Database, model_id: int, photos: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (photos / "x.heic").touch()
    (photos / "notes.txt").touch()
    assert enqueue_images(database, photos, model_id=model_id).counts().queued == 3
    (message,) = [record.getMessage() for record in caplog.records]
    assert message.startswith(f"In the folder {photos} 1 .heic file was skipped, for which pillow-heif is needed")
    assert "txt" not in message
    assert enqueue_images(database, photos / "x.heic", model_id=model_id).counts().queued == 1  # named by itself


def test_a_16_bit_image_that_png_does_not_know_is_scaled(database: Database, model_id: int) -> None:
    big_endian = Image.frombytes("I;16B", (1, 1), (200 << 8).to_bytes(2, "big"))
    enqueue_images(database, big_endian, model_id=model_id)
    assert content_of(database).getpixel((0, 0)) == (200, 200, 200)


@pytest.mark.parametrize("sources", [[], iter(()), 5, None])
def test_no_sources_are_refused(database: Database, model_id: int, sources: Any) -> None:
    with pytest.raises(InvalidInputError):
        enqueue_images(database, sources, model_id=model_id)


def test_a_collection_needs_a_name(database: Database, model_id: int) -> None:
    with pytest.raises(InvalidInputError, match="collection needs a name"):
        enqueue_images(database, b"image", model_id=model_id, collection="")


def test_waiting_gives_up_in_time_and_says_what_waits(database: Database, model_id: int, photos: Path) -> None:
    ingestion = enqueue_images(database, photos, model_id=model_id)
    with pytest.raises(WorkerUnavailableError, match=r"3 queued, 0 in progress.* `siglip-ingest worker`"):
        ingestion.wait(timeout_s=0.2)
    assert ingestion.counts().queued == 3


def test_waiting_ends_when_no_worker_can_come(database: Database, model_id: int, photos: Path) -> None:
    def check_worker(_: int) -> None:
        raise ServiceError("The worker could not start: the disk is full.")

    ingestion = enqueue_images(database, photos, model_id=model_id, check_worker=check_worker)
    with pytest.raises(ServiceError, match="the disk is full"):
        ingestion.wait(timeout_s=30)


def test_waiting_draws_a_bar_where_asked_to(
    database: Database, model_id: int, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ingestion = enqueue_images(database, photos, model_id=model_id)
    with database.connection() as connection:
        connection.execute("UPDATE siglip.ingest_items SET state = 'done'")
    assert ingestion.wait(progress=True).done == 3
    captured = capsys.readouterr()
    assert "3/3" in captured.err
    assert captured.out == ""


class Clock:
    """Stands in for the module `time`: it goes on only while somebody sleeps."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def monotonic(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


def test_waiting_without_progress_says_so(
    database: Database, model_id: int, photos: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("siglip_ingest.ingest.ingestion.time", Clock())
    ingestion = enqueue_images(database, photos, model_id=model_id)
    with pytest.raises(WorkerUnavailableError):
        ingestion.wait(timeout_s=29)
    assert not caplog.records
    with pytest.raises(WorkerUnavailableError):
        ingestion.wait(timeout_s=60)
    assert "No image has been embedded for" in caplog.text
    assert "or images may be waiting for their next attempt" in caplog.text
