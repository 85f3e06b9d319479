"""`Comparison`: an expected value, the one that was found, and whether they match."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

VERDICTS = ("match", "mismatch", "not_compared")
EARLIER = "earlier"  # the source of a checkpoint's own figures that a file keeps
DATABASE = "database"  # and of those that the database keeps
_MAX_CHARACTERS = 60


@dataclass(frozen=True, slots=True)
class Comparison:
    """One value that was looked at.

    Attributes:
        what: The value, in a few words.
        expected: What it should be.
        found: What the checkpoint gave; None where it wasn't compared.
        source: Where `expected` is from: a document, `EARLIER` or `DATABASE`.
        tolerance: How much a number may differ; None where equality is asked for.
        reason: Why it wasn't compared.
    """

    what: str
    expected: Any
    found: Any
    source: str
    tolerance: float | None = None
    reason: str | None = None

    @property
    def is_published(self) -> bool:
        """True where the expected value isn't the checkpoint's own."""
        return self.source not in {EARLIER, DATABASE}

    @property
    def difference(self) -> float | None:
        """How far two numbers are apart; None for other values."""
        return None if self.tolerance is None or self.reason else abs(self.found - self.expected)

    @property
    def is_mismatch(self) -> bool:
        """True where it was compared and differs. A number that isn't finite never matches."""
        if self.reason:
            return False
        if self.difference is None or self.tolerance is None:
            return bool(self.found != self.expected)
        return not (math.isfinite(self.found) and self.difference <= self.tolerance)

    @property
    def verdict(self) -> str:
        """One of `VERDICTS`."""
        return "not_compared" if self.reason else "mismatch" if self.is_mismatch else "match"

    def __str__(self) -> str:
        found, expected = shorten(self.found, _MAX_CHARACTERS), shorten(self.expected, _MAX_CHARACTERS)
        if self.tolerance is not None:
            return f"{self.what} is {found}, expected {expected} within {self.tolerance:.2g}"
        return f"{self.what}: found {found}, expected {expected}"


def describe_mismatches(rows: Sequence[Comparison], *, most: int = 3) -> str:
    """Say what differs, the first few of it; empty where nothing does. The first is nearest to the cause."""
    mismatches = [row for row in rows if row.is_mismatch]
    more = f"; and {len(mismatches) - most} more" if len(mismatches) > most else ""
    return "; ".join(map(str, mismatches[:most])) + more


def shorten(value: object, most: int) -> str:
    """Write a value in at most `most` characters; None as nothing."""
    text = "" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)
    return text if len(text) <= most else text[: most - 3] + "..."
