"""Labels that are fitted to marked images: the fit, what it is never worse than, its versions and its guarantee."""

from __future__ import annotations

import dataclasses
import threading
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from siglip_ingest import SiglipClient, labeling
from siglip_ingest.db import Connection, Database
from siglip_ingest.errors import InvalidInputError, NotFoundError
from tests.database.helpers import INFO, FakeEmbedder, add_model, index_images, unit_vectors
from tests.database.labels import calibrate, index_at, make_fake, row_of, rows_of, sigmoid, to_logits

# Logits from -12 to 8: the model says no to nearly all.
SIMILARITIES = np.linspace(-0.99, 0.99, 41)
SLOW = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
marks = st.lists(st.tuples(st.floats(-60, 60), st.booleans()), min_size=0, max_size=25)


@pytest.fixture
def image_ids(database: Database, model_id: int) -> list[int]:
    return index_at(database, model_id, SIMILARITIES)


def _loss(logits: Any, truth: Any, scale: float = 1, bias: float = 0) -> float:
    u = scale * np.asarray(logits) + bias
    return float((np.logaddexp(0, u) - np.asarray(truth) * u).sum())


def _fit(connection: Connection, logits: list[float], truth: list[bool]) -> tuple[float, float, float]:
    row: Any = connection.execute(
        "SELECT scale, bias, log_loss FROM siglip.fit_logistic(%s::float8[], %s::boolean[])", [logits, truth]
    ).fetchone()
    return row


@given(examples=marks)
@settings(max_examples=150, deadline=None, suppress_health_check=SLOW)
def test_a_fit_is_never_worse_than_the_model_on_its_marks(
    database: Database, examples: list[tuple[float, bool]]
) -> None:
    logits, truth = [x for x, _ in examples], [y for _, y in examples]
    with database.connection() as connection:
        scale, bias, loss = _fit(connection, logits, truth)
    assert scale >= 0.05
    assert np.isfinite(bias)
    assert loss == pytest.approx(_loss(logits, truth, scale, bias), abs=1e-6)
    assert loss <= _loss(logits, truth) + 1e-9


@given(examples=marks.filter(bool))
@settings(max_examples=40, deadline=None, suppress_health_check=SLOW)
def test_the_fit_is_the_lowest_point_of_loss_and_prior(database: Database, examples: list[tuple[float, bool]]) -> None:
    logits, truth = [x for x, _ in examples], [y for _, y in examples]

    def cost(scale: float, bias: float) -> float:
        return _loss(logits, truth, scale, bias) + 2 * (scale - 1) ** 2 + bias**2 / 4.5

    with database.connection() as connection:
        scale, bias, _ = _fit(connection, logits, truth)
    for step in (0.01, 0.1, 1):
        for direction in np.linspace(0, 2 * np.pi, 12):
            other = max(0.05, scale + step * np.cos(direction)), bias + step * np.sin(direction)
            assert cost(scale, bias) <= cost(*other) + 1e-5 * (1 + cost(*other))


@given(chosen=st.lists(st.tuples(st.integers(0, 40), st.booleans()), min_size=1, max_size=12, unique_by=lambda m: m[0]))
@settings(max_examples=60, deadline=None, suppress_health_check=SLOW)
def test_a_calibration_decides_no_more_marks_wrongly_than_the_model(
    database: Database, image_ids: list[int], chosen: list[tuple[int, bool]]
) -> None:
    with database.connection() as connection, connection.transaction(force_rollback=True):
        fit = calibrate(connection, [image_ids[n] for n, y in chosen if y], [image_ids[n] for n, y in chosen if not y])
        stored = rows_of(
            connection,
            "SELECT v.image_id, v.score, v.calibrated_score, v.is_accepted FROM siglip.label_scores AS v"
            " WHERE label = 'sunset' AND image_id = ANY (%s)",
            [image_ids[n] for n, _ in chosen],
        )
    truth = {image_ids[n]: y for n, y in chosen}
    before = sum((score >= 0.5) != truth[image_id] for image_id, score, _, _ in stored)
    after = sum(accepted != truth[image_id] for image_id, _, _, accepted in stored)
    assert after <= before
    assert fit["log_loss_after"] <= fit["log_loss_before"] + 1e-9
    assert fit["positives"] + fit["negatives"] == len(chosen)


