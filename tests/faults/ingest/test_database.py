"""A PostgreSQL that is killed, and a network between it and a worker that breaks."""

from __future__ import annotations

import time
from collections.abc import Iterator
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest

from siglip_ingest.siglip.checkpoint.names import DEMO_NAME
from tests.faults.ingest.conftest import MakeFleet
from tests.faults.ingest.corpus import Corpus
from tests.faults.ingest.fleet import Fleet
from tests.faults.ingest.proxy import Proxy
from tests.faults.ingest.record import FaultRecord
from tests.faults.ingest.run import Run, Vectors, activate
from tests.programs import wait_until
from tests.servers import PostgresServer

pytestmark = pytest.mark.faults

OUTAGE_S = 3.0
SETTLE_S = 0.2
SILENCE_S = 12.0  # past the lease


def test_postgresql_killed_and_started_again(
    record: FaultRecord,
    corpus: Corpus,
    undisturbed: Vectors,
    own_postgres: PostgresServer,
    fleet_in: MakeFleet,
) -> None:
    """kill -9 PostgreSQL, all its processes, twice; it is back 3 s later."""
    run = Run(record, corpus, own_postgres.url, activate(own_postgres.url, DEMO_NAME))
    fleet_in(own_postgres.url).start()
    run.queue(corpus.paths)
    for _ in range(2):
        run.wait_for(done=run.mark().done + 300)
        own_postgres.kill()
        time.sleep(OUTAGE_S)
        own_postgres.start()
        run.measure_recovery(run.mark())
    run.finish(undisturbed)
    assert record.restarts == 0


@pytest.fixture
def proxy(database_url: str) -> Iterator[Proxy]:
    parts = urlsplit(database_url)
    proxy = Proxy(str(parts.hostname), parts.port or 5432)
    yield proxy
    proxy.close()


@pytest.fixture
def fleet_behind(fleet_in: MakeFleet, proxy: Proxy, database_url: str) -> Fleet:
    """Workers that reach the database through the proxy."""
    parts = urlsplit(database_url)
    where = f"{parts.username}:{parts.password}@127.0.0.1:{proxy.port}"
    return fleet_in(urlunsplit(parts._replace(netloc=where)))


def test_connections_cut(run: Run, fleet_behind: Fleet, proxy: Proxy, corpus: Corpus, undisturbed: Vectors) -> None:
    """Connections to PostgreSQL reset and refused for 3 s, twice."""
    fleet_behind.start()
    run.queue(corpus.paths)
    for _ in range(2):
        run.wait_for(done=run.mark().done + 300)
        assert proxy.cut() > 0
        time.sleep(OUTAGE_S)
        mark = run.mark()
        proxy.restore()
        run.measure_recovery(mark)
    run.finish(undisturbed)
    assert run.record.restarts == 0


def test_connections_silent_for_a_while(
    run: Run, fleet_behind: Fleet, proxy: Proxy, corpus: Corpus, undisturbed: Vectors
) -> None:
    """The network to PostgreSQL silent for 12 s, then all bytes come."""
    fleet_behind.start()
    run.queue(corpus.paths)
    run.wait_for(done=300)
    assert proxy.fall_silent() > 0
    time.sleep(SILENCE_S)
    mark = run.mark()
    proxy.restore()
    run.measure_recovery(mark)
    run.finish(undisturbed)


def silence_a_transaction(run: Run, proxy: Proxy) -> None:
    """Let the network fall silent at a moment at which a transaction of the worker's holds locks on items."""
    statement = """
        SELECT count(*) FROM pg_stat_activity JOIN pg_locks USING (pid)
        WHERE datname = current_database() AND application_name = 'siglip_ingest' AND wait_event = 'ClientRead'
          AND relation = 'siglip.ingest_items'::regclass AND mode IN ('RowShareLock', 'RowExclusiveLock') AND granted
    """
    with psycopg.connect(run.url, autocommit=True, application_name="test") as connection:

        def is_open() -> bool:
            return connection.execute(statement).fetchone() != (0,)

        while True:
            wait_until(is_open)
            proxy.fall_silent()
            time.sleep(SETTLE_S)
            if is_open():
                return
            assert run.count("queued"), "it was all done before a transaction was caught"
            proxy.restore()


def test_connections_silent_for_ever(
    run: Run, fleet_behind: Fleet, proxy: Proxy, corpus: Corpus, undisturbed: Vectors
) -> None:
    """Connections to PostgreSQL silent for ever, one in a transaction; new ones work after 12 s."""
    fleet_behind.start()
    run.queue(corpus.paths)
    run.wait_for(done=300)
    silence_a_transaction(run, proxy)
    time.sleep(SILENCE_S)
    mark = run.mark()
    proxy.restore(old_connections=False)
    run.measure_recovery(mark)
    run.finish(undisturbed)


def test_a_workers_machine_vanishes(
    run: Run, fleet: Fleet, fleet_behind: Fleet, proxy: Proxy, corpus: Corpus, undisturbed: Vectors
) -> None:
    """One of two workers gone in a transaction, and its network: the server isn't told."""
    slot = fleet_behind.start()
    other = fleet.start()
    other.pause()
    run.queue(corpus.paths)
    run.wait_for(done=300)
    silence_a_transaction(run, proxy)
    held, mark = run.held_by(slot.node), run.mark()
    slot.remove()
    other.resume()
    run.measure_recovery(mark)
    run.measure_release(held, mark.at)
    run.finish(undisturbed)
