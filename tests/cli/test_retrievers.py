"""docs/retrievers.md is run: retrievers of LangChain and LlamaIndex."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Terminal

PAGE = (Path(__file__).parents[2] / "docs" / "retrievers.md").read_text()
LANGCHAIN, LLAMA_INDEX = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)

# What follows a document's program: more of what the retriever can do, printed as JSON after what the program printed.
MORE_LANGCHAIN = """
import asyncio, json
from langchain_core.runnables import RunnableLambda

with SiglipClient.from_environment(os.environ) as client:
    retriever = SiglipRetriever(client=client, options={"limit": 3, "collection": "holiday"})
    (first, *_) = asyncio.run(retriever.ainvoke("sunset over water"))
    chained = (retriever | RunnableLambda(len)).batch(["snow", "http://127.0.0.1:9/no.jpg"])
print(json.dumps([first.id, first.page_content, first.metadata, chained]))
"""
MORE_LLAMA_INDEX = """
import asyncio, json

with SiglipClient.from_environment(os.environ) as client:
    retriever = SiglipRetriever(client, limit=3, collection="holiday")
    (first, *_) = asyncio.run(retriever.aretrieve("sunset over water"))
    (same, *_) = retriever.retrieve(QueryBundle("", image_path=first.node.image_path))
    assert first.node.resolve_image() == first.node.image_path
print(json.dumps([first.node.node_id, same.node.node_id, first.node.metadata, first.node.image_mimetype]))
"""


def search(terminal: Terminal) -> list[dict[str, object]]:
    found = terminal.run("search", "sunset over water", "--limit", "3", "--collection", "holiday", "--json")
    assert found.returncode == 0, found.stderr
    return list(json.loads(found.stdout))


def run(terminal: Terminal, code: str) -> list[str]:
    command = [sys.executable, "-W", "error", "-c", code]
    environment = {**terminal.environment, "LANGSMITH_TRACING": "false"}
    done = subprocess.run(
        command, cwd=terminal.folder, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()


def test_the_langchain_retriever_gives_what_a_search_finds(terminal: Terminal) -> None:
    pytest.importorskip("langchain_core", minversion="1.0", reason="langchain-core isn't installed")
    matches = search(terminal)
    *lines, more = run(terminal, LANGCHAIN + MORE_LANGCHAIN)
    assert [line.split() for line in lines] == [
        [str(match["image_id"]), str(match["score"]), str(match["uri"]).replace(" ", "%20")] for match in matches
    ]
    first, name, metadata, chained = json.loads(more)
    assert (first, name) == (str(matches[0]["image_id"]), Path(str(matches[0]["uri"])).name)
    assert metadata == {"album": "2026", **{key: matches[0][key] for key in ("image_id", "uri", "score")}}
    assert chained == [3, 3]  # an address is words, too: nothing is fetched


def test_the_llama_index_retriever_gives_what_a_search_finds(terminal: Terminal) -> None:
    pytest.importorskip("llama_index.core", minversion="0.10", reason="llama-index-core isn't installed")
    matches = search(terminal)
    *lines, more = run(terminal, LLAMA_INDEX + MORE_LLAMA_INDEX)
    assert [line.split(maxsplit=2) for line in lines] == [
        [str(match["image_id"]), str(match["score"]), str(terminal.folder / "photos" / Path(str(match["uri"])).name)]
        for match in matches
    ]
    first, same, metadata, kind = json.loads(more)
    assert first == same == str(matches[0]["image_id"])
    assert metadata["album"] == "2026"
    assert kind == "image/jpeg"
