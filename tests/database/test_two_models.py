"""Nothing compares vectors of two models: every way in answers as if its model were the only one.

The first model is asked alone, and again beside a second one of the same length, whose vectors are quite other ones.
The second is asked beside the first, as the active model, and alone, once the first is dropped. A function or a verb
that is new isn't covered by that: `test_every_function_is_covered` and its like name it, and it is to be written into
one of the lists here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest
from numpy.typing import NDArray

from siglip_ingest import SiglipClient, active_model, labeling, search
from siglip_ingest.db import Database, model_changes, models
from siglip_ingest.db.connection.vectors import half_vector
from siglip_ingest.db.models import ModelKey
from siglip_ingest.db.search import SearchOptions
from siglip_ingest.types import ModelInfo
from siglip_ingest.vectors import exporting
from tests import segments
from tests.database.helpers import FakeEmbedder, text_vector, unit_vectors
from tests.segments import AT_REST, DIMENSION, WIDE, add_contents, maintain_all, store_vectors

COUNT = 600
OTHER = dataclasses.replace(WIDE, name="other", logit_scale=2.0, logit_bias=-1.0)


def words(text: str) -> set[str]:
    return set(text.split())


# What gives rows or a value that depends on vectors: how it is called with a model (NULL for the active one).
CALLS = {
    "search_images(text,": "SELECT * FROM siglip.search_images('query 1', 20, model_id => {model})",
    "search_images(halfvec,": (
        "SELECT * FROM siglip.search_images((SELECT t.embedding FROM siglip.texts AS t WHERE t.query = 'query 2' AND"
        " t.model_id = coalesce({model}, (siglip.active_model()).model_id)), 20, model_id => {model})"
    ),
    "similar_images(": "SELECT * FROM siglip.similar_images(7, 20, model_id => {model})",
    "embed_text(": "SELECT siglip.embed_text('query 3', {model})::text",
    "score(double precision,integer)": "SELECT siglip.score(0.5, {model})",
    "score_labels(": (
        "SELECT * FROM siglip.score_labels((SELECT e.embedding FROM siglip.image_embeddings AS e WHERE e.content_id = 9"
        " AND e.model_id = coalesce({model}, (siglip.active_model()).model_id)), 'pets', {model})"
    ),
    "images_with_label(": "SELECT * FROM siglip.images_with_label('pets', 'cat', 0.1, 50, model_id => {model})",
    "count_labels(": "SELECT * FROM siglip.count_labels('pets', 0.1, model_id => {model})",
    "label_histogram(": "SELECT * FROM siglip.label_histogram('pets', 5, model_id => {model})",
    "index_recall(": "SELECT kind FROM siglip.index_recall(20, 10, model_id => {model})",
    "tune_search(": "SELECT count(*) > 0 FROM siglip.tune_search(0.5, 20, model_id => {model})",
    "described_model(": "SELECT (m).name, (m).dimension FROM siglip.described_model({model}) AS m",
    "filtered": "SELECT * FROM siglip.search_images('query 4', 9, filter => '{{\"even\": true}}', model_id => {model})",
    "some images": "SELECT * FROM siglip.search_images('query 5', 5, image_ids => '{{1,2,3,4}}', model_id => {model})",
    "pages": "SELECT * FROM siglip.search_images('query 6', 5, skip_results => 5, model_id => {model})",
    "at least": "SELECT * FROM siglip.similar_images(8, 50, min_score => 0.3, model_id => {model})",
}

# Of the active model only.
ACTIVE_CALLS = {
    "label_scores": "SELECT image_id, label, similarity, score FROM siglip.label_scores WHERE image_id < 20",
    "active_model()": "SELECT (siglip.active_model()).name",
    "search_cached_text(": "SELECT * FROM siglip.search_cached_text('query 7', 9, NULL, NULL, NULL, NULL, 0, NULL)",
}

# What compares models, or changes which are there: two at a time is what it is for.
CHANGES = words("""
    add_external_model add_model compare_labels compare_marks compare_models compare_queries drop_model find_model
    kept_models mark_ranks missing_under_model queue_missing_images switch_model
""")

# Called by what is covered, which hands the model on as a parameter; or they know no vectors.
INNER = words("""
    add_server ask_segment ask_server ask_text away_servers build_memory can_write_texts check_label_set
    check_search close_segment connect_server content_conditions copy_vectors count_images
    create_embedding_partition create_foreign_segment create_index create_nearest_images create_search_settings
    create_segment create_segment_index cut_text decode_percent delete_images delete_vectors disconnect_server
    draw_landmarks drop_segment exact_answers exact_answers_query exact_images exact_query extension_schema
    find_without_servers free_dropped graph_bytes graph_query has_foreign_segments has_text_listener
    image_conditions index_definition index_foreign_segment is_exact_quicker is_loading keep_measurement
    locate_segment maintain matches_query measure_in_passing measure_recall measure_searches move_segment
    nearest_images needs_measuring quantised_contents quantised_query read_server_url rebuild_segments
    remove_released_contents remove_server replace_segments report_away_servers run_on_server sample_queries
    search_embedded_text second_graph_query second_start segment_number segments_to_rebuild selection_conditions
    server_options server_state set_server_address setting_source settle_server store_text tell_servers touch_text
""")

# Views and tables with vectors or with what is computed from them: rows of each model apart, by model_id.
RELATIONS = words("""
    batch_sizes collection_coverage image_embeddings image_labels index_settings index_status ingest_items
    ingestions label_calibrations label_embeddings label_rules landmarks model_coverage model_drops models
    recall_drift recall_history segments texts workers
