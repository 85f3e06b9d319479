"""What training writes, in the reference implementation; and one step of training beside one of its own."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

from siglip_ingest.siglip.checkpoint.loading import load_model
from siglip_ingest.siglip.training import Batch, compute_sigmoid_loss
from siglip_ingest.siglip.training.fine_tuning import fine_tune, load_classifier
from siglip_ingest.siglip.training.recipe import Recipe
from tests.checkpoints import write_tiny_checkpoint
from tests.images import make_image
from tests.parity.pairs import TOLERANCE
from tests.unit.siglip.training.sets import write_captioned, write_classes

CPU = torch.device("cpu")
IDS = torch.arange(4 * 16).reshape(4, 16) % 60


@pytest.fixture(scope="module", params=[False, True], ids=["fixed size", "NaFlex"])
def source(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_checkpoint(tmp_path_factory.mktemp("parity") / "source", is_naflex=request.param)


def make_inputs(folder: Path) -> dict[str, torch.Tensor]:
    """Images of several shapes, by the reference's own preprocessor."""
    config = json.loads((folder / "config.json").read_text())
    is_naflex = config["model_type"] == "siglip2"
    kind = transformers.Siglip2ImageProcessorPil if is_naflex else transformers.SiglipImageProcessorPil
    images = [make_image(24 + 8 * seed, 30, seed=seed) for seed in range(4)]
    return dict(kind.from_pretrained(folder)(images, return_tensors="pt"))


def test_the_loss_and_its_gradients_are_the_references(source: Path) -> None:
    reference = transformers.AutoModel.from_pretrained(source).train()
    ours = load_model(source).requires_grad_()
    inputs = make_inputs(source)
    expected = reference(input_ids=IDS, **inputs, return_loss=True).loss
    masks = {name: inputs[name] for name in ("pixel_attention_mask", "spatial_shapes") if name in inputs}
    loss = compute_sigmoid_loss(ours, Batch(inputs["pixel_values"], IDS, **masks))
    torch.testing.assert_close(loss, expected, rtol=TOLERANCE, atol=TOLERANCE)
    expected.backward()
    loss.backward()
    gradients = {name: parameter.grad for name, parameter in reference.named_parameters()}
    for name, parameter in ours.named_parameters():
        torch.testing.assert_close(parameter.grad, gradients[name], rtol=1e-4, atol=TOLERANCE, msg=name)


def test_a_trained_checkpoint_gives_the_same_logits_in_the_reference(source: Path, tmp_path: Path) -> None:
    data = write_captioned(tmp_path / "set")
    recipe = Recipe(data=str(data), checkpoint=source, steps=3, batch_size=4, learning_rate=1e-3)
    fine_tune(recipe, tmp_path / "out", device=CPU)
    reference = transformers.AutoModel.from_pretrained(tmp_path / "out").eval()
    inputs = make_inputs(tmp_path / "out")
    with torch.no_grad():
        expected = reference(input_ids=IDS, **inputs).logits_per_image
        logits = load_model(tmp_path / "out")(IDS, **inputs).logits_per_image
    torch.testing.assert_close(logits, expected, rtol=TOLERANCE, atol=TOLERANCE)
    transformers.AutoTokenizer.from_pretrained(tmp_path / "out")


def test_a_trained_classifier_gives_the_same_logits_in_the_reference(source: Path, tmp_path: Path) -> None:
    data = write_classes(tmp_path / "set")
    recipe = Recipe(data=str(data), checkpoint=source, task="classify", steps=3, batch_size=4)
    fine_tune(recipe, tmp_path / "out", device=CPU)
    reference, info = transformers.AutoModelForImageClassification.from_pretrained(
        tmp_path / "out", output_loading_info=True
    )
    assert not {key: names for key, names in info.items() if names}
    assert type(reference).__name__.endswith("ForImageClassification")
    assert reference.config.id2label == {0: "dark", 1: "light"}
    inputs = make_inputs(tmp_path / "out")
    classifier = load_classifier(tmp_path / "out", ("dark", "light"), device=CPU, seed=0).eval()
    with torch.no_grad():
        expected = reference.eval()(**inputs).logits
        logits = classifier(**inputs)
    torch.testing.assert_close(logits, expected, rtol=TOLERANCE, atol=TOLERANCE)
    assert np.ptp(logits.numpy()) > 0


def test_the_references_own_classifier_goes_on_being_trained(source: Path, tmp_path: Path) -> None:
    config = transformers.AutoConfig.from_pretrained(source, id2label={0: "dark", 1: "light"})
    drawn = transformers.AutoModelForImageClassification.from_config(config)
    drawn.save_pretrained(tmp_path / "theirs")
    (tmp_path / "theirs" / "preprocessor_config.json").write_bytes((source / "preprocessor_config.json").read_bytes())
    loaded = load_classifier(tmp_path / "theirs", ("dark", "light"), device=CPU, seed=0)
    assert torch.equal(loaded.classifier.weight, drawn.classifier.weight)
    data = write_classes(tmp_path / "set")
    recipe = Recipe(
        data=str(data), checkpoint=tmp_path / "theirs", task="classify", steps=2, batch_size=4, freeze=("none",)
    )
    fine_tune(recipe, tmp_path / "out", device=CPU)
    transformers.AutoModelForImageClassification.from_pretrained(tmp_path / "out")
