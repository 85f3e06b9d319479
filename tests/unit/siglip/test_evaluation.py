from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from siglip_ingest.demo.world import write_images
from siglip_ingest.errors import InvalidInputError
from siglip_ingest.siglip.datasets import CaptionedImage, LabeledClass
from siglip_ingest.siglip.embedder import TorchEmbedder
from siglip_ingest.siglip.evaluation import (
    find_ranks,
    measure_labels,
    measure_retrieval,
    ranking,
    read_clip_templates,
    share_within,
)
from siglip_ingest.types import ModelInfo
from tests.database.helpers import unit_vectors
from tests.workers.helpers import write_image

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


class FakeEmbedder:
    """Vectors by the colour of an image's first pixel, and by the colour that a text names; eight dimensions."""

    def __init__(self, colours: dict[str, tuple[int, int, int]]) -> None:
        self.colours = colours
        self.batch_size = 4
        self.info = ModelInfo("fake", "1", 8, 0.0, 0.0, text_settings={"pad_id": 0, "max_length": 6})
        self.batches: list[int] = []
        self.texts: list[str] = []
        self.tokenized: list[str] = []

    def tokenize(self, texts: list[str]) -> NDArray[np.int64]:
        self.tokenized = texts
        rows = [[5] * min(len(text.split()), 5) + [1] for text in texts]
        return np.array([row + [0] * (6 - len(row)) for row in rows])

    def embed_texts(self, texts: list[str]) -> NDArray[np.float32]:
        self.texts += texts
        return np.stack([self._vector(next((c for c in self.colours if c in text), "none")) for text in texts])

    def embed_tokens(self, input_ids: NDArray[np.int64]) -> NDArray[np.float32]:
        assert len(input_ids) == len(self.tokenized)
        return self.embed_texts(self.tokenized)

    def prepare_image(self, image: Any) -> NDArray[np.uint8]:
        return np.asarray(image)[:1, :1]

    def embed_pixels(self, pixels: list[NDArray[np.uint8]]) -> NDArray[np.float32]:
        self.batches.append(len(pixels))
        names = {colour: name for name, colour in self.colours.items()}
        return np.stack([self._vector(names.get(tuple(pixel[0, 0].tolist()), "none")) for pixel in pixels])

    def _vector(self, name: str) -> NDArray[np.float32]:
        return np.eye(8, dtype=np.float32)[list(self.colours).index(name) if name in self.colours else 7]


@pytest.fixture
def embedder() -> Any:
    return FakeEmbedder({"red": RED, "green": GREEN, "blue": BLUE})


@pytest.fixture
def bars() -> tuple[Callable[[str, int], Callable[[int], object]], dict[str, list[int]]]:
    """A stand-in for progress bars, and what was shown: the total, then each step."""
    shown: dict[str, list[int]] = {}

    def start(name: str, total: int) -> Callable[[int], object]:
        shown[name] = [total]
        return shown[name].append

    return start, shown


def write_colour(path: Path, colour: tuple[int, int, int]) -> Path:
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 6), colour).save(path)
    return path


def test_ranks_count_the_wrong_keys_that_are_at_least_as_similar(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = np.eye(4, dtype=np.float32)
    queries = np.array([[0.9, 0.1, 0.3, 0.2], [0.1, 0.2, 0.9, 0.8], [0.5, 0.5, 0.5, 0.5]], dtype=np.float32)
    groups = np.array([0, 1, 2])
    key_groups = np.array([0, 1, 2, 1])  # the second and the last are right for the second query
    expected = [0, 1, 3]
    assert find_ranks(queries, keys, groups, key_groups).tolist() == expected
    monkeypatch.setattr(ranking, "BLOCK_ELEMENTS", 1)
    assert find_ranks(queries, keys, groups, key_groups).tolist() == expected


def test_blocks_give_what_the_whole_matrix_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    queries, keys = unit_vectors(53, 16, 1), unit_vectors(200, 16, 2)
    groups, key_groups = np.arange(53) % 20, np.arange(200) % 20
    similarities = queries @ keys.T
    right = groups[:, None] == key_groups[None, :]
    slow = [int(sum(row[~mine] >= row[mine].max())) for row, mine in zip(similarities, right, strict=True)]
    monkeypatch.setattr(ranking, "BLOCK_ELEMENTS", 7 * 200)
    assert find_ranks(queries, keys, groups, key_groups).tolist() == slow


def test_a_model_that_gives_one_vector_for_everything_ranks_last() -> None:
    same = np.ones((5, 4), dtype=np.float32) / 2
    assert find_ranks(same, same, np.arange(5), np.arange(5)).tolist() == [4] * 5


def test_a_query_without_a_right_key_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="group 3"):
        find_ranks(unit_vectors(4), unit_vectors(3), np.arange(4), np.arange(3))


