"""Loading, placing, training and saving the models of the transformers API."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from siglip_ingest.errors import CheckpointError, ConfigurationError, InvalidInputError
from siglip_ingest.siglip import (
    AutoModel,
    AutoModelForImageClassification,
    AutoModelForZeroShotImageClassification,
    AutoProcessor,
    Siglip2Model,
    SiglipConfig,
    SiglipForImageClassification,
    SiglipModel,
    SiglipTextModel,
    SiglipVisionModel,
    pipeline,
)
from siglip_ingest.siglip.checkpoint.weights import WeightReader
from siglip_ingest.siglip.training.fine_tuning import load_classifier
from siglip_ingest.siglip.transformers_api.models.placement import place_parts, read_device
from tests.checkpoints import tiny_config
from tests.images import make_image

CPU = torch.device("cpu")


@pytest.fixture
def read_names(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the tensors that are read from files."""
    names: list[str] = []
    read = WeightReader.read

    def note(self: WeightReader, name: str, **options: object) -> torch.Tensor:
        names.append(name)
        return read(self, name, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(WeightReader, "read", note)
    return names


def test_the_model_type_chooses_the_class(checkpoint: Path, naflex_checkpoint: Path) -> None:
    wanted = Siglip2Model if checkpoint == naflex_checkpoint else SiglipModel
    assert type(AutoModel.from_pretrained(checkpoint)) is wanted
    assert type(AutoModelForZeroShotImageClassification.from_pretrained(checkpoint)) is wanted


def test_the_small_checkpoint_loads_by_its_name() -> None:
    model = AutoModel.from_pretrained("demo", dtype="float32")
    inputs = AutoProcessor.from_pretrained("demo")(
        text=["a cat"], images=make_image(60, 40), padding="max_length", return_tensors="pt"
    )
    with torch.no_grad():
        assert model(**inputs).logits_per_image.shape == (1, 1)


@pytest.mark.parametrize("tower", [SiglipTextModel, SiglipVisionModel])
def test_a_tower_reads_its_own_weights_alone(
    tower: type[SiglipTextModel | SiglipVisionModel], checkpoint: Path, read_names: list[str]
) -> None:
    model = tower.from_pretrained(checkpoint)
    assert {name.partition(".")[0] + "." for name in read_names} == {tower.weight_prefix}
    assert len(read_names) == len(model.state_dict())


def test_a_model_is_loaded_for_inference_and_can_be_trained_without_changing_its_file(
    tmp_path: Path, tiny_checkpoint: Path
) -> None:
    AutoModel.from_pretrained(tiny_checkpoint).save_pretrained(tmp_path)
    content = (tmp_path / "model.safetensors").read_bytes()
    model = AutoModel.from_pretrained(tmp_path)
    assert not model.training
    assert all(parameter.requires_grad for parameter in model.parameters())
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1.0)
    assert (tmp_path / "model.safetensors").read_bytes() == content


@pytest.mark.parametrize("dtype", [torch.bfloat16, "bfloat16"])
def test_weights_take_the_dtype_asked_for_and_the_constants_stay_float32(tiny_checkpoint: Path, dtype: object) -> None:
    model = SiglipModel.from_pretrained(tiny_checkpoint, dtype=dtype)  # type: ignore[arg-type]
    assert model.dtype == torch.bfloat16
    assert model.logit_scale.dtype == model.logit_bias.dtype == torch.float32
    assert SiglipModel.from_pretrained(tiny_checkpoint, torch_dtype="auto").dtype == torch.float32


@pytest.mark.parametrize("stored", ["config", "weights"])
def test_the_checkpoints_own_dtype_is_kept_by_default(tiny_checkpoint: Path, tmp_path: Path, stored: str) -> None:
    SiglipModel.from_pretrained(tiny_checkpoint, dtype=torch.float16).save_pretrained(tmp_path)
    if stored == "weights":  # the first tensor of the file is a constant, which is float32 in any case
        config = json.loads((tmp_path / "config.json").read_text())
        del config["torch_dtype"]
        (tmp_path / "config.json").write_text(json.dumps(config))
    assert SiglipModel.from_pretrained(tmp_path).dtype == torch.float16


