"""Queries that a worker answers: images through Celery, texts through the database."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest
import redis
from celery import Celery

from siglip_ingest.broker.tasks import TaskClient, decode_array, encode_array, queries_queue, waiting_key
from siglip_ingest.db import Database
from siglip_ingest.db.models import ModelRow, get_model
from siglip_ingest.embedders.remote import RemoteEmbedder
from siglip_ingest.errors import ConfigurationError, WorkerUnavailableError
from siglip_ingest.ingest import enqueue_images
from siglip_workers.queries.answers import NO_LONGER_AWAITED
from siglip_workers.runtime import TASK_THREADS
from tests.images import make_image
from tests.programs import wait_until
from tests.workers.helpers import (
    ROOT,
    WorkerProcess,
    count_embeddings,
    items_by_state,
    load_tiny_embedder,
    write_images,
)
from tests.workers.listeners import has_listener

pytestmark = pytest.mark.slow

StartWorker = Callable[..., WorkerProcess]

# Each query takes a second and leaves a line, so that a test sees which worker has how many of them.
SLOW_WORKER = "tests.workers.slow_worker"


def active_row(database: Database, model_id: int = 1) -> ModelRow:
    with database.connection() as connection:
        return get_model(connection, model_id)


def remote_embedder(database: Database, broker_url: str | None, **options: Any) -> RemoteEmbedder:
    return RemoteEmbedder(active_row(database), database, broker_url=broker_url, **options)


def tiny_pixels(count: int = 1) -> list[dict[str, Any]]:
    return [encode_array(np.full((32, 32, 3), seed, np.uint8)) for seed in range(count)]


def test_a_remote_embedder_gives_the_vectors_of_a_local_one(
    database: Database, broker_url: str, tiny_checkpoint: Path, start_worker: StartWorker
) -> None:
    start_worker()
    local, remote = load_tiny_embedder(tiny_checkpoint), remote_embedder(database, broker_url)
    assert remote.info == local.info
    texts = ["a red boat", "Night sky, with 3 stars!"]
    np.testing.assert_allclose(remote.embed_texts(texts), local.embed_texts(texts), atol=1e-3)  # in half precision
    images = [make_image(60, 40), make_image(33, 99, seed=1), make_image(32, 32).convert("L")]
    np.testing.assert_allclose(remote.embed_images(images), local.embed_images(images), atol=1e-6)
    assert remote.embed_texts([]).shape == (0, 32)
    assert remote.embed_images([]).shape == (0, 32)


def test_the_asker_and_the_worker_are_told_of_a_text_that_is_too_long(
    database: Database, broker_url: str, start_worker: StartWorker, caplog: pytest.LogCaptureFixture
) -> None:
    worker = start_worker()
    remote = remote_embedder(database, broker_url)
    remote.embed_texts(["a cat"])
    assert not caplog.records
    remote.embed_texts(["a cat " * 10 + "and a dog"])
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("siglip_ingest.db.connection.connect", "WARNING")
    assert "tokens, but the model reads 16" in record.message
    assert record.message.endswith("and a dog'")
    assert worker.log.count("but the model reads 16") == 1


def test_a_remote_embedder_may_be_used_by_many_threads(
    database: Database, broker_url: str, tiny_checkpoint: Path, start_worker: StartWorker
) -> None:
    start_worker()
    local, remote = load_tiny_embedder(tiny_checkpoint), remote_embedder(database, broker_url)
    answers: dict[int, float] = {}

    def ask(number: int) -> None:
        image = make_image(40, 40, seed=number)
        for turn in range(5):
            text = f"boat {number} {turn}"
            differences = remote.embed_texts([text]) - local.embed_texts([text])
            answers[10 * number + turn] = float(np.abs(differences).max())
        answers[10 * number + 9] = float(np.abs(remote.embed_images([image]) - local.embed_images([image])).max())

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(answers) == 48
    assert max(answers.values()) < 1e-3


def test_a_query_does_not_wait_behind_images(
    tmp_path: Path, database: Database, broker_url: str, model_id: int, start_worker: StartWorker
) -> None:
    start_worker(chunk_size=8, decode_threads=1)
    enqueue_images(database, write_images(tmp_path, 60, size=(1200, 900)), model_id=model_id)
    remote = remote_embedder(database, broker_url)
    remote.embed_texts(["boat"])
    remote.embed_images([make_image(40, 40)])
    assert items_by_state(database).get("queued", 0) > 0


def test_without_a_worker_the_error_says_what_to_do(
    database: Database, broker_url: str, model_id: int, start_worker: StartWorker
) -> None:
    with pytest.raises(WorkerUnavailableError, match="No worker has loaded the model"):
        _ = remote_embedder(database, broker_url).info
    start_worker().kill()
    with database.session() as connection:
        wait_until(lambda: not has_listener(connection, model_id))
    remote = remote_embedder(database, broker_url, timeout_s=0.3)
    with pytest.raises(WorkerUnavailableError, match=r"no worker of the model .* listens to this server"):
        remote.embed_texts(["boat"])
    image = make_image(40, 40)
    with pytest.raises(WorkerUnavailableError, match=r"No worker of the model .* answered within 0.3 s"):
        remote.embed_images([image])
    with pytest.raises(WorkerUnavailableError, match="no Redis answers"):
        remote_embedder(database, "redis://127.0.0.1:1/0").embed_images([image])
    with pytest.raises(ConfigurationError, match="SIGLIP_BROKER_URL"):
        remote_embedder(database, None).embed_images([image])


def test_a_worker_says_what_it_could_not_embed(
    database: Database, broker_url: str, model_id: int, start_worker: StartWorker
) -> None:
    worker = start_worker()
    pixels = [encode_array(np.zeros((5, 5, 3), np.uint8))]
    queue = queries_queue(model_id)
    answer = TaskClient(broker_url).call("siglip.embed_query_images", pixels, queue=queue, timeout_s=20)
    assert "5, 5" in answer["error"]
    assert "A query could not be embedded" in worker.log


def test_texts_may_come_through_celery_too(
    database: Database, broker_url: str, model_id: int, tiny_checkpoint: Path, start_worker: StartWorker
) -> None:
    start_worker()
    queue = queries_queue(model_id)
    answer = TaskClient(broker_url).call("siglip.embed_texts", ["a red boat"], queue=queue, timeout_s=20)
    expected = load_tiny_embedder(tiny_checkpoint).embed_texts(["a red boat"])
    np.testing.assert_allclose(decode_array(answer["embeddings"]), expected, atol=1e-6)


def test_a_new_text_in_plain_sql_reaches_the_worker(
    tmp_path: Path, database: Database, database_url: str, model_id: int, start_worker: StartWorker
) -> None:
    start_worker()
    enqueue_images(database, write_images(tmp_path, 5), model_id=model_id).wait(timeout_s=30)
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


class Burst:
    """Queries that are sent without waiting for their answers. Each has its key: somebody waits for it."""

    def __init__(self, broker_url: str, model_id: int) -> None:
        self._queue = queries_queue(model_id)
        self._app = Celery("burst", broker=broker_url, backend=broker_url, set_as_current=False)
        self.redis = redis.Redis.from_url(broker_url)
        self.ids: list[str] = []

    def send(self, count: int, *, waits_ms: int = 60_000) -> None:
        for _ in range(count):
            task_id = str(uuid.uuid4())
            self.ids.append(task_id)
            self.redis.set(waiting_key(task_id), 1, px=waits_ms)
            self._app.send_task(
                "siglip.embed_query_images",
                args=[tiny_pixels()],
                kwargs={"is_waited_for": True},
                task_id=task_id,
                queue=self._queue,
            )

    def forget(self) -> None:
        """The askers give up."""
        self.redis.delete(*[waiting_key(task_id) for task_id in self.ids])

    @property
    def queued(self) -> int:
        """How many lie in Redis and are with no worker."""
        return int(self.redis.llen(self._queue))  # type: ignore[arg-type]

    @property
    def taken(self) -> int:
        """How many a worker has and has not acknowledged."""
        return int(self.redis.hlen("unacked"))  # type: ignore[arg-type]

    @property
    def results(self) -> list[dict[str, Any]]:
        return [
            self._app.AsyncResult(task_id).result
            for task_id in self.ids
            if self.redis.exists(f"celery-task-meta-{task_id}")
        ]


def test_a_worker_takes_few_queries_and_leaves_the_rest(
    broker_url: str, model_id: int, start_worker: StartWorker
) -> None:
    worker = start_worker(module=SLOW_WORKER)
    burst = Burst(broker_url, model_id)
    burst.send(40)
    wait_until(lambda: worker.log.count("asked") >= 2)
    assert burst.taken <= 2 * TASK_THREADS
    assert burst.queued >= 40 - 3 * TASK_THREADS
    burst.forget()


def test_two_workers_share_a_burst_of_queries(broker_url: str, model_id: int, start_worker: StartWorker) -> None:
    workers = [start_worker(module=SLOW_WORKER), start_worker(module=SLOW_WORKER)]
    burst = Burst(broker_url, model_id)
    burst.send(24)
    wait_until(lambda: len(burst.results) == 24, timeout_s=60)
    assert all("embeddings" in result for result in burst.results)
    shares = [worker.log.count("asked") for worker in workers]
    assert sum(shares) == 24
    assert min(shares) >= 6


def test_a_worker_that_starts_later_gets_its_share(broker_url: str, model_id: int, start_worker: StartWorker) -> None:
    start_worker(module=SLOW_WORKER)
    burst = Burst(broker_url, model_id)
    burst.send(60)
    late = start_worker(module=SLOW_WORKER)
    wait_until(lambda: late.log.count("asked") >= 3, timeout_s=60)
    burst.forget()
    assert burst.queued + burst.taken + len(burst.results) >= 60


def test_what_nobody_waits_for_any_more_is_left_undone(
    broker_url: str, model_id: int, start_worker: StartWorker
) -> None:
    burst = Burst(broker_url, model_id)
    burst.send(10)
    burst.forget()
    worker = start_worker(module=SLOW_WORKER)
    wait_until(lambda: len(burst.results) == 10)
    assert burst.results == [NO_LONGER_AWAITED] * 10
    assert "asked" not in worker.log


def test_a_query_whose_asker_gave_up_while_it_waited_is_left_undone(
    broker_url: str, model_id: int, start_worker: StartWorker
) -> None:
    worker = start_worker(module=SLOW_WORKER)
    burst = Burst(broker_url, model_id)
    burst.send(20)
    wait_until(lambda: "asked" in worker.log)
    burst.forget()
    wait_until(lambda: len(burst.results) == 20)
    assert worker.log.count("asked") <= 2 * TASK_THREADS
    assert burst.results.count(NO_LONGER_AWAITED) >= 20 - 2 * TASK_THREADS


def test_images_are_not_held_up_by_a_burst_of_queries(
    tmp_path: Path, database: Database, broker_url: str, model_id: int, start_worker: StartWorker
) -> None:
    start_worker(module=SLOW_WORKER)
    burst = Burst(broker_url, model_id)
    burst.send(100)
    ingestion = enqueue_images(database, write_images(tmp_path, 10), model_id=model_id)
    assert ingestion.wait(timeout_s=60).done == 10
    assert count_embeddings(database) == 10
    assert burst.queued > 0, "the images came before the end of the burst"
    burst.forget()


def test_a_query_of_a_worker_that_was_killed_is_not_lost_in_redis(
    broker_url: str, model_id: int, start_worker: StartWorker
) -> None:
    worker = start_worker(module=SLOW_WORKER)
    burst = Burst(broker_url, model_id)
    burst.send(10)
    wait_until(lambda: "asked" in worker.log)
    worker.kill()
    assert burst.taken + burst.queued + len(burst.results) == 10
    assert burst.taken > 0


# The client's clock goes wrong before anything else of it is imported.
_SHIFTED_CLIENT = """
import sys, time
shift_s, true_time = float(sys.argv[1]), time.time
time.time = lambda: true_time() + shift_s
from siglip_ingest.db import Database
from siglip_ingest.db.models import get_model
from siglip_ingest.embedders.remote import RemoteEmbedder
from tests.images import make_image
with Database(sys.argv[2]) as database:
    with database.connection() as connection:
        row = get_model(connection, 1)
    remote = RemoteEmbedder(row, database, broker_url=sys.argv[3])
    print(remote.embed_images([make_image(40, 40)]).shape, remote.embed_texts(["boat"]).shape)
