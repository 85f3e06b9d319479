"""What other arithmetic changes on the demo checkpoint, which is trained: vectors, scores, what a search finds.

Texts are embedded in float32, images in int8 or bfloat16: query and image may differ, as scores hardly move.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from siglip_ingest.embedders.calibration import choose_calibration
from siglip_ingest.siglip.embedder import TorchEmbedder
from siglip_ingest.siglip.evaluation import find_ranks, share_within
from siglip_ingest.siglip.inference.int8 import Int8Options
from siglip_ingest.siglip.scores import score_similarities
from tests.images import make_image
from tools.demo_model.evaluate import choose_examples, render_scene

SCENES = 200


@dataclass(frozen=True)
class Vectors:
    """Unit vectors of scenes, of their captions, and of images that are unlike those that it was calibrated with."""

    scenes: np.ndarray[Any, Any]
    captions: np.ndarray[Any, Any]
    others: np.ndarray[Any, Any]


@pytest.fixture(scope="module")
def images() -> tuple[list[Image.Image], list[str], list[Image.Image]]:
    examples = choose_examples(SCENES)
    scenes = [render_scene(example.description.seed).image for example in examples]
    others = [make_image(90 + 11 * number, 300 - 7 * number, number) for number in range(20)]
    return scenes, [example.caption.text for example in examples], others


def embed(embedder: TorchEmbedder, images: tuple[list[Image.Image], list[str], list[Image.Image]]) -> Vectors:
    scenes, captions, others = images
    return Vectors(embedder.embed_images(scenes), embedder.embed_texts(captions), embedder.embed_images(others))


@pytest.fixture(scope="module")
def exact(demo_checkpoint: Path, images: Any) -> Vectors:
    return embed(TorchEmbedder.from_checkpoint(demo_checkpoint, name="demo", device="cpu", dtype="float32"), images)


@pytest.fixture(scope="module", params=["int8", "bfloat16"])
def other(
    request: pytest.FixtureRequest, demo_checkpoint: Path, images: Any, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, TorchEmbedder, Vectors]:
    options = None
    if request.param == "int8":
        pytest.importorskip("onnxruntime")
        options = Int8Options(choose_calibration(None), [tmp_path_factory.mktemp("prepared")])
    dtype = "float32" if options else request.param
    embedder = TorchEmbedder.from_checkpoint(demo_checkpoint, name="demo", device="cpu", dtype=dtype, int8=options)
    return request.param, embedder, embed(embedder, images)


def test_vectors_stay_where_they_are(exact: Vectors, other: tuple[str, TorchEmbedder, Vectors]) -> None:
    _, _, found = other
    assert (found.scenes * exact.scenes).sum(axis=1).min() > 0.999
    assert (found.others * exact.others).sum(axis=1).min() > 0.99


def test_scores_hardly_move_where_query_and_image_differ(
    exact: Vectors, other: tuple[str, TorchEmbedder, Vectors]
) -> None:
    _, embedder, found = other

    def score(scenes: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        info = embedder.info
        similarities = scenes @ exact.captions.T
        return score_similarities(similarities, logit_scale=info.logit_scale, logit_bias=info.logit_bias)

    moved = np.abs(score(found.scenes) - score(exact.scenes))
    true_pairs = np.diag(moved)
    assert moved.mean() < 1e-4  # of all pairs, most of which have scores near 0
    assert true_pairs.mean() < 0.01
    assert np.quantile(true_pairs, 0.9) < 0.01
    assert moved.max() < 0.1


def test_a_search_finds_the_same(exact: Vectors, other: tuple[str, TorchEmbedder, Vectors]) -> None:
    _, _, found = other
    own = np.arange(SCENES)
    before, after = (
        share_within(find_ranks(vectors.captions, vectors.scenes, own, own), 1) for vectors in (exact, found)
    )
    assert after > before - 0.01