def test_shares_are_of_ranks_below_k() -> None:
    ranks = np.array([0, 0, 1, 5])
    assert [share_within(ranks, k) for k in (1, 5, 10)] == [0.5, 0.75, 1.0]


def test_accuracy_counts_images_whose_best_class_is_theirs(tmp_path: Path, embedder: Any, bars: Any) -> None:
    classes = [
        LabeledClass(
            "r",
            ("red", "red thing"),
            (write_colour(tmp_path / "r/1.png", RED), write_colour(tmp_path / "r/2.png", BLUE)),
        ),
        LabeledClass("g", ("green",), tuple(write_colour(tmp_path / f"g/{n}.png", GREEN) for n in range(6))),
        LabeledClass("b", ("blue",), (write_colour(tmp_path / "b/1.png", BLUE),)),
    ]
    start_bar, shown = bars
    found = measure_labels(
        embedder, classes, decode_threads=2, templates=["a {label}", "the {label}"], start_bar=start_bar
    )
    assert found.task == "zero-shot classification"
    assert found.figures == {
        "top-1 accuracy": pytest.approx(8 / 9),
        "mean accuracy of the classes": pytest.approx((0.5 + 1 + 1) / 3),
    }
    assert found.by_class == {"r": (0.5, 2), "g": (1.0, 6), "b": (1.0, 1)}
    assert found.counts == {"images": 9, "classes": 3, "prompts": 8, "skipped": 0}
    assert embedder.texts[:4] == ["a red", "the red", "a red thing", "the red thing"]
    assert embedder.batches == [4, 4, 1]
    assert {name: (steps[0], sum(steps[1:])) for name, steps in shown.items()} == {
        "prompts": (8, 8),
        "images": (9, 9),
    }


def test_top_5_is_given_where_there_are_more_than_five_classes(tmp_path: Path, embedder: Any, bars: Any) -> None:
    path = write_colour(tmp_path / "1.png", RED)
    classes = [LabeledClass(name, (name,), (path,)) for name in ("red", "green", "blue", "d", "e", "f")]
    found = measure_labels(embedder, classes, decode_threads=2, start_bar=bars[0])
    assert list(found.figures) == ["top-1 accuracy", "top-5 accuracy", "mean accuracy of the classes"]
    assert found.figures["top-1 accuracy"] == pytest.approx(1 / 6)


def test_recall_counts_every_caption_and_any_of_an_images_captions(tmp_path: Path, embedder: Any, bars: Any) -> None:
    data = [
        CaptionedImage(write_colour(tmp_path / "1.png", RED), ("red", "a blue one, wrongly")),
        CaptionedImage(write_colour(tmp_path / "2.png", GREEN), ("green",)),
        CaptionedImage(write_colour(tmp_path / "3.png", BLUE), ("blue",)),
    ]
    found = measure_retrieval(embedder, data, decode_threads=2, start_bar=bars[0])
    assert found.counts == {"images": 3, "captions": 4, "skipped": 0}
    assert found.figures == {
        "text to image, recall@1": 0.75,
        "text to image, recall@5": 1.0,
        "text to image, recall@10": 1.0,
        "image to text, recall@1": pytest.approx(2 / 3),  # the wrong caption is as similar to the blue image
        "image to text, recall@5": 1.0,
        "image to text, recall@10": 1.0,
    }


