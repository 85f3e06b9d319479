"""A broker that is killed, that is full, and that delivers every message twice."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis

from siglip_ingest.broker.tickets import TicketSender, images_queue
from tests.faults.ingest.corpus import Corpus
from tests.faults.ingest.fleet import Fleet
from tests.faults.ingest.run import Run, Vectors
from tests.faults.redis_server import OwnRedis

pytestmark = pytest.mark.faults

OUTAGE_S = 3.0
FULL_S = 5.0
_WORD = re.compile(r'"((?:[^"\\]|\\.)*)"')


def test_redis_killed_with_all_its_data(
    run: Run, fleet: Fleet, corpus: Corpus, undisturbed: Vectors, own_redis: OwnRedis
) -> None:
    """kill -9 Redis, its data gone; it is back 3 s later."""
    fleet.start()
    first, second = corpus.parts(0.5)
    run.queue(first)
    run.wait_for(done=300)
    own_redis.kill()
    run.queue(second)
    time.sleep(OUTAGE_S)
    own_redis.start()
    with own_redis.connect() as connection:
        assert not connection.keys("unacked*"), "it remembers"
    run.measure_recovery(run.mark())
    run.finish(undisturbed)
    assert run.record.restarts == 0


@pytest.fixture
def small_redis(tmp_path: Path) -> Iterator[OwnRedis]:
    server = OwnRedis(tmp_path, maxmemory="8mb", maxmemory_policy="noeviction")
    yield server
    server.kill()


def test_a_full_broker(run: Run, fleet: Fleet, corpus: Corpus, undisturbed: Vectors, small_redis: OwnRedis) -> None:
    """Redis full (maxmemory, noeviction) for 5 s."""
    fleet.start(broker_url=small_redis.url)
    first, second = corpus.parts(0.5)
    run.queue(first)
    run.wait_for(done=300)
    with small_redis.kept_full():
        run.queue(second)
        time.sleep(FULL_S)
        assert TicketSender(small_redis.url).send(run.model_id, 1) == 0, "a ticket found room"
        mark = run.mark()
    run.measure_recovery(mark)
    run.finish(undisturbed)


class Doubler(threading.Thread):
    """Sends each message of a queue once more, as soon as Redis has it."""

    def __init__(self, server: OwnRedis, queue: str) -> None:
        super().__init__(name="doubler", daemon=True)
        self.messages = 0
        self._server = server
        self._queue = queue
        self._is_stopping = False
        self.is_ready = threading.Event()

    def run(self) -> None:
        with self._server.connect() as sender, self._server.connect() as watcher, watcher.monitor() as monitor:
            own = f":{sender.client_info()['addr'].rpartition(':')[2]}]"
            self.is_ready.set()
            while not self._is_stopping:
                # redis-py's own reading of the line doesn't tell quotes in a message from those around it.
                try:
                    line = monitor.connection.read_response().decode("latin-1")
                except redis.exceptions.TimeoutError:  # nobody says anything
                    continue
                words = [_unescape(word) for word in _WORD.findall(line)]
                if words[:2] == [b"LPUSH", self._queue.encode()] and own not in line.partition('"')[0]:
                    sender.lpush(self._queue, *words[2:])
                    self.messages += 1

    def stop(self) -> None:
        self._is_stopping = True
        with self._server.connect() as connection:
            connection.ping()  # something to hear
        self.join()


def _unescape(word: str) -> bytes:
    """Undo what MONITOR does to a string."""
    return word.encode("latin-1").decode("unicode_escape").encode("latin-1")


@contextmanager
def doubled(server: OwnRedis, queue: str) -> Iterator[Doubler]:
    doubler = Doubler(server, queue)
    doubler.start()
    assert doubler.is_ready.wait(10)
    try:
        yield doubler
    finally:
        doubler.stop()


def test_every_message_twice(run: Run, fleet: Fleet, corpus: Corpus, undisturbed: Vectors, own_redis: OwnRedis) -> None:
    """Every Celery message twice, two workers."""
    with doubled(own_redis, images_queue(run.model_id)) as doubler:
        fleet.start()
        fleet.start()
        run.queue(corpus.paths)
        mark = run.mark()
        assert TicketSender(own_redis.url).send(run.model_id, len(corpus.paths)) > 0
        run.measure_recovery(mark)
        run.wait_until_finished()
    assert doubler.messages > 1
    run.finish(undisturbed)
    assert run.record.restarts == 0
