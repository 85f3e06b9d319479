"""Every stage of a NaFlex model between patches and logits, on images of several shapes in one batch."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import pytest
import torch
import transformers
from torch import Tensor

from siglip_ingest.errors import InvalidInputError
from siglip_ingest.siglip.checkpoint.loading import load_model
from siglip_ingest.siglip.model import SiglipClassifier, SiglipModel, config_from_dict
from siglip_ingest.siglip.model.attention import Trace
from tests.checkpoints import tiny_config
from tests.parity.pairs import draw_reference
from tests.parity.test_layers import assert_close

SHAPES = torch.tensor([(4, 4), (2, 8), (1, 16), (16, 1), (3, 5), (1, 1), (5, 3)])
LONGEST = 16


@dataclass(frozen=True)
class NaflexPair:
    """Both models on the same weights, and a batch with padding."""

    reference: transformers.Siglip2Model
    ours: SiglipModel
    input_ids: Tensor
    patches: list[Tensor]
    pixel_values: Tensor
    pixel_attention_mask: Tensor

    @property
    def inputs(self) -> dict[str, Tensor]:
        """What both vision towers take."""
        return {
            "pixel_values": self.pixel_values,
            "pixel_attention_mask": self.pixel_attention_mask,
            "spatial_shapes": SHAPES,
        }


@pytest.fixture(
    scope="module", params=["small-eager", "small-sdpa", pytest.param("base-patch16-naflex", marks=pytest.mark.slow)]
)
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> NaflexPair:
    config = tiny_config(hidden=64)
    config["vision_config"] = {"hidden_size": 64, "intermediate_size": 96, "num_attention_heads": 4}
    config["vision_config"] |= {"num_hidden_layers": 3, "patch_size": 4, "num_patches": 25}
    if request.param == "base-patch16-naflex":
        config = {"text_config": {"vocab_size": 1000}, "vision_config": {}}
    folder = tmp_path_factory.mktemp("naflex")
    draw_reference(config | {"model_type": "siglip2"}).save_pretrained(folder)
    attention = request.param.removeprefix("small-") if "small" in request.param else "sdpa"
    reference = transformers.Siglip2Model.from_pretrained(folder, attn_implementation=attention).eval()
    ours = load_model(folder)
    width = ours.config.vision_config.values_per_patch
    patches = [torch.rand(rows * columns, width) * 2 - 1 for rows, columns in SHAPES.tolist()]
    padded = torch.zeros(len(patches), LONGEST, width)
    mask = torch.zeros(len(patches), LONGEST, dtype=torch.int32)
    for row, image in enumerate(patches):
        padded[row, : len(image)] = image
        mask[row, : len(image)] = 1
    texts = ours.config.text_config
    input_ids = torch.randint(0, texts.vocab_size, (3, texts.max_position_embeddings))
    return NaflexPair(reference, ours, input_ids, patches, padded, mask)


def test_patch_embeddings_with_resized_positions_equal_the_references(pair: NaflexPair) -> None:
    with torch.no_grad():
        ours = pair.ours.vision_model.embeddings(pair.pixel_values, SHAPES)
        reference = pair.reference.vision_model.embeddings(pair.pixel_values, SHAPES)
    assert_close("patch embeddings", ours, reference)


def test_every_vision_layer_equals_the_references_where_there_are_patches(pair: NaflexPair) -> None:
    trace = Trace()
    with torch.no_grad():
        pair.ours.vision_model.encode(**pair.inputs, trace=trace)
        reference = pair.reference.vision_model(**pair.inputs, output_hidden_states=True).hidden_states
    assert len(trace.hidden_states) == len(reference)
    is_patch = pair.pixel_attention_mask.bool()
    for index, (ours, theirs) in enumerate(zip(trace.hidden_states, reference, strict=True)):
        assert_close(f"vision hidden state {index}", ours[is_patch], theirs[is_patch])


def test_pooled_output_equals_the_references(pair: NaflexPair) -> None:
    with torch.no_grad():
        ours = pair.ours.get_image_features(**pair.inputs)
        reference = pair.reference.get_image_features(**pair.inputs).pooler_output
    assert_close("pooled image output", ours, reference)


def test_embeddings_and_logits_equal_the_references(pair: NaflexPair) -> None:
    # In float64: logits are a hundred times the similarity, so that float32's own rounding is near the tolerance.
    inputs = pair.inputs | {"pixel_values": pair.pixel_values.double()}
    with torch.no_grad():
        ours = copy.deepcopy(pair.ours).double()(pair.input_ids, **inputs)
        reference = copy.deepcopy(pair.reference).double()(input_ids=pair.input_ids, **inputs)
    assert_close("image_embeds", ours.image_embeds, reference.image_embeds)
    assert_close("text_embeds", ours.text_embeds, reference.text_embeds)
    assert_close("logits_per_image", ours.logits_per_image, reference.logits_per_image)


def test_a_padded_batch_gives_what_each_image_alone_gives(pair: NaflexPair) -> None:
    with torch.no_grad():
        padded = pair.ours.get_image_features(**pair.inputs)
        alone = [
            pair.ours.get_image_features(image[None], None, shape[None])
            for image, shape in zip(pair.patches, SHAPES, strict=True)
        ]
    assert_close("alone", torch.cat(alone), padded)


def test_a_classifier_means_over_patches_alone(pair: NaflexPair) -> None:
    config = config_from_dict(pair.ours.config.to_dict() | {"id2label": {"0": "cat", "1": "dog", "2": "bird"}})
    reference = transformers.Siglip2ForImageClassification(transformers.Siglip2Config(**config.to_dict())).eval()
    ours = SiglipClassifier(config).eval()
    ours.load_state_dict(reference.state_dict(), strict=True)
    with torch.no_grad():
        assert_close("class logits", ours(**pair.inputs), reference(**pair.inputs).logits)


def test_gradients_equal_the_references(pair: NaflexPair) -> None:
    ours, reference = pair.ours.requires_grad_(True), pair.reference
    ours(pair.input_ids, **pair.inputs).logits_per_image.mean().backward()
    reference(input_ids=pair.input_ids, **pair.inputs).logits_per_image.mean().backward()
    gradients = {name: parameter.grad for name, parameter in reference.named_parameters()}
    for name, parameter in ours.named_parameters():
        assert parameter.grad is not None, f"{name} gets no gradient"
        assert_close(f"gradient of {name}", parameter.grad, gradients[name])


@pytest.mark.parametrize(
    ("shapes", "reason"),
    [([(4, 5)], "doesn't fit into 16"), ([(0, 4)], "needs a row and a column"), ([(1, 2, 3)], "must be")],
    ids=["too_many", "none", "three_numbers"],
)
def test_shapes_that_cannot_be_say_why(pair: NaflexPair, shapes: list[tuple[int, ...]], reason: str) -> None:
    with pytest.raises(InvalidInputError, match=reason):
        pair.ours.get_image_features(pair.pixel_values[:1], None, torch.tensor(shapes))


def test_a_model_needs_its_own_kind_of_images(pair: NaflexPair) -> None:
    with pytest.raises(InvalidInputError, match="spatial_shapes"):
        pair.ours.get_image_features(pair.pixel_values)