def test_broken_images_are_left_out_with_a_reason(tmp_path: Path, embedder: Any, bars: Any) -> None:
    (tmp_path / "broken.png").write_text("no image")
    data = [
        CaptionedImage(tmp_path / "nowhere.png", ("x",)),
        CaptionedImage(write_colour(tmp_path / "1.png", RED), ("red",)),
        CaptionedImage(tmp_path / "broken.png", ("y",)),
        CaptionedImage(write_colour(tmp_path / "2.png", BLUE), ("blue",)),
    ]
    found = measure_retrieval(embedder, data, decode_threads=2, start_bar=bars[0])
    assert found.counts == {"images": 2, "captions": 2, "skipped": 2}
    assert found.figures["text to image, recall@1"] == 1.0
    assert [skipped.path.name for skipped in found.skipped] == ["nowhere.png", "broken.png"]
    assert "There is no file" in found.skipped[0].reason
    with pytest.raises(InvalidInputError, match=r"None of the 1 images can be read\. The first: There is no file"):
        measure_retrieval(embedder, data[:1], decode_threads=2, start_bar=bars[0])


def test_a_limit_takes_images_evenly(tmp_path: Path, embedder: Any, bars: Any) -> None:
    classes = [
        LabeledClass(name, (name,), tuple(write_colour(tmp_path / f"{name}{n}.png", colour) for n in range(6)))
        for name, colour in (("red", RED), ("blue", BLUE))
    ]
    found = measure_labels(embedder, classes, decode_threads=2, limit=4, start_bar=bars[0])
    assert found.by_class == {"red": (1.0, 2), "blue": (1.0, 2)}


def test_texts_that_fill_the_model_are_counted(tmp_path: Path, embedder: Any, bars: Any) -> None:
    data = [CaptionedImage(write_colour(tmp_path / "1.png", RED), ("red", "a red one of many more words than fit"))]
    notes = measure_retrieval(embedder, data, decode_threads=2, start_bar=bars[0]).notes
    assert notes == ["1 of 2 texts fill the model's 6 positions; longer ones lost their ends."]


def test_one_class_or_a_template_without_a_label_is_refused(tmp_path: Path, embedder: Any, bars: Any) -> None:
    one = [LabeledClass("red", ("red",), (write_colour(tmp_path / "1.png", RED),))]
    with pytest.raises(InvalidInputError, match="at least two classes"):
        measure_labels(embedder, one, decode_threads=2, start_bar=bars[0])
    with pytest.raises(InvalidInputError, match=r"doesn't contain \{label\}"):
        measure_labels(embedder, one * 2, decode_threads=2, templates=["a photo"], start_bar=bars[0])


def test_clips_templates_are_eighty() -> None:
    templates = read_clip_templates()
    assert len(set(templates)) == 80
    assert all(template.count("{label}") == 1 for template in templates)


def test_the_demo_checkpoint_finds_its_images(tmp_path: Path, demo_checkpoint: Path, bars: Any) -> None:
    drawn = write_images(tmp_path, 40, seed=30_000_000, size=(96, 72))
    embedder = TorchEmbedder.from_checkpoint(demo_checkpoint, name="demo", device="cpu")
    data = [CaptionedImage(image.path, (image.caption,)) for image in drawn]
    found = measure_retrieval(embedder, data, decode_threads=2, start_bar=bars[0])
    assert found.figures["text to image, recall@5"] > 0.9
    assert found.figures["image to text, recall@5"] > 0.9


@pytest.mark.parametrize("is_naflex", [False, True], ids=["fixed", "naflex"])
def test_images_of_every_shape_are_measured(tmp_path: Path, is_naflex: bool, bars: Any) -> None:
    from tests.checkpoints import write_tiny_checkpoint

    folder = write_tiny_checkpoint(tmp_path / "checkpoint", is_naflex=is_naflex)
    embedder = TorchEmbedder.from_checkpoint(folder, name="tiny", device="cpu", batch_size=3)
    sizes = [(60, 40), (40, 60), (200, 20), (64, 64), (20, 200)]
    data = [
        CaptionedImage(write_image(tmp_path / f"{seed}.png", seed, size=size), (f"image {seed}",))
        for seed, size in enumerate(sizes)
    ]
    found = measure_retrieval(embedder, data, decode_threads=2, start_bar=bars[0])
    assert found.counts["images"] == 5
    assert found.images_per_s > 0
