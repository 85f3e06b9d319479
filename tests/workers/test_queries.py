"""Queries that a worker answers: texts through the database, images through Celery."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psycopg
import pytest
import redis

from siglip_ingest import SiglipClient
from siglip_ingest.db import Database, models
from siglip_ingest.errors import InvalidInputError, SiglipError, WorkerUnavailableError
from siglip_ingest.ingest import enqueue_images
from siglip_ingest.remote import RemoteEmbedder, TaskClient, decode_array, encode_array, queries_queue
from tests.pictures import picture
from tests.programs import wait_until
from tests.workers.helpers import ROOT, WorkerProcess, fetch_all, items_by_state, load_tiny_embedder, write_pictures

StartWorker = Callable[..., WorkerProcess]


def make_remote(database: Database, broker_url: str | None = None, **options: float) -> RemoteEmbedder:
    with database.connection() as connection:
        active = models.active_model(connection)
    assert active is not None
    return RemoteEmbedder(active, database, broker_url=broker_url, **options)


def test_a_remote_embedder_gives_the_vectors_of_a_local_one(
    database: Database, broker_url: str, tiny_checkpoint: Path, start_worker: StartWorker
) -> None:
    start_worker()
    local, remote = load_tiny_embedder(tiny_checkpoint), make_remote(database, broker_url)
    assert remote.info == local.info
    texts = ["a red boat", "Night sky, with 3 stars!", "x"]
    np.testing.assert_allclose(remote.embed_texts(texts), local.embed_texts(texts), atol=1e-3)  # halfvec has 11 bits
    images = [picture(60, 40), picture(33, 99, seed=1), picture(32, 32).convert("L")]
    np.testing.assert_allclose(remote.embed_images(images), local.embed_images(images), atol=1e-6)
    assert remote.embed_texts([]).shape == (0, 32)
    assert remote.embed_images([]).shape == (0, 32)


def test_many_texts_come_back_in_their_order(
    database: Database, tiny_checkpoint: Path, start_worker: StartWorker
) -> None:
    start_worker()
    texts = [f"boat {number}" for number in range(60)]
    local, remote = load_tiny_embedder(tiny_checkpoint), make_remote(database)
    np.testing.assert_allclose(remote.embed_texts(texts), local.embed_texts(texts), atol=1e-3)


def test_a_text_of_which_nothing_is_left_is_refused_by_the_worker_and_not_asked_again(
    database: Database, database_url: str, start_worker: StartWorker
) -> None:
    start_worker()
    with SiglipClient(database_url=database_url) as client:
        remote = make_remote(database)
        for _ in range(2):
            with pytest.raises(InvalidInputError, match="leaves nothing"):
                remote.embed_texts(["\u200b\u200b"])
            with pytest.raises(InvalidInputError, match="leaves nothing"):
                client.search_images("\u200b\u200b")
    assert fetch_all(database, "SELECT embedding IS NULL, count(*) FROM siglip.texts GROUP BY 1") == [(True, 1)]


def test_the_asker_and_the_worker_are_told_of_a_text_that_is_too_long(
    database: Database, start_worker: StartWorker, caplog: pytest.LogCaptureFixture
) -> None:
    worker = start_worker()
    remote = make_remote(database)
    remote.embed_texts(["a cat"])
    assert not caplog.records
    remote.embed_texts(["a cat " * 10 + "and a dog"])
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert "tokens, but the model reads 16" in record.message
    assert record.message.endswith("and a dog'")
    assert worker.log.count("but the model reads 16") == 1


def test_a_query_does_not_wait_behind_images(
    tmp_path: Path, database: Database, broker_url: str, model_id: int, start_worker: StartWorker
) -> None:
    start_worker(chunk_size=8, decode_threads=1)
    enqueue_images(database, write_pictures(tmp_path, 60, size=(1200, 900)), model_id=model_id)
    wait_until(lambda: "done" in items_by_state(database))
    remote = make_remote(database, broker_url)
    remote.embed_texts(["boat"])
    remote.embed_images([picture(60, 40)])
    assert items_by_state(database).get("queued", 0) > 0


def test_without_a_worker_the_error_says_what_to_do(
    database: Database, broker_url: str, start_worker: StartWorker
) -> None:
    start_worker().kill()
    remote = make_remote(database, broker_url, timeout_s=0.3)
    with pytest.raises(WorkerUnavailableError, match=r"No worker of the model .* answered within 0.3 s"):
        remote.embed_images([picture(60, 40)])
    with pytest.raises(WorkerUnavailableError, match=r"no worker of the model .* Start a worker"):
        remote.embed_texts(["boat"])
    with pytest.raises(WorkerUnavailableError, match="no Redis answers"):
        make_remote(database, "redis://127.0.0.1:1/0", timeout_s=5).embed_images([picture(60, 40)])
    with pytest.raises(SiglipError, match="SIGLIP_BROKER_URL"):
        make_remote(database).embed_images([picture(60, 40)])


def test_a_worker_says_what_it_could_not_embed(
    database: Database, broker_url: str, model_id: int, start_worker: StartWorker
) -> None:
    worker = start_worker()
    pixels = [encode_array(np.zeros((5, 5, 3), np.uint8))]
    queue = queries_queue(model_id)
    answer = TaskClient(broker_url).call("siglip.embed_query_images", pixels, queue=queue, timeout_s=20)
    assert "5, 5" in answer["error"]
    assert "A query could not be embedded" in worker.log


def test_texts_are_a_plain_celery_task_too(
    database: Database, broker_url: str, model_id: int, tiny_checkpoint: Path, start_worker: StartWorker
) -> None:
    from celery import Celery

    start_worker()
    app = Celery("somebody", broker=broker_url, backend=broker_url, set_as_current=False)
    sent = app.send_task("siglip.embed_texts", args=[["a boat"]], queue=queries_queue(model_id))
    answer = sent.get(timeout=30)
    app.close()
    vectors = decode_array(answer["embeddings"])
    np.testing.assert_allclose(vectors, load_tiny_embedder(tiny_checkpoint).embed_texts(["a boat"]), atol=1e-6)
    assert answer["name"] == str(tiny_checkpoint)


def test_a_query_that_nobody_waits_for_any_more_is_left(
    database: Database, broker_url: str, model_id: int, start_worker: StartWorker
) -> None:
    tasks, queue = TaskClient(broker_url), queries_queue(model_id)
    pixels = [encode_array(np.zeros((5, 5, 3), np.uint8))]  # of a size that the model would refuse, with a warning
    for _ in range(20):
        with pytest.raises(TimeoutError):
            tasks.call("siglip.embed_query_images", pixels, queue=queue, timeout_s=0.01)
    worker = start_worker()
    with redis.Redis.from_url(broker_url) as connection:
        wait_until(lambda: connection.llen(queue) == 0)
    fine = [encode_array(np.zeros((32, 32, 3), np.uint8))]
    assert "embeddings" in tasks.call("siglip.embed_query_images", fine, queue=queue, timeout_s=30)
    assert "could not be embedded" not in worker.log


def test_a_worker_takes_few_queries_at_a_time_and_two_share_a_burst(
    database: Database, broker_url: str, model_id: int, start_worker: StartWorker
) -> None:
    first = start_worker()
    os.kill(first.pid, signal.SIGSTOP)  # it holds what it has taken, and takes no more
    pixels = [encode_array(np.zeros((32, 32, 3), np.uint8))]
    tasks, queue = TaskClient(broker_url), queries_queue(model_id)
    try:
        start_worker()

        def ask(_: int) -> bool:
            try:
                return "embeddings" in tasks.call("siglip.embed_query_images", pixels, queue=queue, timeout_s=15)
            except TimeoutError:
                return False

        with ThreadPoolExecutor(8) as threads:
            answered = sum(threads.map(ask, range(100)))
    finally:
        os.kill(first.pid, signal.SIGCONT)
    assert answered >= 100 - 2 * 4  # what the stopped one can have taken before


@pytest.mark.parametrize("shift_s", [-3600, 3600])
def test_the_clock_of_a_client_does_not_matter(
    database: Database, broker_url: str, database_url: str, start_worker: StartWorker, shift_s: int
) -> None:
    """A client whose clock is an hour off asks by text and by image, without torch."""
    start_worker()
    program = f"""
