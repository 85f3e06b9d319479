"""Where a worker's images come from: folders, tars, object stores, and files of many formats; end to end."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from siglip_ingest.db import Database
from siglip_ingest.ingest import enqueue_images
from siglip_ingest.ingest.found import ExpandOptions
from tests.images import encode, heic, make_image
from tests.stores import Bucket
from tests.unit.siglip.preprocess.test_exif import photograph
from tests.workers.helpers import WorkerProcess, count_embeddings, fetch_all, write_images

StartWorker = Callable[..., WorkerProcess]


def write_tar(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w") as archive:
        for name, content in members.items():
            header = tarfile.TarInfo(name)
            header.size = len(content)
            archive.addfile(header, io.BytesIO(content))
    return path


def test_the_images_of_a_tar_are_embedded_from_their_place(
    tmp_path: Path, database: Database, model_id: int, start_worker: StartWorker
) -> None:
    images = write_images(tmp_path / "photos", 12)
    members = {f"000/{path.name}": path.read_bytes() for path in images}
    last = {"000/0011.txt": b"a boat", "../bad.jpg": b"no image"}
    tar = write_tar(tmp_path / "a.tar", members | last)
    start_worker()
    enqueue_images(database, images[:1], model_id=model_id).wait(timeout_s=30)
    ingestion = enqueue_images(database, tar, model_id=model_id)
    counts = ingestion.wait(timeout_s=30)
    assert (counts.done, counts.failed) == (12, 1)
    (failure,) = ingestion.failures()
    assert (failure.error_code, failure.uri) == ("not_an_image", f"{tar.as_uri()}#member=../bad.jpg")
    assert count_embeddings(database) == 12  # the file and the member of one content have one vector
    rows = fetch_all(database, "SELECT metadata FROM siglip.images WHERE key = '000/0011'")
    assert rows == [({"caption": "a boat"},)]

    write_tar(tar, dict(list(members.items())[::-1]))  # the same names at other places
    assert enqueue_images(database, tar, model_id=model_id).wait(timeout_s=30).done == 12
    assert count_embeddings(database) == 12
    contents = "SELECT count(DISTINCT content_id) FROM siglip.images WHERE uri LIKE '%%.png'"
    assert fetch_all(database, contents) == [(12,)]


def test_a_tar_that_changes_while_it_is_queued_fails_with_a_sentence(
    tmp_path: Path, database: Database, model_id: int, start_worker: StartWorker
) -> None:
    image = encode(make_image(8, 8), "PNG")
    tar = write_tar(tmp_path / "a.tar", {"1.png": image})
    ingestion = enqueue_images(database, tar, model_id=model_id)
    write_tar(tar, {"0.png": image, "1.png": encode(make_image(8, 8, seed=1), "PNG")})
    start_worker()
    assert ingestion.wait(timeout_s=30).failed == 1
    assert ingestion.failures()[0].error_code == "changed"
    assert enqueue_images(database, tar, model_id=model_id).wait(timeout_s=30).done == 2


def test_the_objects_of_a_bucket_are_embedded_where_that_is_allowed(
    tmp_path: Path,
    database: Database,
    model_id: int,
    start_worker: StartWorker,
    bucket: Bucket,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    images = write_images(tmp_path / "photos", 20)
    for path in images:
        bucket.put(f"photos/{path.name} #?.png", path.read_bytes())
    bucket.put("private/a.png", images[0].read_bytes())
    bucket.put("photos/a.tar", write_tar(tmp_path / "a.tar", {"x y.png": images[1].read_bytes()}).read_bytes())
    worker = start_worker(allowed_stores=f"s3://{bucket.name}/photos/")
    sources = [f"s3://{bucket.name}/{name}" for name in ("photos/", "photos/a.tar", "private/a.png")]
    ingestion = enqueue_images(database, sources, model_id=model_id)
    counts = ingestion.wait(timeout_s=60)
    assert (counts.done, counts.failed) == (21, 1)
    assert [(each.uri, each.error_code) for each in ingestion.failures()] == [
        (f"s3://{bucket.name}/private/a.png", "not_allowed")
    ]
    assert count_embeddings(database) == 20
    assert bucket.environment["AWS_SECRET_ACCESS_KEY"] not in worker.log


def test_a_worker_with_a_database_of_its_own_reads_no_store_unless_told(
    database: Database, model_id: int, start_worker: StartWorker, bucket: Bucket
) -> None:
    start_worker()
    ingestion = enqueue_images(database, bucket.put("a.png", encode(make_image(8, 8), "PNG")), model_id=model_id)
    assert ingestion.wait(timeout_s=30).failed == 1
    (failure,) = ingestion.failures()
    assert failure.error_code == "not_allowed"
    assert "SIGLIP_ALLOWED_STORES" in failure.error_message


def test_images_of_every_kind_are_embedded_and_others_say_what_they_are(
    tmp_path: Path, database: Database, model_id: int, start_worker: StartWorker
) -> None:
    pytest.importorskip("pillow_jxl")
    folder = tmp_path / "photos"
    folder.mkdir()
    for number, (suffix, name) in enumerate([("avif", "AVIF"), ("jxl", "JXL"), ("webp", "WEBP"), ("png", "PNG")]):
        (folder / f"a.{suffix}").write_bytes(encode(make_image(60, 40, seed=number), name))
    (folder / "a.heic").write_bytes(heic(make_image(60, 40, seed=9)))
    (folder / "no suffix").write_bytes(encode(make_image(60, 40, seed=10), "JPEG"))
    (folder / "drawing").write_bytes(b"<svg xmlns='http://www.w3.org/2000/svg'/>")
    (tmp_path / "drawing.svg").write_bytes(b"<svg xmlns='http://www.w3.org/2000/svg'/>")
    sources = [folder, tmp_path / "drawing.svg"]
    ingestion = enqueue_images(database, sources, model_id=model_id, options=ExpandOptions(all_files=True))
    start_worker()
    counts = ingestion.wait(timeout_s=30)
    assert (counts.done, counts.failed) == (6, 1)
    (failure,) = ingestion.failures()
    assert failure.error_message.startswith("The file is an SVG drawing, which isn't an image that is read.")
    formats = fetch_all(database, 'SELECT format FROM siglip.contents ORDER BY format COLLATE "C"')
    assert formats == [("AVIF",), ("HEIF",), ("JPEG",), ("JXL",), ("PNG",), ("WEBP",)]


def test_exif_becomes_metadata_when_asked_for_and_never_otherwise(
    tmp_path: Path, database: Database, model_id: int, start_worker: StartWorker
) -> None:
    (tmp_path / "a.jpg").write_bytes(photograph())
    (tmp_path / "b.png").write_bytes(encode(make_image(8, 8), "PNG"))
    paths = [tmp_path / "a.jpg", tmp_path / "b.png"]
    metadata = "SELECT metadata FROM siglip.images ORDER BY uri"
    start_worker()
    enqueue_images(database, paths, model_id=model_id, metadata={"album": "2026"}).wait(timeout_s=30)
    assert fetch_all(database, metadata) == [({"album": "2026"},), ({"album": "2026"},)]

    asked = ExpandOptions(exif=True)
    assert enqueue_images(database, paths, model_id=model_id, options=asked).wait(timeout_s=30).done == 2
    read = {
        "album": "2026",
        "taken_at": "2026-05-04T18:30:15.25+02:00",
        "camera": "Canon EOS R5",
        "latitude": -33.8586667,
        "longitude": 151.214,
        "altitude": 58.5,
    }
    assert fetch_all(database, metadata) == [(read,), ({"album": "2026"},)]
    # Nothing is queued again, with and without: once asked for, it stays so.
    assert enqueue_images(database, paths, model_id=model_id, options=asked).counts().done == 2
    assert enqueue_images(database, paths, model_id=model_id).counts().done == 2
    assert count_embeddings(database) == 2
