"""Clocks, percentiles and tables. Several askers are several processes: threads of Python would wait for each other.

On a machine that others use too a statement takes several times as long as it computes. Beside the time that passes
stands therefore the time that the connection's server process was on the processor, where Linux tells it.
"""

from __future__ import annotations

import math
import multiprocessing
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

T = TypeVar("T")

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["numpy", "psycopg", "siglip_ingest.search"])  # once, not in each process


@dataclass(frozen=True, slots=True)
class Times:
    """What a number of calls took, in milliseconds.

    Attributes:
        processor: Median of the time that the server process itself computed; NaN where it isn't known.
    """

    count: int
    p50: float
    p95: float
    p99: float
    longest: float
    processor: float

    @classmethod
    def of(cls, times_ms: Sequence[float], processor_ms: Sequence[float] = ()) -> Times:
        """Summarise them; NaN where there are none."""
        if not len(times_ms):
            return cls(0, *[float("nan")] * 5)
        p50, p95, p99 = (float(value) for value in np.percentile(times_ms, [50, 95, 99]))
        processor = float(np.median(processor_ms)) if len(processor_ms) else float("nan")
        return cls(len(times_ms), p50, p95, p99, float(max(times_ms)), processor)


@dataclass(frozen=True, slots=True)
class Recall:
    """How much of the exact answers was found.

    Attributes:
        mean: Over all queries, 0 to 1.
        lost: Queries of which less than half was found: the graph never reached the region that they lie in.
    """

    mean: float
    lost: int

    @classmethod
    def of(cls, recalls: Sequence[float]) -> Recall:
        """Summarise them; NaN where there are none."""
        return cls(float(np.mean(recalls)) if recalls else float("nan"), sum(recall < 0.5 for recall in recalls))

    def __str__(self) -> str:
        return "-" if math.isnan(self.mean) else f"{self.mean:.3f}"


class Clock:
    """Times calls that one server process answers. Its parallel workers' time is in what passes, not in its own.

    Args:
        process_id: Of the server process; on this machine.
    """

    def __init__(self, process_id: int) -> None:
        self._path = Path(f"/proc/{process_id}/schedstat")
        self.times_ms: list[float] = []
        self.processor_ms: list[float] = []

    def time(self, function: Callable[..., T], *arguments: Any) -> T:
        """Call a function, and note what it took."""
        processor_before, started = self._read_processor_ms(), time.perf_counter()
        result = function(*arguments)
        self.times_ms.append(1000 * (time.perf_counter() - started))
        self.processor_ms.append(self._read_processor_ms() - processor_before)
        return result

    @property
    def times(self) -> Times:
        """All of them."""
        return Times.of(self.times_ms, self.processor_ms)

    def _read_processor_ms(self) -> float:
        try:
            return int(self._path.read_text(encoding="ascii").split()[0]) / 1e6
        except (OSError, ValueError, IndexError):
            return float("nan")


def time_ms(function: Callable[..., T], *arguments: Any) -> tuple[float, T]:
    """Milliseconds that a call took, and what it returned."""
    started = time.perf_counter()
    result = function(*arguments)
    return 1000 * (time.perf_counter() - started), result


class Task:
    """A function that runs in a process of its own, which ends with this one.

    Args:
        function: What runs; a function of a module.
        arguments: What it is called with; they are sent to the process.
    """

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self._receiver, sender = CONTEXT.Pipe(duplex=False)
        self._process = CONTEXT.Process(target=_run, args=(sender, function, arguments), daemon=True)
        self._process.start()
        sender.close()

    def result(self) -> Any:
        """Wait for what the function returns.

        Raises:
            SystemExit: If it failed; what it said stands above.
        """
        try:
            result = self._receiver.recv()
        except EOFError:
            raise SystemExit("A process of the benchmark failed, see above.") from None
        self._process.join()
        return result


def _run(sender: Connection[Any, Any], function: Callable[..., Any], arguments: Sequence[Any]) -> None:
    sender.send(function(*arguments))


def format_number(value: object) -> str:
    """A number as a table shows it: three digits that count, thousands with commas; NaN and None as a dash."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return "-" if value is None else str(value)
    if math.isnan(value):
        return "-"
    if isinstance(value, int) or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def print_table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print aligned columns, the first to the left and the others to the right. A string stands as it is."""
    texts = [list(header), *[[format_number(value) for value in row] for row in rows]]
    widths = [max(len(row[column]) for row in texts) for column in range(len(header))]
    for row in texts:
        cells = [row[0].ljust(widths[0]), *[cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]]
        print("  ".join(cells).rstrip())
    print(flush=True)


def print_title(title: str) -> None:
    """Print the title of a section, with the load of the machine, which others share."""
    print(f"== {title} (load average {os.getloadavg()[0]:.1f})", flush=True)
