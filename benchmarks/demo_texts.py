"""How much a search by text, and a label, find of what an exact one finds: images and texts of the demo model.

    python benchmarks/demo_texts.py [--images 40000] [--texts 100]

Its vectors are real ones: images that the demo draws, and captions that are true of some of them, embedded by the
demo checkpoint. Drawing and embedding 40,000 images takes some minutes. PostgreSQL is the script's own, in a temporary
folder that is removed at the end.
"""

from __future__ import annotations

import argparse
import random
from concurrent.futures import ProcessPoolExecutor

import numpy as np
import torch
from engine.bench import maintain
from engine.corpus import in_batches, store_vectors
from engine.exact import compute_recall, find_kth, find_similarities
from engine.measuring import CONTEXT, Clock, Recall, print_table, print_title
from engine.server import choose_settings, count_cores, describe_machine, run_server
from engine.ways import connect
from numpy.typing import NDArray

from siglip_ingest.db import Connection, models
from siglip_ingest.db.connection.vectors import half_vector
from siglip_ingest.db.schema import migrate
from siglip_ingest.demo import CHECKPOINT
from siglip_ingest.demo.captions import write_caption
from siglip_ingest.demo.description import describe_scene
from siglip_ingest.types import ModelInfo
from tools.demo_model.evaluate import Encoder

FIRST_SEED = 50_000_000  # beyond what the demo and its training draw
SHARES = (0.0001, 0.001, 0.01)
WANTED_RECALL = 0.98
CHUNK = 500


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=40_000)
    parser.add_argument("--texts", type=int, default=100)
    arguments = parser.parse_args()
    starts = range(FIRST_SEED, FIRST_SEED + arguments.images, CHUNK)
    with ProcessPoolExecutor(count_cores(), mp_context=CONTEXT) as pool:
        images = np.concatenate(list(pool.map(embed_images, starts, [CHUNK] * len(starts))))[: arguments.images]
    texts = embed_texts(arguments.texts)
    similarities = find_similarities(images, texts)
    settings = choose_settings(len(images))
    with run_server(settings) as (url, _):
        migrate(url)
        print(describe_machine(url, settings))
        with connect(url) as connection:
            model_id = store(connection, images, texts)
            for _, sentence in maintain(connection):
                print(sentence)
            report_searches(connection, texts, similarities)
            report_labels(connection, similarities, model_id)


def embed_images(first_seed: int, count: int) -> NDArray[np.float16]:
    """A process's part: draw images and embed them, (count, D)."""
    torch.set_num_threads(1)
    encoder = Encoder.from_checkpoint(CHECKPOINT)
    descriptions = [describe_scene(seed) for seed in range(first_seed, first_seed + count)]
    return encoder.embed_pixels(encoder.prepare_images(descriptions)).astype(np.float16)


def embed_texts(count: int) -> NDArray[np.float32]:
    """Captions of images that aren't stored, which say a part of what these show: (count, D)."""
    rng = random.Random(1)
    captions = {
        write_caption(describe_scene(seed), rng, is_partial=True).text
        for seed in range(FIRST_SEED - 4 * count, FIRST_SEED)
    }
    return Encoder.from_checkpoint(CHECKPOINT).embed_texts(sorted(captions)[:count])


def store(connection: Connection, images: NDArray[np.float16], texts: NDArray[np.float32]) -> int:
    """Store the model, its images, whose ids are their places, and the texts as labels; returns the `model_id`."""
    model = Encoder.from_checkpoint(CHECKPOINT).model
    info = ModelInfo("demo", "1", images.shape[1], model.logit_scale.item(), model.logit_bias.item())
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
    connection.execute("ANALYZE siglip.images")
    connection.execute("INSERT INTO siglip.label_sets (name, template) VALUES ('texts', '{label}')")
    for number, text in enumerate(texts):
        connection.execute(
            "WITH added AS (INSERT INTO siglip.labels (label_set_id, position, label, prompts)"
            " SELECT label_set_id, %(number)s, %(label)s, ARRAY[%(label)s] FROM siglip.label_sets RETURNING label_id)"
            " INSERT INTO siglip.label_embeddings (model_id, label_id, embedding)"
            " SELECT %(model_id)s, label_id, %(embedding)b FROM added",
            {"number": number, "label": str(number), "model_id": model_id, "embedding": half_vector(text)},
        )
    return model_id


def report_searches(connection: Connection, texts: NDArray[np.float32], similarities: NDArray[np.float32]) -> None:
    """The ten nearest images of each text."""
    clock, recalls = Clock(connection.info.backend_pid), []
    for text, row in zip(texts, similarities, strict=True):
        found = clock.time(find, connection, "SELECT uri FROM siglip.search_images(%b::halfvec)", [half_vector(text)])
        recalls.append(compute_recall(found, row, None, 10))
    recall = Recall.of(recalls)
    print_title(f"{len(texts)} searches by text; wanted: recall {WANTED_RECALL}")
    print_table(
        ["p50 ms", "p95", "recall@10", "lost", ""],
        [[clock.times.p50, clock.times.p95, recall, recall.lost, "missed" if recall.mean < WANTED_RECALL else ""]],
    )


def report_labels(connection: Connection, similarities: NDArray[np.float32], model_id: int) -> None:
    """`siglip.images_with_label` at scores that a share of the images reaches."""
    row = connection.execute(
        "SELECT logit_scale, logit_bias FROM siglip.models WHERE model_id = %s", [model_id]
    ).fetchone()
    assert row is not None
    table = []
    for share in SHARES:
        count = max(1, round(share * similarities.shape[1]))
        clock, recalls = Clock(connection.info.backend_pid), []
        for label, of_label in enumerate(similarities):
            threshold = (find_kth(of_label, count) + find_kth(of_label, count + 1)) / 2
            logit = np.exp(row[0]) * threshold + row[1]
            wanted = set(np.flatnonzero(of_label >= threshold).tolist())
            statement = "SELECT uri FROM siglip.images_with_label('texts', %s, min_score => %s)"
            found = clock.time(find, connection, statement, [str(label), 1 / (1 + np.exp(-logit))])
            recalls.append(len(wanted.intersection(found)) / len(wanted))
        mean = float(np.mean(recalls))
        missed = "missed" if mean < WANTED_RECALL else ""
        name = f"{100 * share:g} % of the images"
        table.append([name, count, clock.times.p50, clock.times.p95, f"{mean:.3f}", missed])
    print_title(f"{len(similarities)} labels; wanted: recall {WANTED_RECALL}")
    print_table(["", "rows", "p50 ms", "p95", "recall", ""], table)


def find(connection: Connection, statement: str, parameters: list[object]) -> list[int]:
    """Row numbers of the images that a statement finds: their URIs count from 1."""
    return [int(uri) - 1 for (uri,) in connection.execute(statement.encode(), parameters).fetchall()]


if __name__ == "__main__":
    main()