import datetime, time
real = time.time
time.time = lambda: real() + {shift_s}
class Shifted(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return cls.fromtimestamp(time.time(), tz)
    @classmethod
    def utcnow(cls):
        return cls.fromtimestamp(time.time(), datetime.timezone.utc).replace(tzinfo=None)
datetime.datetime = Shifted
import siglip_ingest.client as client
client.has_torch = lambda: False
import siglip_ingest.query_embedder as query_embedder
query_embedder.has_torch = lambda: False
from PIL import Image
with client.SiglipClient(database_url={database_url!r}, broker_url={broker_url!r}) as asker:
    print(asker.search_images("a boat"), asker.search_images(Image.new("RGB", (60, 40))))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stdout) == (0, "[] []\n"), done.stderr


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


def test_one_of_several_workers_answers_plain_sql(
    database: Database, database_url: str, start_worker: StartWorker
) -> None:
    start_worker()
    start_worker()
    with psycopg.connect(database_url, autocommit=True) as connection:
        for number in range(20):
            connection.execute("SELECT siglip.embed_text(%s)", (f'text {number}: "quoted" ä 🌅',))
        assert connection.execute("SELECT count(*) FROM siglip.texts").fetchone() == (20,)
        elected = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND classid = 1397311310 AND granted"
        assert connection.execute(elected).fetchone() == (1,)
        present = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND classid = 1397311309 AND granted"
        assert connection.execute(present).fetchone() == (2,)


