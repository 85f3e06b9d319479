"""`siglip-ingest mcp` as a process: what it may write, what it prints, how it starts and ends."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import psutil
import psycopg
import pytest
from PIL import Image

from siglip_ingest.services.supervisor.processes import find_free_port
from tests.cli.conftest import Terminal, clean_environment
from tests.programs import find_processes, wait_until

pytest.importorskip("mcp", reason="the extra `mcp` isn't installed")

from anyio.from_thread import start_blocking_portal
from mcp import Client, MCPError

from tests.cli.assistant import PROGRAM, Assistant, connected

PAGE = (Path(__file__).parents[2] / "docs" / "mcp.md").read_text()


@pytest.fixture(scope="module")
def labelled(terminal: Terminal) -> Terminal:
    created = terminal.run("label", "create", "marks", "sunset", "snow", "--replace")
    assert created.returncode == 0, created.stderr
    return terminal


def test_with_writes_allowed_images_are_indexed_and_marked(labelled: Terminal, tmp_path: Path) -> None:
    photo = next((labelled.folder / "photos").iterdir())
    outside = tmp_path / "outside.jpg"
    outside.write_bytes(photo.read_bytes())
    (labelled.folder / "photos" / "link.jpg").symlink_to(outside)
    roots = str(labelled.folder / "photos")
    try:
        with connected(labelled, tmp_path / "log", "--allow-writes", SIGLIP_ALLOWED_ROOTS=roots) as assistant:
            hints = {tool.name: tool.annotations for tool in assistant.ask("list_tools").tools}
            assert hints["index_images"].read_only_hint is False
            assert hints["mark_images"].destructive_hint is True
            for source in (str(outside), outside.as_uri(), str(labelled.folder / "photos" / "link.jpg")):
                assert "SIGLIP_ALLOWED_ROOTS" in assistant.refusal("index_images", sources=[source])
            assert "absolute path" in assistant.refusal("index_images", sources=["photos"])
            indexed = assistant.call(
                "index_images", sources=[str(photo)], collection="by an assistant", metadata={"n": 1}
            )
            assert (indexed["done"], indexed["failed"]) == (1, 0)
            (image_id,) = indexed["image_ids"]
            assert assistant.call("mark_images", label_set="marks", label="snow", negatives=[image_id])["changed"] == 1
            assert "No images are named" in assistant.refusal("mark_images", label_set="marks", label="snow")
    finally:
        (labelled.folder / "photos" / "link.jpg").unlink()
    url = json.loads(labelled.run("status", "--json").stdout)["services"]["database_url"]
    with psycopg.connect(url) as connection:
        marked = "SELECT image_id, is_accepted FROM siglip.image_labels WHERE marked_by = 'mcp'"
        assert connection.execute(marked).fetchall() == [(image_id, False)]
        connection.execute("DELETE FROM siglip.images WHERE image_id = %s", [image_id])


def test_an_empty_database_says_that_there_are_no_images(terminal: Terminal, tmp_path: Path, database_url: str) -> None:
    with connected(terminal, tmp_path / "log", SIGLIP_DATABASE_URL=database_url) as assistant:
        described = assistant.call("describe_database")
        assert (described["model"], described["embedded"], described["collections"]) == (None, 0, [])
        assert described["notes"] == ["There are no images yet."]
        assert "no model" in assistant.refusal("search_images", text="a boat").lower()


def test_a_database_that_is_away_is_no_fault_of_the_model_and_names_no_server(
    terminal: Terminal, tmp_path: Path
) -> None:
    url = "postgresql://somebody:pass-word@127.0.0.1:9/photos"
    with connected(terminal, tmp_path / "log", SIGLIP_DATABASE_URL=url) as assistant:
        refusal = assistant.refusal("describe_database")
    assert "database can't be reached" in refusal
    assert not {"127.0.0.1", "somebody", "pass-word"} & set(refusal.replace(":", " ").split())
    log = (tmp_path / "log").read_text()
    assert "127.0.0.1:9" in log
    assert "pass-word" not in log


HELLO = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}},
}


@contextmanager
def started(terminal: Terminal, **environment: str) -> Iterator[tuple[subprocess.Popen[str], IO[str], IO[str]]]:
    """A server, its standard input and its standard output."""
    with subprocess.Popen(
        [PROGRAM, "mcp"],
        cwd=terminal.folder,
        env={**terminal.environment, **environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        try:
            yield server, server.stdin, server.stdout
        finally:
            server.kill()


def send(server_input: IO[str], *messages: dict[str, Any]) -> None:
    for message in messages:
        server_input.write(json.dumps(message) + "\n")
    server_input.flush()


def test_nothing_but_the_protocol_is_on_standard_output(terminal: Terminal) -> None:
    ready = {"jsonrpc": "2.0", "method": "notifications/initialized"}
    call = {
        "jsonrpc": "2.0",
        "id": 2,
        "method": "tools/call",
        "params": {"name": "search_images", "arguments": {"text": "snow and a boat " * 60, "limit": 1}},
    }
    with started(terminal, SIGLIP_MODLE="demo") as (server, server_input, output):  # which is warned of
        server_input.write("this is no JSON\n")
        send(server_input, HELLO, ready, call)
        answers: list[dict[str, Any]] = []
        while not any(answer.get("id") == 2 for answer in answers):
            answers.append(json.loads(output.readline()))
        server_input.close()
        assert output.read() == ""
        assert server.wait(timeout=30) == 0
        assert server.stderr is not None
        errors = server.stderr.read()
    assert answers[-1]["result"]["structuredContent"]["images"]
    assert "SIGLIP_MODLE is not a setting" in errors


def test_ctrl_c_ends_a_server_whose_client_is_silent(terminal: Terminal) -> None:
    with started(terminal) as (server, server_input, output):
        send(server_input, HELLO)
        assert json.loads(output.readline())["id"] == 1
        server.send_signal(signal.SIGINT)
        assert server.wait(timeout=30) == -signal.SIGINT


def test_a_server_that_is_killed_is_an_error_at_once(terminal: Terminal, tmp_path: Path) -> None:
    others = set(psutil.Process().children())
    with connected(terminal, tmp_path / "log") as assistant:
        assert assistant.call("describe_database")["model"] == "demo"
        (server,) = set(psutil.Process().children()) - others
        server.kill()
        with pytest.raises(MCPError, match=r"[Cc]losed"):
            assistant.ask("call_tool", "describe_database", {})
    assert terminal.run("search", "a boat", "--limit", "1").returncode == 0


def test_the_documents_configurations_start_the_server(terminal: Terminal, tmp_path: Path) -> None:
    blocks = [json.loads(block) for block in re.findall(r"```json\n(.*?)```", PAGE, flags=re.DOTALL)]
    offered = []
    for number, block in enumerate(blocks):
        ((_, configured),) = block.get("mcpServers", block.get("servers")).items()
        assert Path(configured["command"]).name == PROGRAM.name
        subcommand, *options = configured["args"]
        assert subcommand == "mcp"
        with connected(terminal, tmp_path / f"{number}", *options, **configured["env"]) as assistant:
            offered.append({tool.name for tool in assistant.ask("list_tools").tools})
    reading, all_tools = offered
    assert all_tools - reading == {"index_images", "mark_images"}
    assert set(re.findall(r"^\| `(\w+)`", PAGE, flags=re.MULTILINE)) == all_tools


@pytest.mark.slow
def test_the_embedded_services_start_with_the_server_and_stop_with_it(embedded_home: Path, tmp_path: Path) -> None:
    photo = tmp_path / "photo.png"
    Image.new("RGB", (40, 30), "orange").save(photo)
    terminal = Terminal(tmp_path, clean_environment(embedded_home))
    with connected(terminal, tmp_path / "log", "--allow-writes") as assistant:
        assert assistant.call("index_images", sources=[str(photo)], wait_s=50)["done"] == 1
        assert len(assistant.call("search_images", text="orange")["images"]) == 1
    wait_until(lambda: not find_processes(embedded_home), timeout_s=30)


def test_over_http_this_machine_may_read_and_not_write(terminal: Terminal) -> None:
    port = find_free_port()
    refused = terminal.run("mcp", "--http", str(port), "--allow-writes")
    assert refused.returncode == 2
    assert "standard input only" in refused.stderr
    command = [PROGRAM, "mcp", "--http", str(port)]
    with (
        subprocess.Popen(command, cwd=terminal.folder, env=terminal.environment, stderr=subprocess.DEVNULL) as server,
        start_blocking_portal() as portal,
    ):
        try:
            wait_until(lambda: _listens(port))
            client = Client(f"http://127.0.0.1:{port}/mcp", read_timeout_seconds=60)
            with portal.wrap_async_context_manager(client):
                assistant = Assistant(portal, client)
                assert assistant.call("search_images", text="a boat", limit=1)["images"]
            request = urllib.request.Request(
                f"http://127.0.0.1:{port}/mcp",
                data=b"{}",
                headers={"Host": "evil.example", "Content-Type": "application/json"},
            )
            with pytest.raises(urllib.error.HTTPError) as refusal:  # a web page that got itself another name
                urllib.request.urlopen(request, timeout=10)
            assert refusal.value.code == 421
            refusal.value.close()
        finally:
            server.terminate()


def _listens(port: int) -> bool:
    with socket.socket() as connection:
        return connection.connect_ex(("127.0.0.1", port)) == 0
