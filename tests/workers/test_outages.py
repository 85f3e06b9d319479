"""What a worker tries again in PostgreSQL, and what it gives up at once."""

from __future__ import annotations

import pytest

from siglip_ingest.db import Database
from siglip_ingest.errors import (
    DatabaseConflictError,
    DatabaseError,
    DatabaseUnavailableError,
    InvalidInputError,
    SchemaVersionError,
)
from siglip_workers import outages
from siglip_workers.outages import retry_through_outages


class Clock:
    """Stands in for the module `time`: it goes on only while somebody sleeps."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def monotonic(self) -> float:
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(outages, "time", clock)
    return clock


class Failing:
    """An action that raises for some times, then succeeds."""

    def __init__(self, error: Exception, times: int) -> None:
        self.calls = 0
        self._error = error
        self._times = times

    def __call__(self) -> str:
        self.calls += 1
        if self.calls <= self._times:
            raise self._error
        return "done"


@pytest.mark.parametrize("error", [DatabaseUnavailableError("It is away."), DatabaseConflictError("A deadlock.")])
def test_what_may_pass_is_tried_again_ever_more_slowly(
    clock: Clock, caplog: pytest.LogCaptureFixture, error: DatabaseError
) -> None:
    action = Failing(error, 4)
    assert retry_through_outages(action, patience_s=60) == "done"
    assert action.calls == 5
    assert clock.now_s == pytest.approx(0.1 + 0.2 + 0.4 + 0.8)
    assert str(error) in caplog.text


@pytest.mark.parametrize(
    "error",
    [
        DatabaseError("permission denied for table images."),
        SchemaVersionError("column worker_id does not exist."),
        InvalidInputError("NaN"),
    ],
    ids=["no rights", "a missing column", "wrong input"],
)
def test_what_is_refused_for_good_is_raised_at_once(clock: Clock, error: Exception) -> None:
    action = Failing(error, 1)
    with pytest.raises(type(error)):
        retry_through_outages(action, patience_s=60)
    assert (action.calls, clock.now_s) == (1, 0.0)


def test_patience_ends(clock: Clock) -> None:
    with pytest.raises(DatabaseUnavailableError):
        retry_through_outages(Failing(DatabaseUnavailableError("It is away."), 10**6), patience_s=60)
    assert 50 < clock.now_s <= 60


def test_a_column_that_is_missing_in_a_real_database_is_no_outage(clock: Clock, database_url: str) -> None:
    calls = []
    with Database(database_url) as database:

        def read() -> None:
            calls.append(1)
            with database.connection() as connection:
                connection.execute("SELECT no_such_column FROM siglip.images")

        with pytest.raises(DatabaseError, match="no_such_column"):
            retry_through_outages(read, patience_s=60)
    assert len(calls) == 1
