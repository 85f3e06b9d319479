"""The feeder and the stream in this process: what comes twice, fails, hangs, or is interrupted."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import psycopg
import pytest

from siglip_ingest.db import Database, items, workers
from siglip_ingest.errors import DatabaseUnavailableError, ImageError
from siglip_ingest.ingest import enqueue_images
from siglip_workers.ingest import batcher, feeder, preparing, writer
from siglip_workers.ingest.stream import Stream
from siglip_workers.runtime import enter_model
from tests.database.helpers import claim
from tests.programs import wait_until
from tests.workers.helpers import count_embeddings, fetch_all, items_by_state, load_tiny_embedder, write_images
from tests.workers.local_worker import SETTINGS, FragileEmbedder, LocalWorker, opened_worker

LEDGER = "SELECT item_id, state::text, attempts, updated_at, error_code FROM siglip.ingest_items ORDER BY item_id"


@pytest.fixture
def embedder(tiny_checkpoint: Path) -> FragileEmbedder:
    return FragileEmbedder(load_tiny_embedder(tiny_checkpoint))


@pytest.fixture
def model_id(database: Database, embedder: FragileEmbedder) -> int:
    return enter_model(database, embedder.info)


@pytest.fixture
def worker(database: Database, embedder: FragileEmbedder, model_id: int) -> Iterator[LocalWorker]:
    with opened_worker(database, embedder, model_id) as made:
        yield made


class HeldImages:
    """Holds images back in a decoding thread, after some that it lets pass, until it is told to let go."""

    def __init__(self, embedder: FragileEmbedder, *, passing: int = 0) -> None:
        self.release = threading.Event()
        self.entered = threading.Semaphore(0)
        self._passing = threading.Semaphore(passing)
        self._prepare = embedder.prepare_image
        embedder.prepare_image = self._wait  # type: ignore[method-assign]

    def _wait(self, image: object) -> object:
        if self._passing.acquire(blocking=False):
            return self._prepare(image)  # type: ignore[arg-type]
        self.entered.release()
        assert self.release.wait(60)
        return self._prepare(image)  # type: ignore[arg-type]


class ClaimsAtOnce:
    """Counts how often suspects and others were claimed at the same time, while images are decoded."""

    def __init__(self, embedder: FragileEmbedder, database: Database) -> None:
        self.mixed = 0
        self._database = database
        self._prepare = embedder.prepare_image
        embedder.prepare_image = self._look  # type: ignore[method-assign]

    def _look(self, image: object) -> object:
        kinds = "SELECT count(DISTINCT is_suspect) FROM siglip.ingest_items WHERE state = 'claimed' AND attempts > 0"
        self.mixed += fetch_all(self._database, kinds) == [(2,)]
        return self._prepare(image)  # type: ignore[arg-type]


def test_images_end_as_done_or_failed(tmp_path: Path, database: Database, model_id: int, worker: LocalWorker) -> None:
    text = tmp_path / "text.jpg"
    text.write_text("This is no image.")
    enqueue_images(database, [*write_images(tmp_path, 10), text], model_id=model_id)
    assert worker.work() == {"done": 10, "failed": 1}
    assert items_by_state(database) == {"done": 10, "failed": 1}


@pytest.mark.parametrize("model", [None, "1", -1, 10**12, "'; DROP TABLE siglip.images; --", [1], {"a": 1}, 1.5])
def test_a_forged_ticket_changes_nothing(
    tmp_path: Path, database: Database, model_id: int, worker: LocalWorker, model: object
) -> None:
    enqueue_images(database, write_images(tmp_path, 2), model_id=model_id)
    before = fetch_all(database, LEDGER)
    worker.feeder.take_ticket(model)
    assert fetch_all(database, LEDGER) == before


def test_an_idle_worker_takes_up_what_a_ticket_speaks_of_at_once(
    tmp_path: Path, database: Database, model_id: int, worker: LocalWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feeder, "IDLE_S", 60.0)  # nothing but the ticket wakes it
    worker.feeder.start()
    try:
        wait_until(lambda: worker.feeder.is_waiting)
        enqueue_images(database, write_images(tmp_path, 3), model_id=model_id)
        for _ in range(3):
            worker.feeder.take_ticket(model_id)
        wait_until(lambda: items_by_state(database) == {"done": 3})
    finally:
        worker.feeder.stop()
        worker.feeder.look()
        worker.feeder.close()


def test_looking_without_work_changes_nothing(
    tmp_path: Path, database: Database, model_id: int, worker: LocalWorker, embedder: FragileEmbedder
) -> None:
    enqueue_images(database, write_images(tmp_path, 10), model_id=model_id)
    worker.work()
    before = fetch_all(database, LEDGER)
    for _ in range(5):
        assert worker.work() == {"done": 0, "failed": 0}
    assert fetch_all(database, LEDGER) == before
    assert embedder.embedded == 10


def test_two_workers_share_the_work_and_store_it_once(
    tmp_path: Path, database: Database, model_id: int, worker: LocalWorker, embedder: FragileEmbedder
) -> None:
    enqueue_images(database, write_images(tmp_path, 40), model_id=model_id)
    with opened_worker(database, embedder, model_id, chunk_size=8) as other:
        threads = [threading.Thread(target=each.work) for each in (worker, other)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        while items_by_state(database) != {"done": 40}:
            assert other.work()["done"] > 0
    assert count_embeddings(database) == 40
    assert embedder.embedded == 40


def test_a_worker_claims_ahead_and_no_more_than_it_has_room_for(
    tmp_path: Path, database: Database, model_id: int, embedder: FragileEmbedder
) -> None:
    held = HeldImages(embedder)
    enqueue_images(database, write_images(tmp_path, 30), model_id=model_id)
    with opened_worker(database, embedder, model_id, chunk_size=8) as worker:
        worker.claim()
        assert items_by_state(database) == {"claimed": 8, "queued": 22}
        worker.claim()
        assert items_by_state(database) == {"claimed": 8, "queued": 22}
        held.release.set()
        assert worker.stream.progress.wait_until(0, 60)
    assert items_by_state(database) == {"done": 8, "queued": 22}


def test_batches_fill_across_claims(
    tmp_path: Path, database: Database, model_id: int, embedder: FragileEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batcher, "MAX_WAIT_S", 60.0)  # however slow this machine is, a batch waits until it is full
    embedder.batch_size = 8
    enqueue_images(database, write_images(tmp_path, 8), model_id=model_id)
    with opened_worker(database, embedder, model_id, chunk_size=4, decode_threads=8) as worker:
        held = HeldImages(embedder)
        worker.claim()
        monkeypatch.setattr(Stream, "capacity", 8)
        worker.claim()
        for _ in range(8):
            assert held.entered.acquire(timeout=30)
        held.release.set()
        assert worker.stream.progress.wait_until(0, 60)
    assert embedder.batches == [8]


def test_a_device_with_memory_of_its_own_gets_the_next_batch_while_it_computes_one(
    tmp_path: Path, database: Database, model_id: int, embedder: FragileEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In place of a GPU, an embedder that says that it is one."""
    embedder.device, embedder.batch_size = "cuda:0", 4
    monkeypatch.setattr(Stream, "capacity", 100)
    computing, release = threading.Event(), threading.Event()
    embed = embedder.embed_pixels

    def embed_staged(pixels: Any) -> Any:
        computing.set()
        assert release.wait(30)
        return embed(pixels)

    monkeypatch.setattr(embedder, "embed_staged", embed_staged)
    enqueue_images(database, write_images(tmp_path, 20), model_id=model_id)
    with opened_worker(database, embedder, model_id) as worker:
        worker.claim()
        assert computing.wait(30)
        wait_until(lambda: embedder.staged == [4, 4])
        time.sleep(0.3)  # time for a third one to show
        assert embedder.staged == [4, 4]
        release.set()
        assert worker.stream.progress.wait_until(0, 60)
    assert embedder.batches == [4] * 5
    assert items_by_state(database) == {"done": 20}


