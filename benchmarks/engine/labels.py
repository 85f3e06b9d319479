"""Label sets: the images of one label down to a score, and counts and histograms of twenty labels."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from siglip_ingest.db import Connection
from siglip_ingest.db.connection.vectors import half_vector

from .bench import Bench
from .corpus import INFO
from .exact import ROUNDING, find_kth, find_similarities
from .measuring import Clock, print_table, print_title
from .ways import connect, fetch

LABEL_SET = "measured"
SHARES = (0.0001, 0.001, 0.01)
REPEATS = 3
BINS = 20
WANTED_MS = 20.0
WANTED_COUNT_MS = 600.0
WANTED_RECALL = 0.98
WANTED_ROWS = 200_000  # the times are wanted up to so many


def measure_labels(bench: Bench) -> None:
    """Print times and recall."""
    print_title("Labels, one connection")
    with connect(bench.url) as connection:
        create_label_set(connection, bench)
        similarities = find_similarities(bench.corpus.images.vectors, bench.corpus.texts)[:, bench.corpus.is_stored]
        rows_of = np.flatnonzero(bench.corpus.is_stored)
        report_images(connection, bench, similarities, rows_of)
        report_counts(connection, similarities)


def report_images(
    connection: Connection, bench: Bench, similarities: NDArray[np.float32], rows_of: NDArray[np.int64]
) -> None:
    """`siglip.images_with_label` at scores that a share of the images reaches."""
    table = []
    for share in SHARES:
        clock, recalls, extra = Clock(connection.info.backend_pid), [], 0
        count = max(1, round(share * similarities.shape[1]))
        for label in range(len(similarities)):
            # Between the last that is wanted and the next: no rounding decides.
            threshold = (find_kth(similarities[label], count) + find_kth(similarities[label], count + 1)) / 2
            wanted = set(rows_of[similarities[label] >= threshold].tolist())
            arguments = connection, name_label(label), to_score(threshold)
            images_with_label(*arguments)  # warms
            for _ in range(REPEATS):
                found = clock.time(images_with_label, *arguments)
            rows = bench.corpus.row_of_image[found].tolist()
            recalls.append(len(wanted.intersection(rows)) / len(wanted))
            extra += sum(similarities[label][np.searchsorted(rows_of, row)] < threshold - ROUNDING for row in rows)
        summary = clock.times
        is_timed = share <= 0.001 and similarities.shape[1] <= WANTED_ROWS
        has_missed = np.mean(recalls) < WANTED_RECALL or (is_timed and summary.p50 > WANTED_MS)
        table.append(
            [
                *(f"{100 * share:g} % of the images", count, summary.p50, summary.p95, summary.p99, summary.processor),
                *(f"{np.mean(recalls):.3f}", f"{min(recalls):.3f}", int(extra), "missed" if has_missed else ""),
            ]
        )
    print(
        f"siglip.images_with_label, {len(similarities)} labels; wanted: recall {WANTED_RECALL}; p50 {WANTED_MS} ms up"
        f" to 0.1 % of {WANTED_ROWS:,}."
    )
    print_table(["", "rows", "p50 ms", "p95", "p99", "computing", "recall", "least", "too many", ""], table)


def report_counts(connection: Connection, similarities: NDArray[np.float32]) -> None:
    """`siglip.count_labels` and `siglip.label_histogram`, all labels at once, beside the exact numbers."""
    thresholds = [find_kth(row, max(1, similarities.shape[1] // 100)) - ROUNDING for row in similarities]
    for label, threshold in enumerate(thresholds):
        connection.execute(
            "UPDATE siglip.labels SET threshold = %s WHERE label = %s", [to_score(threshold), name_label(label)]
        )
    exact_counts = {
        name_label(label): int((row >= threshold).sum())
        for label, (row, threshold) in enumerate(zip(similarities, thresholds, strict=True))
    }
    table = []
    for name, statement in (
        ("count_labels", f"SELECT * FROM siglip.count_labels('{LABEL_SET}')"),
        ("label_histogram", f"SELECT * FROM siglip.label_histogram('{LABEL_SET}', {BINS})"),
    ):
        clock = Clock(connection.info.backend_pid)
        fetch(connection, statement)  # warms
        for _ in range(2 * REPEATS):
            rows = clock.time(fetch, connection, statement)
        summary = clock.times
        difference = (
            compare_counts(rows, exact_counts) if name == "count_labels" else compare_totals(rows, similarities)
        )
        missed = "missed" if similarities.shape[1] <= WANTED_ROWS and summary.p50 > WANTED_COUNT_MS else ""
        table.append([name, len(rows), summary.p50, summary.longest, summary.processor, difference, missed])
    print(
        f"All {len(similarities)} labels over {similarities.shape[1]:,} images; wanted: {WANTED_COUNT_MS} ms for"
        f" {WANTED_ROWS:,}."
    )
    print_table(["", "rows", "p50 ms", "longest", "computing", "differs from exact by", ""], table)


def create_label_set(connection: Connection, bench: Bench) -> None:
    """Store the texts as labels."""
    connection.execute("DELETE FROM siglip.label_sets WHERE name = %s", [LABEL_SET])
    connection.execute("INSERT INTO siglip.label_sets (name, template) VALUES (%s, '{label}')", [LABEL_SET])
    for number, text in enumerate(bench.corpus.texts):
        connection.execute(
            "WITH added AS (INSERT INTO siglip.labels (label_set_id, position, label, prompts)"
            " SELECT s.label_set_id, %(number)s, %(label)s, ARRAY[%(label)s] FROM siglip.label_sets AS s"
            " WHERE s.name = %(set)s RETURNING label_id)"
            " INSERT INTO siglip.label_embeddings (model_id, label_id, embedding)"
            " SELECT %(model_id)s, a.label_id, %(embedding)b FROM added AS a",
            {
                "number": number,
                "label": name_label(number),
                "set": LABEL_SET,
                "model_id": bench.model_id,
                "embedding": half_vector(text),
            },
        )


def images_with_label(connection: Connection, label: str, min_score: float) -> list[int]:
    """The images whose score reaches `min_score`."""
    statement = "SELECT * FROM siglip.images_with_label(%s::text, %s::text, min_score => %s::double precision)"
    return [row[0] for row in fetch(connection, statement, [LABEL_SET, label, min_score])]


def compare_counts(rows: list[Any], exact: dict[str, int]) -> int:
    """The largest difference between a label's count and the exact one."""
    found = {row[0]: int(row[1]) for row in rows}
    return max(abs(found.get(label, 0) - count) for label, count in exact.items())


def compare_totals(rows: list[Any], similarities: NDArray[np.float32]) -> int:
    """By how much all bars of all labels together differ from the number of all pairs."""
    return abs(sum(int(row[-1]) for row in rows) - similarities.size)


def to_score(similarity: float) -> float:
    """The score of a similarity, in [0, 1]."""
    return float(1 / (1 + np.exp(-(np.exp(INFO.logit_scale) * similarity + INFO.logit_bias))))


def name_label(number: int) -> str:
    """What a label is called."""
    return f"label {number:02}"
