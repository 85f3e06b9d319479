"""`siglip-ingest mcp`, asked by the SDK's own client over standard input and output."""

from __future__ import annotations

import base64
import io
import json
import re
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest
from PIL import Image

from siglip_ingest.services.supervisor.processes import find_free_port
from tests.cli.conftest import IMAGES, Terminal, clean_environment
from tests.programs import find_processes, wait_until

pytest.importorskip("mcp", reason="the extra `mcp` isn't installed")

from anyio.from_thread import start_blocking_portal
from mcp import Client, MCPError, StdioServerParameters
from mcp.client.stdio import stdio_client

PAGE = (Path(__file__).parents[2] / "docs" / "mcp.md").read_text()
PROGRAM = Path(sys.executable).with_name("siglip-ingest")


class Assistant:
    """A client that is connected to a server of its own, a child process."""

    def __init__(self, portal: Any, client: Client) -> None:
        self._portal = portal
        self.client = client

    def ask(self, method: str, *arguments: Any, **options: Any) -> Any:
        async def call() -> Any:
            return await getattr(self.client, method)(*arguments, **options)

        return self._portal.call(call)

    def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """The structured answer of a tool."""
        answer = self.ask("call_tool", tool, arguments)
        assert not answer.is_error, answer.content[0].text
        assert json.loads(answer.content[0].text) == answer.structured_content
        return dict(answer.structured_content)

    def refusal(self, tool: str, **arguments: Any) -> str:
        """What a tool says that can't do it."""
        answer = self.ask("call_tool", tool, arguments)
        assert answer.is_error, answer.structured_content
        (block,) = answer.content
        return str(block.text)


@contextmanager
def connected(terminal: Terminal, log: Path, *options: str, **environment: str) -> Iterator[Assistant]:
    parameters = StdioServerParameters(
        command=str(PROGRAM), args=["mcp", *options], cwd=terminal.folder, env={**terminal.environment, **environment}
    )
    with log.open("w") as errors, start_blocking_portal() as portal:
        client = Client(stdio_client(parameters, errlog=errors), read_timeout_seconds=60)
        with portal.wrap_async_context_manager(client):
            yield Assistant(portal, client)


@pytest.fixture(scope="module")
def labelled(terminal: Terminal) -> Terminal:
    created = terminal.run("label", "create", "views", "sunset", "snow", "a boat", "--replace")
    assert created.returncode == 0, created.stderr
    return terminal


@pytest.fixture(scope="module")
def assistant(labelled: Terminal, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Assistant]:
    with connected(labelled, tmp_path_factory.mktemp("mcp") / "log") as connection:
        yield connection


def best(assistant: Assistant, **query: Any) -> list[dict[str, Any]]:
    return list(assistant.call("search_images", collection="holiday", **query)["images"])


def test_only_what_reads_is_offered_and_says_so(assistant: Assistant) -> None:
    tools = assistant.ask("list_tools").tools
    assert {tool.name for tool in tools} == {
        "search_images",
        "similar_images",
        "images_with_labels",
        "label_image",
        "describe_image",
        "describe_database",
    }
    for tool in tools:
        assert tool.annotations.read_only_hint is True
        assert tool.output_schema["type"] == "object"
        for name, argument in tool.input_schema["properties"].items():
            assert argument["description"], (tool.name, name)


def test_a_text_finds_images_best_first_as_the_command_does(assistant: Assistant, terminal: Terminal) -> None:
    found = assistant.call("search_images", text="sunset over water", collection="holiday", limit=5)
    printed = json.loads(
        terminal.run("search", "sunset over water", "--collection", "holiday", "--limit", "5", "--json").stdout
    )
    assert [match["image_id"] for match in found["images"]] == [match["image_id"] for match in printed]
    assert [match["score"] for match in found["images"]] == pytest.approx(
        [match["score"] for match in printed], rel=1e-3
    )
    first = found["images"][0]
    assert first["name"] == Path(printed[0]["uri"]).name
    assert (first["metadata"], first["metadata_is_cut"]) == ({"album": "2026"}, False)
    assert "probability" in found["score_means"]


