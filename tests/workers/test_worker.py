"""One worker process, end to end."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from siglip_ingest import SiglipClient
from siglip_ingest.db import Database
from siglip_ingest.errors import ConfigurationError, WorkerUnavailableError
from siglip_ingest.ingest import ImageSource, enqueue_images
from siglip_ingest.labeling import create_label_set
from siglip_workers.runtime import enter_model
from tests.images import encode, make_image
from tests.programs import wait_until
from tests.workers.helpers import (
    WorkerProcess,
    count_embeddings,
    fetch_all,
    load_tiny_embedder,
    write_image,
    write_images,
)

StartWorker = Callable[..., WorkerProcess]


def test_every_image_ends_embedded_or_failed_with_a_reason(
    tmp_path: Path, database: Database, model_id: int, start_worker: StartWorker
) -> None:
    images = write_images(tmp_path / "photos", 90)
    duplicates = [tmp_path / "photos" / f"copy{number}.png" for number in range(5)]
    for copy in duplicates:
        copy.write_bytes(images[0].read_bytes())
    text = tmp_path / "photos" / "text.jpg"
    text.write_text("This is no image.")
    truncated = tmp_path / "photos" / "truncated.jpg"
    truncated.write_bytes(encode(make_image(300, 200), "JPEG")[:3000])
    huge = write_image(tmp_path / "photos" / "huge.png", 1000, size=(400, 400))
    deleted = write_image(tmp_path / "photos" / "deleted.png", 1001)
    handed_over = encode(make_image(50, 50), "PNG")

    ingestion = enqueue_images(database, [tmp_path / "photos", handed_over], model_id=model_id)
    assert len(ingestion.image_ids) == 100
    deleted.unlink()
    start_worker(chunk_size=32, max_image_pixels=100_000)
    counts = ingestion.wait(timeout_s=60)

    assert (counts.done, counts.failed) == (96, 4)
    assert {Path(failure.uri).name: failure.error_code for failure in ingestion.failures()} == {
        text.name: "not_an_image",
        truncated.name: "truncated",
        huge.name: "too_large",
        deleted.name: "not_found",
    }
    assert all(failure.error_message.endswith(".") for failure in ingestion.failures())
    assert count_embeddings(database) == 91  # 90 images, one of which is there six times, and the one handed over
    formats = fetch_all(
        database, "SELECT DISTINCT format, width, height FROM siglip.contents JOIN siglip.images USING (content_id)"
    )
    assert sorted(map(str, formats)) == sorted(map(str, [("PNG", 60, 40), ("PNG", 50, 50)]))


def test_what_is_done_is_not_embedded_again_and_what_changed_is(
    tmp_path: Path, database: Database, model_id: int, start_worker: StartWorker
) -> None:
    start_worker()
    first, second = write_images(tmp_path, 2)
    enqueue_images(database, [first, second], model_id=model_id).wait(timeout_s=30)
    again = enqueue_images(database, [first, second], model_id=model_id)
    assert again.counts().done == 2
    write_image(second, 99, size=(80, 40))
    changed = enqueue_images(database, [ImageSource(first, metadata={"a": 1}), second], model_id=model_id)
    assert changed.wait(timeout_s=30).done == 2
    assert count_embeddings(database) == 3
    rows = fetch_all(
        database, "SELECT metadata, width FROM siglip.images JOIN siglip.contents USING (content_id) ORDER BY uri"
    )
    assert rows == [({"a": 1}, 60), ({}, 80)]


def test_a_new_worker_describes_its_model_and_makes_it_active(
    database: Database, tiny_checkpoint: Path, start_worker: StartWorker
) -> None:
    start_worker()
    (row,) = fetch_all(database, "SELECT name, dimension, is_active FROM siglip.models")
    assert row == (str(tiny_checkpoint), 32, True)


def test_the_log_is_short_and_in_sentences(
    tmp_path: Path, database: Database, model_id: int, start_worker: StartWorker
) -> None:
    worker = start_worker()
    (tmp_path / "text.jpg").write_text("This is no image.")
    enqueue_images(database, [*write_images(tmp_path, 3), tmp_path / "text.jpg"], model_id=model_id).wait(timeout_s=30)
    worker.terminate()
    assert worker.wait() == 0
    lines = [line.split(maxsplit=2) for line in worker.log.splitlines() if not line.startswith("worker:") and line]
    assert [line[1] for line in lines] == ["INFO", "INFO", "WARNING", "INFO", "INFO"], worker.log
    assert re.search(r"Loaded the model .*, both towers, onto cpu in \d+\.\d s\.", lines[0][2])
    assert "Ready" in lines[1][2]
    assert "text.jpg" in lines[2][2]
    assert "Embedded 3 images in" in lines[3][2]
    assert "Stopped." in lines[4][2]


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        pytest.param({"model": "/no/such/checkpoint"}, "/no/such/checkpoint", id="a checkpoint that is not there"),
        pytest.param({"database_url": None}, "SIGLIP_DATABASE_URL", id="no database"),
        pytest.param({"broker_url": None}, "SIGLIP_BROKER_URL", id="no broker"),
        pytest.param({"database_url": "postgresql://a:secret@127.0.0.1:1/b"}, "No PostgreSQL answered", id="no server"),
        pytest.param({"lease_s": "soon"}, "SIGLIP_LEASE_S must be a number", id="a setting that is no number"),
        pytest.param({"device": "cuda:77"}, "SIGLIP_DEVICE", id="a device that is not there"),
    ],
)
def test_a_worker_that_cannot_start_says_why_in_a_sentence(
    start_worker: StartWorker, settings: dict[str, object], sentence: str
) -> None:
    worker = start_worker(wait=False, **settings)
    assert worker.wait() == 1
    assert sentence in worker.log
    assert "Traceback" not in worker.log
    assert "secret" not in worker.log


def test_a_worker_refuses_a_schema_that_is_behind(start_worker: StartWorker, empty_database_url: str) -> None:
    worker = start_worker(wait=False, database_url=empty_database_url)
    assert worker.wait() == 1
    assert "siglip-ingest migrate" in worker.log
    assert "Traceback" not in worker.log


def test_a_worker_refuses_another_revision_of_the_active_model(
    tmp_path: Path, start_worker: StartWorker, database: Database
) -> None:
    from tests.checkpoints import write_tiny_checkpoint

    folder = tmp_path / "checkpoint"
    folder.mkdir()
    write_tiny_checkpoint(folder, seed=1)
    start_worker(model=folder).kill()
    write_tiny_checkpoint(folder, seed=2)
    worker = start_worker(model=folder, wait=False)
    assert worker.wait() == 1
    assert "can't be compared" in worker.log


def test_a_worker_refuses_to_prepare_images_otherwise_than_those_of_the_database(
    tmp_path: Path, database: Database
) -> None:
    from tests.checkpoints import write_tiny_checkpoint

    folder = write_tiny_checkpoint(tmp_path / "checkpoint")
    enter_model(database, load_tiny_embedder(folder).info)
    path = folder / "preprocessor_config.json"
    path.write_text(path.read_text().replace('"resample": 3', '"resample": 2'))
    with pytest.raises(ConfigurationError, match=r"made with resample 3, but preprocessor_config.json says 2 now"):
        enter_model(database, load_tiny_embedder(folder).info)


def test_celerys_own_command_starts_a_worker_too(
    tmp_path: Path, database: Database, model_id: int, start_worker: StartWorker
) -> None:
    worker = start_worker(module="celery -A siglip_workers worker")
    assert enqueue_images(database, write_images(tmp_path, 1), model_id=model_id).wait(timeout_s=30).done == 1
    worker.terminate()
    assert worker.wait() == 0
    assert "Warning" not in worker.log
    broken = start_worker(module="celery -A siglip_workers worker", wait=False, model="/no/such/checkpoint")
    assert broken.wait() == 1
    assert "Traceback" not in broken.log


def test_a_new_worker_embeds_labels_that_have_no_vectors_under_its_model(
    tmp_path: Path, database: Database, tiny_checkpoint: Path, start_worker: StartWorker
) -> None:
    from tests.checkpoints import write_tiny_checkpoint

    start_worker().kill()
    create_label_set(database, lambda _: load_tiny_embedder(tiny_checkpoint), "things", ["boat", "house"])
    other = tmp_path / "other"
    other.mkdir()
    start_worker(model=write_tiny_checkpoint(other, seed=5))
    counts = "SELECT model_id, count(*) FROM siglip.label_embeddings GROUP BY model_id ORDER BY model_id"
    wait_until(lambda: [count for _, count in fetch_all(database, counts)] == [2, 2])
    # A label set that is made while this model fills gets its vectors too.
    create_label_set(database, lambda _: load_tiny_embedder(tiny_checkpoint), "more", ["sky", "sea", "sand"])
    wait_until(lambda: [count for _, count in fetch_all(database, counts)] == [5, 5])


def test_without_a_setting_the_active_model_decides(
    tmp_path: Path, database: Database, model_id: int, start_worker: StartWorker, tiny_checkpoint: Path
) -> None:
    start_worker(model=None)
    ingestion = enqueue_images(database, write_images(tmp_path, 1), model_id=model_id)
    assert ingestion.wait(timeout_s=30).done == 1


def test_a_client_is_told_within_moments_that_no_worker_runs(
    tmp_path: Path,
    database_url: str,
    tiny_checkpoint: Path,
    start_worker: StartWorker,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    worker = start_worker()
    worker.terminate()
    assert worker.wait() == 0
    monkeypatch.setattr("siglip_ingest.ingest.ingestion.CHECK_AFTER_S", 0.0)
    with SiglipClient(database_url=database_url) as client:
        ingestion = client.enqueue_images(write_images(tmp_path, 1))
        with pytest.raises(WorkerUnavailableError):
            ingestion.wait(timeout_s=1)
    assert caplog.text.count("is running: the images stay queued. `siglip-ingest worker` starts one") == 1
