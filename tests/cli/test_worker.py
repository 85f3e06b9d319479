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


def test_each_device_has_a_worker_of_its_own_and_all_end_with_the_program(terminal: Terminal) -> None:
    command = [Path(sys.executable).with_name("siglip-ingest"), "worker", "--devices", "cpu,cpu"]
    with subprocess.Popen(
        command, cwd=terminal.folder, env=terminal.environment, stderr=subprocess.PIPE, text=True
    ) as program:
        assert program.stderr is not None
        ready = 0
        for line in program.stderr:
            ready += "Ready:" in line
            if ready == 2:
                break
        workers = [child for child in psutil.Process(program.pid).children() if "siglip_workers" in child.cmdline()]
        assert len(workers) == 2
        assert {worker.environ()["SIGLIP_DEVICE"] for worker in workers} == {"cpu"}
        program.send_signal(signal.SIGTERM)
        program.stderr.read()
        assert program.wait(timeout=60) == 0
    assert not any(worker.is_running() for worker in workers)


def test_workers_end_with_a_program_that_is_killed(terminal: Terminal) -> None:
    command = [Path(sys.executable).with_name("siglip-ingest"), "worker", "--devices", "cpu"]
    with subprocess.Popen(
        command, cwd=terminal.folder, env=terminal.environment, stderr=subprocess.PIPE, text=True
    ) as program:
        assert program.stderr is not None
        assert any("Ready:" in line for line in program.stderr)
        (worker,) = [child for child in psutil.Process(program.pid).children() if "siglip_workers" in child.cmdline()]
        program.kill()
        program.wait()
        worker.wait(60)


def test_a_device_that_is_not_there_stops_them_all(terminal: Terminal) -> None:
    result = terminal.run("worker", "--devices", "cpu,cuda:7")
    assert result.returncode == 1
    assert "There is no device 'cuda:7'" in result.stderr
    assert "The worker on cuda:7 ended with exit status 1" in result.stderr


def test_a_list_of_devices_with_a_gap_is_refused(terminal: Terminal) -> None:
    result = terminal.run("worker", "--devices", "cpu,")
    assert result.returncode == 2
    assert "isn't a list of devices" in result.stderr
