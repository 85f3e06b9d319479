"""A user's program is checked against the package's types, as an editor or `mypy --strict` does it."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import siglip_ingest
from siglip_ingest import SiglipClient

PROGRAM = """
from pathlib import Path

import numpy as np

from siglip_ingest import AsyncIngestion, AsyncSiglipClient, ImageResults, Results
from siglip_ingest import ImageMatch, ImageSource, LabelScore, SiglipClient, VectorImport
from siglip_ingest import RecallMeasurement, export_vectors, import_vectors, index_recall, tune_search
from siglip_ingest import create_label_set, enqueue_images, label_scores, search_images, similar_images
from siglip_ingest import image, text, vector
from siglip_ingest.siglip import AutoModel, AutoProcessor


def find(words: str) -> list[ImageMatch]:
    ingestion = enqueue_images([Path("photos"), ImageSource("a.jpg", key="7")], collection="holiday", metadata={"n": 1})
    if ingestion.wait(timeout_s=60.0).failed:
        print([failure.error_message.upper() for failure in ingestion.failures()])
    matches = search_images(words, limit=5, filter={"album": "2026"}, min_score=0.5)
    matches += search_images(np.ones(768, dtype=np.float16)) + search_images([0.5, 1])
    matches += search_images(["beach", -text("people"), 0.5 * image(42), image(Path("a.jpg")) * 2, vector([0.5, 1])])
    matches += search_images(["beach", Path("a.jpg")]) + search_images(-text("a") * -1.0)
    return matches + similar_images(matches[0].image_id, limit=3, min_score=0.1)


with SiglipClient(database_url="postgresql://localhost/photos", model="demo") as client:
    client.create_label_set("scenes", {"sunset": ["a sunset over water"]}, replace=True)
    scores: list[LabelScore] = client.label_scores(Path("query.jpg"), "scenes")
    create_label_set("skies", ["sunset", "night"], template="a photo of {label}")
    done: VectorImport = client.import_vectors(Path("v.npy"), "items.jsonl", model="clip", normalize=True)
    exported: int = export_vectors("v.parquet", collection="holiday") + import_vectors("v.parquet", model="x").imported
    measured: list[RecallMeasurement] = client.index_recall(50, limit=5, filter={"album": "2026"})
    chosen: list[int] = [step.ef_search for step in tune_search(0.95) if step.is_chosen] + [index_recall()[0].queries]
    best: float = label_scores(42, "skies")[0].score


async def find_meanwhile(words: str) -> list[ImageMatch]:
    async with AsyncSiglipClient(database_url="postgresql://localhost/photos", max_threads=4) as client:
        ingestion: AsyncIngestion = await client.enqueue_images(Path("photos"), progress=False)
        done: list[int] = [counts.done async for counts in ingestion.follow(timeout_s=60)]
        alike: list[float] = [pair.similarity async for pair in client.near_duplicates()]
        matches = await client.search_images([words, -text("people")], limit=sum(done) + len(alike))
        best: ImageResults[ImageMatch] = matches[:3]
        scores: Results[LabelScore] = await client.label_scores(best[0].image_id, "scenes")
        scores[:1].show()
        plan, more = await client.sync_folder("photos")
        if more is not None and plan.new:
            print((await more.wait()).done, best.to_pandas().shape)
        return best


model, processor = AutoModel.from_pretrained("demo"), AutoProcessor.from_pretrained("demo")
"""

WRONG = [
    pytest.param('search_images("a", limt=5)', "limt", id="a misspelt parameter"),
    pytest.param('search_images(["a", {"b"}])', "list-item", id="a set in a list"),
    pytest.param('import_vectors("v.npy", "items.jsonl")', "model", id="an import without a model"),
    pytest.param('tune_search("0.98")', "arg-type", id="a recall as text"),
    pytest.param('similar_images("42")', "arg-type", id="an id as text"),
    pytest.param('search_images("a")[0].uril', "uril", id="a misspelt attribute"),
    pytest.param('create_label_set("scenes", "sunset, night", templates="{label}")', "templates", id="another option"),
    pytest.param('AsyncSiglipClient().search_images("a", limt=5)', "limt", id="a misspelt parameter of a coroutine"),
    pytest.param('AsyncSiglipClient().search_images("a")[0]', "index", id="a coroutine that isn't awaited"),
    pytest.param('search_images("a")[:2].image_id', "image_id", id="an attribute of a row of results"),
    pytest.param("enqueue_images(5)", "arg-type", id="a number as a source"),
]


@pytest.fixture(scope="module")
def errors(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What mypy says of both programs; they lie outside of the repository, so that its settings don't count."""
    folder = tmp_path_factory.mktemp("program")
    (folder / "program.py").write_text(PROGRAM)
    calls = "\n".join(str(parameter.values[0]) for parameter in WRONG)
    names = (
        "AsyncSiglipClient",
        "create_label_set",
        "enqueue_images",
        "import_vectors",
        "search_images",
        "similar_images",
        "tune_search",
    )
    imported = f"from siglip_ingest import {', '.join(names)}"
    (folder / "wrong.py").write_text(f"{imported}\n{calls}\n")
    # The cache of `make check`: nearly all of the time goes into reading torch.
    cache = Path(__file__).parents[2] / ".mypy_cache"
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(cache), "program.py", "wrong.py"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False).stdout.splitlines()


def test_a_users_program_is_fully_typed(errors: list[str]) -> None:
    assert errors[-1].startswith("Found ")  # mypy ran, and found the wrong calls
    assert [line for line in errors if line.startswith("program.py")] == []


@pytest.mark.parametrize("number", range(len(WRONG)), ids=[str(parameter.id) for parameter in WRONG])
def test_wrong_calls_are_type_errors(errors: list[str], number: int) -> None:
    found = [line for line in errors if line.startswith(f"wrong.py:{number + 2}:")]
    assert any(str(WRONG[number].values[1]) in line for line in found), found


@pytest.mark.parametrize(
    "name", ["enqueue_images", "search_images", "similar_images", "create_label_set", "label_scores"]
)
def test_the_functions_have_the_clients_parameters_and_docstrings(name: str) -> None:
    function, method = getattr(siglip_ingest, name), getattr(SiglipClient, name)
    of_method = inspect.signature(method)
    without_self = of_method.replace(parameters=list(of_method.parameters.values())[1:])
    assert inspect.signature(function) == without_self
    assert function.__doc__ == method.__doc__
    assert "Args:" in function.__doc__
    assert not any(parameter.kind is parameter.VAR_KEYWORD for parameter in without_self.parameters.values())
