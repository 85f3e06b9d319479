"""Queries that a worker answers: through Celery, and from plain SQL through the write-ahead log."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import psycopg
import pytest

from siglip_ingest.db import Database
from siglip_ingest.errors import SiglipError, WorkerUnavailableError
from siglip_ingest.ingest import enqueue_images
from siglip_ingest.remote import RemoteEmbedder, TaskClient, decode_array, encode_array, queries_queue
from siglip_workers.text_listener import read_message, read_question
from tests.pictures import picture
from tests.programs import wait_until
from tests.workers.helpers import WorkerProcess, items_by_state, load_tiny_embedder, write_pictures

StartWorker = Callable[..., WorkerProcess]


def test_a_remote_embedder_gives_the_vectors_of_a_local_one(
    database: Database, broker_url: str, tiny_checkpoint: Path, start_worker: StartWorker
) -> None:
    start_worker()
    local, remote = load_tiny_embedder(tiny_checkpoint), RemoteEmbedder(broker_url, database)
    assert remote.info == local.info
    texts = ["a red boat", "Night sky, with 3 stars!"]
    np.testing.assert_allclose(remote.embed_texts(texts), local.embed_texts(texts), atol=1e-6)
    images = [picture(60, 40), picture(33, 99, seed=1), picture(32, 32).convert("L")]
    np.testing.assert_allclose(remote.embed_images(images), local.embed_images(images), atol=1e-6)
    assert remote.embed_texts([]).shape == (0, 32)
    for refused in (["a red boat", "!!!"], [""]):
        with pytest.raises(SiglipError, match="leaves nothing of the text"):
            remote.embed_texts(refused)
    assert remote.embed_images([]).shape == (0, 32)


def test_the_asker_and_the_worker_are_told_of_a_text_that_is_too_long(
    database: Database, broker_url: str, start_worker: StartWorker, caplog: pytest.LogCaptureFixture
) -> None:
    worker = start_worker()
    remote = RemoteEmbedder(broker_url, database)
    remote.embed_texts(["a cat"])
    assert not caplog.records
    remote.embed_texts(["a cat " * 10 + "and a dog"])
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("siglip_ingest.remote", "WARNING")
    assert "tokens, but the model reads 16" in record.message
    assert record.message.endswith("and a dog'")
    assert worker.log.count("but the model reads 16") == 1


def test_a_remote_embedder_may_be_used_by_many_threads(
    database: Database, broker_url: str, tiny_checkpoint: Path, start_worker: StartWorker
) -> None:
    start_worker()
    local, remote = load_tiny_embedder(tiny_checkpoint), RemoteEmbedder(broker_url, database)
    answers: dict[int, object] = {}

    def ask(number: int) -> None:
        for turn in range(5):
            text = f"boat {number} {turn}"
            answers[10 * number + turn] = np.abs(remote.embed_texts([text]) - local.embed_texts([text])).max()

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 40
    assert all(difference < 1e-6 for difference in answers.values())  # type: ignore[operator]


@contextmanager
def serve_when_asked() -> Iterator[tuple[str, threading.Event]]:
    """A web server that has no image, and says so only once the event is set."""
    may_answer = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            may_answer.wait(60)
            with contextlib.suppress(OSError):  # the worker may have ended
                self.send_error(404)

        def log_message(self, *_arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}", may_answer
        finally:
            may_answer.set()
            server.shutdown()
            thread.join()


def test_a_query_does_not_wait_behind_images(
    database: Database, broker_url: str, model_id: int, start_worker: StartWorker
) -> None:
    start_worker(chunk_size=8, decode_threads=1)
    with serve_when_asked() as (address, may_answer):
        enqueue_images(database, [f"{address}/{number}" for number in range(60)], model_id=model_id)
        wait_until(lambda: items_by_state(database).get("claimed", 0) > 0)
        RemoteEmbedder(broker_url, database, timeout_s=30).embed_texts(["boat"])
        states = items_by_state(database)
        may_answer.set()
    assert states.get("claimed", 0) > 0
    assert states.get("done", 0) == states.get("failed", 0) == 0


def test_without_a_worker_the_error_says_what_to_do(
    database: Database, broker_url: str, start_worker: StartWorker
) -> None:
    remote = RemoteEmbedder(broker_url, database, timeout_s=0.3)
    with pytest.raises(WorkerUnavailableError, match="No model is active yet"):
        remote.embed_texts(["boat"])
    start_worker().kill()
    with pytest.raises(WorkerUnavailableError, match=r"No worker of the model .* answered within 0.3 s"):
        remote.embed_texts(["boat"])
    with pytest.raises(WorkerUnavailableError, match="no Redis answers"):
        RemoteEmbedder("redis://127.0.0.1:1/0", database, timeout_s=5).embed_texts(["boat"])


def test_a_worker_says_what_it_could_not_embed(
    database: Database, broker_url: str, model_id: int, start_worker: StartWorker
) -> None:
    worker = start_worker()
    pixels = [encode_array(np.zeros((5, 5, 3), np.uint8))]
    queue = queries_queue(model_id)
    answer = TaskClient(broker_url).call("siglip.embed_query_images", pixels, queue=queue, timeout_s=20)
    assert "5, 5" in answer["error"]
    assert "A query could not be embedded" in worker.log


def test_a_new_text_in_plain_sql_reaches_the_worker(
    tmp_path: Path, database: Database, database_url: str, model_id: int, start_worker: StartWorker
) -> None:
    start_worker()
    enqueue_images(database, write_pictures(tmp_path, 5), model_id=model_id).wait(timeout_s=30)
    with psycopg.connect(database_url) as connection:
        statement = "SELECT * FROM siglip.search_images('some new text', 3)"
        first = connection.execute(statement).fetchall()
        assert len(first) == 3
        assert connection.execute(statement).fetchall() == first
        assert connection.execute("SELECT query FROM siglip.texts").fetchall() == [("some new text",)]


def test_several_workers_answer_plain_sql(database: Database, database_url: str, start_worker: StartWorker) -> None:
    start_worker()
    start_worker()
    with psycopg.connect(database_url, autocommit=True) as connection:
        for number in range(20):
            connection.execute("SELECT siglip.embed_text(%s)", (f'text {number}: "quoted" ä 🌅',))
        assert connection.execute("SELECT count(*) FROM siglip.texts").fetchone() == (20,)


@pytest.mark.parametrize(
    "array", [np.arange(6, dtype=np.uint8).reshape(2, 3), np.zeros((0, 4), np.float32), np.float32([[0.1]])]
)
def test_arrays_travel_unchanged(array: np.ndarray) -> None:  # type: ignore[type-arg]
    received = decode_array(encode_array(array))
    assert received.dtype == array.dtype
    np.testing.assert_array_equal(received, array)


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param({"dtype": "object", "shape": [1], "data": ""}, id="another type"),
        pytest.param({"dtype": "uint8", "shape": [2], "data": "AA=="}, id="too few bytes"),
        pytest.param({"dtype": "uint8", "shape": [1], "data": "%"}, id="not base64"),
    ],
)
def test_what_is_no_array_is_refused(payload: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"."):
        decode_array(payload)


def test_only_our_messages_are_read() -> None:
    header = b"M\0" + bytes(8)
    assert read_message(header + b"siglip\0\0\0\0\x02{}") == b"{}"
    assert read_message(header + b"other\0\0\0\0\x02{}") is None
    assert read_message(b"B" + bytes(20)) is None
    assert read_message(b"") is None


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b'{"model_id": 1, "query": "boat"}', "boat"),
        (b'{"model_id": 2, "query": "boat"}', None),
        (b'{"model_id": 1, "query": ""}', None),
        (b'{"model_id": 1, "query": 5}', None),
        (b'{"model_id": 1}', None),
        (b"[1]", None),
        (b"\xff", None),
    ],
)
def test_only_questions_for_this_model_are_read(content: bytes, expected: str | None) -> None:
    assert read_question(content, 1) == expected
