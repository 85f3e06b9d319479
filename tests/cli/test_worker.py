"""`siglip-ingest worker`: the program that is started is the worker, so that signals reach it and nothing is left."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import psutil

from siglip_ingest.services import services_status
from siglip_ingest.settings import Settings
from tests.cli.conftest import Terminal
from tests.programs import wait_until


def test_the_worker_is_the_program_that_was_started_and_ends_by_a_signal(terminal: Terminal) -> None:
    settings = Settings(home=Path(terminal.environment["SIGLIP_HOME"]))
    before = services_status(settings)["connected"]
    command = [Path(sys.executable).with_name("siglip-ingest"), "worker"]
    with subprocess.Popen(
        command, cwd=terminal.folder, env=terminal.environment, stderr=subprocess.PIPE, text=True
    ) as program:
        assert program.stderr is not None
        assert any("Ready:" in line for line in program.stderr)
        process = psutil.Process(program.pid)
        assert "siglip_workers" in process.cmdline()
        assert not any("siglip_workers" in child.cmdline() for child in process.children(recursive=True))
        assert services_status(settings)["connected"] == before + 1  # the lease on the services went along
        program.send_signal(signal.SIGINT)
        program.stderr.read()
        assert program.wait(timeout=60) == 0
    wait_until(lambda: services_status(settings)["connected"] == before)