@pytest.mark.parametrize(
    ("positives", "negatives"),
    [([30], []), ([], [30]), ([20, 22, 24], []), ([], [0, 5, 35]), ([18, 19, 20], [10, 11, 12]), ([0], [40])],
    ids=["one", "one negative", "only positives", "only negatives", "separable", "the wrong way round"],
)
def test_few_marks_give_a_sane_fit(
    database: Database, image_ids: list[int], positives: list[int], negatives: list[int]
) -> None:
    with database.connection() as connection:
        fit = calibrate(connection, [image_ids[n] for n in positives], [image_ids[n] for n in negatives])
    assert 0.05 <= fit["scale"] <= 3
    assert abs(fit["bias"]) < 10
    assert 0 < fit["threshold"] < 1
    assert "the model's own scores still count most" in fit["note"]
    assert ("None of them is negative" in fit["note"]) == (not negatives)
    assert ("None of them is positive" in fit["note"]) == (not positives)


def test_three_positives_that_the_model_missed_are_accepted(database: Database, image_ids: list[int]) -> None:
    missed, others = [16, 17, 18], [6, 7, 8]  # logits about -3 and -8
    with database.connection() as connection:
        assert not set(rows_of(connection, "SELECT image_id FROM siglip.images_with_label('scenes', 'sunset')")) & {
            (image_ids[n],) for n in missed
        }
        fit = calibrate(connection, [image_ids[n] for n in missed], [image_ids[n] for n in others])
        found = rows_of(connection, "SELECT image_id FROM siglip.images_with_label('scenes', 'sunset')")
        counted = dict(rows_of(connection, "SELECT * FROM siglip.count_labels('scenes')"))
        accepted = rows_of(
            connection, "SELECT image_id FROM siglip.label_scores WHERE label = 'sunset' AND is_accepted"
        )
        raw = rows_of(connection, "SELECT image_id FROM siglip.images_with_label('scenes', 'sunset', 0.5)")
        raw_count = dict(rows_of(connection, "SELECT * FROM siglip.count_labels('scenes', 0.5)"))
    assert {(image_ids[n],) for n in missed} <= set(found)
    assert not {(image_ids[n],) for n in others} & set(found)
    assert set(found) == set(accepted)
    assert counted["sunset"] == len(found)
    assert len(raw) == raw_count["sunset"] == (to_logits(SIMILARITIES) >= 0).sum()
    assert fit["precision"] is not None


def test_scores_stay_the_models_own(database: Database, image_ids: list[int]) -> None:
    query = "SELECT image_id, score FROM siglip.label_scores WHERE label = 'sunset' ORDER BY 1"
    with database.connection() as connection:
        before = rows_of(connection, query)
        fit = calibrate(connection, image_ids[16:19], image_ids[6:9])
        assert rows_of(connection, query) == before
        matches = rows_of(connection, "SELECT image_id, score FROM siglip.images_with_label('scenes', 'sunset')")
        assert set(matches) <= set(before)
        calibrated = rows_of(
            connection, "SELECT logit, calibrated_score FROM siglip.label_scores WHERE label = 'sunset'"
        )
    for logit, score in calibrated:
        assert score == pytest.approx(sigmoid(fit["scale"] * logit + fit["bias"]))