""")

VERBS = {"search_images", "similar_images", "label_scores", "export_vectors", "index_recall", "tune_search"}
OTHER_VERBS = words("""
    add_model close collection_coverage compare_models create_index create_label_set database delete_images
    drop_model embed_under_model enqueue_images find_external_model follow_ingestion follow_model forget_inherited
    from_environment give_up_model import_vectors list_ingestions model model_coverage plan_sync prune_images
    retry_failed switch_model sync_folder
""")


class NamedEmbedder(FakeEmbedder):
    """Two models give one text, or one image, different vectors."""

    def embed_texts(self, texts: Any) -> NDArray[np.float32]:
        return super().embed_texts([f"{self.info.name}: {text}" for text in texts])

    def embed_images(self, images: Any) -> NDArray[np.float32]:
        return self.embed_texts([str(image) for image in images])


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


def in_words(rows: Any) -> Any:
    """Rows without the last digits."""
    return [tuple(round(value, 5) if isinstance(value, float) else value for value in row) for row in rows]


def ask(database: Database, model: int | None) -> dict[str, Any]:
    """What each call gives, for one model, or for the active one."""
    calls = {name: call.format(model="NULL" if model is None else model) for name, call in CALLS.items()}
    found = {}
    for name, call in {**calls, **(ACTIVE_CALLS if model is None else {})}.items():
        with database.connection() as connection:
            found[name] = in_words(connection.execute(call.encode()).fetchall())
            connection.execute("UPDATE siglip.models SET ef_search = NULL")  # what tune_search chose
    # The number of a model is not of its vectors.
    found.update({name: [row[1:] for row in found[name]] for name in found if name == "search_cached_text("})
    return found


def ask_in_python(database: Database, folder: Path) -> dict[str, Any]:
    """What each verb gives under the active model."""
    options = SearchOptions(limit=20)
    with database.connection() as connection:
        active, info = models.described_model(connection)
    query = text_vector(f"{info.name}: a vector", DIMENSION)
    verbs: dict[str, Callable[[], Any]] = {
        "cached text": lambda: search.search_by_text(database, make_named, "query 8", options),
        "new text": lambda: search.search_by_text(database, make_named, "never asked", options),
        "image": lambda: search.search_by_image(database, make_named, "an image", options),  # type: ignore[arg-type]
        "vector": lambda: search.search_by_embedding(database, query, options),
        "similar": lambda: search.similar_images(database, 5, options),
        "scores": lambda: labeling.label_scores_of_image_id(database, 5, "pets"),
        "scores of a new image": lambda: labeling.label_scores_of_image(
            database,
            make_named,
            "an image",  # type: ignore[arg-type]
            "pets",
        ),
        "exported": lambda: exported(database, folder, active.model_id),
    }
    return {
        name: [(row.image_id, round(row.similarity, 4)) if hasattr(row, "image_id") else row for row in verb()]
        for name, verb in verbs.items()
    }


def exported(database: Database, folder: Path, model_id: int) -> list[Any]:
    exporting.export_vectors(database, model_id, DIMENSION, folder / "v.npy", items=folder / "v.jsonl")
    return [round(float(value), 3) for value in np.load(folder / "v.npy")[:50].ravel()]


def test_each_model_answers_as_if_it_were_alone(database: Database, tmp_path: Path) -> None:
    first = segments.add_wide_model(database)
    labeling.create_label_set(database, make_named, "pets", ["cat", "dog", "bird"])
    content_ids = add_contents(database, COUNT)
    with database.connection() as connection:
        connection.execute("UPDATE siglip.images SET metadata = '{\"even\": true}' WHERE image_id % 2 = 0")
    vectors = dict(zip(content_ids, unit_vectors(COUNT, DIMENSION, seed=1), strict=True))
    fill(database, WIDE, first, vectors)
    alone, alone_in_python = ask(database, None), ask_in_python(database, tmp_path)

    with database.connection() as connection:
        second = models.register_model(connection, "other")
        models.describe_model(connection, second, OTHER)
        model_changes.keep_model(connection, second, is_kept=True)
    fill(database, OTHER, second, dict(zip(content_ids, unit_vectors(COUNT, DIMENSION, seed=2), strict=True)))
    check(ask(database, None), alone)
    check(ask(database, first), alone)
    check(ask_in_python(database, tmp_path), alone_in_python)

    beside = ask(database, second)
    assert not [name for name in set(beside) - {"index_recall(", "tune_search("} if beside[name] == alone[name]]
    active_model.switch_model(database, second)
    switched, switched_in_python = ask(database, None), ask_in_python(database, tmp_path)
    check(switched, beside)
    assert not [name for name in switched_in_python if switched_in_python[name] == alone_in_python[name]]
    check(ask(database, first), alone)

    with database.connection() as connection:
        model_changes.drop_model(connection, first)
    active_model.free_dropped(database)
    check(ask(database, None), switched)
    check(ask_in_python(database, tmp_path), switched_in_python)


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
    unknown = [
        signature
        for signature, name in sorted(signatures.items())
        if not any(signature.startswith(call) for call in {*CALLS, *ACTIVE_CALLS})
        and name not in CHANGES | INNER
        and not name.startswith("nearest_images_")
    ]
    assert not unknown, "write these into a list above"
    gone = (CHANGES | INNER) - {name for name, _ in rows} - {"build_memory", "kept_models"}
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
    assert verbs - VERBS - OTHER_VERBS == set(), "does it compare vectors?"
