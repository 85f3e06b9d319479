"""The pipeline in this process: what happens twice, fails, or is interrupted."""

from __future__ import annotations

import dataclasses
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import numpy as np
import pytest
from numpy.typing import NDArray

from siglip_ingest.db import Database, items
from siglip_ingest.embedder import TorchEmbedder
from siglip_ingest.ingest import enqueue_images
from siglip_ingest.settings import Settings
from siglip_workers import outcome
from siglip_workers.device import Device, DeviceError
from siglip_workers.pipeline import Pipeline
from siglip_workers.runtime import enter_model
from tests.workers.helpers import count_embeddings, fetch_all, items_by_state, load_tiny_embedder, write_pictures

SETTINGS = Settings(batch_size=4, chunk_size=100, lease_s=30, allowed_hosts=frozenset({"127.0.0.1"}))
LEDGER = "SELECT item_id, state::text, attempts, updated_at, error_code FROM siglip.ingest_items ORDER BY item_id"


class FragileEmbedder:
    """The tiny model, on a device that fails for batches with certain pictures, or for all."""

    def __init__(self, embedder: TorchEmbedder) -> None:
        self.info = embedder.info
        self.batch_size = embedder.batch_size
        self.prepare_image = embedder.prepare_image
        self.embedded = 0
        self.fails_for: set[int] = set()
        self.is_broken = False
        self._embedder = embedder

    def embed_pixels(self, pixels: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        if self.is_broken or self.fails_for & {int(picture.sum()) for picture in pixels}:
            raise RuntimeError("illegal memory access")
        self.embedded += len(pixels)
        return self._embedder.embed_pixels(pixels)


@pytest.fixture
def embedder(tiny_checkpoint: Path) -> FragileEmbedder:
    return FragileEmbedder(load_tiny_embedder(tiny_checkpoint))


@pytest.fixture
def model_id(database: Database, embedder: FragileEmbedder) -> int:
    return enter_model(database, embedder.info)


@pytest.fixture
def pipeline(database: Database, embedder: FragileEmbedder, model_id: int) -> Iterator[Pipeline]:
    made = make_pipeline(database, embedder, model_id)
    yield made
    made.close()


def make_pipeline(database: Database, embedder: FragileEmbedder, model_id: int, **settings: Any) -> Pipeline:
    device = Device(embedder)  # type: ignore[arg-type]
    return Pipeline(database, device, model_id, dataclasses.replace(SETTINGS, **settings), cores=2)


def claim(database: Database, model_id: int, *, lease_s: float = 30) -> tuple[UUID, list[int]]:
    with database.connection() as connection:
        chunk = items.claim_items(connection, model_id, 100, lease_s)
    assert chunk is not None
    return chunk.lease_token, [item.item_id for item in chunk.items]


def test_a_chunk_delivered_twice_changes_nothing(
    tmp_path: Path, database: Database, model_id: int, pipeline: Pipeline, embedder: FragileEmbedder
) -> None:
    enqueue_images(database, write_pictures(tmp_path, 10), model_id=model_id)
    token, item_ids = claim(database, model_id)
    pipeline.embed_chunk(token, item_ids)
    before = fetch_all(database, LEDGER)
    pipeline.embed_chunk(token, item_ids)
    pipeline.embed_chunk(uuid4(), item_ids)
    assert fetch_all(database, LEDGER) == before
    assert {row[1] for row in before} == {"done"}
    assert embedder.embedded == 10


def test_a_chunk_delivered_to_two_workers_at_once_is_stored_once(
    tmp_path: Path, database: Database, model_id: int, pipeline: Pipeline, embedder: FragileEmbedder
) -> None:
    enqueue_images(database, write_pictures(tmp_path, 20), model_id=model_id)
    token, item_ids = claim(database, model_id)
    other = make_pipeline(database, embedder, model_id)
    threads = [
        threading.Thread(target=each.embed_chunk, args=(token, item_ids)) for each in (pipeline, pipeline, other)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    other.close()
    assert items_by_state(database) == {"done": 20}
    assert count_embeddings(database) == 20


def test_stored_vectors_are_the_models_own(
    tmp_path: Path, database: Database, model_id: int, pipeline: Pipeline, tiny_checkpoint: Path
) -> None:
    from PIL import Image

    paths = write_pictures(tmp_path, 6)
    enqueue_images(database, paths, model_id=model_id)
    pipeline.embed_chunk(*claim(database, model_id))
    vectors = (
        "SELECT embedding::real[] FROM siglip.images JOIN siglip.image_embeddings USING (content_hash) ORDER BY uri"
    )
    rows = fetch_all(database, vectors)
    stored = np.array([row[0] for row in rows])
    expected = load_tiny_embedder(tiny_checkpoint).embed_images([Image.open(path).convert("RGB") for path in paths])
    np.testing.assert_allclose(stored, expected, atol=1e-3)  # halfvec has 11 bits


def test_the_same_content_is_embedded_once(
    tmp_path: Path, database: Database, model_id: int, pipeline: Pipeline, embedder: FragileEmbedder
) -> None:
    (first, *_) = write_pictures(tmp_path, 6)
    for number in range(6, 16):
        (tmp_path / f"{number}.png").write_bytes(first.read_bytes())
    enqueue_images(database, tmp_path, model_id=model_id)
    pipeline.embed_chunk(*claim(database, model_id))
    enqueue_images(database, tmp_path, model_id=model_id, collection="other")
    pipeline.embed_chunk(*claim(database, model_id))
    assert items_by_state(database) == {"done": 32}
    assert embedder.embedded == 6


def test_a_picture_that_the_model_fails_on_fails_alone_after_its_attempts(
    tmp_path: Path,
    database: Database,
    model_id: int,
    pipeline: Pipeline,
    embedder: FragileEmbedder,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from PIL import Image

    monkeypatch.setattr(outcome, "RETRY_PAUSE_S", 0.0)
    paths = write_pictures(tmp_path, 10)
    twin = tmp_path / "twin.png"
    twin.write_bytes(paths[3].read_bytes())
    embedder.fails_for = {int(embedder.prepare_image(Image.open(paths[3])).sum())}
    ingestion = enqueue_images(database, [*paths, twin], model_id=model_id)
    pipeline.embed_chunk(*claim(database, model_id))
    assert items_by_state(database) == {"done": 9, "queued": 2}
    for _ in range(SETTINGS.max_attempts - 1):
        pipeline.embed_chunk(*claim(database, model_id))
    assert items_by_state(database) == {"done": 9, "failed": 2}
    for failure in ingestion.failures():
        assert failure.error_code == "embedding_failed"
        assert failure.error_message == "The model failed: RuntimeError: illegal memory access"


def test_a_broken_device_costs_an_attempt_and_is_reported(
    tmp_path: Path, database: Database, model_id: int, pipeline: Pipeline, embedder: FragileEmbedder
) -> None:
    enqueue_images(database, write_pictures(tmp_path, 3), model_id=model_id)
    embedder.is_broken = True
    with pytest.raises(DeviceError, match="illegal memory access"):
        pipeline.embed_chunk(*claim(database, model_id))
    assert fetch_all(database, "SELECT DISTINCT state::text, attempts FROM siglip.ingest_items") == [("queued", 1)]


def test_a_file_that_comes_back_is_tried_again(
    tmp_path: Path, database: Database, model_id: int, pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    from siglip_ingest.errors import ImageError
    from siglip_workers import pipeline as module

    def refuse(*_: object, **__: object) -> bytes:
        raise ImageError("The server answered 503.", code="fetch_failed", is_retryable=True)

    monkeypatch.setattr(outcome, "RETRY_PAUSE_S", 0.0)
    enqueue_images(database, write_pictures(tmp_path, 2), model_id=model_id)
    with monkeypatch.context() as patched:
        patched.setattr(module, "fetch", refuse)
        pipeline.embed_chunk(*claim(database, model_id))
    assert items_by_state(database) == {"queued": 2}
    pipeline.embed_chunk(*claim(database, model_id))
    assert items_by_state(database) == {"done": 2}


def test_a_warning_about_an_address_holds_no_secret(
    database: Database, model_id: int, pipeline: Pipeline, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{unused.getsockname()[1]}"
        uri = f"http://user:hunter2@{host}/a.jpg?sig=SECRETSIG"
        ingestion = enqueue_images(database, uri, model_id=model_id)
        pipeline.embed_chunk(*claim(database, model_id))
    assert f"http://{host}/a.jpg: " in caplog.text
    (message,) = fetch_all(database, "SELECT error_message FROM siglip.ingest_items")[0]
    for text in (caplog.text, str(message)):
        assert "[fetch_failed]" in text or "can't be fetched" in text
        assert "hunter2" not in text
        assert "SECRETSIG" not in text
    assert ingestion.counts().queued == 1


def test_bytes_that_are_too_large_are_refused_as_a_file_is(
    tmp_path: Path, database: Database, model_id: int, embedder: FragileEmbedder
) -> None:
    (path,) = write_pictures(tmp_path, 1)
    content = path.read_bytes()
    pipeline = make_pipeline(database, embedder, model_id, max_image_bytes=len(content) - 1)
    ingestion = enqueue_images(database, [path, content], model_id=model_id)
    pipeline.embed_chunk(*claim(database, model_id))
    pipeline.close()
    assert [failure.error_code for failure in ingestion.failures()] == ["too_large", "too_large"]
    assert embedder.embedded == 0


def test_a_stopped_pipeline_hands_back_what_it_did_not_embed(
    tmp_path: Path, database: Database, model_id: int, pipeline: Pipeline
) -> None:
    enqueue_images(database, write_pictures(tmp_path, 5), model_id=model_id)
    token, item_ids = claim(database, model_id)
    pipeline.stop()
    pipeline.embed_chunk(token, item_ids)
    assert fetch_all(database, "SELECT DISTINCT state::text, attempts FROM siglip.ingest_items") == [("queued", 0)]


def test_the_lease_is_renewed_while_the_work_goes_on(
    tmp_path: Path, database: Database, model_id: int, embedder: FragileEmbedder
) -> None:
    release = threading.Event()
    embedder.prepare_image = lambda image: (release.wait(20), np.asarray(image.resize((32, 32))))[1]  # type: ignore[method-assign]
    pipeline = make_pipeline(database, embedder, model_id, lease_s=0.4)
    enqueue_images(database, write_pictures(tmp_path, 2), model_id=model_id)
    token, item_ids = claim(database, model_id, lease_s=0.4)
    thread = threading.Thread(target=pipeline.embed_chunk, args=(token, item_ids))
    thread.start()
    thread.join(1.2)
    with database.connection() as connection:
        assert items.requeue_expired(connection, 3).requeued == 0
    release.set()
    thread.join()
    pipeline.close()
    assert items_by_state(database) == {"done": 2}


@pytest.mark.parametrize("kind", ["a file", "this machine"])
def test_what_the_policy_forbids_fails_with_a_sentence(
    tmp_path: Path, database: Database, model_id: int, embedder: FragileEmbedder, kind: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unasked:
        source = (
            write_pictures(tmp_path, 1)[0] if kind == "a file" else f"http://127.0.0.1:{unasked.getsockname()[1]}/a"
        )
        pipeline = make_pipeline(database, embedder, model_id, allowed_roots=(), allowed_hosts=frozenset())
        ingestion = enqueue_images(database, source, model_id=model_id)
        pipeline.embed_chunk(*claim(database, model_id))
        pipeline.close()
    (failure,) = ingestion.failures()
    assert failure.error_code == "not_allowed"
    assert "SIGLIP_ALLOWED_" in failure.error_message
    assert embedder.embedded == 0


def test_what_goes_wrong_unexpectedly_is_not_quoted(
    tmp_path: Path,
    database: Database,
    model_id: int,
    pipeline: Pipeline,
    embedder: FragileEmbedder,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(_: object) -> NDArray[np.uint8]:
        raise ValueError("cannot make sense of b'hunter2'")

    embedder.prepare_image = fail  # type: ignore[method-assign]
    enqueue_images(database, write_pictures(tmp_path, 1), model_id=model_id)
    pipeline.embed_chunk(*claim(database, model_id))
    ((code, message),) = fetch_all(database, "SELECT error_code, error_message FROM siglip.ingest_items")
    assert (code, message) == (
        "unexpected_error",
        "The image can't be prepared: ValueError. The worker's log says more.",
    )
    assert "hunter2" in caplog.text


def test_no_more_pixels_are_decoded_at_a_time_than_the_settings_say(
    tmp_path: Path, database: Database, model_id: int, embedder: FragileEmbedder
) -> None:
    lock, held = threading.Lock(), [0, 0]  # images now, and most of them

    def prepare(image: object) -> NDArray[np.uint8]:
        with lock:
            held[0] += 1
            held[1] = max(held)
        time.sleep(0.02)
        with lock:
            held[0] -= 1
        return real_prepare(image)  # type: ignore[arg-type]

    real_prepare = embedder.prepare_image
    embedder.prepare_image = prepare  # type: ignore[method-assign, assignment]
    pipeline = make_pipeline(database, embedder, model_id, decode_threads=6, max_decoding_pixels=2 * 60 * 40)
    enqueue_images(database, write_pictures(tmp_path, 12), model_id=model_id)
    pipeline.embed_chunk(*claim(database, model_id))
    pipeline.close()
    assert items_by_state(database) == {"done": 12}
    assert held[1] == 2