def test_left_one_out_figures_are_those_of_refits(database: Database, model_id: int) -> None:
    rng = np.random.default_rng(3)
    similarities = rng.uniform(-0.4, 0.6, 60)
    truth = rng.random(60) < sigmoid(2 * to_logits(similarities) + 1)
    image_ids = index_at(database, model_id, similarities)
    with database.connection() as connection:
        fit = calibrate(
            connection,
            [i for i, y in zip(image_ids, truth, strict=True) if y],
            [i for i, y in zip(image_ids, truth, strict=True) if not y],
        )
        logits = [
            x
            for (x,) in rows_of(
                connection, "SELECT logit FROM siglip.label_scores WHERE label = 'sunset' ORDER BY image_id"
            )
        ]
        accepted = []
        for n in range(60):
            scale, bias, _ = _fit(connection, logits[:n] + logits[n + 1 :], [bool(y) for y in np.delete(truth, n)])
            accepted.append(sigmoid(scale * logits[n] + bias) >= 0.5)
        # More marks than are refitted, one Newton step each: as good as the same.
        many = row_of(
            connection,
            "SELECT l.* FROM siglip.fit_logistic(%s::float8[], %s::boolean[]) AS f, siglip.leave_one_out(%s::float8[],"
            " %s::boolean[], f.scale, f.bias, 0.5) AS l",
            *([logits * 2, [bool(y) for y in truth] * 2] * 2),
        )
    right = (np.array(accepted) & truth).sum()
    assert fit["precision"] == pytest.approx(right / sum(accepted))
    assert fit["recall"] == pytest.approx(right / truth.sum())
    assert abs(many["accepted"] - 2 * sum(accepted)) <= 2


def test_versions_are_kept_and_one_goes_back(database: Database, image_ids: list[int]) -> None:
    accepted = "SELECT image_id FROM siglip.label_scores WHERE label = 'sunset' AND is_accepted ORDER BY 1"
    with database.connection() as connection:
        found = [rows_of(connection, accepted)]
        calibrate(connection, image_ids[16:19], [])
        found.append(rows_of(connection, accepted))
        calibrate(connection, image_ids[12:16], [])
        found.append(rows_of(connection, accepted))
        assert len({len(rows) for rows in found}) == 3
        for version in (1, 0, 2, 2):
            connection.execute("SELECT siglip.use_calibration('scenes', 'sunset', %s)", [version])
            assert rows_of(connection, accepted) == found[version]
        versions = rows_of(
            connection, "SELECT version, is_current, positives FROM siglip.calibrations('scenes', 'sunset')"
        )
    assert versions == [(2, True, 7), (1, False, 3)]
    with pytest.raises(NotFoundError, match="no calibration 7"), database.connection() as connection:
        connection.execute("SELECT siglip.use_calibration('scenes', 'sunset', 7)")


def test_two_that_calibrate_at_once_make_two_versions(database: Database, image_ids: list[int]) -> None:
    errors: list[BaseException] = []

    def work(n: int) -> None:
        try:
            with database.connection() as connection:
                calibrate(connection, [image_ids[20 + n]], [image_ids[n]])
        except BaseException as error:  # noqa: BLE001  # told below
            errors.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    with database.connection() as connection:
        rows = rows_of(connection, "SELECT version, is_current FROM siglip.calibrations('scenes', 'sunset')")
        marked = rows_of(connection, "SELECT count(*) FROM siglip.image_labels")
    assert rows == [(4, True), (3, False), (2, False), (1, False)]
    assert marked == [(8,)]


def test_a_new_model_is_fitted_to_the_same_marks(database: Database, model_id: int, image_ids: list[int]) -> None:
    with database.connection() as connection:
        calibrate(connection, image_ids[16:19], image_ids[6:9])
        other = add_model(connection, dataclasses.replace(INFO, name="other", dimension=8), is_active=False)
        assert rows_of(connection, "SELECT version FROM siglip.recalibrate(%s)", other) == [(None,)]
        connection.execute("UPDATE siglip.models SET is_kept = true WHERE model_id = %s", [other])
    labeling.embed_labels_for_model(database, FakeEmbedder(dataclasses.replace(INFO, dimension=8)), other)
    with database.connection() as connection:
        connection.execute(
            "INSERT INTO siglip.image_embeddings SELECT %s, content_id, subvector(embedding::vector, 1, 8)::halfvec"
            " FROM siglip.image_embeddings WHERE model_id = %s",
            [other, model_id],
        )
        ((label_set, label, version, note),) = rows_of(connection, "SELECT * FROM siglip.recalibrate(%s)", other)
        assert (label_set, label, version) == ("scenes", "sunset", 1)
        assert "6 marks" in note
        assert rows_of(connection, "SELECT * FROM siglip.recalibrate(%s)", other) == []
        assert len(rows_of(connection, "SELECT * FROM siglip.label_rules WHERE calibration_version = 1")) == 2


