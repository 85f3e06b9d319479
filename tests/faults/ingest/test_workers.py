"""Workers that are killed, stopped and woken, that are two, or that have another model, while they ingest."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from siglip_ingest.siglip.checkpoint.names import model_name
from tests.faults.ingest.corpus import Corpus
from tests.faults.ingest.fleet import Fleet, Slot
from tests.faults.ingest.record import FaultRecord
from tests.faults.ingest.run import Run, Vectors
from tests.faults.redis_server import OwnRedis
from tests.programs import wait_until
from tests.workers.helpers import ROOT

pytestmark = pytest.mark.faults

KILLS = 3
PAUSE_S = 10.0  # a stopped worker's lease is over by then


def stop_in_work(run: Run, slot: Slot) -> list[tuple[object, ...]]:
    """Stop a worker's process at a moment at which it has claims; returns these."""
    while True:
        wait_until(lambda: run.held_by(slot.node))
        slot.pause()
        if held := run.held_by(slot.node):
            return held
        slot.resume()


def test_a_worker_killed_again_and_again(run: Run, fleet: Fleet, corpus: Corpus, undisturbed: Vectors) -> None:
    """kill -9 the only worker, 3 times."""
    slot = fleet.start()
    run.queue(corpus.paths)
    for number in range(KILLS):
        run.wait_for(done=run.mark().done + 200)
        held, mark = stop_in_work(run, slot), run.mark()
        slot.kill()
        run.measure_recovery(mark)
        if number == KILLS - 1:
            run.measure_release(held, mark.at)
    run.finish(undisturbed)


def test_one_of_two_workers_killed(run: Run, fleet: Fleet, corpus: Corpus, undisturbed: Vectors) -> None:
    """kill -9 one of two workers, for good."""
    slots = [fleet.start(wait=False), fleet.start(wait=False)]
    wait_until(lambda: all("Ready" in slot.log for slot in slots), timeout_s=60)
    run.queue(corpus.paths)
    run.wait_for(done=300)
    held, mark = stop_in_work(run, slots[0]), run.mark()
    slots[0].remove()
    run.measure_recovery(mark)
    run.measure_release(held, mark.at)
    run.finish(undisturbed)


def test_a_worker_stopped_past_its_lease(run: Run, fleet: Fleet, corpus: Corpus, undisturbed: Vectors) -> None:
    """SIGSTOP one of two workers for 10 s, then wake it."""
    stopped, other = fleet.start(wait=False), fleet.start(wait=False)
    wait_until(lambda: all("Ready" in slot.log for slot in (stopped, other)), timeout_s=60)
    first, second = corpus.parts(0.8)
    run.queue(first)
    run.wait_for(done=300)
    held, stopped_at = stop_in_work(run, stopped), time.monotonic()
    run.measure_release(held, stopped_at)  # the other takes them
    time.sleep(max(0.0, stopped_at + PAUSE_S - time.monotonic()))
    other.remove()
    run.queue(second)
    mark = run.mark()
    stopped.resume()
    run.measure_recovery(mark)
    assert run.count("done") > mark.done, "the woken worker did nothing"
    run.finish(undisturbed)


def test_the_only_worker_stopped_past_its_lease(run: Run, fleet: Fleet, corpus: Corpus, undisturbed: Vectors) -> None:
    """SIGSTOP the only worker for 10 s, then wake it."""
    slot = fleet.start()
    run.queue(corpus.paths)
    run.wait_for(done=300)
    slot.pause()
    time.sleep(PAUSE_S)
    mark = run.mark()
    slot.resume()
    run.measure_recovery(mark)
    run.finish(undisturbed)
    assert run.record.restarts == 0


def test_a_second_worker_joins(run: Run, fleet: Fleet, corpus: Corpus, undisturbed: Vectors) -> None:
    """Two workers at once, the second from the middle on."""
    slots = [fleet.start(), fleet.start()]
    slots[1].pause()
    run.queue(corpus.paths)
    run.wait_for(done=300)
    mark = run.mark()
    slots[1].resume()
    wait_until(lambda: all(run.held_by(slot.node) for slot in slots))
    run.measure_recovery(mark)
    run.finish(undisturbed)


@contextmanager
def changing_model(database_url: str, broker_url: str, folder: Path, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """`siglip-ingest models use`, in a process of its own."""
    settings = {"DATABASE_URL": database_url, "BROKER_URL": broker_url, "HOME": log.parent / "home"}
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SIGLIP_")}
    environment |= {f"SIGLIP_{name}": str(value) for name, value in settings.items()}
    command = [sys.executable, "-c", "from siglip_ingest.cli import main; main()", "models", "use", str(folder)]
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=output)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def test_another_model_in_the_middle(
    run: Run,
    fleet: Fleet,
    corpus: Corpus,
    undisturbed: Vectors,
    tiny_undisturbed: Vectors,
    tiny_checkpoint: Path,
    tmp_path: Path,
    own_redis: OwnRedis,
) -> None:
    """`models use` another model in the middle."""
    fleet.start()
    fleet.start(model=tiny_checkpoint)
    first, second = corpus.parts(0.5)
    run.queue(first)
    run.wait_for(done=300)
    mark, log = run.mark(), tmp_path / "use.log"
    with changing_model(run.url, own_redis.url, tiny_checkpoint, log) as process:
        run.measure_recovery(mark)
        run.queue(second)
        assert process.wait(120) == 0, log.read_text()
    ((active_id, name),) = run.fetch("SELECT model_id, name FROM siglip.models WHERE is_active")
    assert name == model_name(str(tiny_checkpoint))
    other = Run(FaultRecord("the other model"), corpus, run.url, int(str(active_id)))
    other.expect(corpus.paths)
    other.finish(tiny_undisturbed)
    run.finish(undisturbed)
    run.record.add(other.record)