def test_a_hundred_sessions_ask_and_one_worker_makes_batches(
    database: Database, database_url: str, tiny_checkpoint: Path, start_worker: StartWorker
) -> None:
    start_worker()
    local = load_tiny_embedder(tiny_checkpoint)
    count = 100
    barrier = threading.Barrier(count)

    def ask(query: str) -> object:
        with psycopg.connect(database_url, autocommit=True) as connection:
            barrier.wait(60)
            row = connection.execute("SELECT siglip.embed_text(%s, NULL, 60)::real[]", [query]).fetchone()
            assert row is not None
            return row[0]

    texts = [f"text {number} of many" for number in range(count)]
    with ThreadPoolExecutor(count) as threads:
        found = list(threads.map(ask, texts))
        np.testing.assert_allclose(np.array(found), local.embed_texts(texts), atol=1e-3)  # each has its own
        same = list(threads.map(ask, ["the very same text"] * count))
    np.testing.assert_allclose(
        np.array(same), np.repeat(local.embed_texts(["the very same text"]), count, 0), atol=1e-3
    )
    assert fetch_all(database, "SELECT count(*) FROM siglip.texts") == [(count + 1,)]


def test_a_text_that_is_cut_is_embedded_where_the_model_reads_no_further(
    database: Database, database_url: str, tiny_checkpoint: Path, start_worker: StartWorker
) -> None:
    start_worker()
    long = "a boat on the water and a castle in the snow " * 100
    with psycopg.connect(database_url, autocommit=True) as connection:
        row = connection.execute("SELECT siglip.embed_text(%s)::real[]", [long]).fetchone()
        assert row is not None
        expected = load_tiny_embedder(tiny_checkpoint).embed_texts([long])[0]
        np.testing.assert_allclose(np.array(row[0]), expected, atol=1e-3)
        with pytest.raises(psycopg.errors.InvalidParameterValue, match="goes on after the first 1,200"):
            connection.execute("SELECT siglip.embed_text(%s)", [" " * 3000 + "boat"])
    with SiglipClient(database_url=database_url) as client:
        assert client.search_images(long) == []
        with pytest.raises(InvalidInputError, match="goes on after the first 1,200"):
            client.search_images(" " * 3000 + "tree")