def test_the_same_content_under_two_uris_is_one_mark(database: Database, model_id: int) -> None:
    labeling.create_label_set(database, make_fake, "scenes", ["sunset"])
    vector = unit_vectors(1)[0]
    image_ids = index_images(database, model_id, [vector, vector], contents=["same", "same"])
    with database.connection() as connection:
        assert calibrate(connection, image_ids, [])["positives"] == 1


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        ("calibrate('nothing', 'sunset')", NotFoundError, "There is no label set 'nothing'"),
        ("calibrate('scenes', 'desert')", NotFoundError, "'desert'"),
        ("calibrate('scenes', 'sunset')", NotFoundError, "No image .* is marked for the label 'sunset'"),
        ("calibrate('scenes', 'sunset', '{}', '{}')", NotFoundError, "No image .* is marked"),
        ("calibrate('scenes', 'sunset', '{1}', '{1}')", InvalidInputError, "in two of"),
        ("calibrate('scenes', 'sunset', '{999}')", NotFoundError, "no image 999"),
        ("calibrate('scenes', 'sunset', '{1}', min_precision => 1.5)", InvalidInputError, "min_precision is 1.5"),
        ("calibrate('scenes', 'sunset', '{1}', confidence => 1)", InvalidInputError, "confidence is 1"),
        ("calibrate('scenes', 'sunset', '{1}', confidence => NULL)", InvalidInputError, "confidence is NULL"),
        ("calibrate('scenes', 'sunset', '{1}', model_id => 99)", NotFoundError, "no model 99"),
        ("use_calibration('scenes', 'sunset', NULL)", NotFoundError, "no calibration NULL"),
        ("recalibrate(99)", NotFoundError, "no model 99"),
    ],
)
def test_it_is_said_what_is_wrong(
    database: Database, image_ids: list[int], call: str, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message), database.connection() as connection:
        connection.execute(f"SELECT * FROM siglip.{call}".encode())


def test_nothing_is_marked_where_the_fit_fails(database: Database, image_ids: list[int]) -> None:
    with pytest.raises(InvalidInputError), database.connection() as connection:
        calibrate(connection, [image_ids[0]], [], ", min_precision => 7")
    with database.connection() as connection:
        assert rows_of(connection, "SELECT * FROM siglip.image_labels") == []


def test_a_client_calibrates_and_goes_back(database_url: str, database: Database, image_ids: list[int]) -> None:
    with SiglipClient(database_url=database_url, embedder=FakeEmbedder()) as client:
        fit = client.calibrate("scenes", "sunset", image_ids[16:19], image_ids[6:9])
        assert (fit.version, fit.positives, fit.negatives) == (1, 3, 3)
        client.use_calibration("scenes", "sunset", 0)
        (kept,) = client.calibrations("scenes", "sunset")
        assert not kept.is_current
        assert kept.scale == fit.scale
        with pytest.raises(InvalidInputError, match="version must be a whole number"):
            client.use_calibration("scenes", "sunset", "1")  # type: ignore[arg-type]
        with pytest.raises(InvalidInputError, match="image_id"):
            client.calibrate("scenes", "sunset", ["x"])  # type: ignore[list-item]


def test_it_works_on_postgresql_16(postgres_16_url: str) -> None:
    with Database(postgres_16_url) as database:
        with database.connection() as connection:
            model_id = add_model(connection)
        image_ids = index_at(database, model_id, SIMILARITIES)
        with database.connection() as connection:
            fit = calibrate(connection, image_ids[16:19], image_ids[6:9], ", min_precision => 0.5")
            assert fit["version"] == 1
            made = "SELECT * FROM siglip.label_from_images('scenes', 'like these', %s::bigint[])"
            assert row_of(connection, made, image_ids[:5])["positives"] == 5
            assert len(rows_of(connection, "SELECT * FROM siglip.suggest_examples('scenes', 'sunset')")) == 10
            why = row_of(connection, "SELECT * FROM siglip.explain_score(%s, 'scenes', 'sunset')", image_ids[17])
            assert why["mark"] is True
            assert "label_calibrations" not in str(
                rows_of(connection, "EXPLAIN (VERBOSE) SELECT image_id, score FROM siglip.label_scores")
            )
