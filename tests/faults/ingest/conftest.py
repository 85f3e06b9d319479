"""Fixtures for faults of ingestion, and the table of what they did."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import siglip_migrations
from siglip_ingest.siglip.checkpoint.names import DEMO_NAME, model_name
from tests.conftest import Services, _fresh_database
from tests.faults.ingest.corpus import Corpus, write_corpus
from tests.faults.ingest.fleet import Fleet
from tests.faults.ingest.record import PROPERTY, FaultRecord, format_table
from tests.faults.ingest.run import Run, Vectors, activate
from tests.faults.redis_server import OwnRedis
from tests.servers import PostgresServer

LOG_LINES = 60
MakeFleet = Callable[..., Fleet]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print a row for each fault, of tests that failed too."""
    reports = [report for kind in ("passed", "failed") for report in terminalreporter.stats.get(kind, [])]
    records = [value for report in reports for name, value in report.user_properties if name == PROPERTY]
    if records:
        terminalreporter.section("Faults of ingestion")
        for line in format_table(records):
            terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return write_corpus(tmp_path_factory.mktemp("corpus") / "images")


@pytest.fixture(scope="session")
def worker_settings(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """What all workers of these tests have: the demo checkpoint on the CPU, and defaults."""
    return {
        "model": DEMO_NAME,
        "device": "cpu",
        "allowed_roots": corpus.paths[0].parent,
        "home": tmp_path_factory.mktemp("home"),
    }


@pytest.fixture(scope="session")
def measure_undisturbed(
    services: Services,
    _template: str,
    corpus: Corpus,
    worker_settings: dict[str, object],
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[[str], Vectors]:
    """Embed all images under a model while nothing else happens."""

    def measure(model: str) -> Vectors:
        folder = tmp_path_factory.mktemp("undisturbed")
        record, redis = FaultRecord("none"), OwnRedis(folder)
        with contextmanager(_fresh_database)(services, template=_template) as database_url:
            run = Run(record, corpus, database_url, activate(database_url, model))
            settings = {"model": model, "database_url": database_url, "broker_url": redis.url}
            fleet = Fleet(folder, worker_settings | settings, record)
            try:
                run.queue(corpus.paths)
                fleet.start()
                run.wait_until_finished()
                vectors = run.read_vectors()
                run.finish(vectors)
            finally:
                fleet.close()
                redis.kill()
        return vectors

    return measure


@pytest.fixture(scope="session")
def undisturbed(measure_undisturbed: Callable[[str], Vectors]) -> Vectors:
    """Vectors of a run in which nothing happens."""
    return measure_undisturbed(DEMO_NAME)


@pytest.fixture(scope="session")
def tiny_undisturbed(measure_undisturbed: Callable[[str], Vectors], tiny_checkpoint: Path) -> Vectors:
    """The same under the tiny checkpoint."""
    return measure_undisturbed(model_name(str(tiny_checkpoint)))


@pytest.fixture
def record(request: pytest.FixtureRequest) -> FaultRecord:
    """The test's row; its docstring's first line says what the fault is."""
    description = (request.function.__doc__ or request.node.name).strip().partition("\n")[0].rstrip(".")
    return FaultRecord(description)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Put the row into the report of the test's body."""
    record = getattr(item, "funcargs", {}).get("record")
    if call.when == "call" and isinstance(record, FaultRecord):
        item.user_properties.append((PROPERTY, record.to_json()))
    return (yield)


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[OwnRedis]:
    server = OwnRedis(tmp_path)
    yield server
    server.kill()


@pytest.fixture
def own_postgres(tmp_path: Path) -> Iterator[PostgresServer]:
    """A PostgreSQL that the test may kill, with a migrated maintenance database."""
    server = PostgresServer(tmp_path / "own_postgres")
    try:
        server.initialise()
        server.start()
        siglip_migrations.upgrade(server.url)
        yield server
    finally:
        server.stop()


@pytest.fixture
def fleet_in(
    tmp_path: Path, own_redis: OwnRedis, worker_settings: dict[str, object], record: FaultRecord
) -> Iterator[Callable[..., Fleet]]:
    """Make the workers of a database, given its URL and settings."""
    fleets: list[Fleet] = []

    def make(database_url: str, **settings: object) -> Fleet:
        where = {"database_url": database_url, "broker_url": own_redis.url}
        fleets.append(Fleet(tmp_path / f"fleet{len(fleets)}", worker_settings | where | settings, record))
        return fleets[-1]

    yield make
    for fleet in fleets:
        fleet.close()
        print("\n".join(fleet.log.splitlines()[-LOG_LINES:]))  # noqa: T201  # pytest shows it where the test has failed


@pytest.fixture
def fleet(fleet_in: MakeFleet, database_url: str) -> Fleet:
    """Workers of the test's database."""
    return fleet_in(database_url)


@pytest.fixture
def run(record: FaultRecord, corpus: Corpus, database_url: str) -> Run:
    """The ingestion of the test's database; nothing is queued yet."""
    return Run(record, corpus, database_url, activate(database_url, DEMO_NAME))
