"""What calibration gains: labels of the demo world, where what is true of each image is known.

    python benchmarks/calibration.py               # 3,000 images, about five minutes on two cores
    python benchmarks/calibration.py --images 1000 --repeats 1

Four tables: precision, recall and F1 of labels with the model's own scores and after 3, 10 and 30 marks of images drawn
at random, of half positives, and of those that `siglip.suggest_examples` names; labels from images alone; how often a
wished precision was kept; and what the columns cost that `siglip.label_scores` has beside the model's scores. The
images are drawn and embedded by the demo checkpoint. PostgreSQL is the script's own, in a temporary folder that is
removed at the end.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from demo_texts import CHUNK, FIRST_SEED, embed_images
from engine.corpus import in_batches, store_vectors
from engine.measuring import CONTEXT, print_table, print_title
from engine.server import choose_settings, count_cores, describe_machine, run_server
from engine.ways import connect

from siglip_ingest.db import Connection, models
from siglip_ingest.db.connection.vectors import half_vector
from siglip_ingest.db.schema import migrate
from siglip_ingest.demo import CHECKPOINT
from siglip_ingest.demo.description import FLYERS, GROUNDS, SKIES, THINGS, describe_scene
from siglip_ingest.types import ModelInfo
from tools.demo_model.evaluate import Encoder

if TYPE_CHECKING:
    from numpy.typing import NDArray

COUNTS = (3, 10, 30)
EXAMPLES = (1, 5, 20)
WISHED = 0.95
WISH_MARKS = (60, 150, 400)
FACTS = {
    **{sky: f"sky={sky}" for sky in SKIES},
    **{ground: f"ground={ground}" for ground in GROUNDS},
    **{thing: thing for thing in (*THINGS, *FLYERS)},
}
# The demo's text tower has learned no such phrase: its scores of it are far too low, as those of real models often are.
TEMPLATES = {"usual": "This is a photo of {label}.", "unusual": "not a {label}"}
CALIBRATE = "SELECT scale, bias, threshold, guaranteed_precision FROM siglip.calibrate(%s, %s, %s, %s)"


@dataclass
class World:
    """The images, a label set, and what is true.

    Attributes:
        logits: (labels, N) of the model, for labels of words.
        truth: (labels, N) whether each label is true of each image.
        vectors: (N, D) of the images, whose `image_id` is their row + 1.
    """

    connection: Connection
    info: ModelInfo
    label_set: str
    vectors: NDArray[np.float32]
    logits: NDArray[np.float64]
    truth: NDArray[np.bool_]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=3000)
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    starts = range(FIRST_SEED, FIRST_SEED + arguments.images, CHUNK)
    with ProcessPoolExecutor(count_cores(), mp_context=CONTEXT) as pool:
        images = np.concatenate(list(pool.map(embed_images, starts, [CHUNK] * len(starts))))[: arguments.images]
    settings = choose_settings(len(images))
    with run_server(settings) as (url, _):
        migrate(url)
        print(describe_machine(url, settings))
        with connect(url) as connection:
            worlds = store(connection, images)
            rng = np.random.default_rng(1)
            for world in worlds:
                report_marks(world, arguments.repeats, rng)
            report_examples(worlds[0], arguments.repeats, rng)
            for world in worlds:
                report_wishes(world, arguments.repeats, rng)
            report_view(connection)


def store(connection: Connection, images: NDArray[np.float16]) -> list[World]:
    """Store the model, the images, whose ids count from 1, and two label sets of all that the demo draws."""
    encoder = Encoder.from_checkpoint(CHECKPOINT)
    scale, bias = encoder.model.logit_scale.item(), encoder.model.logit_bias.item()
    info = ModelInfo("demo", "1", images.shape[1], scale, bias)
    model_id = models.register_model(connection, info.name, info.revision)
    models.describe_model(connection, model_id, info)
    models.activate_model(connection, model_id)
    connection.execute(
        "INSERT INTO siglip.contents (content_hash) SELECT NULL FROM generate_series(1, %s)", [len(images)]
    )
    connection.execute(
        "INSERT INTO siglip.images (collection, uri, content_id) SELECT 'demo', content_id, content_id"
        " FROM siglip.contents ORDER BY content_id"
    )
    for batch in in_batches(np.arange(len(images))):
        store_vectors(connection, model_id, batch + 1, images[batch])
    facts = [describe_scene(FIRST_SEED + n).facts for n in range(len(images))]
    truth = np.array([[fact in of_image for of_image in facts] for fact in FACTS.values()])
    vectors, worlds = images.astype(np.float32), []
    for name, template in TEMPLATES.items():
        texts = encoder.embed_texts([template.format(label=label) for label in FACTS]).astype(np.float16)
        store_labels(connection, model_id, name, texts)
        logits = to_logits(info, texts.astype(np.float32) @ vectors.T)
        worlds.append(World(connection, info, name, vectors, logits, truth))
    connection.execute("ANALYZE")
    return worlds


def store_labels(connection: Connection, model_id: int, label_set: str, texts: NDArray[np.float16]) -> None:
    """Store a label set with its vectors."""
    connection.execute(
        "INSERT INTO siglip.label_sets (name, template) VALUES (%s, %s)", [label_set, TEMPLATES[label_set]]
    )
    for number, (label, text) in enumerate(zip(FACTS, texts, strict=True)):
        connection.execute(
            "WITH added AS (INSERT INTO siglip.labels (label_set_id, position, label, prompts)"
            " SELECT label_set_id, %(number)s, %(label)s, ARRAY[%(label)s] FROM siglip.label_sets"
            " WHERE name = %(label_set)s RETURNING label_id)"
            " INSERT INTO siglip.label_embeddings (model_id, label_id, embedding)"
            " SELECT %(model_id)s, label_id, %(embedding)b FROM added",
            {
                "number": number,
                "label": label,
                "label_set": label_set,
                "model_id": model_id,
                "embedding": half_vector(text),
            },
        )


def to_logits(info: ModelInfo, similarities: NDArray[np.float32]) -> NDArray[np.float64]:
    """The model's logits."""
    return np.exp(info.logit_scale) * similarities.astype(np.float64) + info.logit_bias


