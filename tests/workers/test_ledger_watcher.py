"""The ledger watcher, with a Redis of its own."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from siglip_ingest.db import Database, workers
from siglip_ingest.ingest import enqueue_images
from siglip_ingest.settings import Settings
from siglip_workers.ingest import ledger_watcher
from siglip_workers.ingest.ledger_watcher import LedgerWatcher
from siglip_workers.runtime import enter_model
from tests.database.helpers import claim
from tests.programs import wait_until
from tests.workers.helpers import fetch_all, items_by_state, load_tiny_embedder, write_images
from tests.workers.local_worker import FragileEmbedder, LocalWorker, opened_worker


class CountingBroker:
    """Notes the tickets that are sent, and what is forgotten; none is ever taken."""

    def __init__(self) -> None:
        self.tickets = 0
        self.forgotten: list[str] = []

    def send_ticket(self, model_id: int) -> None:
        self.tickets += 1

    def count_tickets(self, model_id: int) -> int:
        return self.tickets

    def forget_node(self, node: str) -> None:
        self.forgotten.append(node)


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


@pytest.fixture
def broker() -> CountingBroker:
    return CountingBroker()


@pytest.fixture
def watching(database: Database, worker: LocalWorker, broker: CountingBroker, model_id: int) -> LedgerWatcher:
    return LedgerWatcher(
        database,
        broker,  # type: ignore[arg-type]
        worker.feeder,
        worker.worker_id,
        model_id,
        Settings(),
        stop_worker=lambda: worker.stops.append("stop"),
    )


def test_what_a_dead_worker_had_is_queued_and_its_mailbox_forgotten(
    tmp_path: Path, database: Database, model_id: int, watching: LedgerWatcher, broker: CountingBroker
) -> None:
    enqueue_images(database, write_images(tmp_path, 3), model_id=model_id)
    with database.connection() as connection:
        claim(connection, model_id, limit=2)
        connection.execute("UPDATE siglip.workers SET seen_at = now() - interval '1 day', lease_s = 0.000001")
    watching.attend()
    assert items_by_state(database) == {"queued": 3}
    assert fetch_all(database, "SELECT count(*) FROM siglip.ingest_items WHERE is_suspect") == [(2,)]
    assert sorted(broker.forgotten) == ["test@host", "test@host"]  # this worker's own row was made old as well


def test_a_worker_that_takes_no_messages_any_more_stops(
    worker: LocalWorker, watching: LedgerWatcher, broker: CountingBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tickets wait, and none of them reaches it, as after some losses of Redis."""
    for name in ("CHECK_CONSUMER_S", "CONSUMER_STALL_S", "PROBE_S"):
        monkeypatch.setattr(ledger_watcher, name, 0.0)
    for _ in range(4):
        watching.attend()
    assert broker.tickets == 1  # sent to see whether it comes
    assert worker.stops == ["stop"]


@pytest.mark.parametrize("taker", ["another worker", "this one"])
def test_a_worker_whose_tickets_are_taken_does_not_stop(
    worker: LocalWorker,
    watching: LedgerWatcher,
    broker: CountingBroker,
    monkeypatch: pytest.MonkeyPatch,
    taker: str,
) -> None:
    for name in ("CONSUMER_STALL_S", "PROBE_S"):
        monkeypatch.setattr(ledger_watcher, name, 0.0)
    monkeypatch.setattr(ledger_watcher, "CHECK_CONSUMER_S", 0.01)
    for _ in range(5):
        time.sleep(0.02)
        if taker == "this one":
            worker.feeder.take_ticket(worker.model_id)
        watching.attend()
        if taker == "another worker":
            broker.tickets = 0
    assert worker.stops == []


def test_a_worker_is_counted_for_as_long_as_it_lives(database: Database, model_id: int, worker: LocalWorker) -> None:
    with database.connection() as connection:
        assert workers.count_workers(connection, model_id) == 1
        connection.execute("UPDATE siglip.workers SET seen_at = now() - interval '1 day'")
        assert workers.count_workers(connection) == 0


def test_a_worker_whose_connection_ended_is_lost_before_its_lease_ends(
    database: Database, model_id: int, worker: LocalWorker, watching: LedgerWatcher
) -> None:
    alive = "SELECT siglip.is_alive(w) FROM siglip.workers AS w"
    with database.session() as session:
        workers.hold_worker_lock(session, worker.worker_id)
        with database.connection() as connection:
            workers.renew_worker(connection, worker.worker_id, model_id, node="", lease_s=60, holds_lock=True)
            connection.execute("UPDATE siglip.workers SET seen_at = now() - interval '5 s'")
        assert fetch_all(database, alive) == [(True,)]
    wait_until(lambda: fetch_all(database, alive) == [(False,)])
    with database.connection() as connection:  # it comes back, with another connection
        workers.renew_worker(connection, worker.worker_id, model_id, node="", lease_s=60, holds_lock=False)
    assert fetch_all(database, alive) == [(True,)]