def test_pgvector_in_a_schema_of_its_own_is_found_by_worker_and_client(
    tmp_path: Path,
    empty_database_url: str,
    tiny_checkpoint: Path,
    start_worker: StartWorker,
) -> None:
    import siglip_migrations

    with psycopg.connect(empty_database_url, autocommit=True) as connection:
        connection.execute("CREATE SCHEMA extensions")
        connection.execute("CREATE EXTENSION vector SCHEMA extensions")
    siglip_migrations.upgrade(empty_database_url)
    start_worker(database_url=empty_database_url)
    with SiglipClient(database_url=empty_database_url, model=str(tiny_checkpoint)) as client:
        assert client.enqueue_images(write_pictures(tmp_path, 5)).wait(timeout_s=60).done == 5
        client.create_label_set("things", ["boat", "tree"])
        assert len(client.label_scores(1, "things")) == 2
        assert len(client.search_images("embedded by the client")) == 5
        assert len(client.similar_images(1)) == 4
        with psycopg.connect(empty_database_url, autocommit=True) as connection:
            assert len(connection.execute("SELECT * FROM siglip.search_images('asked in SQL')").fetchall()) == 5


def test_a_worker_and_a_client_work_behind_pgbouncer(
    tmp_path: Path, tiny_checkpoint: Path, start_worker: StartWorker
) -> None:
    import siglip_migrations
    from tests.servers import running_pgbouncer, running_postgres

    with running_postgres(tmp_path / "server") as direct, running_pgbouncer(tmp_path / "pooler", direct) as pooled:
        siglip_migrations.upgrade(direct)
        worker = start_worker(database_url=pooled, direct_database_url=direct)
        with SiglipClient(database_url=pooled, model=str(tiny_checkpoint)) as client:
            pictures = write_pictures(tmp_path / "photos", 30)
            assert client.enqueue_images(pictures).wait(timeout_s=60).done == 30
            assert len(client.search_images("embedded by the client")) == 10
        with psycopg.connect(pooled, autocommit=True, prepare_threshold=None) as connection:
            for number in range(10):
                rows = connection.execute(f"SELECT * FROM siglip.search_images('asked in SQL {number}')").fetchall()
                assert len(rows) == 10
        worker.terminate()
        assert worker.wait() == 0
        assert "Traceback" not in worker.log
        # Without the server's own address images are embedded all the same, and it is said what is missing.
        worker = start_worker(database_url=pooled)
        with SiglipClient(database_url=pooled) as client:
            more = write_pictures(tmp_path / "more", 35)[30:]
            assert client.enqueue_images(more).wait(timeout_s=60).done == 5
        wait_until(lambda: "Name it in SIGLIP_DIRECT_DATABASE_URL" in worker.log)
        worker.kill()


def test_a_worker_answers_on_a_hot_standby(tmp_path: Path, tiny_checkpoint: Path, start_worker: StartWorker) -> None:
    import siglip_migrations
    from tests.servers import running_postgres, running_standby

    with running_postgres(tmp_path / "server") as primary:
        siglip_migrations.upgrade(primary)
        with running_standby(tmp_path / "copy", primary) as standby:
            worker = start_worker(database_url=primary, standby_urls=standby)
            with SiglipClient(database_url=primary, model=str(tiny_checkpoint)) as client:
                assert client.enqueue_images(write_pictures(tmp_path / "photos", 5)).wait(timeout_s=60).done == 5
            with psycopg.connect(standby, autocommit=True) as connection:
                count = "SELECT count(*) FROM siglip.image_embeddings"
                wait_until(lambda: connection.execute(count).fetchone() == (5,))
                for number in range(5):
                    rows = connection.execute(f"SELECT * FROM siglip.search_images('on the standby {number}')")
                    assert len(rows.fetchall()) == 5
            worker.kill()


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
