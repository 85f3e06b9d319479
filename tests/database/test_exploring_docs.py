"""docs/exploring.md and docs/scores.md are run, statement by statement."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from siglip_ingest import labeling
from siglip_ingest.db import Database
from tests.database.helpers import index_images, make_fake, unit_vectors
from tests.database.listeners import listening

DOCS = Path(__file__).parents[2] / "docs"
EXPLORING, SCORES = ((DOCS / name).read_text() for name in ("exploring.md", "scores.md"))


def blocks_of(language: str, document: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", document, flags=re.DOTALL)


def statements_of(*documents: str) -> list[str]:
    """The SQL of documents, statement by statement."""
    blocks = [block for document in documents for block in blocks_of("sql", document)]
    parts = [part.strip() for block in blocks for part in re.split(r";[^\n]*(?:\n|$)", block)]
    return [part for part in parts if part]


STATEMENTS = statements_of(EXPLORING, SCORES)
PYTHON = [*blocks_of("python", EXPLORING), *blocks_of("python", SCORES)]


@pytest.fixture
def _collection(database: Database, model_id: int) -> None:
    labeling.create_label_set(database, make_fake, "scenes", ["boat", "sunset", "night sky", "forest"])
    labeling.create_label_set(database, make_fake, "weather", ["fog"])
    metadata = [{"taken_at": f"2026-07-{1 + n % 28:02}T10:00:00"} for n in range(50)]
    index_images(database, model_id, unit_vectors(50, seed=3), collection="holiday", metadata=metadata)


@pytest.mark.usefixtures("_collection")
@pytest.mark.parametrize("statement", STATEMENTS)
def test_the_sql_runs(database: Database, statement: str) -> None:
    with listening(database), database.connection() as connection:
        assert connection.execute(statement.encode()).description


@pytest.mark.usefixtures("_collection")
@pytest.mark.parametrize("code", PYTHON)
def test_the_python_runs(database_url: str, code: str) -> None:
    client = f"SiglipClient(database_url={database_url!r}, embedder=FakeEmbedder())"
    code = code.replace("from siglip_ingest import create_label_set", "from siglip_ingest import SiglipClient")
    code = code.replace("SiglipClient.from_environment(os.environ)", client).replace(
        "create_label_set(", f"{client}.create_label_set("
    )
    exec(f"from tests.database.helpers import FakeEmbedder\n{code}", {})  # our own document


def test_there_is_something_to_run() -> None:
    assert len(STATEMENTS) >= 12
    assert len(PYTHON) == 2
