"""Comparisons: what was expected, what was found, and whether that is the same."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

EARLIER = "earlier"  # the source of a checkpoint's own figures that a file keeps
DATABASE = "database"  # and of those that the database keeps

_MOST_LETTERS = 60


class Verdict(StrEnum):
    """How one comparison went."""

    MATCH = "matches"
    MISMATCH = "DIFFERS"
    NOT_COMPARED = "not compared"


@dataclass(frozen=True, slots=True)
class Comparison:
    """One thing that was looked at.

    Attributes:
        what: In a few words.
        expected: The published or the earlier value.
        found: What the checkpoint gave; None where it wasn't compared.
        difference: Of numbers, absolute.
        tolerance: The most that the difference may be; None where equality is asked for.
        verdict: The outcome.
        reason: Why it wasn't compared.
        source: Where the expected value is from.
    """

    what: str
    expected: Any
    found: Any
    verdict: Verdict
    difference: float | None = None
    tolerance: float | None = None
    reason: str | None = None
    source: str = EARLIER

    @property
    def is_published(self) -> bool:
        """True where the expected value is not the checkpoint's own."""
        return self.source not in {EARLIER, DATABASE}

    def describe(self) -> str:
        """Say in a clause what differs."""
        if self.tolerance is not None:
            return (
                f"{self.what} is {_shorten(self.found)}, expected {_shorten(self.expected)} within {self.tolerance:.2g}"
            )
        return f"{self.what}: found {_shorten(self.found)}, expected {_shorten(self.expected)}"


@dataclass(frozen=True, slots=True)
class Report:
    """What `verify` found.

    Attributes:
        model: Name of the checkpoint, as given.
        published_as: The name whose published numbers it was compared with, if any.
        revision: Of the checkpoint.
        dtype: What was computed in.
        device: Where.
        comparisons: In the order of the data: files, tokens, pixels, vectors, logits.
        notes: What else there is to know, in sentences.
    """

    model: str
    published_as: str | None
    revision: str
    dtype: str
    device: str
    comparisons: Sequence[Comparison]
    notes: Sequence[str] = field(default_factory=tuple)

    @property
    def is_match(self) -> bool:
        """True where nothing that was compared differs."""
        return not self.mismatches

    @property
    def mismatches(self) -> list[Comparison]:
        """What differs."""
        return [row for row in self.comparisons if row.verdict is Verdict.MISMATCH]

    def count(self, verdict: Verdict) -> int:
        """How many comparisons went so."""
        return sum(row.verdict is verdict for row in self.comparisons)


def compare_numbers(
    what: str, expected: float, found: float, *, atol: float, rtol: float = 0.0, source: str = EARLIER
) -> Comparison:
    """Compare two numbers; one that isn't finite never matches."""
    difference, tolerance = abs(found - expected), atol + rtol * abs(expected)
    is_match = math.isfinite(found) and difference <= tolerance
    return Comparison(
        what, expected, found, Verdict.MATCH if is_match else Verdict.MISMATCH, difference, tolerance, source=source
    )


def compare_values(what: str, expected: Any, found: Any, *, source: str = EARLIER) -> Comparison:
    """Compare two values that must be equal."""
    return Comparison(what, expected, found, Verdict.MATCH if found == expected else Verdict.MISMATCH, source=source)


def not_compared(what: str, expected: Any, reason: str, *, source: str) -> Comparison:
    """Note something that couldn't be looked at."""
    return Comparison(what, expected, None, Verdict.NOT_COMPARED, reason=reason, source=source)


def describe_mismatches(rows: Sequence[Comparison], *, most: int = 3) -> str:
    """Say what differs, the first few of it: the first is nearest to the cause."""
    more = f"; and {len(rows) - most} more" if len(rows) > most else ""
    return "; ".join(row.describe() for row in rows[:most]) + more


def _shorten(value: Any) -> str:
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return text if len(text) <= _MOST_LETTERS else text[: _MOST_LETTERS - 3] + "..."