def test_parts_that_arent_wanted_lower_the_score(assistant: Assistant) -> None:
    plain = best(assistant, text="a landscape", limit=IMAGES)
    out = plain[0]["image_id"]
    without = best(assistant, text="a landscape", wanted=["water"], unwanted=["snow", out], limit=IMAGES)
    assert {match["image_id"] for match in plain} - {match["image_id"] for match in without} == {out}
    assert "product" in assistant.call("search_images", text="water", unwanted=["snow"])["score_means"]


def test_an_image_finds_those_like_it_by_either_tool(assistant: Assistant) -> None:
    image_id = best(assistant, text="a boat", limit=1)[0]["image_id"]
    like = assistant.call("similar_images", image_id=image_id, collection="holiday", limit=4)
    assert like["images"] == best(assistant, image_id=image_id, limit=4)
    assert image_id not in {match["image_id"] for match in like["images"]}
    assert "only the order" in like["score_means"]


def test_thumbnails_are_small_images_beside_their_ids(assistant: Assistant) -> None:
    answer = assistant.ask(
        "call_tool", "search_images", {"text": "snow", "collection": "holiday", "limit": 3, "thumbnails": True}
    )
    ids = [match["image_id"] for match in answer.structured_content["images"]]
    names, images = answer.content[1::2], answer.content[2::2]
    assert [block.text for block in names] == [f"image {image_id}:" for image_id in ids]
    for block in images:
        with Image.open(io.BytesIO(base64.b64decode(block.data))) as image:
            assert (image.format, max(image.size)) == ("JPEG", 200)


def test_a_filter_that_fits_nothing_says_what_to_do(assistant: Assistant) -> None:
    found = assistant.call("search_images", text="a boat", filter={"album": "1999"})
    assert (found["images"], len(found["notes"])) == ([], 1)
    assert "filter" in found["notes"][0]


def test_what_the_library_warns_of_reaches_the_model(assistant: Assistant) -> None:
    found = assistant.call("search_images", text="water and snow " * 60, collection="holiday", limit=1)
    assert "but the model reads" in " ".join(found["notes"])


def test_labels_of_a_set_and_labels_of_ones_own_are_scored(assistant: Assistant) -> None:
    image_id = best(assistant, text="This is a photo of snow.", limit=1)[0]["image_id"]
    of_set = assistant.call("label_image", image_id=image_id, label_set="views")
    own = assistant.call("label_image", image_id=image_id, labels=["snow", "a boat", "sunset"])
    by_label = {row["label"]: row["score"] for row in of_set["labels"]}
    assert {row["label"]: row["score"] for row in own["labels"]} == pytest.approx(by_label, rel=0.02)
    for scores in (of_set, own):
        values = [row["score"] for row in scores["labels"]]
        assert values == sorted(values, reverse=True)


def test_images_with_labels_are_those_of_the_client(assistant: Assistant) -> None:
    found = assistant.call(
        "images_with_labels", label_set="views", any_of=["sunset", "snow"], none_of=["a boat"], collection="holiday"
    )
    assert found["images"]
    for match in found["images"]:
        assert set(match["scores"]) == {"sunset", "snow", "a boat"}
        assert match["score"] == max(match["scores"]["sunset"], match["scores"]["snow"])


