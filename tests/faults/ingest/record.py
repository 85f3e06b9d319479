"""What a fault did to an ingestion, as a row of the table that is printed at the end of the tests."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

PROPERTY = "fault"  # under which pytest's reports carry a record
HEADINGS = ("fault", "images", "lost", "doubled", "other bits", "restarts", "work went on", "leases free")


@dataclass
class FaultRecord:
    """Counts and times of one test.

    Attributes:
        fault: What was done.
        images: Accepted ones: those that `enqueue_images` returned for.
        lost: Images that are neither done nor failed with the reason that they must have.
        doubled: Vectors beyond the one that a content has under a model.
        changed: Vectors that differ from those of an undisturbed run, in any bit.
        largest_difference: Of an element of theirs.
        restarts: Workers that ended by themselves, and were started again.
        went_on_s: Seconds from the end of the fault to the next image that was done; None where none was measured.
        released_s: Seconds until what a lost worker held could be claimed again; None where no worker was lost.
    """

    fault: str
    images: int = 0
    lost: int | None = None
    doubled: int | None = None
    changed: int | None = None
    largest_difference: float = 0.0
    restarts: int = 0
    went_on_s: float | None = None
    released_s: float | None = None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def add(self, other: FaultRecord) -> None:
        """Add what became of the same images under another model."""
        self.lost = (self.lost or 0) + (other.lost or 0)
        self.doubled = (self.doubled or 0) + (other.doubled or 0)
        self.changed = (self.changed or 0) + (other.changed or 0)
        self.largest_difference = max(self.largest_difference, other.largest_difference)

    def add_recovery(self, seconds: float) -> None:
        """Note a measurement; of several the longest counts."""
        self.went_on_s = max(seconds, self.went_on_s or 0.0)

    def add_release(self, seconds: float) -> None:
        """Note a measurement; of several the longest counts."""
        self.released_s = max(seconds, self.released_s or 0.0)


def format_table(records: Iterable[Mapping[str, Any]]) -> list[str]:
    """Lines of the table, from records as `to_json` gives them."""
    rows = [HEADINGS, *(_cells(FaultRecord(**record)) for record in records)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS))]
    return [
        "  ".join(
            f"{cell:<{width}}" if not column else f"{cell:>{width}}" for column, (cell, width) in enumerate(cells)
        )
        for cells in (list(zip(row, widths, strict=True)) for row in rows)
    ]


def _cells(record: FaultRecord) -> tuple[str, ...]:
    changed = f"{record.changed} ({record.largest_difference:.1g})" if record.changed else _number(record.changed)
    return (
        record.fault,
        f"{record.images:,}",
        _number(record.lost),
        _number(record.doubled),
        changed,
        f"{record.restarts}",
        _seconds(record.went_on_s),
        _seconds(record.released_s),
    )


def _number(value: int | None) -> str:
    return "?" if value is None else f"{value}"


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f} s"
