"""Nothing compares vectors of two models: every way in answers as if its model were the only one.

The first model is asked alone, and again beside a second one of the same length, whose vectors are quite other ones.
The second is asked beside the first, as the active model, and alone, once the first is dropped. A function or a verb
that is new isn't covered by that: `test_every_function_is_covered` and its like name it, and it is to be written into
one of the lists of `every_call`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest
from numpy.typing import NDArray

from siglip_ingest import (
    Calibration,
    CalibrationVersion,
    SiglipClient,
    active_model,
    image,
    labeling,
    search,
    text,
)
from siglip_ingest.db import Database, model_changes, models
from siglip_ingest.db.connection.vectors import half_vector
from siglip_ingest.db.models import ModelKey
from siglip_ingest.db.search import SearchOptions
from siglip_ingest.types import ModelInfo
from siglip_ingest.vectors import exporting
from tests import segments
from tests.database.every_call import (
    ACTIVE_CALLS,
    ACTIVE_WRITING_CALLS,
    CALLS,
    COMPARED_VERBS,
    INNER,
    MODEL_CHANGES,
    OTHER_CHANGES,
    OTHER_VERBS,
    RELATIONS,
    WRITING_CALLS,
)
from tests.database.helpers import NamedEmbedder, text_vector, unit_vectors
from tests.segments import AT_REST, DIMENSION, WIDE, add_contents, maintain_all, store_vectors

COUNT = 600
OTHER = dataclasses.replace(WIDE, name="other", logit_scale=2.0, logit_bias=-1.0)


def make_named(model: ModelKey) -> NamedEmbedder:
    return NamedEmbedder(dataclasses.replace(WIDE, name=model.name, revision=model.revision))


@pytest.fixture
def database(database: Database) -> Database:
    with database.connection() as connection:
        segments.shrink_segments(connection)
        connection.execute(
            "CREATE OR REPLACE FUNCTION siglip.rows_per_landmark() RETURNS integer LANGUAGE sql IMMUTABLE PARALLEL SAFE"
            " RETURN 2"
        )
    return database


def fill(database: Database, info: ModelInfo, model_id: int, vectors: dict[int, NDArray[np.float32]]) -> None:
    """Give a model vectors of all contents, texts and labels, an index and landmarks."""
    store_vectors(database, model_id, vectors)
    with database.connection() as connection:
        for n in range(10):
            connection.execute(
                "INSERT INTO siglip.texts (model_id, query, embedding) VALUES (%s, %s, %s::text::halfvec)",
                [model_id, f"query {n}", half_vector(text_vector(f"{info.name}: query {n}", DIMENSION)).to_text()],
            )
    labeling.embed_labels_for_model(database, NamedEmbedder(info), model_id)
    maintain_all(database, AT_REST)
    with database.connection() as connection:
        indexes: Any = connection.execute(
            "SELECT count(*) FROM siglip.segments WHERE model_id = %s AND is_index_valid", [model_id]
        ).fetchone()
        landmarks: Any = connection.execute(
            "SELECT count(*) FROM siglip.landmarks WHERE model_id = %s", [model_id]
        ).fetchone()
    assert indexes[0] > 0
    assert landmarks[0] > 50


def make_vectors(seed: int) -> NDArray[np.float32]:
    """Vectors with ten pairs of near duplicates, other ones for each seed."""
    vectors = unit_vectors(COUNT, DIMENSION, seed)
    for one, other in np.random.default_rng(seed).choice(COUNT, (10, 2), replace=False):
        mixed = vectors[one] + 0.3 * vectors[other]
        vectors[other] = mixed / np.linalg.norm(mixed)
    return vectors


def plain(value: Any) -> Any:
    """A value without the last digits of its numbers."""
    if isinstance(value, float):
        return round(value, 4)
    if dataclasses.is_dataclass(value):
        return plain(dataclasses.astuple(value))  # type: ignore[arg-type]
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list | tuple | Iterator) else value


def ask(database: Database, model: int | None) -> dict[str, Any]:
    """What each call gives, for one model, or for the active one."""
    number = "NULL" if model is None else str(model)
    calls = {name: (call.format(model=number),) for name, call in CALLS.items()}
    calls |= {name: tuple(each.format(model=number) for each in script) for name, script in WRITING_CALLS.items()}
    if model is None:
        calls |= {name: (call,) for name, call in ACTIVE_CALLS.items()} | ACTIVE_WRITING_CALLS
    found = {}
    for name, script in calls.items():
        with database.connection() as connection, connection.transaction(force_rollback=True):
            for statement in script:
                cursor = connection.execute(statement.encode())
            found[name] = plain(cursor.fetchall())
            assert found[name], name
    # The number of a model is not of its vectors.
    found.update({name: [row[1:] for row in found[name]] for name in found if name == "search_cached_text("})
    return found


def ask_in_python(database: Database, database_url: str, folder: Path) -> dict[str, Any]:
    """What each verb gives under the active model."""
    options = SearchOptions(limit=20)
    with database.connection() as connection:
        active, info = models.described_model(connection)
    query = text_vector(f"{info.name}: a vector", DIMENSION)
    labels = "taught", "bird"
    with SiglipClient(database_url=database_url, embedder=make_named(active)) as client:
        verbs: dict[str, Callable[[], Any]] = {
            "cached text": lambda: client.search_images("query 8", limit=20),
            "new text": lambda: client.search_images("never asked", limit=20),
            "image": lambda: search.search_by_image(database, make_named, "an image", options),  # type: ignore[arg-type]
            "vector": lambda: client.search_images(query, limit=20),
            "composed": lambda: client.search_images(["query 8", -text("asked only here"), image(7) * 0.7], limit=20),
            "similar": lambda: client.similar_images(5, limit=20),
            "relevant": lambda: client.relevant_images("query 8", min_score=0.4),
            "embedded": lambda: [float(number) for number in client.embed_query("query 9")[1]],
            "diverse": lambda: client.diverse_images("query 8", limit=20, max_similarity=0.2),
            "pairs": lambda: client.near_duplicates(0.5),
            "groups": lambda: client.duplicate_groups(0.5),
            "representatives": lambda: client.representatives(5),
            "several labels": lambda: client.images_with_labels("pets", all_of=["cat", "dog"], min_score=0.15),
            "scores": lambda: client.label_scores(5, "pets"),
            "scores of a new image": lambda: labeling.label_scores_of_image(
                database,
                make_named,
                "an image",  # type: ignore[arg-type]
                "pets",
            ),
            "suggested": lambda: [each.image_id for each in client.suggest_examples(*labels, limit=5)],
            "calibrated": lambda: fitted(client.calibrate(*labels, [1, 2, 3], [4, 5, 6])),
            "explained": lambda: client.explain_score(9, "pets", "dog"),
            "kept fit": lambda: fitted(client.calibrations(*labels)[0]),
            "by example": lambda: fitted(client.label_from_images("taught", "ours", [1, 2, 3], [4, 5, 6])),
            "exported": lambda: exported(database, folder, active.model_id),
        }
        answers = {name: plain(verb()) for name, verb in verbs.items()}
        client.use_calibration(*labels, 0)
        client.mark_images(*labels, unmark=[1, 2, 3, 4, 5, 6])
        client.remove_label("taught", "ours")
    return answers


def fitted(calibration: Calibration | CalibrationVersion) -> list[float | None]:
    return [calibration.scale, calibration.bias, calibration.threshold]


def exported(database: Database, folder: Path, model_id: int) -> list[Any]:
    exporting.export_vectors(database, model_id, DIMENSION, folder / "v.npy", items=folder / "v.jsonl")
    return [round(float(value), 3) for value in np.load(folder / "v.npy")[:50].ravel()]


def attach_images(database: Database) -> None:
    """Let a table of its own have the first 100 images."""
    with database.connection() as connection:
        connection.execute("CREATE TABLE public.product (id bigint PRIMARY KEY, photo text)")
        connection.execute("INSERT INTO public.product SELECT i.image_id, i.uri FROM siglip.images AS i LIMIT 100")
        connection.execute("SELECT siglip.attach('public.product', 'photo', collection => 'default')")
        connection.execute("SELECT siglip.follow_attached()")


def test_each_model_answers_as_if_it_were_alone(database: Database, database_url: str, tmp_path: Path) -> None:
    first = segments.add_wide_model(database)
    for name in ("pets", "taught"):
        labeling.create_label_set(database, make_named, name, ["cat", "dog", "bird"])
    content_ids = add_contents(database, COUNT)
    with database.connection() as connection:
        connection.execute("UPDATE siglip.images SET metadata = '{\"even\": true}' WHERE image_id % 2 = 0")
    attach_images(database)
    fill(database, WIDE, first, dict(zip(content_ids, make_vectors(1), strict=True)))
    alone, alone_in_python = ask(database, None), ask_in_python(database, database_url, tmp_path)

    with database.connection() as connection:
        second = models.register_model(connection, "other")
        models.describe_model(connection, second, OTHER)
        model_changes.keep_model(connection, second, is_kept=True)
    fill(database, OTHER, second, dict(zip(content_ids, make_vectors(2), strict=True)))
    check(ask(database, None), alone)
    check(ask(database, first), alone)
    check(ask_in_python(database, database_url, tmp_path), alone_in_python)

    beside = ask(database, second)
    assert not [name for name in set(beside) - {"index_recall(", "tune_search("} if beside[name] == alone[name]]
    active_model.switch_model(database, second)
    switched, switched_in_python = ask(database, None), ask_in_python(database, database_url, tmp_path)
    check(switched, beside)
    assert not [name for name in switched_in_python if switched_in_python[name] == alone_in_python[name]]
    check(ask(database, first), alone)

    with database.connection() as connection:
        model_changes.drop_model(connection, first)
    active_model.free_dropped(database)
    check(ask(database, None), switched)
    check(ask_in_python(database, database_url, tmp_path), switched_in_python)


def check(found: dict[str, Any], expected: dict[str, Any]) -> None:
    for name in found.keys() & expected.keys():
        assert found[name] == expected[name], name


def test_a_vector_of_another_length_is_refused(database: Database) -> None:
    segments.add_wide_model(database)
    with database.connection() as connection, pytest.raises(psycopg.Error, match="64"):
        connection.execute("SELECT * FROM siglip.search_images('[1,0]'::halfvec)")


def test_every_function_is_covered(database: Database) -> None:
    with database.connection() as connection:
        rows: Any = connection.execute(
            "SELECT p.proname, regexp_replace(p.oid::regprocedure::text, '^siglip\\.', '') FROM pg_proc AS p"
            " WHERE p.pronamespace = 'siglip'::regnamespace AND p.prorettype <> 'trigger'::regtype AND p.prokind <> 'a'"
            " AND (pg_get_function_arguments(p.oid) ~* '(halfvec|model|image|label|content|segment|text|query)'"
            " OR pg_get_functiondef(p.oid) ~ '(image_embeddings|label_embeddings|siglip.texts|landmarks)')"
        ).fetchall()
    signatures = {signature: name for name, signature in rows}
    called = {*CALLS, *ACTIVE_CALLS, *WRITING_CALLS, *ACTIVE_WRITING_CALLS}
    not_called = MODEL_CHANGES | OTHER_CHANGES | INNER
    unknown = [
        signature
        for signature, name in sorted(signatures.items())
        if not any(signature.startswith(call) for call in called)
        and name not in not_called
        and not name.startswith("nearest_images_")
    ]
    assert not unknown, "write these into a list above"
    gone = not_called - {name for name, _ in rows} - {"build_memory", "kept_models"}
    assert not gone, "take these out of the lists above"


def test_every_table_and_view_is_known(database: Database) -> None:
    with database.connection() as connection:
        rows: Any = connection.execute(
            "SELECT DISTINCT c.relname FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid"
            " WHERE c.relnamespace = 'siglip'::regnamespace AND c.relkind IN ('r', 'v', 'm', 'p')"
            " AND NOT c.relispartition"
            " AND (a.attname IN ('model_id', 'similarity', 'score') OR format_type(a.atttypid, NULL) ~ 'halfvec')"
        ).fetchall()
    assert {name for (name,) in rows} - RELATIONS == {"label_scores"}, "does it keep the models apart?"


def test_every_verb_is_covered() -> None:
    verbs = {name for name in dir(SiglipClient) if not name.startswith("_")}
    assert verbs - COMPARED_VERBS - OTHER_VERBS == set(), "does it compare vectors?"
