"""The vision tower in int8: close to float32, also where channels differ widely, and refused where it isn't."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file, save_file

from siglip_ingest.errors import ConfigurationError
from siglip_ingest.siglip.embedder import TorchEmbedder
from siglip_ingest.siglip.inference.int8 import Calibration, Int8Options, tower
from tests.images import make_image

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

Open = Callable[..., TorchEmbedder]


def draw() -> list[Image.Image]:
    return [make_image(60 + 7 * number, 80, number) for number in range(20)]


@pytest.fixture
def checkpoint(tmp_path: Path, tiny_checkpoint: Path) -> Path:
    return Path(shutil.copytree(tiny_checkpoint, tmp_path / "checkpoint"))


@pytest.fixture
def open_int8(tmp_path: Path) -> Open:
    def open_checkpoint(folder: Path, *, images: Any = draw, name: str = "drawn", is_required: bool = True) -> Any:
        options = Int8Options(Calibration(name, images), [tmp_path / "kept"], is_required)
        return TorchEmbedder.from_checkpoint(folder, name="tiny", device="cpu", dtype="float32", int8=options)

    return open_checkpoint


def least_cosine(embedder: TorchEmbedder, folder: Path) -> float:
    plain = TorchEmbedder.from_checkpoint(folder, name="tiny", device="cpu", dtype="float32")
    images = [make_image(70, 50 + number, 100 + number) for number in range(11)]
    return float((embedder.embed_images(images) * plain.embed_images(images)).sum(axis=1).min())


def test_vectors_are_close_to_float32_s(checkpoint: Path, open_int8: Open) -> None:
    embedder = open_int8(checkpoint)
    assert 0.995 < least_cosine(embedder, checkpoint) < 1 - 1e-7
    assert (embedder.dtype, embedder.text_dtype) == ("int8", "float32")
    assert embedder.arithmetic.startswith("int8 (ONNX Runtime 1.")


def test_a_vector_doesn_t_depend_on_the_others_of_its_batch(checkpoint: Path, open_int8: Open) -> None:
    embedder = open_int8(checkpoint)
    images = [make_image(70, 50 + number, number) for number in range(11)]
    alone = np.concatenate([embedder.embed_images([image]) for image in images])
    np.testing.assert_allclose(embedder.embed_images(images), alone, atol=1e-5)


def test_channels_of_very_different_sizes_are_evened_out(
    checkpoint: Path, open_int8: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same function, written with two channels a hundred times as large before each product: as trained models."""
    path = checkpoint / "model.safetensors"
    tensors = {name: values.astype(np.float32) for name, values in load_file(path).items()}
    for name in [name for name in tensors if name.startswith("vision_model.encoder") and "layer_norm" in name]:
        tensors[name][:2] *= 100
    for name, weight in tensors.items():
        if name.startswith("vision_model.encoder") and name.endswith(
            ("q_proj.weight", "k_proj.weight", "v_proj.weight", "fc1.weight")
        ):
            weight[:, :2] /= 100
    save_file(tensors, path)
    assert least_cosine(open_int8(checkpoint), checkpoint) > 0.995
    monkeypatch.setattr("siglip_ingest.siglip.inference.int8.graph._even_out", lambda seen, _: np.ones_like(seen.least))
    with pytest.raises(ConfigurationError, match=r"cosine to float32's falls to 0\."):
        least_cosine(open_int8(checkpoint, name="not evened out"), checkpoint)


def test_what_is_too_far_from_float32_is_refused(
    checkpoint: Path, open_int8: Open, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tower, "LEAST_COSINE", 0.9999999)
    with pytest.raises(ConfigurationError, match=r"expected at least 0\.9999999\. Set SIGLIP_CALIBRATION_IMAGES"):
        open_int8(checkpoint).load()
    found = open_int8(checkpoint, is_required=False)
    with caplog.at_level(logging.WARNING):
        found.load()
    assert found.dtype == "float32"
    assert "It computes in float32." in caplog.text
    assert least_cosine(found, checkpoint) > 1 - 1e-6


def test_it_is_prepared_once_for_a_checkpoint(checkpoint: Path, open_int8: Open) -> None:
    opened = []

    def images() -> list[Image.Image]:
        opened.append(1)
        return draw()

    open_int8(checkpoint, images=images).load()
    open_int8(checkpoint, images=images).load()
    assert len(opened) == 1
    path = checkpoint / "model.safetensors"
    tensors = load_file(path)
    save_file({name: values * 2 if name.endswith("probe") else values for name, values in tensors.items()}, path)
    open_int8(checkpoint, images=images).load()
    open_int8(checkpoint, images=images, name="others").load()
    assert len(opened) == 3


def test_too_few_images_are_refused(checkpoint: Path, open_int8: Open) -> None:
    with pytest.raises(ConfigurationError, match="at least 5 images, but there are 2"):
        open_int8(checkpoint, images=lambda: draw()[:2]).load()


def test_a_forked_child_opens_a_session_of_its_own(checkpoint: Path, open_int8: Open) -> None:
    embedder = open_int8(checkpoint)
    images = draw()[:3]
    expected = embedder.embed_images(images)
    child = os.fork()
    if child == 0:
        is_same = np.allclose(embedder.embed_images(images), expected, atol=1e-5)
        os._exit(0 if is_same else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