def measure(accepted: NDArray[np.bool_], truth: NDArray[np.bool_], unseen: NDArray[np.bool_]) -> tuple[float, ...]:
    """Precision, recall and F1 over the images that weren't marked; the precision of nothing is 1."""
    right = float((accepted & truth & unseen).sum())
    found, wanted = float((accepted & unseen).sum()), float((truth & unseen).sum())
    return right / found if found else 1.0, right / wanted, 2 * right / (found + wanted)


def accept(logits: NDArray[np.float64], scale: float, bias: float, threshold: float) -> NDArray[np.bool_]:
    """Whether the calibrated score reaches the threshold."""
    accepted: NDArray[np.bool_] = 1 / (1 + np.exp(-(scale * logits + bias))) >= threshold
    return accepted


def draw_random(world: World, _number: int, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Rows of images drawn at random."""
    return rng.choice(world.truth.shape[1], count, replace=False)


def draw_halves(world: World, number: int, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Rows of images, half of which have the label, as somebody looks for both."""
    yes, no = np.flatnonzero(world.truth[number]), np.flatnonzero(~world.truth[number])
    return np.concatenate([rng.choice(yes, (count + 1) // 2, replace=False), rng.choice(no, count // 2, replace=False)])


def draw_suggested(world: World, number: int, count: int, _rng: np.random.Generator) -> NDArray[np.int64]:
    """Rows that `siglip.suggest_examples` names, marked and asked for anew after each five."""
    rows: list[int] = []
    while len(rows) < count:
        named = world.connection.execute(
            "SELECT image_id FROM siglip.suggest_examples(%s, %s, %s)",
            [world.label_set, list(FACTS)[number], min(5, count - len(rows))],
        ).fetchall()
        new = [image_id - 1 for (image_id,) in named]
        rows += new
        if not new:
            break
        calibrate(world, number, np.array(new))
    return np.array(rows)


def calibrate(world: World, number: int, rows: NDArray[np.int64], *options: float) -> Any:
    """Mark rows by what is true of them, and fit: scale, bias, threshold, guaranteed_precision."""
    has_it = world.truth[number, rows]
    statement = CALIBRATE if not options else CALIBRATE.replace("%s)", "%s, min_precision => %s)")
    marks = [(rows[has_it] + 1).tolist(), (rows[~has_it] + 1).tolist()]
    return world.connection.execute(
        statement.encode(), [world.label_set, list(FACTS)[number], *marks, *options]
    ).fetchone()


def report_marks(world: World, repeats: int, rng: np.random.Generator) -> None:
    """The model's own decisions, and those after some marks."""
    unseen = np.ones(world.truth.shape[1], bool)
    own = [measure(logits >= 0, truth, unseen) for logits, truth in zip(world.logits, world.truth, strict=True)]
    table = [["none: score >= 0.5", 0, *format_mean(own), ""]]
    ways: dict[str, Callable[[World, int, int, np.random.Generator], NDArray[np.int64]]] = {
        "drawn at random": draw_random,
        "half with the label": draw_halves,
        "suggested": draw_suggested,
    }
    for name, draw in ways.items():
        for count in COUNTS:
            results, worse = [], 0
            for number in range(len(FACTS)):
                for _ in range(repeats if draw is not draw_suggested else 1):
                    with world.connection.transaction(force_rollback=True):
                        rows = draw(world, number, count, rng)
                        scale, bias, threshold, _guaranteed = calibrate(world, number, rows)
                    unseen = np.ones(world.truth.shape[1], bool)
                    unseen[rows] = False
                    accepted = accept(world.logits[number], scale, bias, threshold)
                    results.append(measure(accepted, world.truth[number], unseen))
                    worse += results[-1][2] < own[number][2] - 0.02
            table.append([name, count, *format_mean(results), f"{100 * worse / len(results):.0f} %"])
    print_title(
        f"{len(FACTS)} labels '{TEMPLATES[world.label_set]}', means over the labels, on images that weren't marked"
    )
    print_table(["marks", "", "precision", "recall", "F1", "F1 lower by > 0.02"], table)


def report_examples(world: World, repeats: int, rng: np.random.Generator) -> None:
    """Labels from positives alone, and with as many negatives."""
    table = []
    for count in EXAMPLES:
        for has_negatives in (False, True):
            results = []
            for number in range(len(FACTS)):
                for _ in range(repeats):
                    rows = draw_halves(world, number, 2 * count, rng)
                    rows = rows if has_negatives else rows[:count]
                    results.append(measure_examples(world, number, rows))
            table.append([count, count if has_negatives else 0, *format_mean(results)])
    print_title(f"{len(FACTS)} labels from images alone, means over the labels, on images that weren't marked")
    print_table(["positives", "negatives", "precision", "recall", "F1"], table)


def measure_examples(world: World, number: int, rows: NDArray[np.int64]) -> tuple[float, ...]:
    """Make a label of rows, and compare what it accepts with the truth."""
    has_it = world.truth[number, rows]
    with world.connection.transaction(force_rollback=True):
        fit: Any = world.connection.execute(
            "SELECT scale, bias, threshold FROM siglip.label_from_images('examples', 'it', %s, %s)",
            [(rows[has_it] + 1).tolist(), (rows[~has_it] + 1).tolist()],
        ).fetchone()
        vector: Any = world.connection.execute(
            "SELECT v.embedding::vector::real[] FROM siglip.label_embeddings AS v JOIN siglip.labels USING (label_id)"
            " WHERE is_by_example"
        ).fetchone()
    unseen = np.ones(world.truth.shape[1], bool)
    unseen[rows] = False
    logits = to_logits(world.info, world.vectors @ np.array(vector[0], np.float32))
    return measure(accept(logits, *fit), world.truth[number], unseen)


def report_wishes(world: World, repeats: int, rng: np.random.Generator) -> None:
    """A precision that is wished for, with marks drawn from the images that score highest."""
    table = []
    for count in WISH_MARKS:
        reached, kept, recalls = 0, 0, []
        for number in range(len(FACTS)):
            # Twice as many images as have the label: what somebody looks through from the top.
            top = np.argsort(-world.logits[number])[: 2 * world.truth[number].sum()]
            for _ in range(4 * repeats):
                rows = rng.choice(top, min(count, len(top)), replace=False)
                with world.connection.transaction(force_rollback=True):
                    scale, bias, threshold, guaranteed = calibrate(world, number, rows, WISHED)
                if guaranteed is None:
                    continue
                reached += 1
                accepted = accept(world.logits[number], scale, bias, threshold)
                precision, recall, _ = measure(accepted, world.truth[number], np.ones(len(accepted), bool))
                kept += precision >= WISHED
                recalls.append(recall)
        total = len(FACTS) * 4 * repeats
        shares = [
            f"{100 * reached / total:.0f} %",
            f"{100 * kept / reached:.0f} %" if reached else "",
            f"{np.mean(recalls or [np.nan]):.3f}",
        ]
        table.append([count, *shares])
    print_title(f"'{TEMPLATES[world.label_set]}': min_precision => {WISHED}, confidence 0.9")
    print_table(["marks", "had enough marks", "of these kept the wish", "recall"], table)


def report_view(connection: Connection) -> None:
    """Sums over all images and labels: the old columns, the new ones, and the old view's text."""
    queries = {
        "the view of revision 0008": OLD_VIEW,
        "sum(score)": "SELECT sum(score) FROM siglip.label_scores",
        "sum(calibrated_score)": "SELECT sum(calibrated_score) FROM siglip.label_scores",
        "count(*) of is_accepted": "SELECT count(*) FROM siglip.label_scores WHERE is_accepted",
    }
    times: dict[str, list[float]] = {name: [] for name in queries}
    for _ in range(5):
        for name, query in queries.items():
            begun = time.perf_counter()
            connection.execute(query.encode())
            times[name].append(time.perf_counter() - begun)
    first = min(times["the view of revision 0008"])
    print_title("One pass of siglip.label_scores over all images and labels, least of five")
    print_table(["", "ms", "times"], [[name, 1000 * min(t), f"{min(t) / first:.2f}"] for name, t in times.items()])


OLD_VIEW = """
SELECT sum(siglip.score(c.similarity, m.logit_scale, m.logit_bias))
FROM siglip.models AS m
JOIN siglip.label_embeddings AS v ON v.model_id = m.model_id
JOIN siglip.labels AS l USING (label_id)
JOIN siglip.label_sets AS s USING (label_set_id)
JOIN siglip.image_embeddings AS e ON e.model_id = m.model_id
JOIN siglip.images AS i USING (content_id)
CROSS JOIN LATERAL (
    SELECT greatest(-1::float8, least(1::float8, -(e.embedding <#> v.embedding))) AS similarity OFFSET 0
) AS c
WHERE m.model_id = (SELECT model_id FROM siglip.models WHERE is_active)
"""


def format_mean(results: Sequence[tuple[float, ...]]) -> list[str]:
    """The mean of each column."""
    return [f"{value:.3f}" for value in np.mean(results, axis=0)]


if __name__ == "__main__":
    main()
