"""The tools of `siglip-ingest mcp`, asked by the SDK's own client over standard input and output."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from PIL import Image

from tests.cli.conftest import IMAGES, Terminal

pytest.importorskip("mcp", reason="the extra `mcp` isn't installed")

from mcp import MCPError

from tests.cli.assistant import Assistant, connected


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


@contextmanager
def queued_image(terminal: Terminal, collection: str, uri: str) -> Iterator[int]:
    """An image whose turn comes in an hour."""
    url = json.loads(terminal.run("status", "--json").stdout)["services"]["database_url"]
    with psycopg.connect(url, autocommit=True) as connection:
        ((image_id,),) = connection.execute(
            "INSERT INTO siglip.images (collection, uri) VALUES (%s, %s) RETURNING image_id", [collection, uri]
        )
        connection.execute(
            """
            INSERT INTO siglip.ingest_items (image_id, model_id, not_before)
            SELECT %s, m.model_id, now() + interval '1 hour' FROM siglip.models AS m WHERE m.is_active
            """,
            [image_id],
        )
        try:
            yield image_id
        finally:
            connection.execute("DELETE FROM siglip.images WHERE image_id = %s", [image_id])


def test_secrets_in_addresses_are_hidden(assistant: Assistant, terminal: Terminal) -> None:
    address = "https://user:pass-word@127.0.0.1:9/secret.jpg?signature=abc-def"
    with queued_image(terminal, "secret", address) as image_id:
        answer = assistant.ask("call_tool", "describe_image", {"image_id": image_id, "thumbnail": True})
    said = answer.model_dump_json()
    assert answer.structured_content["name"] == "secret.jpg"
    assert "can't be shown" in said
    assert "pass-word" not in said
    assert "abc-def" not in said


def test_an_image_that_waits_is_said_to(assistant: Assistant, terminal: Terminal) -> None:
    with queued_image(terminal, "waiting", "file:///photos/waiting.jpg") as image_id:
        assert assistant.call("describe_image", image_id=image_id)["state"] == "queued"
        found = assistant.call("search_images", text="a boat", collection="waiting")
        assert "it is queued" in assistant.refusal("label_image", image_id=image_id, labels=["a boat"])
    assert found["images"] == []
    assert "wait to be embedded" in found["notes"][0]