def test_an_image_is_described_by_a_tool_and_as_a_resource(assistant: Assistant) -> None:
    image_id = best(assistant, text="sunset", limit=1)[0]["image_id"]
    described = assistant.call("describe_image", image_id=image_id)
    assert (described["width"], described["height"], described["state"]) == (200, 150, "embedded")
    assert (described["collection"], described["metadata"]) == ("holiday", {"album": "2026"})
    assert {"views"} <= {label["label_set"] for label in described["labels"]}
    assert len(described["nearest"]) == 5
    (resource,) = assistant.ask("read_resource", f"siglip://images/{image_id}").contents
    assert json.loads(resource.text) == described
    (thumbnail,) = assistant.ask("read_resource", f"siglip://images/{image_id}/thumbnail").contents
    assert thumbnail.mime_type == "image/jpeg"
    with Image.open(io.BytesIO(base64.b64decode(thumbnail.blob))) as image:
        assert image.size == (200, 150)


def test_the_database_is_described(assistant: Assistant) -> None:
    described = assistant.call("describe_database")
    assert described["model"] == "demo"
    assert {"collection": "holiday", "images": IMAGES} in described["collections"]
    assert {"label_set": "views", "labels": ["sunset", "snow", "a boat"]} in described["label_sets"]
    assert described["embedded"] >= IMAGES


@pytest.mark.parametrize(
    ("tool", "arguments", "sentence"),
    [
        pytest.param("search_images", {}, "Give text, image_id or wanted", id="nothing asked"),
        pytest.param("search_images", {"unwanted": ["snow"]}, "unwanted alone finds nothing", id="only unwanted"),
        pytest.param("search_images", {"text": " "}, "empty", id="empty text"),
        pytest.param("search_images", {"text": "https://host/a.jpg"}, "is an address", id="an address"),
        pytest.param(
            "search_images",
            {"text": "a", "limit": 51},
            "limit: Input should be less than or equal to 50, not 51",
            id="limit",
        ),
        pytest.param("search_images", {"text": "a", "wanted": [True]}, "wanted.0", id="a boolean part"),
        pytest.param("search_images", {"text": "a", "wanted": ["b"] * 21}, "at most 20 items", id="too many parts"),
        pytest.param(
            "search_images", {"query": "a"}, "search_images has no argument query. It takes", id="unknown argument"
        ),
        pytest.param(
            "search_images",
            {"text": "a", "collection": "nowhere"},
            "There is no collection 'nowhere'",
            id="no such collection",
        ),
        pytest.param("similar_images", {"image_id": 10**9}, "no image 1000000000", id="no such image"),
        pytest.param("similar_images", {"image_id": "one"}, "image_id", id="an id of letters"),
        pytest.param("describe_image", {"image_id": 10**9}, "no image 1000000000", id="nothing to describe"),
        pytest.param("label_image", {"image_id": 1}, "Give either label_set", id="no labels"),
        pytest.param("label_image", {"image_id": 1, "labels": []}, "at least one label", id="an empty list of labels"),
        pytest.param(
            "label_image", {"image_id": 10**9, "labels": ["a cat"]}, "no image 1000000000", id="no image to label"
        ),
        pytest.param(
            "label_image",
            {"image_id": 1, "label_set": "nothing"},
            "no label set 'nothing'. describe_database shows",
            id="no such set",
        ),
        pytest.param(
            "images_with_labels",
            {"label_set": "views", "all_of": ["x"]},
            "no label 'x'. describe_database shows",
            id="no such label",
        ),
        pytest.param("index_images", {"sources": ["/a"]}, "Unknown tool", id="a tool that writes"),
    ],
)
def test_a_call_that_fails_says_what_to_do(
    assistant: Assistant, terminal: Terminal, tool: str, arguments: dict[str, Any], sentence: str
) -> None:
    refusal = assistant.refusal(tool, **arguments)
    assert sentence in refusal
    assert refusal.endswith((".", "?", tool))
    assert str(terminal.folder) not in refusal
    assert "pydantic" not in refusal
    assert "SELECT" not in refusal


