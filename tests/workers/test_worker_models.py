"""`siglip-ingest worker` without a model: one process for each model that the ledger asks for."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from siglip_ingest import active_model
from siglip_ingest.db import Database, model_changes
from siglip_ingest.ingest import enqueue_images
from siglip_ingest.siglip.checkpoint.names import model_name
from tests.checkpoints import write_tiny_checkpoint
from tests.programs import wait_until
from tests.workers.helpers import WorkerProcess, fetch_all, write_images

StartWorker = Callable[..., WorkerProcess]
PARENT = "tests.workers.model_workers"


@pytest.fixture
def other_checkpoint(tmp_path: Path) -> Path:
    return write_tiny_checkpoint(tmp_path / "other", seed=5)


def serving(parent: WorkerProcess) -> dict[str, psutil.Process]:
    """The workers of a parent, by the name of their model."""
    found = {}
    for child in psutil.Process(parent.pid).children():
        try:
            if "siglip_workers" in child.cmdline():
                found[Path(child.environ()["SIGLIP_MODEL"]).name] = child
        except psutil.Error:
            continue
    return found


def done(database: Database, model_id: int) -> int:
    ((count,),) = fetch_all(
        database, "SELECT count(*) FROM siglip.ingest_items WHERE state = 'done' AND model_id = %s", model_id
    )
    assert isinstance(count, int)
    return count


def test_each_model_has_a_worker_that_comes_and_goes_with_it(
    tmp_path: Path,
    database: Database,
    model_id: int,
    tiny_checkpoint: Path,
    other_checkpoint: Path,
    start_worker: StartWorker,
) -> None:
    photos = write_images(tmp_path / "photos", 12)
    parent = start_worker(module=PARENT, model=None)
    enqueue_images(database, photos[:10])
    wait_until(lambda: done(database, model_id) == 10, timeout_s=60)
    assert set(serving(parent)) == {tiny_checkpoint.name}

    ((other_id,),) = fetch_all(database, "SELECT siglip.add_model(%s)", model_name(str(other_checkpoint)))
    assert isinstance(other_id, int)
    enqueue_images(database, photos[10:])
    wait_until(lambda: done(database, model_id) == done(database, other_id) == 12, timeout_s=60)
    first = serving(parent)
    assert set(first) == {tiny_checkpoint.name, "other"}

    fetch_all(database, "SELECT siglip.switch_model(%s)", other_id)
    ((text,),) = fetch_all(
        database, "SELECT siglip.embed_text('a sunset') = siglip.embed_text('a sunset', %s)", other_id
    )
    assert text
    assert serving(parent) == first  # both are kept
    fetch_all(database, "SELECT siglip.drop_model(%s)", model_id)
    wait_until(lambda: set(serving(parent)) == {"other"}, timeout_s=60)
    first[tiny_checkpoint.name].wait(30)
    wait_until(lambda: fetch_all(database, "SELECT model_id FROM siglip.models") == [(other_id,)], timeout_s=60)

    last = serving(parent)["other"]
    parent.terminate()
    assert parent.wait(60) == 0
    assert not last.is_running()


@pytest.mark.slow
def test_a_model_that_can_not_be_loaded_does_not_take_the_others_along(
    tmp_path: Path, database: Database, model_id: int, start_worker: StartWorker
) -> None:
    with database.connection() as connection:
        model_changes.add_model(connection, "/no/such/checkpoint")
    parent = start_worker(module=PARENT, model=None)
    enqueue_images(database, write_images(tmp_path / "photos", 5))
    wait_until(lambda: done(database, model_id) == 5, timeout_s=60)
    sentence = "The worker of the model /no/such/checkpoint ended with exit status 1; it is started again in {} s."
    wait_until(lambda: sentence.format(2) in parent.log and sentence.format(4) in parent.log, timeout_s=60)
    active_model.give_up_model(database, model_changes_id(database, "/no/such/checkpoint"))
    parent.terminate()
    assert parent.wait(60) == 0


def model_changes_id(database: Database, name: str) -> int:
    with database.connection() as connection:
        return model_changes.find_model_id(connection, name)


@pytest.mark.slow
def test_a_worker_that_died_is_started_again_and_all_end_with_a_parent_that_is_killed(
    tmp_path: Path, database: Database, model_id: int, start_worker: StartWorker
) -> None:
    parent = start_worker(module=PARENT, model=None)
    (child,) = serving(parent).values()
    os.kill(child.pid, signal.SIGKILL)
    enqueue_images(database, write_images(tmp_path / "photos", 5))
    wait_until(lambda: done(database, model_id) == 5, timeout_s=60)
    assert "exit status -9; it is started again" in parent.log
    (child,) = serving(parent).values()
    parent.kill()
    child.wait(30)


@pytest.mark.slow
def test_each_device_has_a_worker_of_each_model(
    tmp_path: Path, database: Database, model_id: int, other_checkpoint: Path, start_worker: StartWorker
) -> None:
    with database.connection() as connection:
        model_changes.add_model(connection, model_name(str(other_checkpoint)))
    parent = start_worker(module=f"{PARENT} --devices cpu,cpu", model=None, device=None)
    wait_until(lambda: parent.log.count("Ready") == 4, timeout_s=120)
    parent.terminate()
    assert parent.wait(60) == 0


def test_without_any_model_to_serve_it_says_so(database: Database, start_worker: StartWorker) -> None:
    fetch_all(database, "SELECT siglip.add_external_model('theirs', 16)")
    parent = start_worker(module=PARENT, model=None, wait=False)
    assert parent.wait(60) == 1
    assert "A worker can't load the model 'theirs'" in parent.log


def test_a_worker_ends_where_its_model_is_dropped(
    database: Database, model_id: int, other_checkpoint: Path, start_worker: StartWorker
) -> None:
    name = model_name(str(other_checkpoint))
    with database.connection() as connection:
        other_id = model_changes.add_model(connection, name)
    worker = start_worker(model=name)
    fetch_all(database, "SELECT siglip.drop_model(%s)", other_id)
    assert worker.wait(60) == 0
    assert "was dropped; its worker ends" in worker.log