@pytest.mark.parametrize("dtype", ["float8", torch.int8, 16])
def test_a_dtype_that_no_model_computes_in_is_refused(tiny_checkpoint: Path, dtype: object) -> None:
    with pytest.raises(InvalidInputError, match="dtype must be one of"):
        SiglipModel.from_pretrained(tiny_checkpoint, dtype=dtype)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "device_map",
    [
        None,
        "cpu",
        "auto",
        CPU,
        {"": "cpu"},
        {"text_model": "cpu", "vision_model": CPU},
        {"": "cpu", "vision_model": -1},
    ],
    ids=str,
)
def test_weights_go_where_the_map_says(tiny_checkpoint: Path, device_map: object) -> None:
    parts = place_parts(device_map)  # type: ignore[arg-type]
    assert parts.keys() == {"", "text_model", "vision_model"}
    assert AutoModel.from_pretrained(tiny_checkpoint, device_map=device_map).device == parts["text_model"]


def test_a_map_can_split_the_towers() -> None:
    parts = place_parts({"text_model": "cpu", "vision_model": "meta", "logit_scale": "cpu"})
    assert parts == {"": CPU, "text_model": CPU, "vision_model": torch.device("meta")}


@pytest.mark.parametrize(
    ("device_map", "reason"),
    [
        ({"vision_model.encoder.layers.0": "cpu"}, "as a whole"),
        ({"logit_scale": "cpu"}, "must place"),
        ({}, "must place"),
        ("gpu", "is no device"),
    ],
    ids=["a_layer", "a_constant", "nothing", "an_unknown_device"],
)
def test_a_map_that_cannot_be_says_why(device_map: object, reason: str) -> None:
    with pytest.raises(InvalidInputError, match=reason):
        place_parts(device_map)  # type: ignore[arg-type]


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_the_first_gpu_of_a_machine_without_one_is_the_cpu(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert read_device(0) == CPU
    assert "no GPU" in caplog.text


def test_a_new_model_has_random_weights_of_its_own() -> None:
    torch.manual_seed(1)
    config = SiglipConfig.from_dict(tiny_config())
    first, second = SiglipModel(config), AutoModel.from_config(config, attn_implementation="eager")
    assert all(torch.isfinite(parameter).all() for parameter in first.parameters())
    assert not torch.equal(first.text_model.head.weight, second.text_model.head.weight)
    assert first.logit_bias.item() == -10
    assert (first.attn_implementation, second.attn_implementation) == ("sdpa", "eager")
    assert first.num_parameters() == sum(parameter.numel() for parameter in first.parameters())


def test_the_loss_needs_pairs(tiny_checkpoint: Path) -> None:
    model = SiglipModel.from_pretrained(tiny_checkpoint)
    with pytest.raises(InvalidInputError, match="no pairs"):
        model(torch.ones(3, 16, dtype=torch.int64), torch.zeros(2, 3, 32, 32), return_loss=True)


def test_a_classifier_from_both_towers_is_drawn_and_says_so(
    checkpoint: Path, caplog: pytest.LogCaptureFixture, read_names: list[str]
) -> None:
    with caplog.at_level(logging.WARNING):
        model = AutoModelForImageClassification.from_pretrained(checkpoint, label2id={"cat": 0, "dog": 1, "bird": 2})
    assert "classifier.weight that fits: train it" in caplog.text
    assert all(name.startswith("vision_model.") for name in read_names)
    assert model.config.id2label[2] == "bird"
    assert model.num_labels == 3
    assert model.classifier.weight.abs().sum() > 0


def test_a_classifier_is_saved_and_loaded_whole(checkpoint: Path, tmp_path: Path) -> None:
    model = AutoModelForImageClassification.from_pretrained(checkpoint, num_labels=4)
    model.save_pretrained(tmp_path)
    again = AutoModelForImageClassification.from_pretrained(tmp_path)
    assert torch.equal(again.classifier.weight, model.classifier.weight)


def test_labels_of_another_shape_are_refused() -> None:
    model = SiglipForImageClassification(SiglipConfig.from_dict(tiny_config() | {"num_labels": 3}))
    with pytest.raises(InvalidInputError, match=r"labels of shape \(2, 3\), not \(2, 2\)"):
        model(torch.zeros(2, 3, 32, 32), labels=torch.zeros(2, 2))


def test_a_text_model_alone_has_no_images(tiny_checkpoint: Path, tmp_path: Path) -> None:
    SiglipTextModel.from_pretrained(tiny_checkpoint).save_pretrained(tmp_path)
    assert type(AutoModel.from_pretrained(tmp_path)) is SiglipTextModel
    with pytest.raises(CheckpointError, match="siglip_text_model"):
        SiglipVisionModel.from_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="siglip_text_model"):
        AutoModelForImageClassification.from_pretrained(tmp_path)


