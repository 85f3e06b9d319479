"""What the tests of a model change share: a second model, what a worker does for it, and what searches give."""

from __future__ import annotations

import dataclasses
from typing import Any

import psycopg
import psycopg.sql

from siglip_ingest import active_model, labeling
from siglip_ingest.db import Database, models
from tests.database.helpers import (
    INFO,
    NamedEmbedder,
    claim,
    complete,
    completed,
    make_named,
    states,
    text_vector,
    unit_vectors,
)

NEW = dataclasses.replace(INFO, name="new/model")  # of the same dimension
IMAGES = 40


def fetch(database: Database, statement: str, *parameters: Any, fetches: bool = True) -> list[tuple[Any, ...]]:
    with database.connection() as connection:
        if not fetches:
            connection.execute(statement.encode())
            return []
        return connection.execute(statement, parameters).fetchall()  # type: ignore[call-overload, no-any-return]


def embed_queued(database: Database, model_id: int, seed: int = 2) -> int:
    """Do what a worker of a model does: embed what is queued; returns how many images that were."""
    with database.connection() as connection:
        queued = states(connection, model_id).get("queued", 0)
        if not queued:
            return 0
        chunk = claim(connection, model_id, 100_000)
        vectors = unit_vectors(len(chunk.items), seed=seed)
        return complete(
            connection, model_id, chunk.lease_token, [completed(item, vectors[n]) for n, item in enumerate(chunk.items)]
        )


def url_of(database: Database) -> str:
    """The URL of a database, for sessions of one's own."""
    with database.connection() as connection:
        return psycopg.conninfo.make_conninfo(connection.info.dsn, password=connection.info.password)


def active_id(database: Database) -> int:
    ((found,),) = fetch(database, "SELECT model_id FROM siglip.models WHERE is_active")
    return int(found)


def answers(database: Database, model_id: int, image_id: int, query: str) -> dict[str, Any]:
    """What each kind of search gives under one model."""
    asked: dict[str, tuple[str, tuple[Any, ...]]] = {
        "text": ("SELECT image_id FROM siglip.search_images(%s, 5, model_id => %s)", (query, model_id)),
        "image": ("SELECT image_id FROM siglip.similar_images(%s, 5, model_id => %s)", (image_id, model_id)),
        "label": (
            "SELECT image_id FROM siglip.images_with_label('pets', 'cat', 0, 5, model_id => %s)",
            (model_id,),
        ),
        "counts": ("SELECT images FROM siglip.count_labels('pets', 0.2, model_id => %s)", (model_id,)),
    }
    return {name: fetch(database, statement, *parameters) for name, (statement, parameters) in asked.items()}


def add_labels_and_texts(database: Database, *model_ids: int) -> None:
    labeling.create_label_set(database, make_named, "pets", ["cat", "dog"])
    for model_id in model_ids:
        with database.connection() as connection:
            info = models.described_model(connection, models.get_model(connection, model_id).name)[1]
            for n in range(10):
                connection.execute(
                    "INSERT INTO siglip.texts (model_id, query, embedding) VALUES (%s, %s, %s::real[]::public.halfvec)",
                    [model_id, f"query {n}", text_vector(f"{info.name}: query {n}").tolist()],
                )
        labeling.embed_labels_for_model(database, NamedEmbedder(info), model_id)


def steps(database: Database) -> list[str]:
    said: list[str] = []
    active_model.free_dropped(database, said.append)
    return said


def states_of(database: Database, model_id: int) -> dict[str, int]:
    with database.connection() as connection:
        return states(connection, model_id)
