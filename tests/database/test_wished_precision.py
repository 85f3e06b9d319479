"""A wished precision: the threshold that keeps it, how often, and what is said where the marks don't suffice."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from siglip_ingest import labeling
from siglip_ingest.db import Connection, Database
from tests.database.helpers import INFO, add_model, make_fake, store_embeddings
from tests.database.labels import calibrate, index_at, row_of, rows_of, sigmoid, vectors_at

SIMULATED = """
SELECT g.accepted, r.number, (SELECT array_agg(x ORDER BY x DESC) FROM unnest(r.logits) AS x)
FROM (
    SELECT n AS number, array_agg(m.logit) AS logits, array_agg(m.mark) AS marks
    FROM unnest(%s::integer[], %s::float8[], %s::boolean[]) AS m (n, logit, mark) GROUP BY n
) AS r
CROSS JOIN LATERAL siglip.guaranteed_marks(r.logits, r.marks, %s, %s) AS g
"""


def _simulate(
    connection: Connection, runs: int, count: int, wish: float, risk: float, slope: float, offset: float, seed: int
) -> tuple[float, float]:
    """The share of runs that got a threshold, and of all runs in which its true precision is below the wish."""
    rng = np.random.default_rng(seed)
    scores: NDArray[np.float64] = rng.normal(size=(runs, count))
    truth = rng.random((runs, count)) < sigmoid(slope * scores + offset)
    population = np.sort(rng.normal(size=1_000_000))[::-1]
    precision = np.cumsum(sigmoid(slope * population + offset)) / np.arange(1, len(population) + 1)
    numbers = np.repeat(np.arange(runs), count)
    rows: list[Any] = connection.execute(
        SIMULATED.encode(), [numbers.tolist(), scores.ravel().tolist(), truth.ravel().tolist(), wish, risk]
    ).fetchall()
    missed = reached = 0
    for accepted, _, logits in rows:
        if accepted is None:
            continue
        reached += 1
        border = logits[accepted - 1] if accepted == count else (logits[accepted - 1] + logits[accepted]) / 2
        missed += precision[(population >= border).sum() - 1] < wish
    return reached / runs, missed / runs


@pytest.mark.parametrize(
    ("count", "wish", "slope", "offset"),
    [(60, 0.9, 3, 1), (150, 0.95, 4, 2), (400, 0.9, 2, 0), (400, 0.95, 0, 2.8), (150, 0.9, 0, 2.15), (60, 0.8, 0, 1.3)],
    ids=["60", "150", "400", "flat, just below", "flat, a hair below", "flat, 60"],
)
def test_the_wish_is_missed_no_more_often_than_the_risk(
    database: Database, count: int, wish: float, slope: float, offset: float
) -> None:
    """In 600 runs a share of 0.1 has a standard deviation of 0.012."""
    with database.connection() as connection:
        reached, missed = _simulate(connection, 600, count, wish, 0.1, slope, offset, seed=count)
    assert missed <= 0.1 + 3 * 0.0123
    if slope:
        assert reached > 0.3


def test_the_fewest_marks_are_those_of_the_binomial_distribution(database: Database) -> None:
    with database.connection() as connection:
        ((fewest,),) = rows_of(connection, "SELECT siglip.fewest_trials(0.05, 0.1, 80)")
        for errors, trials in enumerate(fewest):
            ((here, before),) = rows_of(
                connection,
                "SELECT siglip.binomial_tail(%(e)s, %(n)s, 0.05), siglip.binomial_tail(%(e)s, %(n)s - 1, 0.05)".replace(
                    "%(e)s", str(errors)
                ).replace("%(n)s", str(trials)),
            )
            assert here <= 0.1 < before
        ((tail,),) = rows_of(connection, "SELECT siglip.binomial_tail(2, 10, 0.3)")
    assert fewest == [45, 77]  # 0.95^45 < 0.1; and 77 with an error
    assert tail == pytest.approx(0.7**10 + 10 * 0.3 * 0.7**9 + 45 * 0.09 * 0.7**8)


def test_enough_marks_give_the_lowest_threshold_that_keeps_the_wish(database: Database, model_id: int) -> None:
    similarities = np.linspace(0.9, -0.9, 120)
    image_ids = index_at(database, model_id, similarities)
    with database.connection() as connection:
        fit = calibrate(connection, image_ids[:80], image_ids[80:], ", min_precision => 0.95")
        found = rows_of(connection, "SELECT image_id FROM siglip.images_with_label('scenes', 'sunset')")
    # 77 of the best, as one error would be allowed; 105 would have 25 wrong.
    assert {image_id for (image_id,) in found} == set(image_ids[:77])
    assert fit["guaranteed_precision"] >= 0.95
    assert "77 of the 77 marked images that are accepted have the label" in fit["note"]


def test_too_few_marks_are_counted(database: Database, model_id: int) -> None:
    image_ids = index_at(database, model_id, np.linspace(0.9, -0.9, 60))
    with database.connection() as connection:
        fit = calibrate(connection, image_ids[:20], image_ids[50:60], ", min_precision => 0.95")
        assert fit["guaranteed_precision"] is None
        assert "Not enough marks yet for a precision of 0.95: it takes at least 25 more" in fit["note"]
        assert fit["threshold"] == 0.5
        # What is wished for is remembered for another model, and a later call without it drops it.
        figures = row_of(connection, "SELECT figures FROM siglip.label_calibrations")["figures"]
        assert (figures["min_precision"], figures["confidence"]) == (0.95, 0.9)


def test_images_of_one_score_are_accepted_together(database: Database) -> None:
    logits, marks = [5.0] * 44 + [4.0] * 30 + [1.0] * 10, [True] * 74 + [False] * 10
    with database.connection() as connection:
        result = row_of(
            connection,
            "SELECT * FROM siglip.guaranteed_marks(%s::float8[], %s::boolean[], 0.95, 0.1)",
            logits,
            marks,
        )
    assert (result["accepted"], result["errors"]) == (74, 0)


def test_another_model_has_the_threshold_of_the_wish_but_no_promise(database: Database, model_id: int) -> None:
    """What is marked is a sample of what the old model accepts, not of what the new one does."""
    similarities = np.linspace(0.9, -0.9, 120)
    image_ids = index_at(database, model_id, similarities)
    with database.connection() as connection:
        calibrate(connection, image_ids[:80], image_ids[80:], ", min_precision => 0.95")
        other = add_model(connection, dataclasses.replace(INFO, name="other"), is_active=False)
    store_embeddings(database, other, dict(zip(image_ids, vectors_at(similarities, seed=1), strict=True)))
    labeling.embed_labels_for_model(database, make_fake(None), other)
    with database.connection() as connection:
        ((note,),) = rows_of(connection, "SELECT note FROM siglip.recalibrate(%s)", other)
        fits = "SELECT threshold, guaranteed_precision, note FROM siglip.calibrations('scenes', 'sunset', {})"
        old, new = (row_of(connection, fits.format(model)) for model in (model_id, other))
    assert old["guaranteed_precision"] >= 0.95
    assert new["guaranteed_precision"] is None
    assert new["threshold"] == pytest.approx(old["threshold"], abs=1e-3)
    assert new["note"] == note
    assert "120 marks, chosen by the scores of another model" in note


def test_what_is_missing_is_counted_with_the_risk_that_is_tested(database: Database) -> None:
    """With 400 marks two sequences have half of the risk each: 59 without an error, not 45."""
    logits, marks = list(np.linspace(5, -5, 400)), [True] * 50 + [False] * 350
    with database.connection() as connection:
        result = row_of(
            connection, "SELECT * FROM siglip.guaranteed_marks(%s::float8[], %s::boolean[], 0.95, 0.1)", logits, marks
        )
        logits, marks = [*logits, *np.linspace(7, 6, 9)], [*marks, *[True] * 9]
        enough = row_of(
            connection, "SELECT * FROM siglip.guaranteed_marks(%s::float8[], %s::boolean[], 0.95, 0.1)", logits, marks
        )
    assert (result["accepted"], result["missing"]) == (None, 9)
    assert (enough["accepted"], enough["errors"]) == (59, 0)


def test_a_threshold_by_hand_promises_nothing_and_can_be_taken_back(database: Database, model_id: int) -> None:
    versions = (
        "SELECT version, is_current, round(threshold::numeric, 3), guaranteed_precision, precision, positives"
        " FROM siglip.calibrations('scenes', 'sunset')"
    )
    image_ids = index_at(database, model_id, np.linspace(0.9, 0.3, 60))
    with database.connection() as connection:
        fit = calibrate(connection, image_ids[:46], image_ids[46:], ", min_precision => 0.95")
        assert fit["guaranteed_precision"] >= 0.95
        (promised,) = rows_of(connection, versions)
        connection.execute("SELECT siglip.set_threshold('scenes', 'sunset', 0.01)")
        by_hand, kept = rows_of(connection, versions)
        assert (by_hand[0], by_hand[1], float(by_hand[2]), *by_hand[3:]) == (2, True, 0.01, None, None, 46)
        assert kept == (1, False, *promised[2:])
        rule = (
            "SELECT r.scale, r.bias, r.threshold"
            " FROM siglip.label_rules AS r JOIN siglip.labels AS l USING (label_id) WHERE l.label = 'sunset'"
        )
        assert rows_of(connection, rule) == [(fit["scale"], fit["bias"], pytest.approx(0.01))]
        connection.execute("SELECT siglip.set_threshold('scenes', 'sunset', 0.02)")
        assert len(rows_of(connection, versions)) == 2  # has no threshold of its own
        connection.execute("SELECT siglip.use_calibration('scenes', 'sunset', 1)")
        assert rows_of(connection, rule) == [(fit["scale"], fit["bias"], pytest.approx(fit["threshold"]))]


def test_a_note_does_not_speak_of_a_border_that_the_wish_has_moved(database: Database, model_id: int) -> None:
    image_ids = index_at(database, model_id, [0.9, 0.8, 0.7, 0.61, 0.6, 0.59])
    with database.connection() as connection:
        connection.execute("SELECT siglip.set_threshold('scenes', 'sunset', 0.99)")
        same = "The same images are accepted as before"
        assert same in calibrate(connection, image_ids[:3], image_ids[3:])["note"]
        fit = calibrate(connection, [], [], ", min_precision => 0.3")
        assert fit["guaranteed_precision"] >= 0.3
        assert same not in fit["note"]
        unkept = calibrate(connection, [], [], ", min_precision => 0.95")
        assert "Not enough marks yet" in unkept["note"]
        assert same in unkept["note"]
