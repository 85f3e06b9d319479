"""Workers, Redis and connections that die in the middle of the work: nothing is lost, and nothing is embedded twice."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
import redis

from siglip_ingest.db import Database
from siglip_ingest.db.models import get_model
from siglip_ingest.embedders.remote import RemoteEmbedder
from siglip_ingest.ingest import Ingestion, enqueue_images
from tests.faults.redis_server import OwnRedis
from tests.images import make_image
from tests.programs import wait_until
from tests.workers.conftest import database, model_id, naflex_checkpoint, start_worker
from tests.workers.helpers import (
    WorkerProcess,
    count_embeddings,
    fetch_all,
    items_by_state,
    register_checkpoint,
    write_image,
    write_images,
)
from tests.workers.listeners import wait_until_heard

__all__ = ["database", "model_id", "naflex_checkpoint", "start_worker"]  # fixtures

pytestmark = pytest.mark.faults

StartWorker = Callable[..., WorkerProcess]
COUNT = 60
# Large images and one thread: a chunk takes long enough to be interrupted.
SLOW = {"chunk_size": 8, "decode_threads": 1, "lease_s": 2}


@pytest.fixture
def ingestion(tmp_path: Path, database: Database, model_id: int) -> Ingestion:
    return enqueue_images(database, write_images(tmp_path / "photos", COUNT, size=(1600, 1200)), model_id=model_id)


def wait_until_in_the_middle(database: Database) -> None:
    """Some images are done, some are with the worker, and some still wait."""

    def is_in_the_middle() -> bool:
        states = items_by_state(database)
        assert states.get("done", 0) < COUNT, "it was done before it could be interrupted"
        return states.keys() >= {"done", "claimed", "queued"}

    wait_until(is_in_the_middle)


def check_everything_is_done_once(database: Database, ingestion: Ingestion) -> None:
    counts = ingestion.wait(timeout_s=90)
    assert (counts.done, counts.failed) == (COUNT, 0), ingestion.failures()
    assert count_embeddings(database) == COUNT
    per_image = fetch_all(
        database,
        "SELECT count(*) FROM siglip.image_embeddings JOIN siglip.images USING (content_id) GROUP BY image_id",
    )
    assert per_image == [(1,)] * COUNT


@pytest.mark.parametrize("kind", ["fixed", "naflex"])
def test_a_worker_killed_in_the_middle_of_a_batch_loses_nothing(
    tmp_path: Path,
    database: Database,
    start_worker: StartWorker,
    tiny_checkpoint: Path,
    naflex_checkpoint: Path,
    kind: str,
) -> None:
    folder = naflex_checkpoint if kind == "naflex" else tiny_checkpoint
    images = write_images(tmp_path / "photos", COUNT // 2, size=(1600, 1200))
    for seed, size in enumerate([(1200, 1600), (2000, 900)] * (COUNT // 4), start=COUNT):
        images.append(write_image(tmp_path / "photos" / f"{seed:04}.png", seed, size=size))
    ingestion = enqueue_images(database, images, model_id=register_checkpoint(database, folder))
    settings = SLOW | {"model": folder}
    worker = start_worker(**settings)
    wait_until_in_the_middle(database)
    os.kill(worker.pid, signal.SIGKILL)
    assert worker.wait() == -signal.SIGKILL
    left = items_by_state(database)
    assert left["claimed"] > 0
    assert left["done"] == count_embeddings(database) < COUNT
    start_worker(**settings)
    check_everything_is_done_once(database, ingestion)


def test_two_workers_share_the_work_and_one_takes_over_from_the_other(
    database: Database, ingestion: Ingestion, start_worker: StartWorker
) -> None:
    first, second = start_worker(**SLOW, wait=False), start_worker(**SLOW, wait=False)
    first.wait_until_ready()
    second.wait_until_ready()
    wait_until(lambda: items_by_state(database).get("done", 0) > 0)
    first.kill()
    check_everything_is_done_once(database, ingestion)


def test_a_worker_asked_to_stop_hands_its_images_back(
    database: Database, ingestion: Ingestion, start_worker: StartWorker
) -> None:
    worker = start_worker(**{**SLOW, "lease_s": 300})
    wait_until_in_the_middle(database)
    worker.terminate()
    assert worker.wait() == 0, worker.log
    assert items_by_state(database).keys() == {"done", "queued"}
    assert fetch_all(database, "SELECT max(attempts) FROM siglip.ingest_items WHERE state = 'queued'") == [(0,)]
    start_worker(**{**SLOW, "lease_s": 300})
    check_everything_is_done_once(database, ingestion)


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[OwnRedis]:
    redis = OwnRedis(tmp_path)
    yield redis
    redis.kill()


def test_redis_killed_and_started_again_loses_nothing(
    database: Database, ingestion: Ingestion, start_worker: StartWorker, own_redis: OwnRedis
) -> None:
    start_worker(**SLOW, broker_url=own_redis.url)
    wait_until_in_the_middle(database)
    for _ in range(2):
        own_redis.kill()
        time.sleep(1.5)
        own_redis.start()
    check_everything_is_done_once(database, ingestion)
    with database.connection() as connection:
        row = get_model(connection, ingestion.model_id)
    remote = RemoteEmbedder(row, database, broker_url=own_redis.url)
    assert remote.embed_images([make_image(40, 40)]).shape == (1, 32)


def test_images_are_embedded_while_redis_is_away(
    tmp_path: Path, database: Database, model_id: int, start_worker: StartWorker, own_redis: OwnRedis
) -> None:
    worker = start_worker(broker_url=own_redis.url)
    own_redis.kill()
    ingestion = enqueue_images(database, write_images(tmp_path / "photos", 5), model_id=model_id)
    assert ingestion.wait(timeout_s=60).done == 5
    wait_until(lambda: "Connection to broker lost" in worker.log)  # it noticed


def test_connections_that_postgresql_ends_are_opened_again(
    database: Database, database_url: str, ingestion: Ingestion, start_worker: StartWorker
) -> None:
    worker = start_worker(**SLOW)
    terminate = """
        SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
        WHERE datname = current_database() AND pid <> pg_backend_pid() AND application_name = 'siglip_ingest'
    """
    wait_until_in_the_middle(database)
    with psycopg.connect(database_url, autocommit=True, application_name="test") as connection:
        ended = 0
        for _ in range(5):
            ended += connection.execute(terminate).fetchone()[0]  # type: ignore[index]
            time.sleep(0.3)
        assert ended > 0
        database.close()
        check_everything_is_done_once(database, ingestion)
        wait_until_heard(database, ingestion.model_id)
        assert connection.execute("SELECT siglip.embed_text('a boat') IS NOT NULL").fetchone() == (True,)
    assert "Traceback" not in worker.log


def test_an_image_that_kills_its_worker_fails_alone(
    tmp_path: Path, database: Database, model_id: int, start_worker: StartWorker
) -> None:
    folder = tmp_path / "photos"
    images = write_images(folder, 20)
    poison = write_image(folder / "poison.png", 999)
    ingestion = enqueue_images(database, [*images[:10], poison, *images[10:]], model_id=model_id)
    starts = 0
    deadline = time.monotonic() + 90
    worker: WorkerProcess | None = None
    while not ingestion.counts().is_finished:
        assert time.monotonic() < deadline, items_by_state(database)
        if worker is None or not worker.is_running:
            worker = start_worker(module="tests.workers.poisoned_worker", wait=False, chunk_size=8, lease_s=1)
            starts += 1
        time.sleep(0.1)
    assert (ingestion.counts().done, ingestion.counts().failed) == (20, 1)
    (failure,) = ingestion.failures()
    assert (Path(failure.uri).name, failure.error_code) == ("poison.png", "worker_lost")
    assert starts == 4  # it was tried three times
    assert count_embeddings(database) == 20


def test_a_killed_workers_images_are_taken_over_within_ten_seconds(
    tmp_path: Path, database: Database, model_id: int, start_worker: StartWorker
) -> None:
    """With the default lease, and by a worker that runs already."""
    settings = {"chunk_size": 8, "decode_threads": 1}
    first, second = start_worker(**settings, wait=False), start_worker(**settings, wait=False)
    first.wait_until_ready()
    second.wait_until_ready()
    images = write_images(tmp_path / "photos", COUNT, size=(1600, 1200))
    ingestion = enqueue_images(database, images, model_id=model_id)
    claims = "SELECT FROM siglip.ingest_items JOIN siglip.workers USING (worker_id) WHERE node LIKE %s"
    wait_until(lambda: fetch_all(database, claims, f"%-{first.pid}@%"))
    last_sign = fetch_all(database, "SELECT seen_at FROM siglip.workers WHERE node LIKE %s", f"%-{first.pid}@%")[0][0]
    first.kill()
    wait_until(lambda: "A worker was lost" in second.log, timeout_s=60)
    # By the server's clock: from the last sign of life to the moment at which nothing of it is left.
    waited = "SELECT clock_timestamp() - %s < interval '10 s'"
    is_in_time = fetch_all(database, waited, last_sign)
    check_everything_is_done_once(database, ingestion)
    assert is_in_time == [(True,)]
    assert fetch_all(database, "SELECT count(*) FROM siglip.workers") == [(1,)]


def test_two_workers_of_one_node_name_share_the_work(
    database: Database, ingestion: Ingestion, start_worker: StartWorker
) -> None:
    module = "celery -A siglip_workers worker --hostname=same@host"
    workers = [start_worker(module=module, wait=False, **SLOW) for _ in range(2)]
    for worker in workers:
        worker.wait_until_ready()
    check_everything_is_done_once(database, ingestion)
    assert all(worker.is_running for worker in workers)
    assert all("Embedded" in worker.log for worker in workers)


def test_a_hung_worker_ends_and_its_images_are_taken_over(
    tmp_path: Path, database: Database, model_id: int, start_worker: StartWorker
) -> None:
    images = write_images(tmp_path / "photos", 10)
    hung = write_image(tmp_path / "photos" / "hang.png", 999)
    ingestion = enqueue_images(database, [*images, hung], model_id=model_id)
    settings = {"chunk_size": 20, "lease_s": 2, "test_stall_s": 2}
    worker = start_worker(module="tests.workers.poisoned_worker", wait=False, **settings)
    assert worker.wait(60) == 1, worker.log
    assert "hasn't moved for 2 s" in worker.log
    wait_until(lambda: "claimed" in items_by_state(database))
    hung.unlink()
    start_worker(chunk_size=20, lease_s=2)
    counts = ingestion.wait(timeout_s=60)
    assert (counts.done, counts.failed) == (10, 1)
    assert [failure.error_code for failure in ingestion.failures()] == ["not_found"]


def test_starts_leave_nothing_behind_in_redis(
    database: Database, model_id: int, broker_url: str, start_worker: StartWorker
) -> None:
    def count_bindings() -> int:
        with redis.Redis.from_url(broker_url) as connection:
            keys: list[bytes] = connection.keys("_kombu.binding.*")  # type: ignore[assignment]
            return sum(connection.scard(key) for key in keys)  # type: ignore[misc]

    start_worker(lease_s=1)
    before = count_bindings()
    for _ in range(3):
        start_worker(lease_s=1).kill()
    worker = start_worker(lease_s=1)
    worker.terminate()
    assert worker.wait() == 0
    wait_until(lambda: count_bindings() == before)