def test_stored_vectors_are_the_models_own(
    tmp_path: Path, database: Database, model_id: int, worker: LocalWorker, tiny_checkpoint: Path
) -> None:
    from PIL import Image

    paths = write_images(tmp_path, 6)
    enqueue_images(database, paths, model_id=model_id)
    worker.work()
    vectors = "SELECT embedding::real[] FROM siglip.images JOIN siglip.image_embeddings USING (content_id) ORDER BY uri"
    stored = np.array([row[0] for row in fetch_all(database, vectors)])
    expected = load_tiny_embedder(tiny_checkpoint).embed_images([Image.open(path).convert("RGB") for path in paths])
    np.testing.assert_allclose(stored, expected, atol=1e-3)  # halfvec has 11 bits


def test_the_same_content_is_embedded_once(
    tmp_path: Path, database: Database, model_id: int, worker: LocalWorker, embedder: FragileEmbedder
) -> None:
    (first, *_) = write_images(tmp_path, 6)
    for number in range(6, 16):
        (tmp_path / f"{number}.png").write_bytes(first.read_bytes())
    enqueue_images(database, tmp_path, model_id=model_id)
    worker.work()
    enqueue_images(database, tmp_path, model_id=model_id, collection="other")
    worker.work()
    assert items_by_state(database) == {"done": 32}
    assert embedder.embedded == 6


