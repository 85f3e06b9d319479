"""Near-duplicates, groups of them, and representatives, beside exact answers by numpy."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
import psycopg
import pytest
from numpy.typing import NDArray

from siglip_ingest import SiglipClient, labeling
from siglip_ingest.client import exploring
from siglip_ingest.db import Connection, Database
from siglip_ingest.db.schema import migrate
from siglip_ingest.errors import InvalidInputError
from tests.database.helpers import (
    DIMENSION,
    INFO,
    FakeEmbedder,
    add_model,
    index_images,
    make_fake,
    store_text,
    unit_vectors,
)
from tests.database.recall_helpers import add_wide_model, load_vectors, maintain

LEAST = 0.95


def make_bursts(
    sizes: list[int], noise: float = 0.02, seed: int = 0, dimension: int = DIMENSION
) -> NDArray[np.float32]:
    """Vectors of images in bursts of these sizes, nearly the same within each."""
    generator = np.random.default_rng(seed)
    scenes = unit_vectors(len(sizes), dimension, seed + 1)
    vectors = np.repeat(scenes, sizes, axis=0) + generator.normal(0, noise, (sum(sizes), dimension))
    normalized: NDArray[np.float32] = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return normalized


def exact_pairs(vectors: NDArray[np.float32], least: float = LEAST) -> set[tuple[int, int]]:
    similarities = vectors @ vectors.T
    return {(int(a), int(b)) for a, b in np.argwhere(similarities >= least) if a < b}


def near_the_limit(vectors: NDArray[np.float32], least: float = LEAST) -> set[tuple[int, int]]:
    """Pairs that rounding to half precision may decide."""
    return exact_pairs(vectors, least - 1e-3) - exact_pairs(vectors, least + 1e-3)


@pytest.fixture
def client(database_url: str) -> Iterator[SiglipClient]:
    with SiglipClient(database_url=database_url, embedder=FakeEmbedder()) as client:
        yield client


def fetch(connection: Connection, statement: str, *parameters: Any) -> list[Any]:
    return connection.execute(statement.encode(), parameters).fetchall()


BURSTS = make_bursts([1, 4, 1, 7, 2, 1, 1, 20, 1, 3])


@pytest.fixture
def burst_ids(database: Database, model_id: int) -> list[int]:
    return index_images(database, model_id, BURSTS, metadata=[{"n": n % 2} for n in range(len(BURSTS))])


def add_copies(database: Database, model_id: int) -> None:
    """The same files in another collection."""
    contents = [f"file:///default/{n:05}.jpg" for n in range(len(BURSTS))]
    index_images(database, model_id, BURSTS, collection="copies", contents=contents)


def test_each_pair_is_found_once(client: SiglipClient, burst_ids: list[int]) -> None:
    found = list(client.near_duplicates(LEAST))
    pairs = [(burst_ids.index(pair.image_id), burst_ids.index(pair.other_image_id)) for pair in found]
    assert len(pairs) == len(set(pairs)) > 100
    assert set(pairs) ^ exact_pairs(BURSTS) <= near_the_limit(BURSTS)
    assert not any(pair.is_same_content for pair in found)
    for (a, b), pair in zip(pairs, found, strict=True):
        assert pair.similarity == pytest.approx(BURSTS[a] @ BURSTS[b], abs=2e-3)
    assert [pair.similarity for pair in found] == sorted((pair.similarity for pair in found), reverse=True)


def test_ranges_of_contents_give_the_same_pairs(
    client: SiglipClient, burst_ids: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = list(client.near_duplicates(LEAST))
    monkeypatch.setattr(exploring, "CONTENTS_PER_STEP", 7)
    parts = list(client.near_duplicates(LEAST))
    assert parts != whole
    assert sorted(parts, key=lambda pair: (-pair.similarity, pair.image_id)) == sorted(
        whole, key=lambda pair: (-pair.similarity, pair.image_id)
    )


def test_pairs_are_narrowed(database: Database, client: SiglipClient, model_id: int, burst_ids: list[int]) -> None:
    add_copies(database, model_id)
    for pair in client.near_duplicates(LEAST, filter={"n": 1}, collection="default"):
        assert burst_ids.index(pair.image_id) % 2 == burst_ids.index(pair.other_image_id) % 2 == 1
    odd = {(a, b) for a, b in exact_pairs(BURSTS) if a % 2 == b % 2 == 1}
    assert len(list(client.near_duplicates(LEAST, filter={"n": 1}, collection="default"))) == len(odd)
    assert list(client.near_duplicates(LEAST, collection="nothing")) == []


def test_files_that_are_the_same_are_marked(database: Database, client: SiglipClient, model_id: int) -> None:
    vectors = unit_vectors(3, seed=4)[[0, 0, 1, 2]]
    image_ids = index_images(database, model_id, vectors, contents=["a", "a", "b", "c"])
    (pair,) = client.near_duplicates()
    assert (pair.image_id, pair.other_image_id) == (image_ids[0], image_ids[1])
    assert (pair.similarity, pair.is_same_content) == (1.0, True)
    (group,) = client.duplicate_groups()
    assert (group.image_ids, group.least_similarity) == (tuple(image_ids[:2]), 1.0)


def test_max_pairs_keeps_the_most_alike(database: Database, burst_ids: list[int]) -> None:
    with database.connection() as connection:
        few = fetch(connection, "SELECT * FROM siglip.near_duplicates(0.9, max_pairs => 3)")
        assert few == fetch(connection, "SELECT * FROM siglip.near_duplicates(0.9, max_pairs => NULL)")[:3]
    with pytest.raises(InvalidInputError, match="max_pairs is 0"), database.connection() as connection:
        fetch(connection, "SELECT * FROM siglip.near_duplicates(max_pairs => 0)")


def test_groups_are_connected_and_begin_with_the_most_pixels(
    database: Database, client: SiglipClient, burst_ids: list[int]
) -> None:
    largest = burst_ids[3]  # of the first burst of four
    with database.connection() as connection:
        connection.execute(
            "UPDATE siglip.contents SET width = 4000, height = 3000"
            " WHERE content_id = (SELECT content_id FROM siglip.images WHERE image_id = %s)",
            [largest],
        )
    groups = client.duplicate_groups(0.9)
    assert [len(group.image_ids) for group in groups] == [20, 7, 4, 3, 2]
    four = groups[2]
    assert set(four.image_ids) == set(burst_ids[1:5])
    assert four.representative_id == four.image_ids[0] == largest
    similarities = BURSTS[1:5] @ BURSTS[1:5].T
    assert four.least_similarity == pytest.approx(similarities.min(), abs=2e-3)


def test_chains_of_pairs_are_one_group(database: Database) -> None:
    with database.connection() as connection:
        rows = fetch(connection, "SELECT * FROM siglip.group_pairs('{5,3,9,1,20}', '{3,8,10,9,21}')")
        assert rows == [(1, 1), (3, 3), (5, 3), (8, 3), (9, 1), (10, 1), (20, 20), (21, 20)]
        assert fetch(connection, "SELECT * FROM siglip.group_pairs('{}', '{}')") == []
        generator = np.random.default_rng(1)
        first, other = generator.integers(0, 300, (2, 200))
        rows = fetch(connection, "SELECT * FROM siglip.group_pairs(%s, %s)", first.tolist(), other.tolist())
    group_of = {member: member for member in map(int, {*first, *other})}
    for _ in range(300):
        for a, b in zip(first.tolist(), other.tolist(), strict=True):
            group_of[a] = group_of[b] = min(group_of[a], group_of[b])
    assert dict(rows) == group_of


@pytest.fixture(scope="module")
def many() -> NDArray[np.float32]:
    """6,000 vectors: bursts of every size, one of 1,100 among them, larger than any round of the graph."""
    return make_bursts([1] * 2000 + [2] * 500 + [5] * 300 + [40] * 10 + [1100], noise=0.015, dimension=64)


@pytest.mark.parametrize("kind", ["halfvec", "bit_rerank"])
def test_large_collections_are_walked_by_their_index(database: Database, many: NDArray[np.float32], kind: str) -> None:
    with database.connection() as connection:
        model_id = add_wide_model(connection)
        connection.execute("UPDATE siglip.models SET index_kind = %s WHERE model_id = %s", [kind, model_id])
        image_ids = load_vectors(connection, model_id, many)
    with database.session() as connection:
        connection.autocommit = False
        maintain(connection, is_full=True)
    position = {image_id: n for n, image_id in enumerate(image_ids)}
    with database.connection() as connection:
        assert fetch(connection, "SELECT index_kind FROM siglip.segments WHERE is_index_valid LIMIT 1") == [(kind,)]
        # The large burst alone has 600,000 pairs: those of two of its contents do.
        last = fetch(connection, "SELECT content_id FROM siglip.images WHERE image_id = %s", image_ids[4901])[0][0]
        rows = fetch(
            connection,
            "SELECT image_id, other_image_id"
            " FROM siglip.near_duplicates(0.95, max_pairs => NULL, up_to_content_id => %s)",
            last,
        )
    pairs = [(position[a], position[b]) for a, b in rows]
    expected = {(a, b) for a, b in exact_pairs(many) if a <= 4901}
    missed = expected - set(pairs) - near_the_limit(many)
    assert len(pairs) == len(set(pairs))
    assert set(pairs) - expected <= near_the_limit(many)
    assert len(missed) <= 0.001 * len(expected)


CLUSTERS = make_bursts([40, 25, 15, 10, 6, 4], noise=0.05, seed=9)


def test_representatives_stand_for_the_images_nearest_to_them(
    database: Database, client: SiglipClient, model_id: int
) -> None:
    image_ids = index_images(database, model_id, CLUSTERS)
    found = client.representatives(6)
    chosen = [image_ids.index(row.image_id) for row in found]
    nearest = (CLUSTERS @ CLUSTERS[chosen].T).argmax(axis=1)
    assert [row.images for row in found] == np.bincount(nearest).tolist() == [40, 25, 15, 10, 6, 4]
    for place, row in enumerate(found):
        own = CLUSTERS[nearest == place] @ CLUSTERS[chosen[place]]
        assert row.similarity == pytest.approx(own.mean(), abs=2e-3)
    assert client.representatives(6) == found
    assert {row.image_id for row in client.representatives(3, seed=5)} <= set(image_ids)
    assert sum(row.images for row in client.representatives(3)) == 100


def test_representatives_count_images_and_not_files(database: Database, client: SiglipClient, model_id: int) -> None:
    vectors = unit_vectors(3, seed=4)[[0, 0, 0, 1, 2, 2]]
    image_ids = index_images(database, model_id, vectors, contents=["a", "a", "a", "b", "c", "c"])
    found = client.representatives(10)
    assert [(row.image_id, row.images) for row in found] == [(image_ids[0], 3), (image_ids[4], 2), (image_ids[3], 1)]
    assert client.representatives(10, collection="nothing") == []


def test_a_sample_is_scaled_up(database: Database, client: SiglipClient, model_id: int) -> None:
    index_images(database, model_id, CLUSTERS)
    found = client.representatives(4, sample_size=50)
    assert sum(row.images for row in found) == pytest.approx(100, abs=2)
    one = client.representatives(1, sample_size=1)
    assert [row.images for row in one] == [100]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda client: client.near_duplicates(0.4), r"min_similarity must be a number from 0\.5 to 1, not 0\.4"),
        (lambda client: client.duplicate_groups(True), "min_similarity must be a number"),
        (lambda client: client.duplicate_groups(filter=[1]), "filter must be a mapping"),
        (lambda client: client.representatives(0), "count must be a whole number from 1 to 200, not 0"),
        (lambda client: client.representatives(5, sample_size=30_000), "sample_size must be a whole number"),
        (lambda client: client.representatives(5, seed=2**40), "seed must be a whole number of 32 bits"),
        (lambda client: client.representatives(5, collection=""), "A collection needs a name"),
    ],
)
def test_wrong_arguments_are_refused(client: SiglipClient, model_id: int, call: Any, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        call(client)


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("siglip.near_duplicates(0.1)", "min_similarity is 0.1, not a number from 0.5 to 1"),
        ("siglip.near_duplicates(NULL)", "min_similarity is NULL"),
        ("siglip.duplicate_groups(0.9, filter => '[]')", "filter is a JSON array, not an object"),
        ("siglip.representatives(NULL)", "count is NULL"),
        ("siglip.representatives(5, sample_size => 0)", "sample_size is 0"),
        ("siglip.representatives(5, seed => NULL)", "seed is NULL"),
        ("siglip.relevant_images('x', NULL)", "min_score is NULL"),
        ("siglip.relevant_images('x', 3)", "min_score is 3"),
        ("siglip.diverse_images('x', 5, 2)", "max_similarity is 2, not a number from 0 to 1"),
    ],
)
def test_sql_refuses_wrong_arguments(database: Database, burst_ids: list[int], statement: str, message: str) -> None:
    with database.connection() as connection:
        store_text(connection, 1, "x")
    with pytest.raises(InvalidInputError, match=message), database.connection() as connection:
        fetch(connection, f"SELECT * FROM {statement}")


QUERIES = {
    "relevant": "SELECT image_id FROM siglip.relevant_images('a lake', 0)",
    "diverse": "SELECT image_id FROM siglip.diverse_images('a lake', 50, 1)",
    "labels": "SELECT image_id FROM siglip.any_of('scenes', '{cat,dog}', 0)",
    "pairs": "SELECT unnest(ARRAY[image_id, other_image_id]) FROM siglip.near_duplicates(0.5)",
    "groups": "SELECT unnest(image_ids) FROM siglip.duplicate_groups(0.5)",
    "representatives": "SELECT image_id FROM siglip.representatives(50)",
}


def test_a_role_that_sees_a_part_gets_that_part(database: Database, model_id: int, burst_ids: list[int]) -> None:
    labeling.create_label_set(database, make_fake, "scenes", ["cat", "dog"])
    add_copies(database, model_id)
    with database.connection() as connection, connection.transaction(force_rollback=True):
        store_text(connection, model_id, "a lake")
        connection.execute("CREATE ROLE siglip_part_explored")
        connection.execute("GRANT USAGE ON SCHEMA siglip TO siglip_part_explored")
        connection.execute("GRANT SELECT ON ALL TABLES IN SCHEMA siglip TO siglip_part_explored")
        connection.execute("ALTER TABLE siglip.images ENABLE ROW LEVEL SECURITY")
        seen = burst_ids[10:30]
        array = ", ".join(map(str, seen))
        connection.execute(f"CREATE POLICY part ON siglip.images USING (image_id = ANY (ARRAY[{array}]))".encode())
        connection.execute("SET LOCAL ROLE siglip_part_explored")
        connection.execute("SET LOCAL transaction_read_only = on")
        for name, query in QUERIES.items():
            found = {row[0] for row in fetch(connection, query)}
            assert found, name
            assert found <= set(seen), name
        assert {row[0] for row in fetch(connection, QUERIES["relevant"])} == set(seen)
        counted = fetch(connection, "SELECT sum(images) FROM siglip.representatives(5)")
        assert counted == [(len(seen),)]


def test_another_model_s_vectors_are_not_looked_at(database: Database, model_id: int, burst_ids: list[int]) -> None:
    with database.connection() as connection:
        other_id = add_model(connection, dataclasses.replace(INFO, name="other", dimension=8), is_active=False)
    vectors = make_bursts([3, 1, 1], dimension=8)
    others = index_images(database, other_id, vectors, collection="other")
    with database.connection() as connection:
        pairs = fetch(
            connection, f"SELECT image_id, other_image_id FROM siglip.near_duplicates(0.9, model_id => {other_id})"
        )
        assert {n for pair in pairs for n in pair} == set(others[:3])
        groups = fetch(connection, f"SELECT image_ids FROM siglip.duplicate_groups(0.9, model_id => {other_id})")
        assert [set(group[0]) for group in groups] == [set(others[:3])]
        chosen = fetch(connection, f"SELECT image_id, images FROM siglip.representatives(3, model_id => {other_id})")
        assert {image_id for image_id, _ in chosen} <= set(others)
        active = fetch(connection, "SELECT image_id FROM siglip.representatives(50)")
        assert {image_id for (image_id,) in active} <= set(burst_ids)


@pytest.mark.parametrize("path", ["pg_catalog", '"$user", public'])
def test_pgvector_may_be_in_a_schema_of_its_own(empty_database_url: str, path: str) -> None:
    name = empty_database_url.rpartition("/")[2]
    with psycopg.connect(empty_database_url, autocommit=True) as connection:
        connection.execute("CREATE SCHEMA extensions")
        connection.execute("CREATE EXTENSION vector SCHEMA extensions")
        connection.execute(f"ALTER DATABASE {name} SET search_path = {path}".encode())
    migrate(empty_database_url)
    with Database(empty_database_url) as database:
        with database.connection() as connection:
            model_id = add_model(connection)
        index_images(database, model_id, BURSTS)
        labeling.create_label_set(database, make_fake, "scenes", ["cat", "dog"])
        with database.connection() as connection:
            store_text(connection, model_id, "a lake")
        for query in QUERIES.values():
            with database.session() as session:  # a new one: pgvector's library isn't loaded yet
                assert fetch(session, query)


def test_postgresql_16_will_do(postgres_16_url: str) -> None:
    with Database(postgres_16_url) as database:
        with database.connection() as connection:
            model_id = add_model(connection)
        index_images(database, model_id, BURSTS)
        labeling.create_label_set(database, make_fake, "scenes", ["cat", "dog"])
        with database.connection() as connection:
            store_text(connection, model_id, "a lake")
            for query in QUERIES.values():
                assert fetch(connection, query)
