"""The processes of a benchmark: workers, and what the kernel counted for each."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


@contextmanager
def started_workers(
    folder: Path, checkpoint: Path, number: int, settings: Mapping[str, object]
) -> Iterator[tuple[list[int], list[Path]]]:
    """Start workers, each with a log of its own; yields their process ids and logs once they are ready.

    Args:
        folder: For the logs.
        checkpoint: The workers' model.
        number: How many.
        settings: Others, by the names of their fields.
    """
    folder.mkdir(parents=True, exist_ok=True)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SIGLIP_")}
    chosen = {"model": checkpoint, "allowed_roots": "/", **settings}
    environment |= {f"SIGLIP_{name.upper()}": str(value) for name, value in chosen.items()}
    logs = [folder / f"worker{index}.log" for index in range(number)]
    processes = []
    try:
        for log in logs:
            with log.open("ab") as file:
                command = [sys.executable, "-m", "siglip_workers"]
                processes.append(subprocess.Popen(command, env=environment, stdout=file, stderr=file))
        for process, log in zip(processes, logs, strict=True):
            while "Ready" not in log.read_text():
                if process.poll() is not None:
                    raise SystemExit(log.read_text())
                time.sleep(0.1)
        yield [process.pid for process in processes], logs
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait()


def find_processes(name: str, home: Path) -> list[int]:
    """The processes of that name that work below a folder."""
    found = []
    for path in Path("/proc").iterdir():
        if path.name.isdigit() and read_stat(int(path.name))[0] == name:
            try:
                is_ours = (path / "cwd").readlink().is_relative_to(home)
            except OSError:
                continue
            if is_ours:
                found.append(int(path.name))
    return found


def cpu_seconds(pids: Sequence[int]) -> float:
    """Seconds of user and system time of processes and of their ended children."""
    return sum(sum(map(int, read_stat(pid)[1][11:15])) for pid in pids) / _TICKS


def read_stat(pid: int) -> tuple[str, list[str]]:
    """The name of a process and the fields of /proc/<pid>/stat after it; empty where it has ended."""
    try:
        head, _, tail = Path(f"/proc/{pid}/stat").read_text().rpartition(")")
    except OSError:
        return "", ["0"] * 20
    return head.partition("(")[2], tail.split()