"""


@pytest.mark.parametrize("shift_s", [-86_400, -15, 15, 86_400], ids="{} s".format)
def test_a_client_whose_clock_is_wrong_is_answered(
    database_url: str, broker_url: str, model_id: int, start_worker: StartWorker, shift_s: int
) -> None:
    start_worker()
    command = [sys.executable, "-c", _SHIFTED_CLIENT, str(shift_s), database_url, broker_url]
    answered = subprocess.run(command, check=False, cwd=ROOT, env=os.environ, capture_output=True, text=True)
    assert answered.stdout == "(1, 32) (1, 32)\n", answered.stderr


def test_an_asker_leaves_nothing_in_redis(broker_url: str, model_id: int, start_worker: StartWorker) -> None:
    start_worker()
    client, queue = TaskClient(broker_url), queries_queue(model_id)
    client.call("siglip.embed_query_images", tiny_pixels(), queue=queue, timeout_s=20)
    with redis.Redis.from_url(broker_url) as connection:
        assert connection.keys("siglip.waiting.*") == []
        assert connection.keys("celery-task-meta-*") == []
        with pytest.raises(TimeoutError):
            client.call("siglip.embed_query_images", tiny_pixels(), queue="nobody", timeout_s=0.2)
        wait_until(lambda: connection.keys("siglip.waiting.*") == [])


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