@pytest.mark.parametrize("option", ["cache_dir", "token", "subfolder", "quantization_config"])
def test_what_cannot_be_had_says_what_to_do_instead(tiny_checkpoint: Path, option: str) -> None:
    with pytest.raises(InvalidInputError, match=f"{option} can't be used"):
        AutoModel.from_pretrained(tiny_checkpoint, **{option: "something"})


def test_an_unknown_argument_is_refused(tiny_checkpoint: Path) -> None:
    with pytest.raises(InvalidInputError, match="no argument 'attn_implementaton'"):
        AutoModel.from_pretrained(tiny_checkpoint, attn_implementaton="sdpa")


def test_an_unknown_attention_is_refused(tiny_checkpoint: Path) -> None:
    with pytest.raises(ConfigurationError, match="attn_implementation must be one of"):
        AutoModel.from_pretrained(tiny_checkpoint, attn_implementation="flex")


def test_arguments_without_effect_are_accepted(tiny_checkpoint: Path) -> None:
    AutoModel.from_pretrained(tiny_checkpoint, low_cpu_mem_usage=True, use_safetensors=True, revision="main")


@pytest.mark.parametrize("name", ["foo.bar", "text_model.foo", "vision_model.foo", "logit_scales"])
def test_a_tensor_of_no_part_of_the_family_is_refused(tiny_checkpoint: Path, tmp_path: Path, name: str) -> None:
    SiglipModel.from_pretrained(tiny_checkpoint).save_pretrained(tmp_path)
    weights = tmp_path / "model.safetensors"
    save_file(load_file(weights) | {name: torch.zeros(2)}, weights, metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=f"{weights} has {name}"):
        SiglipModel.from_pretrained(tmp_path)
    if not name.startswith("text_model"):
        with pytest.raises(CheckpointError, match=name):
            SiglipForImageClassification.from_pretrained(tmp_path)
        with pytest.raises(CheckpointError, match=name):
            load_classifier(tmp_path, ("cat", "dog"), device=CPU, seed=0)


def test_the_other_parts_of_the_family_are_left_unread(checkpoint: Path, read_names: list[str]) -> None:
    SiglipTextModel.from_pretrained(checkpoint)
    assert read_names
    assert all(name.startswith("text_model.") for name in read_names)


def test_a_tower_that_is_not_there_is_named_as_in_the_file(tiny_checkpoint: Path, tmp_path: Path) -> None:
    SiglipForImageClassification.from_pretrained(tiny_checkpoint).save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match=r"lacks text_model\.embeddings\."):
        SiglipTextModel.from_pretrained(tmp_path)


