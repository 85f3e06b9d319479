"""The models of the transformers API beside the reference's classes of the same name, on the same weights."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import Tensor

from siglip_ingest import siglip
from siglip_ingest.errors import CheckpointError, InvalidInputError
from tests.parity.transformers_pairs import TEXTS, assert_close, assert_same_output, make_images

# The class names that belong to a kind of checkpoint, in both libraries.
PREFIXES = {"siglip": "Siglip", "siglip2": "Siglip", "naflex": "Siglip2"}
EVERYTHING = {"output_hidden_states": True, "output_attentions": True}


def load_pair(name: str, folder: Path, **options: Any) -> tuple[Any, Any]:
    """Load a checkpoint by the class of that name, ours and the reference's."""
    return getattr(siglip, name).from_pretrained(folder, **options), load_reference(name, folder, **options)


def load_reference(name: str, folder: Path, **options: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return getattr(transformers, name).from_pretrained(folder, **options)


@pytest.fixture(scope="module", params=["siglip", "naflex"])
def kind(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def folder(kind: str, reference_checkpoints: dict[str, Path]) -> Path:
    return reference_checkpoints[kind]


@pytest.fixture(scope="module")
def inputs(kind: str, folder: Path) -> dict[str, Tensor]:
    """Three images and three texts."""
    processor = siglip.AutoProcessor.from_pretrained(folder)
    settings = {"max_num_patches": 49} if kind == "naflex" else {}
    batch = processor(text=TEXTS, images=make_images(), padding="max_length", return_tensors="pt", **settings)
    return dict(batch)


@pytest.fixture(scope="module")
def image_inputs(inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value for name, value in inputs.items() if name != "input_ids"}


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_both_towers_give_the_references_whole_output(
    kind: str, folder: Path, inputs: dict[str, Tensor], attention: str
) -> None:
    ours, reference = load_pair("AutoModel", folder, attn_implementation=attention)
    assert type(ours).__name__ == type(reference).__name__ == f"{PREFIXES[kind]}Model"
    options = EVERYTHING if attention == "eager" else {"output_hidden_states": True}
    with torch.no_grad():
        output = ours(**inputs, return_loss=True, **options)
        assert_same_output("output", output, reference(**inputs, return_loss=True, **options))
        plain = ours(**inputs, return_dict=False)
    assert_close("first of the tuple", plain[0], output.logits_per_image)


def test_weights_of_attention_are_there_under_sdpa_too(folder: Path, inputs: dict[str, Tensor]) -> None:
    ours = siglip.AutoModel.from_pretrained(folder, attn_implementation="sdpa")
    reference = load_reference("AutoModel", folder, attn_implementation="eager")
    with torch.no_grad():
        assert_same_output("output", ours(**inputs, **EVERYTHING), reference(**inputs, **EVERYTHING))


def test_each_tower_alone_gives_the_references_whole_output(
    kind: str, folder: Path, inputs: dict[str, Tensor], image_inputs: dict[str, Tensor]
) -> None:
    parts = {"TextModel": {"input_ids": inputs["input_ids"]}, "VisionModel": image_inputs}
    for name, part in parts.items():
        ours, reference = load_pair(PREFIXES[kind] + name, folder, attn_implementation="eager")
        with torch.no_grad():
            assert_same_output(name, ours(**part, **EVERYTHING), reference(**part, **EVERYTHING))


def test_features_are_tensors_that_also_know_the_towers_output(
    folder: Path, inputs: dict[str, Tensor], image_inputs: dict[str, Tensor]
) -> None:
    ours, reference = load_pair("AutoModel", folder)
    with torch.no_grad():
        for name, part in (
            ("get_text_features", {"input_ids": inputs["input_ids"]}),
            ("get_image_features", image_inputs),
        ):
            features, wanted = getattr(ours, name)(**part), getattr(reference, name)(**part)
            assert_close(name, features, wanted.pooler_output)
            assert_close(name, features.pooler_output, wanted.pooler_output)
            assert_close(name, features.last_hidden_state, wanted.last_hidden_state)
            assert type(features / features.norm(dim=-1, keepdim=True)) is Tensor
            assert len(getattr(ours, name)(**part, return_dict=False)) == 2


def test_a_callers_mask_and_positions_are_applied(folder: Path, inputs: dict[str, Tensor]) -> None:
    ours, reference = load_pair("AutoModel", folder)
    mask = torch.ones_like(inputs["input_ids"])
    mask[:, 9:] = 0
    positions = torch.arange(64).flip(0)[None]
    options = {"input_ids": inputs["input_ids"], "attention_mask": mask, "position_ids": positions}
    with torch.no_grad():
        wanted = reference.get_text_features(**options).pooler_output
        assert_close("masked", ours.get_text_features(**options), wanted)
        assert not torch.allclose(ours.get_text_features(inputs["input_ids"]), wanted, atol=1e-3)


def test_positions_are_interpolated_to_images_of_another_size(reference_checkpoints: dict[str, Path]) -> None:
    ours, reference = load_pair("SiglipVisionModel", reference_checkpoints["siglip"])
    pixel_values = torch.randn(2, 3, 40, 64)
    with torch.no_grad():
        wanted = reference(pixel_values, interpolate_pos_encoding=True).pooler_output
        assert_close("resized", ours(pixel_values, interpolate_pos_encoding=True).pooler_output, wanted)
    with pytest.raises(InvalidInputError, match="interpolate_pos_encoding"):
        ours(pixel_values)


@pytest.mark.parametrize(
    ("problem", "classes", "labels"),
    [
        (None, 3, torch.tensor([2, 0, 1])),
        (None, 3, torch.tensor([[1.0, 0, 0], [0, 1, 1], [0, 0, 0]])),
        (None, 1, torch.tensor([0.5, -1.0, 2.0])),
        ("regression", 2, torch.tensor([[0.5, 1.0], [2.0, 3.0], [4.0, 5.0]])),
        ("single_label_classification", 3, torch.tensor([2, 0, 1])),
        ("multi_label_classification", 2, torch.tensor([[1.0, 0], [0, 1], [1, 1]])),
    ],
    ids=["classes", "several_classes", "one_number", "regression", "single", "multi"],
)
def test_a_classifiers_logits_and_loss_equal_the_references(
    kind: str, folder: Path, image_inputs: dict[str, Tensor], problem: str | None, classes: int, labels: Tensor,
    tmp_path: Path,
) -> None:  # fmt: skip
    name = f"{PREFIXES[kind]}ForImageClassification"
    options = {"num_labels": classes, "problem_type": problem}
    load_reference(name, folder, **options).save_pretrained(tmp_path)
    ours, reference = load_pair(name, tmp_path, attn_implementation="eager")
    assert ours.config.id2label == reference.config.id2label
    with torch.no_grad():
        output = ours(**image_inputs, labels=labels, **EVERYTHING)
        assert_same_output("output", output, reference(**image_inputs, labels=labels, **EVERYTHING))


@pytest.mark.parametrize("name", ["Model", "TextModel", "VisionModel", "ForImageClassification"])
def test_what_one_library_saves_the_other_loads_with_equal_weights(
    kind: str, folder: Path, name: str, tmp_path: Path
) -> None:
    ours, reference = load_pair(PREFIXES[kind] + name, folder)
    if name == "ForImageClassification":
        ours.load_state_dict(reference.state_dict(), strict=True)
    ours.save_pretrained(tmp_path / "ours")
    reference.save_pretrained(tmp_path / "reference")
    theirs = load_reference(PREFIXES[kind] + name, tmp_path / "ours")
    back = getattr(siglip, PREFIXES[kind] + name).from_pretrained(tmp_path / "reference")
    for model in (theirs, back, getattr(siglip, PREFIXES[kind] + name).from_pretrained(tmp_path / "ours")):
        weights = model.state_dict()
        assert set(weights) == set(reference.state_dict())
        for key, tensor in reference.state_dict().items():
            assert torch.equal(weights[key], tensor), key
    assert theirs.config.architectures == reference.config.architectures
    assert type(load_reference("AutoConfig", tmp_path / "ours")) is type(reference.config)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bfloat16", "float16"])
def test_narrow_dtypes_come_close_to_the_reference(folder: Path, inputs: dict[str, Tensor], dtype: torch.dtype) -> None:
    ours, reference = load_pair("AutoModel", folder, dtype=dtype)
    assert ours.dtype == dtype
    assert ours.logit_scale.dtype == torch.float32
    narrow = {name: x.to(dtype) if x.is_floating_point() else x for name, x in inputs.items()}
    with torch.no_grad():
        assert_close("logits", ours(**inputs).logits_per_image, reference(**narrow).logits_per_image, 0.1)


def test_autocast_comes_close_to_float32(folder: Path, inputs: dict[str, Tensor]) -> None:
    ours = siglip.AutoModel.from_pretrained(folder)
    with torch.no_grad():
        wanted = ours(**inputs).logits_per_image
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert_close("logits", ours(**inputs).logits_per_image, wanted, 0.1)


def test_a_loaded_model_learns(folder: Path, inputs: dict[str, Tensor]) -> None:
    ours, reference = load_pair("AutoModel", folder)
    ours(**inputs, return_loss=True).loss.backward()
    reference(**inputs, return_loss=True).loss.backward()
    wanted = dict(reference.named_parameters())
    for name, parameter in ours.named_parameters():
        assert parameter.grad is not None, name
        assert_close(f"gradient of {name}", parameter.grad, wanted[name].grad)


def test_configs_have_the_references_values(reference_checkpoints: dict[str, Path]) -> None:
    for kind, prefix in PREFIXES.items():
        for part in ("TextConfig", "VisionConfig"):
            ours, reference = load_pair_of_configs(prefix + part, reference_checkpoints[kind])
            for field, value in ours.to_dict().items():
                assert value == getattr(reference, field), f"{prefix}{part}.{field}"
            fresh = getattr(siglip, prefix + part)().to_dict()
            assert fresh.items() <= getattr(transformers, prefix + part)().to_dict().items()
        ours, reference = load_pair_of_configs(f"{prefix}Config", reference_checkpoints[kind], num_labels=3)
        assert (ours.model_type, ours.num_labels) == (reference.model_type, reference.num_labels)
        assert (ours.id2label, ours.label2id) == (reference.id2label, reference.label2id)


def load_pair_of_configs(name: str, folder: Path, **changes: Any) -> tuple[Any, Any]:
    return tuple(getattr(library, name).from_pretrained(folder, **changes) for library in (siglip, transformers))


def test_the_class_of_the_other_kind_loads_what_the_checkpoint_is(reference_checkpoints: dict[str, Path]) -> None:
    # The reference's documents show Siglip2 classes with fixed-resolution checkpoints, where they fail.
    fixed = siglip.Siglip2Model.from_pretrained(reference_checkpoints["siglip2"])
    assert fixed.config.model_type == "siglip"
    assert fixed.get_image_features(torch.zeros(1, 3, 32, 32)).shape == (1, 32)
    assert siglip.SiglipVisionModel.from_pretrained(reference_checkpoints["naflex"]).config.is_naflex


def test_a_classifiers_checkpoint_is_not_both_towers(reference_checkpoints: dict[str, Path], tmp_path: Path) -> None:
    siglip.SiglipForImageClassification.from_pretrained(reference_checkpoints["siglip"]).save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="image classifier"):
        siglip.AutoModel.from_pretrained(tmp_path)


def test_a_classifier_with_another_number_of_classes_is_drawn_anew_on_request(
    reference_checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    siglip.SiglipForImageClassification.from_pretrained(reference_checkpoints["siglip"], num_labels=4).save_pretrained(
        tmp_path
    )
    load = siglip.AutoModelForImageClassification.from_pretrained
    with pytest.raises(CheckpointError, match="classifier"):
        load(tmp_path, num_labels=7)
    assert load(tmp_path, num_labels=7, ignore_mismatched_sizes=True).num_labels == 7
    assert load(tmp_path).num_labels == 4


def test_a_tower_without_a_pooling_head_gives_states_alone(tmp_path: Path) -> None:
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 4, "num_hidden_layers": 2}
    config = transformers.SiglipVisionConfig(**sizes, image_size=32, patch_size=8, vision_use_head=False)
    transformers.SiglipVisionModel(config).save_pretrained(tmp_path)
    ours, reference = load_pair("SiglipVisionModel", tmp_path)
    pixel_values = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert_same_output("output", ours(pixel_values), reference(pixel_values))


def test_a_text_tower_with_a_projection_of_another_width_equals_the_references(tmp_path: Path) -> None:
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_attention_heads": 4, "num_hidden_layers": 2}
    config = transformers.SiglipTextConfig(**sizes, vocab_size=100, projection_size=48)  # giant-opt's kind
    transformers.SiglipTextModel(config).save_pretrained(tmp_path)
    ours, reference = load_pair("SiglipTextModel", tmp_path)
    input_ids = torch.randint(0, 100, (2, 64))
    with torch.no_grad():
        assert_same_output("output", ours(input_ids), reference(input_ids))