def test_a_resource_that_isnt_there_is_an_error_with_a_sentence(assistant: Assistant) -> None:
    for wrong in ("siglip://images/999999999", "siglip://images/999999999/thumbnail"):
        with pytest.raises(MCPError, match="There is no image 999999999"):
            assistant.ask("read_resource", wrong)
    with pytest.raises(MCPError, match="isn't the id of an image"):
        assistant.ask("read_resource", "siglip://images/one")


def test_secrets_in_addresses_are_hidden(assistant: Assistant, terminal: Terminal) -> None:
    url = json.loads(terminal.run("status", "--json").stdout)["services"]["database_url"]
    address = "https://user:pass-word@127.0.0.1:9/secret.jpg?signature=abc-def"
    with psycopg.connect(url) as connection:
        (image_id,) = connection.execute(
            "INSERT INTO siglip.images (collection, uri) VALUES ('secret', %s) RETURNING image_id", [address]
        ).fetchone() or (0,)
        connection.commit()
        try:
            answer = assistant.ask("call_tool", "describe_image", {"image_id": image_id, "thumbnail": True})
        finally:
            connection.execute("DELETE FROM siglip.images WHERE image_id = %s", [image_id])
    said = answer.model_dump_json()
    assert answer.structured_content["name"] == "secret.jpg"
    assert answer.structured_content["state"] == "not queued"
    assert "can't be shown" in said
    assert "pass-word" not in said
    assert "abc-def" not in said


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
            assert assistant.call("mark_images", label_set="views", label="snow", negatives=[image_id])["changed"] == 1
            assert "No images are named" in assistant.refusal("mark_images", label_set="views", label="snow")
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


def test_nothing_but_the_protocol_is_on_standard_output(terminal: Terminal) -> None:
    hello = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "initialize",
        "params": {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}},
    }
    ready = {"jsonrpc": "2.0", "method": "notifications/initialized"}
    call = {
        "jsonrpc": "2.0",
        "id": 2,
        "method": "tools/call",
        "params": {"name": "search_images", "arguments": {"text": "snow and a boat " * 60, "limit": 1}},
    }
    with subprocess.Popen(
        [PROGRAM, "mcp"],
        cwd=terminal.folder,
        env={**terminal.environment, "SIGLIP_MODLE": "demo"},  # which is warned of
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        assert server.stderr is not None
        server.stdin.write("this is no JSON\n")
        for message in (hello, ready, call):
            server.stdin.write(json.dumps(message) + "\n")
        server.stdin.flush()
        answers: list[dict[str, Any]] = []
        while not any(answer.get("id") == 2 for answer in answers):
            answers.append(json.loads(server.stdout.readline()))
        server.stdin.close()
        assert server.stdout.read() == ""
        errors = server.stderr.read()
        assert server.wait(timeout=30) == 0
    assert answers[-1]["result"]["structuredContent"]["images"]
    assert "SIGLIP_MODLE is not a setting" in errors


def test_a_server_that_is_killed_is_an_error_at_once(terminal: Terminal, tmp_path: Path) -> None:
    others = set(psutil.Process().children())
    with connected(terminal, tmp_path / "log") as assistant:
        assert assistant.call("describe_database")["model"] == "demo"
        (server,) = set(psutil.Process().children()) - others
        server.kill()
        with pytest.raises(MCPError, match=r"[Cc]losed"):
            assistant.ask("call_tool", "describe_database", {})
    assert terminal.run("search", "a boat", "--limit", "1").returncode == 0


def test_the_documents_configurations_start_the_server(labelled: Terminal, tmp_path: Path) -> None:
    blocks = [json.loads(block) for block in re.findall(r"```json\n(.*?)```", PAGE, flags=re.DOTALL)]
    offered = []
    for number, block in enumerate(blocks):
        ((_, configured),) = block.get("mcpServers", block.get("servers")).items()
        assert Path(configured["command"]).name == PROGRAM.name
        subcommand, *options = configured["args"]
        assert subcommand == "mcp"
        with connected(labelled, tmp_path / f"{number}", *options, **configured["env"]) as assistant:
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
