"""Other programs for tests: ones that use the embedded services, and a stand-in for the worker."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import psutil

_CLIENT = """
import json, pathlib, sys
from siglip_ingest.services import EmbeddedServices
from siglip_ingest.settings import Settings
home, model, environment = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
with EmbeddedServices(Settings(home=pathlib.Path(home), model=model or None), environment=environment) as services:
    if model:
        services.ensure_worker()
    print(services.database_url, flush=True)
    sys.stdin.read()
"""

# Takes tasks from the broker as a worker does, after whatever the test makes it do first.
_WORKER = """
import os, sys, time, urllib.parse, redis
print("serving", os.environ.get("SIGLIP_MODEL"), flush=True)
{first}
redis.Redis.from_url(os.environ["SIGLIP_BROKER_URL"]).brpop("siglip.images", timeout=300)
"""


def start_client(home: Path, *, model: str = "", environment: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
    """Start a program that uses the services (and, given a model, the worker) until `communicate("")`.

    It prints the database's URL once it does.
    """
    return subprocess.Popen(
        [sys.executable, "-c", _CLIENT, str(home), model, json.dumps(dict(environment or {}))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def write_worker(folder: Path, first: str = "") -> dict[str, str]:
    """Write a stand-in for siglip_workers; returns the environment that makes it found before the real one."""
    package = folder / "siglip_workers"
    package.mkdir(parents=True, exist_ok=True)
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text(_WORKER.format(first=first))
    return {"PYTHONPATH": str(folder)}


def find_processes(home: Path) -> list[psutil.Process]:
    """Running processes that belong to a home, by its path on their command line or as their working folder."""
    found = []
    for process in psutil.process_iter():
        try:
            is_ours = str(home) in " ".join(process.cmdline()) or process.cwd().startswith(str(home))
            if is_ours and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def wait_until(condition: Callable[[], object], *, timeout_s: float = 30.0) -> None:
    """Wait for something that another process or thread does; fails the test where it doesn't happen in time."""
    give_up_at = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < give_up_at, f"it did not happen within {timeout_s:g} s"
        time.sleep(0.02)
