"""Why an image has a label, and which images to mark next."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import numpy as np
import psycopg
import pytest
from psycopg import sql

from siglip_ingest import SiglipClient, labeling
from siglip_ingest.db import Database
from siglip_ingest.errors import DatabaseError, InvalidInputError, NotFoundError
from tests.database.helpers import FakeEmbedder, index_images
from tests.database.labels import calibrate, index_at, make_fake, row_of, rows_of, sigmoid, to_logits, vectors_at

SIMILARITIES = np.linspace(-0.99, 0.99, 100)
EXPLAIN = "SELECT * FROM siglip.explain_score(%s, 'scenes', 'sunset')"
SUGGEST = "SELECT * FROM siglip.suggest_examples('scenes', 'sunset', %s)"


@pytest.fixture
def image_ids(database: Database, model_id: int) -> list[int]:
    return index_at(database, model_id, SIMILARITIES)


def test_a_score_is_explained_by_its_parts(database: Database, image_ids: list[int]) -> None:
    with database.connection() as connection:
        why = row_of(connection, EXPLAIN, image_ids[70])
        row: Any = rows_of(
            connection,
            "SELECT similarity, logit, score, calibrated_score, threshold, is_accepted FROM siglip.label_scores"
            " WHERE label = 'sunset' AND image_id = %s",
            image_ids[70],
        )
        ranks = rows_of(
            connection, "SELECT label FROM siglip.label_scores WHERE image_id = %s ORDER BY score DESC", image_ids[70]
        )
    assert tuple(list(why.values())[:6]) == row[0]
    assert why["similarity"] == pytest.approx(SIMILARITIES[70], abs=1e-3)
    assert why["percentile"] == pytest.approx(100 * 70 / 99)
    assert why["is_percentile_exact"]
    assert why["label_count"] == 3
    assert why["label_rank"] == [label for (label,) in ranks].index("sunset") + 1
    assert why["nearest_marked"] == []
    assert why["mark"] is None
    assert why["explanation"] == (
        f"Accepted: the score {sigmoid(why['logit']):.3f} reaches the threshold 0.500; the label is not calibrated."
    )


def test_a_calibrated_score_is_explained_with_the_marks_beside_it(database: Database, image_ids: list[int]) -> None:
    with database.connection() as connection:
        fit = calibrate(connection, image_ids[40:43], image_ids[10:20])
        why = row_of(connection, EXPLAIN, image_ids[41])
        other = row_of(connection, EXPLAIN, image_ids[1])
    assert why["calibrated_score"] == pytest.approx(sigmoid(fit["scale"] * why["logit"] + fit["bias"]))
    assert why["mark"] is True
    assert len(why["nearest_marked"]) == 5
    assert image_ids[41] not in {mark["image_id"] for mark in why["nearest_marked"]}
    similarities = [mark["similarity"] for mark in why["nearest_marked"]]
    assert similarities == sorted(similarities, reverse=True)
    assert {mark["mark"] for mark in why["nearest_marked"] if mark["image_id"] in image_ids[10:20]} <= {False}
    assert "of calibration 1; the model's own score is" in why["explanation"]
    assert "has marked that the image has the label, and that counts." in why["explanation"]
    assert other["explanation"].startswith(
        f"Not accepted: the calibrated score {other['calibrated_score']:.3f} is below the threshold 0.500"
    )


def test_images_of_the_same_score_are_in_the_middle_of_their_percentile(database: Database, model_id: int) -> None:
    labeling.create_label_set(database, make_fake, "scenes", ["sunset"])
    image_ids = index_images(database, model_id, np.repeat(vectors_at([0.3]), 5, axis=0))
    with database.connection() as connection:
        assert row_of(connection, EXPLAIN, image_ids[2])["percentile"] == 50
        only = rows_of(connection, "DELETE FROM siglip.images WHERE image_id <> %s RETURNING 1", image_ids[2])
        assert len(only) == 4
        assert row_of(connection, EXPLAIN, image_ids[2])["percentile"] is None


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        ("explain_score(NULL, 'scenes', 'sunset')", NotFoundError, "no image NULL"),
        ("explain_score(9999, 'scenes', 'sunset')", NotFoundError, "no image 9999"),
        ("explain_score(1, 'nothing', 'sunset')", NotFoundError, "no label set 'nothing'"),
        ("explain_score(1, 'scenes', NULL)", NotFoundError, "NULL"),
        ("suggest_examples('scenes', 'sunset', 0)", InvalidInputError, "max_results is 0"),
        ("suggest_examples('scenes', 'sunset', NULL)", InvalidInputError, "max_results is NULL"),
        ("suggest_examples('scenes', 'desert')", NotFoundError, "desert"),
    ],
)
def test_it_is_said_what_is_wrong(
    database: Database, image_ids: list[int], call: str, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message), database.connection() as connection:
        connection.execute(f"SELECT * FROM siglip.{call}".encode())


def test_what_is_not_embedded_yet_is_told(database: Database, model_id: int, image_ids: list[int]) -> None:
    with database.connection() as connection:
        connection.execute("DELETE FROM siglip.label_embeddings")
    for call in ("explain_score(1, 'scenes', 'sunset')", "suggest_examples('scenes', 'sunset')"):
        with pytest.raises(NotFoundError, match="has no vector under the model"), database.connection() as connection:
            connection.execute(f"SELECT * FROM siglip.{call}".encode())
    with pytest.raises(NotFoundError, match="has no vector"), database.connection() as connection:
        calibrate(connection, image_ids[:1], [])


def test_suggested_are_images_near_the_border_and_accepted_ones(database: Database, image_ids: list[int]) -> None:
    with database.connection() as connection:
        rows = rows_of(connection, SUGGEST, 9)
        again = rows_of(connection, SUGGEST, 9)
    assert rows == again
    uncertain = [row for row in rows if row[5] == "uncertain"]
    accepted = [row for row in rows if row[5] == "accepted"]
    assert (len(uncertain), len(accepted)) == (6, 3)
    nearest = np.argsort(np.abs(to_logits(SIMILARITIES)))[:12]
    assert {row[0] for row in uncertain} <= {image_ids[n] for n in nearest}
    assert all(row[4] and row[2] >= 0.5 for row in accepted)
    assert len({row[0] for row in rows}) == 9


def test_what_is_marked_is_not_suggested_again(database: Database, image_ids: list[int]) -> None:
    with database.connection() as connection:
        seen: set[int] = set()
        for _ in range(12):
            named = {row[0] for row in rows_of(connection, SUGGEST, 10)}
            assert not named & seen
            seen |= named
            if named:
                calibrate(connection, sorted(named), [])
        assert seen == set(image_ids)
        assert rows_of(connection, SUGGEST, 10) == []


def test_of_a_burst_one_image_is_suggested(database: Database, model_id: int) -> None:
    labeling.create_label_set(database, make_fake, "scenes", ["sunset"])
    burst = np.repeat(vectors_at([0.2]), 20, axis=0) + 0.01 * vectors_at([0.0] * 20, seed=5)
    burst /= np.linalg.norm(burst, axis=1, keepdims=True)
    burst_ids = index_images(database, model_id, burst, collection="burst")
    index_images(database, model_id, vectors_at(np.linspace(-0.5, 0.9, 30), seed=9))
    with database.connection() as connection:
        named = {row[0] for row in rows_of(connection, SUGGEST, 6)}
        assert len(named & set(burst_ids)) == 1
        assert len(named) == 6
        # Marking it leaves the others: they are asked for once nothing else is nearer.
        random = rows_of(
            connection, "SELECT image_id FROM siglip.suggest_examples('scenes', 'sunset', 20, only_accepted => true)"
        )
    assert len({i for (i,) in random} & set(burst_ids)) > 1  # a random sample keeps what is alike


def test_only_accepted_is_a_random_sample_of_what_is_accepted(database: Database, image_ids: list[int]) -> None:
    with database.connection() as connection:
        rows = rows_of(
            connection, "SELECT * FROM siglip.suggest_examples('scenes', 'sunset', 100, only_accepted => true)"
        )
        few = rows_of(connection, "SELECT * FROM siglip.suggest_examples('scenes', 'sunset', 5, only_accepted => true)")
    accepted = {image_ids[n] for n in np.flatnonzero(to_logits(SIMILARITIES) >= 0)}
    assert {row[0] for row in rows} == accepted
    assert {row[5] for row in rows} == {"accepted"}
    assert len(few) == 5
    best = [image_ids[n] for n in np.argsort(-SIMILARITIES)[:5]]
    assert {row[0] for row in few} != set(best)


def test_a_client_explains_and_suggests(database_url: str, database: Database, image_ids: list[int]) -> None:
    with SiglipClient(database_url=database_url, embedder=FakeEmbedder()) as client:
        client.calibrate("scenes", "sunset", image_ids[40:43], image_ids[10:12])
        why = client.explain_score(image_ids[44], "scenes", "sunset")
        assert len(why.nearest_marked) == 5
        assert why.nearest_marked[0].similarity >= why.nearest_marked[1].similarity
        assert why.label_count == 3
        assert len(client.suggest_examples("scenes", "sunset", limit=4)) == 4
        with pytest.raises(InvalidInputError, match="limit"):
            client.suggest_examples("scenes", "sunset", limit=101)
        with pytest.raises(InvalidInputError, match="label needs a name"):
            client.explain_score(1, "scenes", "")


@pytest.fixture
def reader(database_url: str, database: Database, image_ids: list[int]) -> Iterator[Database]:
    """A role that may read, and of the images only the first fifty."""
    role = f"siglip_reader_{uuid.uuid4().hex[:8]}"
    name = sql.Identifier(role)
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'x1'").format(name))
        connection.execute(sql.SQL("GRANT USAGE ON SCHEMA siglip TO {}").format(name))
        connection.execute(sql.SQL("GRANT SELECT ON ALL TABLES IN SCHEMA siglip TO {}").format(name))
        connection.execute("ALTER TABLE siglip.images ENABLE ROW LEVEL SECURITY")
        connection.execute(
            sql.SQL("CREATE POLICY half ON siglip.images FOR SELECT TO {} USING (image_id <= {})").format(
                name, sql.Literal(image_ids[49])
            )
        )
        parts = urlsplit(database_url)
        with Database(urlunsplit(parts._replace(netloc=f"{role}:x1@{parts.hostname}:{parts.port}"))) as reader:
            yield reader
        connection.execute(sql.SQL("DROP OWNED BY {}").format(name))
        connection.execute(sql.SQL("DROP ROLE {}").format(name))


def test_a_role_that_reads_sees_its_own_images_only(reader: Database, database: Database, image_ids: list[int]) -> None:
    with database.connection() as connection:
        calibrate(connection, image_ids[60:63], image_ids[3:5])
    with reader.connection() as connection:
        why = row_of(connection, EXPLAIN, image_ids[25])
        assert why["percentile"] == pytest.approx(100 * 25 / 49)
        assert {mark["image_id"] for mark in why["nearest_marked"]} == set(image_ids[3:5])
        assert {row[0] for row in rows_of(connection, SUGGEST, 20)} <= set(image_ids[:50])
        assert len(rows_of(connection, "SELECT * FROM siglip.label_scores WHERE label = 'sunset'")) == 50
        rows_of(connection, "SELECT * FROM siglip.calibrations('scenes', 'sunset')")
    with pytest.raises(NotFoundError, match="no image"), reader.connection() as connection:
        row_of(connection, EXPLAIN, image_ids[70])
    with pytest.raises(DatabaseError, match="permission denied"), reader.connection() as connection:
        connection.execute("SELECT siglip.use_calibration('scenes', 'sunset', 0)")
