"""Zero-shot labels for one image."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from siglip_ingest.errors import ImageError, InvalidInputError
from siglip_ingest.siglip.embedder import TorchEmbedder
from siglip_ingest.siglip.preprocess.opening import ImageLimits
from siglip_ingest.siglip.zero_shot import classify
from siglip_ingest.types import LabelScore, ModelInfo
from tests.checkpoints import write_tiny_checkpoint
from tests.images import encode, make_image


class FixedEmbedder:
    """Puts the image on one axis and knows each prompt's cosine with it."""

    info = ModelInfo(name="fixed", revision="", dimension=2, logit_scale=math.log(100), logit_bias=-10.0)

    def __init__(self, cosines: dict[str, float]) -> None:
        self.cosines = cosines

    def embed_images(self, images: object) -> NDArray[np.float32]:
        return np.array([[1, 0]], dtype=np.float32)

    def embed_texts(self, texts: list[str]) -> NDArray[np.float32]:
        return np.array(
            [(self.cosines[text], math.sqrt(1 - self.cosines[text] ** 2)) for text in texts], dtype=np.float32
        )


def test_scores_are_sigmoids_of_the_scaled_cosines_best_first() -> None:
    embedder = FixedEmbedder({"a cat!": 0.05, "a dog!": 0.12, "a car!": -1.0})
    scores = classify(make_image(8, 8), ["cat", "dog", "car"], embedder=embedder, template="a {label}!")
    assert [scored.label for scored in scores] == ["dog", "cat", "car"]
    assert scores[0].score == pytest.approx(1 / (1 + math.exp(-2)), abs=1e-5)
    assert scores[1].score == pytest.approx(1 / (1 + math.exp(5)), abs=1e-5)
    assert 0 <= scores[2].score < 1e-40


def test_a_path_its_bytes_and_the_image_score_the_same(tiny_checkpoint: Path, tmp_path: Path) -> None:
    embedder = TorchEmbedder.from_checkpoint(tiny_checkpoint, name="tiny", device="cpu")
    image = make_image(40, 30)
    path = tmp_path / "one.png"
    path.write_bytes(encode(image, "PNG"))
    scores = classify(image, ["cat", "dog"], embedder=embedder)
    for same in (path, path.read_bytes()):
        assert classify(same, ["cat", "dog"], embedder=embedder) == scores
    assert all(isinstance(scored, LabelScore) for scored in scores)


@pytest.mark.parametrize(
    ("labels", "reason"),
    [([], "at least one"), ("cat", "list"), (["cat", " "], "empty"), (["cat", "dog", "cat"], "twice")],
    ids=["none", "one_text", "empty", "twice"],
)
def test_labels_that_cannot_be_used_are_refused(labels: list[str], reason: str) -> None:
    with pytest.raises(InvalidInputError, match=reason):
        classify(make_image(8, 8), labels, embedder=FixedEmbedder({}))


@pytest.mark.parametrize(
    ("labels", "template", "sentence"),
    [
        (["cat", "!!!"], "a photo of {label}", r"The label '!!!' can't be used\. The model's tokenizer leaves nothing"),
        (["?", "cat"], "{label}", r"The label '\?' can't be used"),
        (
            {"cat": ["a cat", "..."]},
            "{label}",
            r"Text 2 of 2: The model's tokenizer leaves nothing of the text '\.\.\.'",
        ),
    ],
    ids=["in a template", "a template of the label alone", "a prompt"],
)
def test_a_label_of_which_the_model_reads_nothing_is_refused(
    tiny_checkpoint: Path, labels: Any, template: str, sentence: str
) -> None:
    embedder = TorchEmbedder.from_checkpoint(tiny_checkpoint, name="tiny", device="cpu")
    with pytest.raises(InvalidInputError, match=sentence):
        classify(make_image(8, 8), labels, embedder=embedder, template=template)
    assert classify(make_image(8, 8), {"!!!": ["a cat"]}, embedder=embedder)[0].label == "!!!"


def test_a_template_without_the_label_is_refused() -> None:
    with pytest.raises(InvalidInputError, match=r"contain \{label\}"):
        classify(make_image(8, 8), ["cat"], embedder=FixedEmbedder({}), template="a photo")


def test_a_missing_file_is_an_image_error() -> None:
    with pytest.raises(ImageError, match=r"none\.jpg"):
        classify(Path("/none.jpg"), ["cat"], embedder=FixedEmbedder({}))


def test_the_settings_limits_apply() -> None:
    content = encode(make_image(40, 30), "PNG")
    with pytest.raises(ImageError, match="40 x 30"):
        classify(content, ["cat"], embedder=FixedEmbedder({}), limits=ImageLimits(max_image_pixels=1000))


def test_the_mean_of_a_labels_own_prompts_stands_for_it() -> None:
    embedder = FixedEmbedder({"a cat": 0.05, "a kitten": 0.15, "a dog": 0.12})
    scores = classify(make_image(8, 8), {"cat": ["a cat", "a kitten"], "dog": ["a dog"]}, embedder=embedder)
    mean = embedder.embed_texts(["a cat", "a kitten"]).mean(axis=0)
    cosine = mean[0] / np.linalg.norm(mean)
    assert [scored.label for scored in scores] == ["dog", "cat"]
    assert scores[1].score == pytest.approx(1 / (1 + math.exp(10 - 100 * cosine)), abs=1e-6)


def test_a_naflex_model_classifies_and_lower_cases_the_prompt(tmp_path: Path) -> None:
    write_tiny_checkpoint(tmp_path, is_naflex=True)
    embedder = TorchEmbedder.from_checkpoint(tmp_path, name="tiny", device="cpu")
    (score,) = classify(make_image(64, 20), ["Cat"], embedder=embedder)
    (same,) = classify(make_image(64, 20), ["cat"], embedder=embedder, template="this is a photo of {label}.")
    assert score.score == pytest.approx(same.score, abs=1e-7)
