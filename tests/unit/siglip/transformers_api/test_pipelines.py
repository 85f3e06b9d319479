"""From an image to labels in one call."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from siglip_ingest.errors import InvalidInputError
from siglip_ingest.siglip import AutoImageProcessor, AutoModel, AutoModelForImageClassification, AutoProcessor, pipeline
from siglip_ingest.siglip.embedder import TorchEmbedder
from siglip_ingest.siglip.zero_shot import classify
from tests.images import encode, make_image

TASK = "zero-shot-image-classification"
LABELS = ["cat", "dog", "boat"]


def test_labels_come_best_first_with_the_scores_of_the_embedder(checkpoint: Path) -> None:
    outputs = pipeline(TASK, model=checkpoint)(make_image(60, 40), candidate_labels=LABELS)
    embedder = TorchEmbedder.from_checkpoint(checkpoint, name="x", device="cpu")
    wanted = classify(make_image(60, 40), LABELS, embedder=embedder)
    assert [output["label"] for output in outputs] == [scored.label for scored in wanted]
    assert [output["score"] for output in outputs] == pytest.approx([scored.score for scored in wanted], abs=1e-6)


def test_a_list_of_images_gives_a_list_in_their_order(checkpoint: Path, tmp_path: Path) -> None:
    classifier = pipeline(TASK, model=checkpoint)
    path = tmp_path / "image.png"
    path.write_bytes(encode(make_image(33, 70, seed=1), "PNG"))
    sources = [make_image(60, 40), str(path), path, path.read_bytes()]
    several = classifier(sources, LABELS, batch_size=2)
    for source, outputs in zip(sources, several, strict=True):
        alone = classifier(source, LABELS)
        assert [output["label"] for output in outputs] == [output["label"] for output in alone]
        assert [output["score"] for output in outputs] == pytest.approx([output["score"] for output in alone], abs=1e-6)
    assert classifier(images=[make_image(60, 40)], candidate_labels=LABELS) == [classifier(make_image(60, 40), LABELS)]


def test_both_ways_to_write_a_template_mean_the_same(tiny_checkpoint: Path) -> None:
    classifier = pipeline(TASK, model=tiny_checkpoint)
    results = [
        classifier(make_image(60, 40), LABELS, **options)
        for options in (
            {},
            {"hypothesis_template": "This is a photo of {}."},
            {"hypothesis_template": "This is a photo of {label}."},
        )
    ]
    assert results[0] == results[1] == results[2]
    assert classifier(make_image(60, 40), LABELS, hypothesis_template="{}") != results[0]


def test_capitals_make_no_difference(checkpoint: Path) -> None:
    classifier = pipeline(TASK, model=checkpoint)
    lower, upper = (classifier(make_image(60, 40), [label]) for label in ("a cat", "A CAT"))
    assert lower[0]["score"] == pytest.approx(upper[0]["score"], abs=1e-7)


def test_a_loaded_model_comes_with_its_processor(checkpoint: Path) -> None:
    model, processor = AutoModel.from_pretrained(checkpoint), AutoProcessor.from_pretrained(checkpoint)
    wanted = pipeline(TASK, model=checkpoint)(make_image(60, 40), LABELS)
    assert pipeline(TASK, model=model, processor=processor, device="cpu")(make_image(60, 40), LABELS) == wanted
    assert (
        pipeline(TASK, model=model, tokenizer=checkpoint, image_processor=checkpoint)(make_image(60, 40), LABELS)
        == wanted
    )
    with pytest.raises(InvalidInputError, match="pass processor="):
        pipeline(TASK, model=model)


def test_a_classifiers_classes_come_best_first(checkpoint: Path, tmp_path: Path) -> None:
    model = AutoModelForImageClassification.from_pretrained(checkpoint, num_labels=7)
    model.save_pretrained(tmp_path)
    AutoImageProcessor.from_pretrained(checkpoint).save_pretrained(tmp_path)
    classifier = pipeline("image-classification", model=tmp_path)
    outputs = classifier(make_image(60, 40), top_k=7)
    assert sum(output["score"] for output in outputs) == pytest.approx(1)
    assert [output["score"] for output in outputs] == sorted((output["score"] for output in outputs), reverse=True)
    assert classifier([make_image(60, 40)])[0] == outputs[:5]
    assert classifier.device == torch.device("cpu")


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"candidate_labels": []}, "at least one label"),
        ({"candidate_labels": "cat"}, "must be a list"),
        ({"candidate_labels": ["cat"], "hypothesis_template": "a photo"}, "must contain"),
        ({"candidate_labels": ["cat"], "image": None}, "Give an image"),
    ],
    ids=["no_label", "a_text", "template", "no_image"],
)
def test_a_call_that_cannot_be_says_why(tiny_checkpoint: Path, options: dict[str, object], reason: str) -> None:
    with pytest.raises(InvalidInputError, match=reason):
        pipeline(TASK, model=tiny_checkpoint)(**{"image": make_image(60, 40)} | options)


def test_an_unknown_task_names_those_there_are(tiny_checkpoint: Path) -> None:
    with pytest.raises(InvalidInputError, match="'zero-shot-image-classification' and 'image-classification'"):
        pipeline("text-generation", model=tiny_checkpoint)
