"""What the figures of benchmarks/search.py rest on: its vectors, its exact answers, its summaries."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.engine.corpus import COPY_END, COPY_HEADER, pack_rows
from benchmarks.engine.exact import compute_recall, find_kth, find_similarities
from benchmarks.engine.measuring import Recall, Times, format_number, print_table
from benchmarks.engine.vectors import TOPS, make_images, make_queries, make_space, make_texts

ROOT = Path(__file__).parents[2]
ROWS, DIMENSION = 6_000, 96


def draw(seed: int = 7):
    generator = np.random.default_rng(seed)
    space = make_space(generator, ROWS, DIMENSION)
    return generator, space, make_images(generator, space, ROWS)


def test_vectors_are_the_same_each_time() -> None:
    assert np.array_equal(draw()[2].vectors, draw()[2].vectors)
    assert not np.array_equal(draw()[2].vectors, draw(seed=8)[2].vectors)


def test_vectors_have_length_1() -> None:
    _, _, images = draw()
    assert images.vectors.dtype == np.float16
    assert np.allclose(np.linalg.norm(images.vectors.astype(np.float32), axis=1), 1, atol=2e-3)


def test_neighbours_get_less_alike_with_distance() -> None:
    generator, _, images = draw()
    queries, _ = make_queries(generator, images.vectors, 50)
    nearest = -np.sort(-find_similarities(images.vectors, queries), axis=1)
    means = nearest[:, [0, 9, 99, 999]].mean(axis=0)
    assert (np.diff(means) < -0.05).all(), means


def test_images_of_a_cluster_are_more_alike_than_others() -> None:
    generator, _, images = draw()
    queries, rows = make_queries(generator, images.vectors, 50)
    similarities = find_similarities(images.vectors, queries)
    own = images.tops[rows][:, None] == images.tops[None]
    assert similarities[own].mean() > similarities[~own].mean() + 0.1
    assert set(images.tops) == set(range(TOPS))


def test_texts_lie_outside_of_the_images_cone() -> None:
    generator, space, images = draw()
    texts = find_similarities(images.vectors, make_texts(generator, space, 20))
    among_images = find_similarities(images.vectors, images.vectors[:20].astype(np.float32))
    assert texts.mean() < among_images.mean() - 0.2
    assert texts.max(axis=1).min() > texts.mean() + 2.5 * texts.std()  # but each names some of them


def test_filters_pass_their_share_of_each_cluster() -> None:
    _, _, images = draw()
    passes = images.draws % 10 == 3
    shares = [passes[images.tops == top].mean() for top in range(TOPS)]
    assert 0.05 < min(shares) <= max(shares) < 0.17
    assert abs(passes.mean() - 0.1) < 0.02


def test_recall_counts_what_is_near_enough() -> None:
    similarities = np.array([0.9, 0.8, 0.7, 0.7, 0.1], np.float32)
    assert compute_recall([0, 1, 2], similarities, None, 3) == 1
    assert compute_recall([0, 1, 3], similarities, None, 3) == 1  # row 3 is as near as row 2
    assert compute_recall([0, 1, 4], similarities, None, 3) == pytest.approx(2 / 3)
    assert compute_recall([0], similarities, None, 3) == pytest.approx(1 / 3)


def test_recall_is_of_the_rows_that_pass() -> None:
    similarities = np.array([0.9, 0.8, 0.7], np.float32)
    passes = np.array([False, True, True])
    assert compute_recall([1, 2], similarities, passes, 10) == 1
    assert compute_recall([2], similarities, passes, 10) == 0.5
    assert compute_recall([], similarities, np.zeros(3, bool), 10) == 1
    with pytest.raises(SystemExit, match="excludes"):
        compute_recall([0, 1], similarities, passes, 10)


def test_a_row_found_twice_ends_the_benchmark() -> None:
    with pytest.raises(SystemExit, match="twice"):
        compute_recall([1, 1], np.array([0.9, 0.8], np.float32), None, 10)


def test_the_kth_similarity_is_the_kth_greatest() -> None:
    similarities = np.array([0.1, 0.9, 0.5, 0.7], np.float32)
    assert [find_kth(similarities, k) for k in (1, 2, 4, 9)] == pytest.approx([0.9, 0.7, 0.1, 0.1])


def test_similarities_are_those_of_half_precision() -> None:
    generator, _, images = draw()
    queries, _ = make_queries(generator, images.vectors, 3)
    exact = images.vectors.astype(np.float64) @ queries.astype(np.float16).astype(np.float64).T
    assert np.allclose(find_similarities(images.vectors, queries), exact.T, atol=1e-6)


def test_times_are_summed_up() -> None:
    times = Times.of([float(n) for n in range(1, 101)])
    assert (times.count, times.longest) == (100, 100)
    assert (times.p50, times.p95, times.p99) == pytest.approx((50.5, 95.05, 99.01))
    assert Times.of([3.0], [1.0]).processor == 1
    assert np.isnan([Times.of([]).p50, times.processor]).all()


def test_packed_rows_are_what_copy_reads() -> None:
    vectors = np.array([[0.5, -1.0], [2.0, 0.25]], np.float16)
    packed = pack_rows(3, np.array([10, 11]), vectors)
    second = b"\0\3" + b"\0\0\0\4\0\0\0\3" + b"\0\0\0\x08" + (11).to_bytes(8) + b"\0\0\0\x08\0\2\0\0" + b"\x40\0\x34\0"
    assert packed.startswith(COPY_HEADER)
    assert packed.endswith(second + COPY_END)
    assert len(packed) == len(COPY_HEADER) + 2 * len(second) + len(COPY_END)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (float("nan"), "-"),
        (0.984, "0.98"),
        (12.34, "12.3"),
        (1234.5, "1,234"),
        (7, "7"),
        ("0.984", "0.984"),
    ],
    ids=["none", "nan", "small", "tens", "thousands", "integer", "text"],
)
def test_numbers_have_the_digits_that_count(value: object, text: str) -> None:
    assert format_number(value) == text


def test_tables_are_aligned(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(["", "p50 ms"], [["bare SQL", 1.5], ["all", 1200]])
    assert capsys.readouterr().out.splitlines() == ["          p50 ms", "bare SQL    1.50", "all        1,200", ""]


def test_a_failed_process_ends_the_benchmark() -> None:
    program = "from benchmarks.engine.measuring import Task; print(Task(max, 3, 5).result()); Task(int, 'x').result()"
    ended = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (1, "5\n")
    assert ended.stderr.endswith("A process of the benchmark failed, see above.\n")


def test_recall_counts_queries_that_lost_their_region() -> None:
    recall = Recall.of([1.0, 0.9, 0.4, 0.0])
    assert (recall.mean, recall.lost, str(recall)) == (0.575, 2, "0.575")
    assert str(Recall.of([])) == "-"
