from __future__ import annotations

import dataclasses
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from siglip_ingest.db import Database, models
from siglip_ingest.errors import ConfigurationError, NotFoundError
from siglip_ingest.types import ModelInfo
from tests.database.helpers import INFO, add_model, index_images, unit_vectors


def test_a_name_without_revision_is_registered_once(database: Database) -> None:
    with database.connection() as connection:
        first = models.register_model(connection, "fake")
        assert models.register_model(connection, "fake") == first
        row = models.get_model(connection, first)
    assert (row.name, row.revision, row.is_active, row.info) == ("fake", "", False, None)


def test_the_row_that_waits_takes_the_revision_that_a_worker_loads(database: Database) -> None:
    with database.connection() as connection:
        waiting = models.register_model(connection, "fake")
        assert models.register_model(connection, "fake", INFO.revision) == waiting
        models.describe_model(connection, waiting, INFO)
        assert models.get_model(connection, waiting).info == INFO
        assert models.register_model(connection, "fake") == waiting
        assert models.register_model(connection, "fake", "sha256:2") != waiting


def test_a_name_without_revision_means_the_active_row_first(database: Database) -> None:
    with database.connection() as connection:
        old = add_model(connection)
        new = add_model(connection, dataclasses.replace(INFO, revision="sha256:2"), is_active=False)
        assert models.register_model(connection, "fake") == old
        models.activate_model(connection, new)
        assert models.register_model(connection, "fake") == new
        assert models.register_model(connection, "fake", "sha256:1") == old
        assert models.register_model(connection, "another") not in {old, new}


def test_two_callers_at_once_register_one_row(database: Database) -> None:
    def register(_: int) -> int:
        with database.connection() as connection:
            return models.register_model(connection, "fake")

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(register, range(24)))) == 1


def test_describing_twice_changes_nothing(database: Database, model_id: int) -> None:
    with database.connection() as connection:
        models.describe_model(connection, model_id, INFO)
        assert models.list_models(connection) == [(models.get_model(connection, model_id), 0)]


def test_two_workers_describe_a_model_at_once(database: Database) -> None:
    with database.connection() as connection:
        model_id = models.register_model(connection, "fake")
    barrier = threading.Barrier(4)

    def describe(_: int) -> None:
        with database.connection() as connection:
            barrier.wait(10)
            models.describe_model(connection, model_id, INFO)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(describe, range(4)))
    with database.connection() as connection:
        assert connection.execute(
            "SELECT count(*) FROM pg_inherits WHERE inhparent = 'siglip.image_embeddings'::regclass"
        ).fetchone() == (1,)


@pytest.mark.parametrize(
    "info",
    [
        pytest.param(dataclasses.replace(INFO, name="other"), id="another name"),
        pytest.param(dataclasses.replace(INFO, revision="sha256:2"), id="another revision"),
        pytest.param(dataclasses.replace(INFO, dimension=8), id="another dimension"),
    ],
)
def test_a_row_is_not_described_as_another_checkpoint(database: Database, model_id: int, info: ModelInfo) -> None:
    with database.connection() as connection, pytest.raises(ConfigurationError, match="as a model of its own"):
        models.describe_model(connection, model_id, info)


def test_a_model_has_a_partition_of_its_dimension_with_one_open_segment(database: Database, model_id: int) -> None:
    with database.connection() as connection:
        segments = connection.execute(
            "SELECT siglip.segment_number(segment), from_content_id, to_content_id, index_kind, is_open"
            " FROM siglip.segments WHERE model_id = %s",
            [model_id],
        ).fetchall()
        constraints = connection.execute(
            "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = ANY (%s::regclass[]) AND contype = "
            "'c'",
            [[f"siglip.image_embeddings_{model_id}", f"siglip.image_embeddings_{model_id}_1"]],
        ).fetchall()
    assert segments == [(1, None, None, None, True)]
    assert constraints == [("CHECK ((vector_dims(embedding) = 16))",)] * 2


def test_at_most_one_model_is_active(database: Database, model_id: int) -> None:
    with database.connection() as connection:
        other = add_model(connection, dataclasses.replace(INFO, name="other"))
        active = models.get_active_model(connection)
        assert active is not None
        assert active.model_id == other
        assert [row.is_active for row, _ in models.list_models(connection)] == [False, True]


def test_an_unknown_model_is_not_activated_and_the_old_one_stays(database: Database, model_id: int) -> None:
    with pytest.raises(NotFoundError, match="no model 99"), database.connection() as connection:
        models.activate_model(connection, 99)
    with database.connection() as connection:
        active = models.get_active_model(connection)
    assert active is not None
    assert active.model_id == model_id


def test_without_any_model_none_is_active(database: Database) -> None:
    with database.connection() as connection:
        assert models.get_active_model(connection) is None
        assert models.list_models(connection) == []


def test_the_first_figures_of_a_model_stay_until_they_are_replaced(database: Database, model_id: int) -> None:
    with database.connection() as connection:
        assert models.model_figures(connection, model_id) is None
        assert models.store_model_figures(connection, model_id, {"first": 1.5}) == {"first": 1.5}
        assert models.store_model_figures(connection, model_id, {"second": 2}) == {"first": 1.5}
        assert models.model_figures(connection, model_id) == {"first": 1.5}
        assert models.store_model_figures(connection, model_id, {"second": 2}, replace=True) == {"second": 2}
        with pytest.raises(NotFoundError, match="no model 99"):
            models.store_model_figures(connection, 99, {})


def test_a_model_without_vectors_is_taken_out_with_its_partition_and_its_queue(database: Database) -> None:
    with database.connection() as connection:
        active = add_model(connection)
        unused = add_model(connection, dataclasses.replace(INFO, name="unused"), is_active=False)
        waiting = models.register_model(connection, "nobody loaded it")
        assert models.delete_unused_model(connection, unused)
        assert models.delete_unused_model(connection, waiting)
        assert not models.delete_unused_model(connection, active)
        assert [row.model_id for row, _ in models.list_models(connection)] == [active]
        assert connection.execute("SELECT to_regclass(%s)", [f"siglip.image_embeddings_{unused}"]).fetchone() == (None,)
        assert connection.execute("SELECT to_regproc(%s)", [f"siglip.nearest_images_{unused}"]).fetchone() == (None,)


def test_a_model_with_vectors_stays(database: Database) -> None:
    with database.connection() as connection:
        used = add_model(connection)
    index_images(database, used, unit_vectors(2))
    with database.connection() as connection:
        add_model(connection, dataclasses.replace(INFO, name="another"))
        assert not models.delete_unused_model(connection, used)
        assert [count for _, count in models.list_models(connection)] == [2, 0]
