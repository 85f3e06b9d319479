"""How fast and how right is what looks at a collection as a whole: all relevant images by date, duplicates, and more.

    python benchmarks/exploring.py [--rows 200000] [--queries 30] [--demo-images 2000]

Sections: the newest of all relevant images, several labels at once, images unlike each other, near-duplicates,
representatives. Found images are compared with the exact answer by numpy. How well representatives stand for a
collection is measured on images of the demo world, beside as many images drawn at random. PostgreSQL is the script's
own, in a temporary folder that is removed at the end.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

import numpy as np
from demo_texts import FIRST_SEED, embed_images, store
from engine.bench import Bench, maintain, vacuum
from engine.exact import find_kth, find_similarities
from engine.labels import LABEL_SET, create_label_set, name_label, to_score
from engine.measuring import Clock, print_table, print_title, time_ms
from engine.server import choose_settings, describe_machine, run_server
from engine.vectors import DIMENSION
from engine.ways import connect, fetch
from numpy.typing import NDArray

from siglip_ingest.db import Connection
from siglip_ingest.db.connection.vectors import half_vector
from siglip_ingest.db.schema import migrate
from siglip_ingest.demo.description import describe_scene

SHARES = (0.0001, 0.001, 0.01, 0.1)
NEWEST = 50
PAIRS_SHARE = 0.5  # of the contents have a near-duplicate at the similarity that is asked for
CONTENTS = 2_000  # whose neighbours one call looks up
COUNTS = (5, 20, 50)
DRAWS = 20


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--queries", type=int, default=30)
    parser.add_argument("--demo-images", type=int, default=2_000)
    arguments = parser.parse_args()
    settings = choose_settings(arguments.rows)
    with run_server(settings) as (url, folder):
        migrate(url)
        print(describe_machine(url, settings))
        print(f"{arguments.rows:,} vectors of {DIMENSION} elements")
        bench = Bench(url, folder, arguments.rows, 0, arguments.queries)
        bench.prepare()
        with connect(url) as connection:
            connection.execute(
                "UPDATE siglip.images SET metadata = metadata || pg_catalog.jsonb_build_object('taken_at',"
                " '2020-01-01'::date + (image_id * 7919 % 2000)::integer)"
            )
            vacuum(connection)
            report_newest(connection, bench)
            report_labels(connection, bench)
            report_diverse(connection, bench)
            report_near_duplicates(connection, bench)
            report_representatives(connection)
    with run_server(choose_settings(arguments.demo_images)) as (url, _):
        migrate(url)
        with connect(url) as connection:
            report_demo(connection, arguments.demo_images)


def report_newest(connection: Connection, bench: Bench) -> None:
    """The newest of all images whose score reaches what a share of them reaches, by two recipes."""
    print_title(f"The {NEWEST} newest relevant images")
    recipes = {
        "relevant_images": "siglip.relevant_images(%b::halfvec, min_score => %s)",
        "search_images": "siglip.search_images(%b::halfvec, max_results => 10000, min_score => %s)",
    }
    images = bench.corpus.image_of_row[bench.corpus.is_stored]
    similarities = find_similarities(bench.corpus.images.vectors, bench.corpus.texts)[:, bench.corpus.is_stored]
    taken = {image_id: image_id * 7919 % 2000 for image_id in images.tolist()}
    table = []
    for share in SHARES:
        for name, source in recipes.items():
            clock, right = Clock(connection.info.backend_pid), []
            for query, of_stored in zip(bench.corpus.texts, similarities, strict=True):
                count = max(1, round(share * len(of_stored)))
                least = (find_kth(of_stored, count) + find_kth(of_stored, count + 1)) / 2
                statement = (
                    f"SELECT image_id FROM {source} ORDER BY metadata->>'taken_at' DESC, image_id DESC LIMIT {NEWEST}"
                )
                rows = clock.time(fetch, connection, statement, [half_vector(query), to_score(least)])
                relevant = images[of_stored >= least].tolist()
                wanted = sorted(relevant, key=lambda image_id: (taken[image_id], image_id), reverse=True)[:NEWEST]
                right.append(len({row[0] for row in rows} & set(wanted)) / len(wanted))
            summary = clock.times
            table.append([f"{100 * share:g} % of the images", name, count, summary.p50, summary.p95, np.mean(right)])
    print_table(["", "recipe", "relevant", "p50 ms", "p95", "right"], table)


def report_labels(connection: Connection, bench: Bench) -> None:
    """Two labels at once, at the score that a share of the images reaches for each."""
    print_title("Two labels at once")
    create_label_set(connection, bench)
    similarities = find_similarities(bench.corpus.images.vectors, bench.corpus.texts)[:, bench.corpus.is_stored]
    images = bench.corpus.image_of_row[bench.corpus.is_stored]
    table = []
    for function, combine in (("all_of", np.logical_and), ("any_of", np.logical_or)):
        for share in SHARES[1:]:
            clock, recalls, counts = Clock(connection.info.backend_pid), [], []
            for label in range(0, len(similarities) - 1, 2):
                pair = similarities[label : label + 2]
                least = min(find_kth(row, max(1, round(share * pair.shape[1]))) for row in pair)
                statement = f"SELECT image_id FROM siglip.{function}('{LABEL_SET}', %s::text[], %s)"
                names = [name_label(label), name_label(label + 1)]
                rows = clock.time(fetch, connection, statement, [names, to_score(least)])
                wanted = set(images[combine(*(pair >= least))].tolist())
                counts.append(len(wanted))
                recalls.append(len(wanted.intersection(row[0] for row in rows)) / max(1, len(wanted)) if wanted else 1)
            summary = clock.times
            table.append([function, f"{100 * share:g} %", np.mean(counts), summary.p50, summary.p95, np.mean(recalls)])
    print_table(["", "share", "images", "p50 ms", "p95", "recall"], table)


def report_diverse(connection: Connection, bench: Bench) -> None:
    """Ten images unlike each other, beside the ten best."""
    print_title("Ten images unlike each other")
    table = []
    for name, source in (
        ("search_images", "siglip.search_images(%b::halfvec)"),
        ("diverse_images, 0.9", "siglip.diverse_images(%b::halfvec, max_similarity => 0.9)"),
        ("diverse_images, 0.7", "siglip.diverse_images(%b::halfvec, max_similarity => 0.7)"),
    ):
        clock, counts = Clock(connection.info.backend_pid), []
        for query in bench.corpus.queries:
            statement = f"SELECT image_id FROM {source}"
            counts.append(len(clock.time(fetch, connection, statement, [half_vector(query)])))
        table.append([name, np.mean(counts), clock.times.p50, clock.times.p95])
    print_table(["", "rows", "p50 ms", "p95"], table)


def report_near_duplicates(connection: Connection, bench: Bench) -> None:
    """The pairs of a range of contents, at a similarity that half of the images reach with their nearest neighbour."""
    print_title(f"Near-duplicates of {CONTENTS:,} contents")
    vectors = bench.corpus.images.vectors[: bench.rows]
    sample = vectors[: min(CONTENTS, len(vectors))]
    similarities = find_similarities(vectors, sample.astype(np.float32))
    nearest = -np.sort(-similarities, axis=1)[:, 1]
    least = float(np.quantile(nearest, 1 - PAIRS_SHARE))
    rows = connection.execute(
        "SELECT content_id, substring(uri, '[0-9]+')::integer FROM siglip.images ORDER BY content_id"
    ).fetchall()
    content_of = {row: content_id for content_id, row in rows}
    last = max(content_of[row] for row in range(len(sample)))
    took, found = time_ms(
        fetch,
        connection,
        "SELECT a.content_id, b.content_id FROM siglip.near_duplicates(%s, max_pairs => NULL, up_to_content_id => %s)"
        " AS p JOIN siglip.images AS a USING (image_id) JOIN siglip.images AS b ON b.image_id = p.other_image_id",
        [least, last],
    )
    pairs = {(content_of[a], content_of[int(b)]) for a, b in np.argwhere(similarities >= least)}
    wanted = {(a, b) for a, b in pairs if a < b}
    hits = len(wanted.intersection((min(pair), max(pair)) for pair in found))
    print_table(
        ["similarity", "pairs", "s", "ms a content", "recall"],
        [[f"{least:.3f}", len(wanted), took / 1000, took / len(sample), hits / max(1, len(wanted))]],
    )


def report_representatives(connection: Connection) -> None:
    """How long it takes to choose representatives of all images."""
    print_title("Representatives")
    table = [
        [f"{count}", *time_ms(fetch, connection, "SELECT * FROM siglip.representatives(%s)", [count])[:1]]
        for count in COUNTS
    ]
    print_table(["count", "ms"], table)


def report_demo(connection: Connection, count: int) -> None:
    """How like its representative an image of the demo world is, and how many of its kinds are represented."""
    print_title(f"Representatives of {count:,} images of the demo world")
    vectors = embed_images(FIRST_SEED, count)
    store(connection, vectors, np.zeros((0, vectors.shape[1]), np.float32))
    maintain(connection)
    scenes = [describe_scene(seed) for seed in range(FIRST_SEED, FIRST_SEED + count)]
    kinds = np.array([f"{scene.sky} over {scene.ground}" if scene.is_landscape else "shapes" for scene in scenes])
    rng = np.random.default_rng(0)
    table = []
    for wanted in COUNTS:
        rows = fetch(connection, "SELECT uri FROM siglip.representatives(%s)", [wanted])
        chosen = [int(row[0]) - 1 for row in rows]
        drawn = [judge(vectors, kinds, rng.choice(count, len(chosen), replace=False)) for _ in range(DRAWS)]
        table.append([f"{wanted} representatives", *judge(vectors, kinds, chosen)])
        table.append([f"{wanted} at random", *np.mean(drawn, axis=0)])
    print_table(["", "mean similarity", "kinds shown", f"of {len(set(kinds))}"], [[*row, ""] for row in table])


def judge(vectors: NDArray[np.float16], kinds: NDArray[Any], chosen: Sequence[int] | NDArray[Any]) -> tuple[float, int]:
    """The mean similarity of all images to the nearest that was chosen, and how many kinds those are of."""
    wide = vectors.astype(np.float32)
    return float((wide @ wide[chosen].T).max(axis=1).mean()), len(set(kinds[chosen]))


if __name__ == "__main__":
    main()
