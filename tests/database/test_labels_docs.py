"""docs/labels.md is run, statement by statement, in its order."""

from __future__ import annotations

import threading

import pytest

from siglip_ingest import labeling
from siglip_ingest.cli import cli
from siglip_ingest.db import Database
from tests.database.helpers import FakeEmbedder, index_images, unit_vectors
from tests.database.test_exploring_docs import DOCS, blocks_of, statements_of
from tests.programs import wait_until

DOCUMENT = (DOCS / "labels.md").read_text()
LISTENING, CLIENT = blocks_of("python", DOCUMENT)


def test_the_sql_runs(database: Database, model_id: int) -> None:
    index_images(database, model_id, unit_vectors(20, seed=3))
    statements = statements_of(DOCUMENT)
    assert len(statements) >= 20
    for statement in statements:
        with database.connection() as connection:
            assert connection.execute(statement.encode()).description
        labeling.embed_labels_for_model(database, FakeEmbedder(), model_id)
    with database.connection() as connection:
        marks = connection.execute("SELECT image_id, is_accepted FROM siglip.labeled_images WHERE marked_by <> ''")
        assert sorted(marks.fetchall()) == [(1, True), (7, False)]


def test_the_python_runs(database_url: str, database: Database, model_id: int) -> None:
    index_images(database, model_id, unit_vectors(20, seed=3))
    client = f"SiglipClient(database_url={database_url!r}, embedder=FakeEmbedder())"
    code = CLIENT.replace("SiglipClient.from_environment(os.environ)", client)
    exec(f"from tests.database.helpers import FakeEmbedder\n{code}", {})  # our own document
    with database.connection() as connection:
        assert connection.execute("SELECT count(*) FROM siglip.label_sets").fetchone() == (0,)


def test_who_listens_hears_of_new_images(
    database_url: str, database: Database, model_id: int, capsys: pytest.CaptureFixture[str]
) -> None:
    labeling.create_label_set(database, lambda _: FakeEmbedder(), "scenes", ["forest", "sunset"], keep=True)
    with database.connection() as connection:
        connection.execute("SELECT siglip.set_threshold('scenes', 'sunset', 0.01)")
    with database.connection() as connection:
        connection.execute("SELECT siglip.refresh_labels()")
    code = LISTENING.replace("postgresql://localhost/photos", database_url)
    code = code.replace("notifies()", "notifies(timeout=5)")
    listener = threading.Thread(target=exec, args=(code, {}))  # our own document
    listener.start()
    wait_until(lambda: database.fetch(b"SELECT FROM pg_stat_activity WHERE query = 'LISTEN siglip_image_labels'"))
    image_ids = index_images(database, model_id, unit_vectors(3, seed=3))
    listener.join(30)
    assert f"new sunsets: {image_ids}" in capsys.readouterr().out


def test_each_command_is_there() -> None:
    (block,) = blocks_of("console", DOCUMENT)
    group = cli.commands["label"]
    for line in block.splitlines():
        _, label, command, *_ = line.split()
        assert label == "label"
        assert command in group.commands  # type: ignore[attr-defined]
