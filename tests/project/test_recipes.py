"""docs/recipes.md and docs/python.md are run, with real services: web applications, a nightly job, a notebook."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from siglip_ingest import SiglipClient
from siglip_ingest.demo.world import write_images
from tests.project.test_docs import ROOT, code_blocks

RECIPES = {
    name: block
    for block in code_blocks("python", (ROOT / "docs/recipes.md").read_text())
    for name in re.findall(r"\A# (\S+\.py)\n", block)
}
CELLS = code_blocks("python", (ROOT / "docs/python.md").read_text())
IMAGES = 8
ASYNCHRONOUS_CELL = """
from siglip_ingest import AsyncSiglipClient
client = AsyncSiglipClient.from_environment(os.environ)
await client.search_images("a castle", limit=2)
"""


@pytest.fixture(scope="module")
def machine(_template_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimpleNamespace]:
    """A folder with photos that are indexed, and the variables that a program there has."""
    folder = tmp_path_factory.mktemp("recipes")
    shutil.copytree(_template_home, folder / "home", symlinks=True)
    write_images(folder / "photos", IMAGES, seed=80_000, size=(160, 120))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SIGLIP_")}
    environment |= {"SIGLIP_HOME": str(folder / "home"), "SIGLIP_MODEL": "demo"}
    with SiglipClient.from_environment(environment) as client:
        assert client.enqueue_images(folder / "photos", progress=False).wait(timeout_s=120).done == IMAGES
        yield SimpleNamespace(folder=folder, environment=environment, client=client)


@pytest.fixture
def program(machine: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], dict[str, Any]]:
    """Loads a recipe in this process, with the machine's variables."""
    for name in [name for name in os.environ if name.startswith("SIGLIP_")]:
        monkeypatch.delenv(name)
    for name, value in machine.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(machine.folder)

    def load(name: str) -> dict[str, Any]:
        names: dict[str, Any] = {"__name__": name}
        exec(compile(RECIPES[name], name, "exec", dont_inherit=True), names)
        return names

    return load


def first_photo(machine: SimpleNamespace) -> Path:
    return min((machine.folder / "photos").iterdir())


def test_the_fastapi_application_searches_and_indexes(machine: SimpleNamespace, program: Any) -> None:
    pytest.importorskip("fastapi")
    testing = pytest.importorskip("fastapi.testclient")
    with testing.TestClient(program("api.py")["app"]) as api:
        found = api.get("/search", params={"q": "a boat", "limit": 3}).json()
        assert len(found) == 3
        assert set(found[0]) == {"image_id", "uri", "similarity", "score", "metadata"}
        content = first_photo(machine).read_bytes()
        (itself, *_) = api.post("/search", content=content).json()
        assert itself["similarity"] > 0.99
        assert itself["image_id"] not in [
            m["image_id"] for m in api.get(f"/images/{itself['image_id']}/similar").json()
        ]

        added = api.post("/images", content=content)
        assert added.status_code == 202
        with api.stream("GET", f"/ingestions/{added.json()['ingestion_id']}/events") as answer:
            lines = [line for line in answer.iter_lines() if line]
        assert lines[-1] == "data: 0 queued, 0 in progress, 1 done, 0 failed"

        for path, status, words in (
            ("/search?q=", 422, "query"),
            ("/search?q=a&limit=0", 422, "limit"),
            ("/images/999999/similar", 404, "999999"),
        ):
            refused = api.get(path)
            assert (refused.status_code, words in refused.json()["detail"]) == (status, True)
        assert api.post("/search", content=b"no image").status_code == 422


def test_the_flask_application_searches(machine: SimpleNamespace, program: Any) -> None:
    pytest.importorskip("flask")
    names = program("web.py")
    with names["client"]:
        web = names["app"].test_client()
        found = web.get("/search", query_string={"q": "a boat", "limit": 2}).json
        assert [set(row) for row in found] == [{"image_id", "uri", "score"}] * 2
        refused = web.get("/search", query_string={"q": "a", "limit": 0})
        assert (refused.status_code, "limit" in refused.json["error"]) == (422, True)


def test_the_nightly_job_follows_a_folder(
    machine: SimpleNamespace, program: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = machine.folder / "nightly"
    shutil.copytree(machine.folder / "photos", folder)
    main = program("nightly.py")["main"]
    assert main(folder) == 0
    assert f"{IMAGES} new, 0 changed" in capsys.readouterr().out
    min(folder.iterdir()).unlink()
    (folder / "broken.jpg").write_bytes(b"no image")
    assert main(folder) == 1
    captured = capsys.readouterr()
    assert "1 new, 0 changed, 0 moved, 1 deleted" in captured.out
    assert "broken.jpg: " in captured.err


def test_the_asynchronous_program_runs(machine: SimpleNamespace) -> None:
    (code,) = [cell for cell in CELLS if "asyncio.run" in cell]
    output = run_python(machine, code)
    assert re.match(r"(8|9|10) (8|9|10)\n", output)  # other tests may have added images
    assert f"{IMAGES} done, 0 failed" in output


def run_python(machine: SimpleNamespace, code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=machine.folder,
        env=machine.environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_other_python_of_the_document_runs(machine: SimpleNamespace) -> None:
    pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    pytest.importorskip("rich")
    code = "\n".join(cell for cell in CELLS if "asyncio" not in cell)
    output = run_python(machine, f"{code}\nprint(folders.index[0], table.num_rows == len(frame))")
    assert "/photos/" in output
    assert output.rstrip().endswith("True")


@pytest.mark.slow
def test_a_notebook_shows_its_results_as_images(machine: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    nbclient = pytest.importorskip("nbclient")
    nbformat = pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel")
    pytest.importorskip("pandas")
    monkeypatch.setenv("IPYTHONDIR", str(machine.folder / "ipython"))
    variables = {name: value for name, value in machine.environment.items() if name.startswith("SIGLIP_")}
    cells = [
        f"import os\nos.environ.update({variables})",
        *(cell for cell in CELLS if "asyncio" not in cell and ".show()" not in cell),
        ASYNCHRONOUS_CELL,
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    nbclient.NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(machine.folder)}}).execute()
    shown = [
        output["data"]["text/html"].count("data:image/webp;base64,")
        for cell in notebook.cells
        for output in cell.outputs
        if "text/html" in output.get("data", {})
    ]
    assert shown[0] >= IMAGES
    assert len(shown) == 3
    assert shown[-1] == 2