def test_a_tower_saved_without_its_prefix_loads(tiny_checkpoint: Path, tmp_path: Path) -> None:
    model = SiglipTextModel.from_pretrained(tiny_checkpoint)
    model.save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    plain = {name.removeprefix("text_model."): tensor for name, tensor in weights.items()}
    save_file(plain, tmp_path / "model.safetensors", metadata={"format": "pt"})
    again = SiglipTextModel.from_pretrained(tmp_path)
    assert torch.equal(again.head.weight, model.head.weight)
    save_file(plain | {"foo": torch.zeros(2)}, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match="has foo"):
        SiglipTextModel.from_pretrained(tmp_path)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
@pytest.mark.parametrize("device", ["cuda", "cuda:0", {"": "cuda"}, torch.device("cuda")], ids=str)
def test_a_device_that_is_not_there_is_refused(tiny_checkpoint: Path, device: object) -> None:
    with pytest.raises(ConfigurationError, match="no device 'cuda"):
        AutoModel.from_pretrained(tiny_checkpoint, device_map=device)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_a_pipelines_device_that_is_not_there_is_refused(tiny_checkpoint: Path) -> None:
    with pytest.raises(ConfigurationError, match="Choose auto or cpu"):
        pipeline("zero-shot-image-classification", tiny_checkpoint, device="cuda:0")


def test_ids_beyond_the_vocabulary_are_refused(tiny_checkpoint: Path) -> None:
    model = SiglipModel.from_pretrained(tiny_checkpoint)
    size = model.config.text_config.vocab_size
    known = torch.ones(1, 16, dtype=torch.int64)
    for ids, positions in ((known * size, None), (known, known * 16)):
        with pytest.raises(InvalidInputError, match=f"ids 0 to {size - 1}.*another checkpoint"):
            model.get_text_features(ids, position_ids=positions)


def test_saving_takes_the_arguments_that_ask_for_what_it_does(tiny_checkpoint: Path, tmp_path: Path) -> None:
    model = SiglipModel.from_pretrained(tiny_checkpoint)
    model.save_pretrained(tmp_path, safe_serialization=True, push_to_hub=False, max_shard_size="5GB")
    assert torch.equal(SiglipModel.from_pretrained(tmp_path).logit_bias, model.logit_bias)
    model.config.save_pretrained(save_directory=tmp_path / "config", push_to_hub=False)
    for options, reason in (
        ({"safe_serialization": False}, "pickled"),
        ({"push_to_hub": True}, "hf upload"),
        ({"safe_serialisation": True}, "no argument"),
    ):
        with pytest.raises(InvalidInputError, match=reason):
            model.save_pretrained(tmp_path, **options)


def test_layers_are_computed_again_for_the_same_gradients(checkpoint: Path) -> None:
    model = AutoModel.from_pretrained(checkpoint).text_model.train()
    passes: list[int] = []
    model.encoder.layers[0].register_forward_pre_hook(lambda *_: passes.append(1))
    gradients = []
    for enable in (model.gradient_checkpointing_disable, model.gradient_checkpointing_enable):
        enable()
        model.zero_grad()
        model(torch.arange(16)[None]).pooler_output.square().sum().backward()
        gradients.append({name: parameter.grad.clone() for name, parameter in model.named_parameters()})
    assert model.is_gradient_checkpointing
    assert len(passes) == 3  # once, and then once more for the gradients
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient)
    passes.clear()
    model.eval()(torch.arange(16)[None]).pooler_output.sum().backward()
    assert len(passes) == 1


def test_input_embeddings_are_those_of_the_tokens_or_else_of_the_patches(checkpoint: Path) -> None:
    model = AutoModel.from_pretrained(checkpoint)
    assert model.get_input_embeddings() is model.text_model.embeddings.token_embedding
    assert model.text_model.get_input_embeddings() is model.text_model.embeddings.token_embedding
    assert model.vision_model.get_input_embeddings() is model.vision_model.embeddings.patch_embedding
