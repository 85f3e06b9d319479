"""The arrangement for inference gives what the plain model gives, and reads no more than it needs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from siglip_ingest.errors import CheckpointError, InvalidInputError
from siglip_ingest.siglip.checkpoint import weights as weight_files
from siglip_ingest.siglip.checkpoint.loading import load_model, save_checkpoint
from siglip_ingest.siglip.inference import InferenceModel, linear, model as inference
from siglip_ingest.siglip.model import SiglipModel, config_from_dict
from siglip_ingest.siglip.preprocess.image import ImageSettings, normalize
from tests.checkpoints import tiny_config, tiny_naflex_config

SETTINGS = ImageSettings(size=(32, 32), image_mean=(0.5, 0.4, 0.3), image_std=(0.5, 0.25, 0.2))
SHAPES = torch.tensor([[2, 3], [1, 9], [3, 2], [4, 4], [1, 1], [6, 1]])


def write_model(folder: Path, config: dict[str, Any]) -> Path:
    """Save a model without a weight at 0 or 1."""
    torch.manual_seed(0)
    model = SiglipModel(config_from_dict(config))
    model.init_weights()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    save_checkpoint(model, folder, dtype=torch.float32)
    return folder


def open_model(folder: Path, *, dtype: torch.dtype = torch.float32, **options: Any) -> InferenceModel:
    return InferenceModel(folder, image_settings=SETTINGS, device=torch.device("cpu"), dtype=dtype, **options)


def draw_pixels(count: int, *, size: int = 32) -> Tensor:
    return torch.randint(0, 256, (count, size, size, 3), dtype=torch.uint8)


def draw_ids(count: int) -> Tensor:
    return torch.randint(0, 72, (count, 16))


def draw_patches(shapes: Tensor) -> Tensor:
    return torch.randint(0, 256, (int(shapes.prod(dim=1).sum()), 8 * 8 * 3), dtype=torch.uint8)


def normalize_patches(patches: Tensor) -> Tensor:
    """Normalise (N, F) uint8 as if they were images of one row."""
    pixels = normalize(patches.view(1, len(patches), -1, 3).numpy(), SETTINGS)  # (1, 3, N, F / 3)
    return torch.from_numpy(np.ascontiguousarray(pixels[0].transpose(1, 2, 0))).flatten(1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    config = tiny_config()
    config["text_config"] |= {"num_hidden_layers": 3, "projection_size": 32}
    config["vision_config"] |= {"num_hidden_layers": 3, "patch_size": 9}  # doesn't divide 32: a border is left over
    return write_model(tmp_path_factory.mktemp("fixed"), config)


@pytest.fixture(scope="module")
def naflex_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("naflex"), tiny_naflex_config())


@pytest.fixture(params=["onednn", "plain"])
def layers(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both kinds of linear layer; the first only where this torch and this CPU have it."""
    if request.param == "plain":
        monkeypatch.setattr(linear, "has_onednn", lambda dtype: False)
    elif not linear.has_onednn(torch.float32):
        pytest.skip("this torch has no oneDNN operators")
    return str(request.param)


def test_texts_get_the_plain_models_embeddings(folder: Path, layers: str) -> None:
    ids = draw_ids(5)
    torch.testing.assert_close(
        open_model(folder).encode_texts(ids), load_model(folder).get_text_features(ids), rtol=1e-5, atol=1e-5
    )


def test_pixels_get_the_plain_models_embeddings(folder: Path, layers: str) -> None:
    pixels = draw_pixels(5)
    pixel_values = torch.from_numpy(normalize(pixels.numpy(), SETTINGS))
    expected = load_model(folder).get_image_features(pixel_values)
    torch.testing.assert_close(open_model(folder).encode_pixels(pixels), expected, rtol=1e-5, atol=1e-5)


def test_patches_get_the_plain_models_embeddings(naflex_folder: Path, layers: str) -> None:
    patches = draw_patches(SHAPES)
    plain = load_model(naflex_folder)
    images = torch.split(normalize_patches(patches), SHAPES.prod(dim=1).tolist())
    alone = [plain.get_image_features(p[None], None, shape[None]) for p, shape in zip(images, SHAPES, strict=True)]
    found = open_model(naflex_folder).encode_patches(patches, SHAPES)
    torch.testing.assert_close(found, torch.cat(alone), rtol=1e-5, atol=1e-5)


def test_images_of_mixed_shapes_get_the_same_embeddings_as_one_by_one(naflex_folder: Path) -> None:
    model, patches = open_model(naflex_folder), draw_patches(SHAPES)
    together = model.encode_patches(patches, SHAPES)
    images = torch.split(patches, SHAPES.prod(dim=1).tolist())
    alone = [model.encode_patches(image, shape[None]) for image, shape in zip(images, SHAPES, strict=True)]
    torch.testing.assert_close(together, torch.cat(alone), rtol=0, atol=1e-5)


