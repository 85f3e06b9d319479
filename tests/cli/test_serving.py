"""`siglip-ingest serve`: the address that it tells answers, what is in the way is said, and Ctrl-C ends it."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import HTTPError

import pytest

from tests.cli.conftest import Terminal


@contextmanager
def serving(terminal: Terminal, *options: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """A running server, and where it says that it is."""
    command = [Path(sys.executable).with_name("siglip-ingest"), "serve", "--no-open", *options]
    with subprocess.Popen(
        command,
        cwd=terminal.folder,
        env={**terminal.environment, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as program:
        try:
            assert program.stdout is not None
            yield program.stdout.readline().split()[4], program
        finally:
            program.send_signal(signal.SIGINT)
            program.wait(timeout=60)


def test_the_page_and_the_api_are_where_it_says(terminal: Terminal) -> None:
    with serving(terminal) as (url, program):
        with urllib.request.urlopen(url, timeout=60) as page:
            assert "<title>" in page.read().decode()
            assert "script-src 'self'" in page.headers["Content-Security-Policy"]
        with urllib.request.urlopen(f"{url}v1/search?q=sunset&collection=holiday&limit=3", timeout=60) as answer:
            assert len(json.load(answer)["matches"]) == 3
        with pytest.raises(HTTPError) as refused:
            urllib.request.urlopen(urllib.request.Request(url, headers={"Host": "evil.example"}), timeout=60)
        assert refused.value.code == 400
    assert program.returncode == 0


def test_a_port_that_is_taken_is_said_before_anything_starts(terminal: Terminal) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        failed = terminal.run("serve", "--no-open", "--port", port)
    assert failed.returncode == 1
    assert failed.stderr.startswith(f"Error: 127.0.0.1 port {port} can't be listened on: Address already in use.")


def test_an_address_that_is_not_this_machines_is_refused(terminal: Terminal) -> None:
    failed = terminal.run("serve", "--no-open", "--host", "203.0.113.7")
    assert failed.returncode == 1
    assert failed.stderr.startswith("Error: 203.0.113.7 port 0 can't be listened on")
