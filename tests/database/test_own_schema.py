"""pgvector in a schema of its own, which is in nobody's search_path: all that the library asks works."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from siglip_ingest import SiglipClient, active_model, image, labeling, search
from siglip_ingest.db import Database, images, items, texts
from siglip_ingest.db.models import delete_unused_model
from siglip_ingest.db.schema import migrate
from siglip_ingest.db.search import SearchOptions
from tests.database.attached_tables import embed_all
from tests.database.helpers import (
    DIMENSION,
    FakeEmbedder,
    add_model,
    claim,
    close_claim,
    completed,
    failure,
    image_rows,
    index_images,
    make_fake,
    make_named,
    states,
    store_text,
    text_vector,
    unit_vectors,
)
from tests.database.listeners import listening
from tests.database.test_switching import NEW

VECTORS = unit_vectors(30, seed=3)


@pytest.fixture(params=["pg_catalog", '"$user", public'], ids=["nothing", "the usual"])
def database_url(empty_database_url: str, request: pytest.FixtureRequest) -> str:
    """URL of a migrated database whose sessions don't find pgvector's names by themselves."""
    name = empty_database_url.rpartition("/")[2]
    with psycopg.connect(empty_database_url, autocommit=True) as connection:
        connection.execute("CREATE SCHEMA extensions")
        connection.execute("CREATE EXTENSION vector SCHEMA extensions")
        connection.execute(f"ALTER DATABASE {name} SET search_path = {request.param}".encode())
    migrate(empty_database_url)
    return empty_database_url


@pytest.fixture
def image_ids(database: Database, model_id: int) -> list[int]:
    return index_images(database, model_id, VECTORS, metadata=[{"n": n} for n in range(30)])


@pytest.fixture(autouse=True)
def check_that_names_are_not_found(database: Database) -> None:
    with database.session() as connection, pytest.raises(psycopg.errors.UndefinedObject):
        connection.execute("SELECT '[1]'::halfvec")


def test_searches_work(database: Database, database_url: str, model_id: int, image_ids: list[int]) -> None:
    expected = [
        match.image_id for match in search.search_by_embedding(database, text_vector("cat"), SearchOptions(limit=5))
    ]
    for _ in range(2):  # a new text, and one that is in the cache
        found = search.search_by_text(database, make_fake, "cat", SearchOptions(limit=5))
        assert [match.image_id for match in found] == expected
    found = search.search_by_image(database, make_fake, "cat", SearchOptions(limit=5))  # type: ignore[arg-type]
    assert [match.image_id for match in found] == expected
    assert (
        len(search.search_by_text(database, make_fake, "cat", SearchOptions(filter={"n": 3}, collection="default")))
        == 1
    )
    assert image_ids[0] not in {match.image_id for match in search.similar_images(database, image_ids[0])}
    with database.connection() as connection:
        assert texts.find_text(connection, model_id, "cat") == pytest.approx(text_vector("cat"), abs=1e-3)
        assert texts.find_text(connection, model_id, "cat") is not None
        assert texts.find_text(connection, model_id, "dog") is None
        assert len(texts.embed_text(connection, model_id, "cat", 1.0)) == DIMENSION
    with SiglipClient(database_url=database_url, embedder=FakeEmbedder()) as client:
        assert [match.image_id for match in client.search_images("cat", limit=5)] == expected
        assert [match.image_id for match in client.search_images(["cat"], limit=5)] == expected
        assert image_ids[0] not in {match.image_id for match in client.search_images(["cat", image(image_ids[0])])}
    candidates = (
        b"SELECT siglip.composed_candidates(siglip.embed_parts(siglip.compose('cat',"
        b" siglip.minus(siglip.like(%(like)s))), m, NULL), m, NULL, NULL, NULL) FROM siglip.active_model() AS m"
    )
    assert database.fetch(candidates, {"like": image_ids[0]}) == [(sorted(image_ids),)]


def test_sql_searches_and_workers_answer(database: Database, model_id: int, image_ids: list[int]) -> None:
    with listening(database, model_id):
        found = search.search_by_text(database, None, "cat", SearchOptions(limit=5))
    assert found == search.search_by_text(database, make_fake, "cat", SearchOptions(limit=5))
    with database.connection() as connection:
        assert len(connection.execute("SELECT * FROM siglip.search_images('cat', 5)").fetchall()) == 5


def test_labels_work(database: Database, model_id: int, image_ids: list[int]) -> None:
    labeling.create_label_set(database, make_fake, "pets", ["cat", "dog"])
    assert len(labeling.label_scores_of_image_id(database, image_ids[0], "pets")) == 2
    assert len(labeling.label_scores_of_image(database, make_fake, "image", "pets")) == 2  # type: ignore[arg-type]
    with database.connection() as connection:
        found: Any = connection.execute("SELECT * FROM siglip.images_with_label('pets', 'cat', 0)").fetchall()
    assert len(found) == 30
    labeling.create_label_set(database, make_fake, "pets", ["bird"], replace=True)
    labeling.delete_label_set(database, "pets")


def test_labels_are_calibrated(database: Database, database_url: str, model_id: int, image_ids: list[int]) -> None:
    labeling.create_label_set(database, make_fake, "pets", ["cat", "dog"])
    with SiglipClient(database_url=database_url, embedder=FakeEmbedder()) as client:
        assert client.calibrate("pets", "cat", image_ids[:3], image_ids[3:6], min_precision=0.5).version == 1
        assert client.label_from_images("pets", "ours", image_ids[:3], image_ids[3:6]).version == 1
        assert len(client.suggest_examples("pets", "cat", limit=5)) == 5
        assert len(client.explain_score(image_ids[0], "pets", "ours").nearest_marked) == 5
        client.use_calibration("pets", "ours", 1)
    with database.connection() as connection:
        assert len(connection.execute("SELECT * FROM siglip.count_labels('pets')").fetchall()) == 3


def test_the_ledger_works(database: Database, model_id: int) -> None:
    with database.connection() as connection:
        images.insert_images(connection, image_rows(3), model_id)
        chunk = claim(connection, model_id)
        results = [completed(item, vector) for item, vector in zip(chunk.items, VECTORS, strict=False)]
        failed = [failure(chunk.items[2], "unreadable", "x")]
        assert close_claim(connection, model_id, chunk.lease_token, results[:2], failed).done == 2
        assert items.find_embedded(connection, model_id, [results[0].content_hash]) == {results[0].content_hash}
        assert items.retry_failed(connection, model_id) == 1


def test_models_are_compared_and_dropped(database: Database, model_id: int, image_ids: list[int]) -> None:
    labeling.create_label_set(database, make_fake, "pets", ["cat"])
    with database.connection() as connection:
        new_id = add_model(connection, NEW, is_active=False)
        store_text(connection, model_id, "cat")
        store_text(connection, new_id, "cat", NEW)
    index_images(database, new_id, VECTORS)
    labeling.embed_labels_for_model(database, FakeEmbedder(NEW), new_id)
    with database.connection() as connection:
        connection.execute(
            "INSERT INTO siglip.image_labels (label_id, image_id, is_accepted, marked_by)"
            " SELECT label_id, image_id, true, 'me' FROM siglip.labels, siglip.images WHERE image_id < 4"
        )
        found: Any = connection.execute("SELECT * FROM siglip.compare_models(%s, %s)", [model_id, new_id]).fetchall()
        assert all(n > 0 or measure == "average precision of marks" for measure, _, _, n, _ in found)
        connection.execute("SELECT siglip.drop_model(%s)", [new_id])
    active_model.free_dropped(database)
    with database.connection() as connection:
        assert connection.execute("SELECT model_id FROM siglip.model_coverage").fetchall() == [(model_id,)]


def test_attached_tables_are_followed_and_searched(database: Database, model_id: int) -> None:
    with database.session() as connection:
        connection.execute("CREATE TABLE public.product (id integer PRIMARY KEY, uri text, price numeric)")
        connection.execute("SELECT siglip.attach('public.product', 'uri', metadata_columns => '{price}')")
        connection.execute("INSERT INTO public.product SELECT n, 'https://a/' || n, n FROM generate_series(1, 3) AS n")
        connection.execute("UPDATE public.product SET price = 7 WHERE id = 1")
        connection.execute("SELECT siglip.follow_attached()")
        connection.execute("DELETE FROM public.product WHERE id = 2")
        embed_all(database, model_id)
        with listening(database, model_id):
            rows: Any = connection.execute(
                "SELECT (s.found).id FROM siglip.search_rows(NULL::public.product, 'red shoes') AS s ORDER BY 1"
            ).fetchall()
        assert rows == [(1,), (3,)]
        assert connection.execute("SELECT siglip.detach('public.product', true)").fetchone() == (3,)


def test_a_model_is_changed_and_one_is_taken_out(database: Database, model_id: int, image_ids: list[int]) -> None:
    labeling.create_label_set(database, make_fake, "pets", ["cat"])
    with database.connection() as connection:
        new_id = add_model(connection, NEW, is_active=False)
    unused = active_model.queue_for_model(database, "nobody/unused").model_id
    with database.connection() as connection:
        store_text(connection, new_id, "cat", NEW)
    assert labeling.embed_labels_for_model(database, FakeEmbedder(NEW), new_id) == 1
    assert active_model.switch_model(database, new_id)
    assert search.search_by_text(database, make_named, "a dog") == []
    with database.connection() as connection:
        assert states(connection, new_id) == {"queued": 30}
        assert delete_unused_model(connection, unused)