def test_batches_larger_than_a_pass_are_the_same(
    folder: Path, naflex_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fixed, naflex = open_model(folder), open_model(naflex_folder)
    ids, pixels, patches = draw_ids(7), draw_pixels(7), draw_patches(SHAPES)
    calls: list[Callable[[], Tensor]] = [
        lambda: fixed.encode_texts(ids),
        lambda: fixed.encode_pixels(pixels),
        lambda: naflex.encode_patches(patches, SHAPES),
    ]
    whole = [call() for call in calls]
    for rows in (1, 20, 40):
        monkeypatch.setattr(inference, "CPU_ROWS", rows)
        for call, expected in zip(calls, whole, strict=True):
            torch.testing.assert_close(call(), expected, rtol=0, atol=1e-5)


def test_the_other_activation_is_known_too(tmp_path: Path, layers: str) -> None:
    config = tiny_config()
    config["text_config"]["hidden_act"] = config["vision_config"]["hidden_act"] = "gelu"
    write_model(tmp_path, config)
    ids = draw_ids(3)
    expected = load_model(tmp_path).get_text_features(ids)
    torch.testing.assert_close(open_model(tmp_path).encode_texts(ids), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bfloat16", "float16"])
def test_narrow_dtypes_are_near_float32(folder: Path, dtype: torch.dtype, layers: str) -> None:
    wide, narrow = open_model(folder), open_model(folder, dtype=dtype)
    assert narrow.dtype == (torch.bfloat16 if dtype == torch.bfloat16 else torch.float32)
    ids, pixels = draw_ids(4), draw_pixels(4)
    pairs = [
        (narrow.encode_texts(ids), wide.encode_texts(ids)),
        (narrow.encode_pixels(pixels), wide.encode_pixels(pixels)),
    ]
    for found, expected in pairs:
        assert found.dtype == torch.float32
        assert torch.cosine_similarity(found, expected).min() > 0.999


def test_the_scores_constants_are_the_files(folder: Path) -> None:
    model, plain = open_model(folder, dtype=torch.bfloat16), load_model(folder)
    assert (model.logit_scale, model.logit_bias) == (plain.logit_scale.item(), plain.logit_bias.item())


def spy_on_reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Collect the names of the tensors that are taken out of files from now on."""
    names: list[str] = []
    read = weight_files.WeightReader.read

    def spy(self: weight_files.WeightReader, name: str, **options: Any) -> Tensor:
        names.append(name)
        return read(self, name, **options)

    monkeypatch.setattr(weight_files.WeightReader, "read", spy)
    return names


def test_texts_read_nothing_of_the_vision_tower(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = spy_on_reads(monkeypatch)
    model = open_model(folder)
    assert set(names) == {"logit_scale", "logit_bias"}
    model.encode_texts(draw_ids(1))
    assert not [name for name in names if name.startswith("vision_model.")]
    texts = len(names)
    model.encode_texts(draw_ids(1))
    assert len(names) == texts
    model.encode_pixels(draw_pixels(1))
    assert all(name.startswith("vision_model.") for name in names[texts:])


def test_load_reads_both_towers(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = spy_on_reads(monkeypatch)
    model = open_model(folder)
    model.load()
    count = len(names)
    assert {name.partition(".")[0] for name in names} == {"text_model", "vision_model", "logit_scale", "logit_bias"}
    model.load()
    assert len(names) == count


def test_a_checkpoint_that_does_not_fit_is_refused_before_a_tower_is_read(tmp_path: Path) -> None:
    write_model(tmp_path, tiny_config())
    config = json.loads((tmp_path / "config.json").read_text())
    config["vision_config"]["num_hidden_layers"] = 3
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=r"lacks vision_model\.encoder\.layers\.2\."):
        open_model(tmp_path)


def test_inputs_that_do_not_fit_are_refused(folder: Path, naflex_folder: Path) -> None:
    fixed, naflex = open_model(folder), open_model(naflex_folder)
    with pytest.raises(InvalidInputError, match="17 tokens are too long"):
        fixed.encode_texts(torch.zeros(1, 17, dtype=torch.int64))
    with pytest.raises(InvalidInputError, match="3 x 3 patches of 9 pixels"):
        fixed.encode_pixels(draw_pixels(1, size=40))
    with pytest.raises(InvalidInputError, match="encode_pixels"):
        fixed.encode_patches(draw_patches(SHAPES), SHAPES)
    with pytest.raises(InvalidInputError, match="add up to"):
        naflex.encode_patches(draw_patches(SHAPES)[1:], SHAPES)


def test_operators_that_are_missing_or_wrong_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    class Missing(torch.nn.Module):
        def __init__(self, *_: Any) -> None:
            raise AttributeError

    class Wrong(linear.Linear):
        def forward(self, x: Tensor, residual: Tensor | None = None) -> Tensor:
            return super().forward(x, residual) + 0.5

    for broken in (Missing, Wrong):
        monkeypatch.setattr(linear, "OneDnnLinear", broken)
        assert not linear.has_onednn.__wrapped__(torch.float32)
    monkeypatch.setattr(linear, "OneDnnLinear", linear.Linear)
    assert linear.has_onednn.__wrapped__(torch.float32)
    assert not linear.has_onednn.__wrapped__(torch.float64)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # torch's compiler uses much that torch itself deprecates
def test_compiled_towers_give_the_same(folder: Path, naflex_folder: Path) -> None:
    ids, pixels, patches = draw_ids(3), draw_pixels(3), draw_patches(SHAPES)
    fixed, naflex = open_model(folder), open_model(naflex_folder)
    expected = [fixed.encode_texts(ids), fixed.encode_pixels(pixels), naflex.encode_patches(patches, SHAPES)]
    fixed, naflex = (open_model(path, compile_mode="default") for path in (folder, naflex_folder))
    found = [fixed.encode_texts(ids), fixed.encode_pixels(pixels), naflex.encode_patches(patches, SHAPES)]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
