"""docs/vectors.md is run as it is written; and what the commands print."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import psycopg
import pytest

from siglip_ingest import SiglipClient
from tests.cli.conftest import Terminal
from tests.database.helpers import unit_vectors

DOCUMENT = (Path(__file__).parents[2] / "docs" / "vectors.md").read_text(encoding="utf-8")


def code_blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", DOCUMENT, flags=re.DOTALL)


@pytest.fixture
def shell(database_url: str, tmp_path: Path) -> Terminal:
    """A terminal on a database of its own, in a folder with the document's files."""
    np.save(tmp_path / "clip.npy", unit_vectors(20))
    lines = [{"uri": f"https://example.com/{n}.jpg", "collection": ["holiday", "work"][n % 2]} for n in range(20)]
    (tmp_path / "clip.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("SIGLIP_")}
    return Terminal(tmp_path, {**inherited, "SIGLIP_DATABASE_URL": database_url})


def test_the_documents_commands_and_its_python_run(shell: Terminal) -> None:
    lines = [line for block in code_blocks("sh") for line in block.splitlines()]
    printed = []
    for line in lines:
        done = shell.run(*shlex.split(line)[1:])
        assert done.returncode == 0, done.stderr
        printed.append(done.stdout)
    assert printed == ["20 imported, 0 had vectors already.\n", "20 exported.\n", "10 exported.\n"]
    for line in code_blocks("json"):
        assert json.loads(line)["uri"]
    (code,) = code_blocks("python")
    (shell.folder / "program.py").write_text(code)
    command = [sys.executable, "-W", "error", "program.py"]
    done = subprocess.run(command, cwd=shell.folder, env=shell.environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("0 imported, 20 had vectors already\nhttps://example.com/0.jpg 1.0")


def test_the_documents_sql_runs(database_url: str) -> None:
    (csv,) = code_blocks("csv")
    with psycopg.connect(database_url, autocommit=True) as connection:
        for block in code_blocks("sql"):
            for statement in (part.encode() for part in re.split(r";\n(?=\S|$)", block) if part.strip()):
                if statement.startswith(b"COPY incoming"):
                    with connection.cursor().copy(statement) as copy:
                        copy.write(csv)
                elif statement.startswith(b"COPY ("):
                    with connection.cursor().copy(statement) as copy:
                        written = b"".join(copy)
                elif statement.startswith(b"SELECT uri"):
                    found = connection.execute(statement).fetchall()
                else:
                    connection.execute(statement)
    assert [row[0] for row in found] == ["https://example.com/1.jpg", "https://example.com/2.jpg"]
    assert written.decode().count("https://example.com/") == 2
    with SiglipClient(database_url=database_url) as client:
        assert client.search_images([0.5, -0.1, 0.4, 0.3], limit=1)[0].uri == "https://example.com/2.jpg"


def test_json_has_null_where_there_is_no_score(shell: Terminal) -> None:
    done = shell.run("vectors", "import", "clip.npy", "--items", "clip.jsonl", "--model", "clip", "--json")
    assert json.loads(done.stdout) == {"model_id": 1, "imported": 20, "skipped": 0, "replaced": 0}
    matches = json.loads(shell.run("search", "--like", "1", "--limit", "2", "--json").stdout)
    assert [match["score"] for match in matches] == [None, None]
    assert shell.run("search", "--like", "1", "--limit", "2").stdout.splitlines()[1].split()[1] == "-"
    exported = shell.run("vectors", "export", "out.npy", "--items", "out.jsonl", "--json")
    assert json.loads(exported.stdout) == {"exported": 20}


def test_an_external_model_is_listed_counted_and_switched_to(shell: Terminal) -> None:
    for name in ("one", "two words"):
        done = shell.run("vectors", "import", "clip.npy", "--items", "clip.jsonl", "--model", name)
        assert done.returncode == 0, done.stderr
    used = shell.run("models", "use", "two words")
    assert (used.returncode, used.stdout) == (0, "The active model is 'two words'.\n")
    first, second = json.loads(shell.run("models", "list", "--json").stdout)["database"]
    assert (first["active"], second["active"], second["external"], second["embedded"]) == (False, True, True, 20)
    assert "20 done" in shell.run("status").stdout
    assert shell.run("search", "--like", "1", SIGLIP_MODEL="two words").returncode == 0


MISTAKES = {
    "a text under an external model": (["search", "a boat"], "external"),
    "an image under an external model": (["index", "https://example.com/new.jpg"], "external"),
    "a worker of an external model": (["worker"], "external"),
    "a missing file": (
        ["vectors", "import", "no.npy", "--items", "clip.jsonl", "--model", "m"],
        "no.npy can't be read",
    ),
    "no items": (["vectors", "import", "clip.npy", "--model", "m"], "--items"),
    "another length": (
        ["vectors", "import", "clip.npy", "--items", "clip.jsonl", "--model", "m", "--dimension", "8"],
        "16 elements; 8",
    ),
    "an export without items": (["vectors", "export", "out.npy"], "--items"),
    "an export of no model": (["vectors", "export", "out.parquet", "--model", "no such"], "no such"),
}


def test_mistakes_get_a_sentence(shell: Terminal, broker_url: str) -> None:
    assert shell.run("vectors", "import", "clip.npy", "--items", "clip.jsonl", "--model", "clip").returncode == 0
    for name, (arguments, words) in MISTAKES.items():
        done = shell.run(*arguments, SIGLIP_BROKER_URL=broker_url)
        assert done.returncode == 1, (name, done.stdout)
        assert words in done.stderr, name
        assert "Traceback" not in done.stderr, name
