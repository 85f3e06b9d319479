"""A text of which SigLIP 1's tokenizer leaves nothing is refused on every way in: padding alone fits any image.

The model is a tiny SigLIP with random weights, the listener is a worker's own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import psycopg
import pytest

from siglip_ingest import SiglipClient, image, labeling, text as words
from siglip_ingest.db import Database
from siglip_ingest.db.models import get_model
from siglip_ingest.embedders.remote import RemoteEmbedder
from siglip_ingest.errors import InvalidInputError
from siglip_ingest.siglip.embedder import TorchEmbedder
from siglip_ingest.siglip.zero_shot import classify
from siglip_workers.device import Device
from siglip_workers.queries.text_listener import TextListener
from tests.database.helpers import add_model, index_images, unit_vectors
from tests.images import make_image
from tests.workers.helpers import load_tiny_embedder
from tests.workers.listeners import wait_until_heard

NOTHING = ["!!!", "-- ... ?!", "</s>"]
LEAVES_NOTHING = "leaves nothing of the text"


@pytest.fixture
def embedder(tiny_checkpoint: Path) -> TorchEmbedder:
    return load_tiny_embedder(tiny_checkpoint)


@pytest.fixture
def model_id(database: Database, embedder: TorchEmbedder) -> int:
    with database.connection() as connection:
        model_id = add_model(connection, embedder.info)
    index_images(database, model_id, unit_vectors(20, embedder.info.dimension))
    return model_id


@pytest.fixture
def worker(database: Database, model_id: int, embedder: TorchEmbedder) -> Iterator[None]:
    listener = TextListener(database, database, cast("Device", embedder), model_id, max_cached_texts=1000)
    listener.start()
    try:
        wait_until_heard(database, model_id)
        yield
    finally:
        listener.close()


@pytest.fixture(params=["torch", "a worker"])
def client(
    request: pytest.FixtureRequest,
    database: Database,
    database_url: str,
    model_id: int,
    embedder: TorchEmbedder,
    worker: None,
) -> Iterator[SiglipClient]:
    if request.param == "torch":
        opened = SiglipClient(database_url=database_url, embedder=embedder)
    else:
        with database.connection() as connection:
            row = get_model(connection, model_id)
        opened = SiglipClient(database_url=database_url, embedder=RemoteEmbedder(row, database))
    with opened as client:
        yield client


PYTHON: dict[str, Callable[[SiglipClient, str], Any]] = {
    "search": lambda client, text: client.search_images(text),
    "all that are relevant": lambda client, text: client.relevant_images(text),
    "diverse": lambda client, text: client.diverse_images(text),
    "a part": lambda client, text: client.search_images([image(1), text]),
    "an unwanted part": lambda client, text: client.search_images(["a cat", -words(text)]),
    "labels": lambda client, text: client.create_label_set("new", ["a cat", text]),
    "prompts": lambda client, text: client.create_label_set("new", {"cat": ["a cat", text]}),
}


@pytest.mark.parametrize("text", NOTHING)
@pytest.mark.parametrize("way", PYTHON)
def test_python_refuses_it(client: SiglipClient, way: str, text: str) -> None:
    with pytest.raises(InvalidInputError, match=LEAVES_NOTHING):
        PYTHON[way](client, text)
    assert labeling.list_label_sets(client.database) == []
    PYTHON[way](client, "a dog!")


@pytest.mark.parametrize("text", NOTHING)
@pytest.mark.parametrize(
    "statement",
    [
        "SELECT siglip.embed_text(%s)",
        "SELECT * FROM siglip.search_images(%s)",
        "SELECT * FROM siglip.relevant_images(%s)",
        "SELECT * FROM siglip.diverse_images(%s::text)",
        "SELECT * FROM siglip.search_images(siglip.compose(siglip.like(1), %s))",
        "SELECT * FROM siglip.search_images(siglip.compose(siglip.like(1), siglip.minus(%s)))",
    ],
)
def test_sql_refuses_it(database_url: str, model_id: int, worker: None, statement: str, text: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        for _ in range(2):  # asked for the first time, and remembered
            with pytest.raises(psycopg.errors.InvalidParameterValue, match=LEAVES_NOTHING):
                connection.execute(statement.encode(), [text])
        assert connection.execute("SELECT count(*) FROM siglip.texts WHERE embedding IS NOT NULL").fetchone() == (0,)


@pytest.mark.parametrize("text", NOTHING)
def test_zero_shot_classification_refuses_it(embedder: TorchEmbedder, text: str) -> None:
    for labels in (["a cat", text], {"cat": [text]}):
        with pytest.raises(InvalidInputError, match=LEAVES_NOTHING):
            classify(make_image(8, 8), labels, embedder=embedder)


def test_a_label_that_sql_stored_goes_without_a_vector(
    database: Database, model_id: int, embedder: TorchEmbedder, caplog: pytest.LogCaptureFixture
) -> None:
    with database.connection() as connection:
        connection.execute("INSERT INTO siglip.label_sets (name, template) VALUES ('new', 'a photo of {label}')")
        connection.execute(
            "INSERT INTO siglip.labels (label_set_id, position, label, prompts) VALUES"
            " (1, 0, '!!!', '{a photo of !!!}'), (1, 1, 'cat', '{a photo of cat}'), (1, 2, '???', '{a puzzle}'),"
            " (1, 3, 'dog', '{a dog,...}')"
        )
    assert labeling.embed_labels_for_model(database, embedder, model_id) == 2
    assert caplog.text.count(LEAVES_NOTHING) == 2
    with database.connection() as connection:
        rows: list[Any] = connection.execute(
            "SELECT l.label FROM siglip.labels AS l JOIN siglip.label_embeddings USING (label_id) ORDER BY 1"
        ).fetchall()
    assert rows == [("???",), ("cat",)]  # that one has a prompt of its own: it is a name, which no model reads


def test_a_worker_is_asked_only_for_doubtful_labels(database: Database, model_id: int, worker: None) -> None:
    with database.connection() as connection:
        remote = RemoteEmbedder(get_model(connection, model_id), database)
    refusals = remote.describe_refusals(["a cat", "日本", "3", "!!!", "<3", "</s>"])
    assert [refusal is None for refusal in refusals] == [True, True, True, False, True, False]
    with database.connection() as connection:
        rows: list[Any] = connection.execute('SELECT query FROM siglip.texts ORDER BY query COLLATE "C"').fetchall()
    assert rows == [("!!!",), ("</s>",), ("<3",)]


def test_what_padding_alone_would_find(embedder: TorchEmbedder) -> None:
    """Why it is refused: the reference embeds it without a word, and to one and the same vector."""
    vectors = embedder.embed_tokens(embedder.tokenize(NOTHING[:2]))
    np.testing.assert_allclose(vectors[0], vectors[1], atol=1e-6)