def test_an_image_that_the_model_fails_on_fails_alone_after_its_attempts(
    tmp_path: Path,
    database: Database,
    model_id: int,
    worker: LocalWorker,
    embedder: FragileEmbedder,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from PIL import Image

    monkeypatch.setattr(writer, "RETRY_PAUSE_S", 0.0)
    paths = write_images(tmp_path, 10)
    twin = tmp_path / "twin.png"
    twin.write_bytes(paths[3].read_bytes())
    embedder.fails_for = {int(embedder.prepare_image(Image.open(paths[3])).sum())}
    ingestion = enqueue_images(database, [*paths, twin], model_id=model_id)
    assert worker.work() == {"done": 9, "failed": 0}
    assert items_by_state(database) == {"done": 9, "queued": 2}
    for _ in range(SETTINGS.max_attempts - 1):
        worker.work()
    assert items_by_state(database) == {"done": 9, "failed": 2}
    for failure in ingestion.failures():
        assert failure.error_code == "embedding_failed"
        assert failure.error_message == "The model failed: RuntimeError: illegal memory access"


def test_a_broken_device_costs_an_attempt_and_stops_the_worker(
    tmp_path: Path, database: Database, model_id: int, worker: LocalWorker, embedder: FragileEmbedder
) -> None:
    enqueue_images(database, write_images(tmp_path, 3), model_id=model_id)
    embedder.is_broken = True
    worker.work()
    wait_until(lambda: worker.stops)  # the device is looked at when its results are already on their way
    assert worker.stops == ["stop"]
    assert fetch_all(database, "SELECT DISTINCT state::text, attempts FROM siglip.ingest_items") == [("queued", 1)]


def test_a_file_that_comes_back_is_tried_again(
    tmp_path: Path, database: Database, model_id: int, worker: LocalWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> bytes:
        raise ImageError("The server answered 503.", code="fetch_failed", is_retryable=True)

    monkeypatch.setattr(writer, "RETRY_PAUSE_S", 0.0)
    enqueue_images(database, write_images(tmp_path, 2), model_id=model_id)
    with monkeypatch.context() as patched:
        patched.setattr(preparing, "fetch", refuse)
        worker.work()
    assert items_by_state(database) == {"queued": 2}
    worker.work()
    assert items_by_state(database) == {"done": 2}


@pytest.mark.parametrize("kind", ["a file", "this machine"])
def test_what_the_policy_forbids_fails_with_a_sentence(
    tmp_path: Path, database: Database, model_id: int, embedder: FragileEmbedder, kind: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unasked:
        source = write_images(tmp_path, 1)[0] if kind == "a file" else f"http://127.0.0.1:{unasked.getsockname()[1]}/a"
        ingestion = enqueue_images(database, source, model_id=model_id)
        with opened_worker(database, embedder, model_id, allowed_roots=(), allowed_hosts=frozenset()) as worker:
            worker.work()
    (failure,) = ingestion.failures()
    assert failure.error_code == "not_allowed"
    assert "SIGLIP_ALLOWED_" in failure.error_message
    assert embedder.embedded == 0


def test_what_goes_wrong_unexpectedly_is_not_quoted(
    tmp_path: Path,
    database: Database,
    model_id: int,
    worker: LocalWorker,
    embedder: FragileEmbedder,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(_: object) -> np.ndarray:  # type: ignore[type-arg]
        raise ValueError("cannot make sense of b'hunter2'")

    embedder.prepare_image = fail  # type: ignore[method-assign,assignment]
    enqueue_images(database, write_images(tmp_path, 1), model_id=model_id)
    worker.work()
    assert fetch_all(database, "SELECT error_code, error_message FROM siglip.ingest_items") == [
        ("unexpected_error", "The image can't be prepared: ValueError. The worker's log says more.")
    ]
    assert "hunter2" in caplog.text


def test_no_more_pixels_are_decoded_at_a_time_than_the_settings_say(
    tmp_path: Path, database: Database, model_id: int, embedder: FragileEmbedder
) -> None:
    enqueue_images(database, write_images(tmp_path, 12), model_id=model_id)
    held = HeldImages(embedder)
    with opened_worker(database, embedder, model_id, decode_threads=6, max_decoding_pixels=2 * 60 * 40) as worker:
        thread = threading.Thread(target=worker.work)
        thread.start()
        for _ in range(2):
            assert held.entered.acquire(timeout=30)
        assert not held.entered.acquire(timeout=0.3)  # time for a third one to show
        held.release.set()
        thread.join()
    assert items_by_state(database) == {"done": 12}


def test_a_warning_about_an_address_holds_no_secret(
    database: Database, model_id: int, worker: LocalWorker, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{unused.getsockname()[1]}"
        uri = f"http://user:hunter2@{host}/a.jpg?sig=SECRETSIG"
        enqueue_images(database, uri, model_id=model_id)
        worker.work()
    assert f"http://{host}/a.jpg: " in caplog.text
    (message,) = fetch_all(database, "SELECT error_message FROM siglip.ingest_items")[0]
    for text in (caplog.text, str(message)):
        assert "hunter2" not in text
        assert "SECRETSIG" not in text


def test_bytes_that_are_too_large_are_refused_as_a_file_is(
    tmp_path: Path, database: Database, model_id: int, embedder: FragileEmbedder
) -> None:
    (path,) = write_images(tmp_path, 1)
    content = path.read_bytes()
    ingestion = enqueue_images(database, [path, content], model_id=model_id)
    with opened_worker(database, embedder, model_id, max_image_bytes=len(content) - 1) as worker:
        worker.work()
    assert [failure.error_code for failure in ingestion.failures()] == ["too_large", "too_large"]
    assert embedder.embedded == 0


def test_a_stopped_worker_hands_back_what_it_did_not_embed(
    tmp_path: Path, database: Database, model_id: int, worker: LocalWorker, embedder: FragileEmbedder
) -> None:
    held = HeldImages(embedder)
    enqueue_images(database, write_images(tmp_path, 5), model_id=model_id)
    worker.claim()
    assert held.entered.acquire(timeout=30)
    worker.stream.close()
    held.release.set()
    with database.connection() as connection:
        assert items.release_strays(connection, worker.worker_id, []) == 5
    assert fetch_all(database, "SELECT DISTINCT state::text, attempts FROM siglip.ingest_items") == [("queued", 0)]


def test_a_stopped_worker_writes_what_was_embedded(
    tmp_path: Path,
    database: Database,
    model_id: int,
    worker: LocalWorker,
    embedder: FragileEmbedder,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(writer, "MAX_WAIT_S", 60.0)  # what is embedded waits to be written with the rest
    held = HeldImages(embedder, passing=4)
    enqueue_images(database, write_images(tmp_path, 6), model_id=model_id)
    worker.claim()
    assert held.entered.acquire(timeout=30)
    wait_until(lambda: embedder.embedded == 4)
    worker.stream.close()
    held.release.set()
    assert items_by_state(database) == {"done": 4, "claimed": 2}


def test_an_image_that_does_not_move_is_left_to_another_worker_and_this_one_ends(
    tmp_path: Path,
    database: Database,
    model_id: int,
    worker: LocalWorker,
    embedder: FragileEmbedder,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(feeder, "STALL_S", 0.5)
    held = HeldImages(embedder)
    enqueue_images(database, write_images(tmp_path, 2), model_id=model_id)
    worker.claim()
    assert held.entered.acquire(timeout=30)
    wait_until(lambda: bool(worker.feeder.feed() and worker.stops))
    assert worker.stops == ["end"]
    with database.connection() as connection:
        assert workers.requeue_lost(connection, 3).requeued == 2  # though the worker lives
    held.release.set()
    assert worker.stream.progress.wait_until(0, 60)
    assert items_by_state(database) == {"queued": 2}


def test_what_is_claimed_in_a_workers_name_without_its_knowledge_is_handed_back(
    tmp_path: Path, database: Database, model_id: int, worker: LocalWorker, embedder: FragileEmbedder
) -> None:
    """The answer to a claim was lost with its connection, say: the stream knows nothing of these items."""
    enqueue_images(database, write_images(tmp_path, 4), model_id=model_id)
    with database.connection() as connection:
        claim(connection, model_id, limit=2, worker_id=worker.worker_id)
    held = HeldImages(embedder)
    worker.claim()
    assert held.entered.acquire(timeout=30)
    worker.feeder.release_strays()
    assert items_by_state(database) == {"claimed": 2, "queued": 2}
    held.release.set()
    assert worker.stream.progress.wait_until(0, 60)
    assert worker.work()["done"] == 2


def test_suspects_are_embedded_with_nothing_beside_them(
    tmp_path: Path, database: Database, model_id: int, embedder: FragileEmbedder
) -> None:
    enqueue_images(database, write_images(tmp_path, 8), model_id=model_id)
    with opened_worker(database, embedder, model_id, chunk_size=3) as worker:
        held = HeldImages(embedder)
        worker.claim()
        assert held.entered.acquire(timeout=30)
        with database.connection() as connection:
            connection.execute(
                "UPDATE siglip.ingest_items SET is_suspect = true WHERE state = 'queued' AND item_id % 2 = 0"
            )
        thread = threading.Thread(target=worker.claim)
        thread.start()
        time.sleep(0.5)  # they wait for the three to leave
        assert items_by_state(database) == {"claimed": 3, "queued": 5}
        seen = ClaimsAtOnce(embedder, database)
        held.release.set()
        thread.join()
        assert worker.stream.progress.wait_until(0, 60)
        assert seen.mixed == 0
        while worker.work()["done"]:
            pass
    assert items_by_state(database) == {"done": 8}
    assert fetch_all(database, "SELECT count(*) FROM siglip.ingest_items WHERE is_suspect") == [(0,)]


def test_vectors_wait_for_postgresql_to_come_back(
    tmp_path: Path, database: Database, model_id: int, worker: LocalWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    enqueue_images(database, write_images(tmp_path, 2), model_id=model_id)
    close, failures = items.close_items, iter([DatabaseUnavailableError("It is away.")] * 2)

    def fail_twice(*arguments: Any, **options: Any) -> items.Closed:
        for error in failures:
            raise error
        return close(*arguments, **options)

    monkeypatch.setattr(items, "close_items", fail_twice)
    assert worker.work()["done"] == 2
    assert worker.stops == []


def test_a_permanent_refusal_of_postgresql_stops_the_worker_at_once(
    tmp_path: Path, database: Database, database_url: str, model_id: int, worker: LocalWorker
) -> None:
    enqueue_images(database, write_images(tmp_path, 2), model_id=model_id)
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("ALTER TABLE siglip.contents RENAME COLUMN width TO breadth")
    assert worker.work() == {"done": 0, "failed": 0}
    assert worker.stops == ["stop"]
    worker.feeder.release_strays()
    assert items_by_state(database) == {"queued": 2}


def test_a_worker_that_is_not_registered_claims_nothing(tmp_path: Path, database: Database, model_id: int) -> None:
    enqueue_images(database, write_images(tmp_path, 2), model_id=model_id)
    with database.connection() as connection:
        assert items.claim_items(connection, uuid4(), model_id, 10, uuid4()) == []
