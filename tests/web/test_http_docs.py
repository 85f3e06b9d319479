"""docs/http.md: what it types is run, what it says of scopes and limits is what the code has."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from siglip_ingest.client import SiglipClient
from siglip_ingest.db.keys import SCOPES
from siglip_ingest.settings import Settings
from siglip_ingest.web import embedding_types, embeddings, keys
from siglip_ingest.web.app import create_app
from tests.web.conftest import Web, run_server

PAGE = (Path(__file__).parents[2] / "docs" / "http.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, flags=re.DOTALL)


@pytest.fixture(scope="module")
def reader(own_web: Web) -> Any:
    """Who reads the page: a folder with a photo, and a server at $API."""
    client = SiglipClient(settings=own_web.settings, embedder=own_web.embedder)
    photo = sorted((own_web.folder / "images").iterdir())[0]
    folder = own_web.folder / "reader"
    folder.mkdir()
    (folder / "photo.jpg").write_bytes(photo.read_bytes())
    with run_server(create_app(client)) as url:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("SIGLIP_")}
        environment = {
            **inherited,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "API": url,
            "SIGLIP_DATABASE_URL": str(own_web.settings.database_url),
        }
        yield folder, environment


def run(reader: Any, script: str) -> subprocess.CompletedProcess[str]:
    folder, environment = reader
    return subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


CURL = [block for block in blocks("sh") if "curl" in block]


@pytest.mark.parametrize("block", CURL, ids=lambda block: block.split("\n")[0][:40])
def test_what_is_typed_works(reader: Any, block: str) -> None:
    fails = "999999" in block
    done = run(reader, block.replace("curl -s", "curl -sS" if fails else "curl -sS --fail-with-body"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert ('"status":404' in done.stdout) == fails
    assert done.stdout.count('"status":4') == fails


def test_keys_are_typed_as_they_are_made(reader: Any) -> None:
    (block,) = [block for block in blocks("sh") if "keys create" in block]
    done = run(reader, block)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("siglip_")


def test_openais_client_works_as_it_is_shown(reader: Any) -> None:
    pytest.importorskip("openai", reason="openai isn't installed: the extra `clients` has it")
    (code,) = blocks("python")
    _, environment = reader
    script = f"API, MODEL = {environment['API']!r}, 'demo'\n{code}"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert re.fullmatch(r"\d+ \d+\n", done.stdout)


def test_the_page_says_what_the_code_has() -> None:
    assert re.findall(r"^\| `(search|write|admin)` \|", PAGE, flags=re.MULTILINE) == list(SCOPES)
    assert f"up to {embedding_types.MAX_TEXTS:,} texts and {embeddings.MAX_IMAGES} images" in PAGE
    assert "within five seconds" in PAGE
    assert keys.KEPT_S == 5
    assert set(re.findall(r"SIGLIP_[A-Z_]+", PAGE)) <= Settings.variables().keys()
