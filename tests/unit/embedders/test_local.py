"""How settings become an embedder in this process."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from siglip_ingest.embedders import local
from siglip_ingest.embedders.local import load_embedder
from siglip_ingest.errors import ConfigurationError
from siglip_ingest.settings import Settings
from siglip_ingest.siglip.embedder import TorchEmbedder
from siglip_ingest.siglip.inference import arithmetic
from siglip_ingest.siglip.inference.int8.prepared import FOLDER
from tests.images import make_image


@pytest.fixture
def checkpoint(tmp_path: Path, tiny_checkpoint: Path) -> Path:
    return Path(shutil.copytree(tiny_checkpoint, tmp_path / "checkpoint"))


@pytest.fixture
def calibration_images(tmp_path: Path) -> str:
    (tmp_path / "images").mkdir()
    for number in range(10):
        make_image(50, 40 + number, number).save(tmp_path / "images" / f"{number}.png")
    return str(tmp_path / "images")


def load(folder: Path, home: Path, *, may_prepare: bool = False, **settings: Any) -> TorchEmbedder:
    return load_embedder(str(folder), Settings(home=home, device="cpu", **settings), may_prepare=may_prepare)


@pytest.mark.parametrize("dtype", ["int8", "auto"])
def test_int8_is_kept_beside_the_checkpoint(
    checkpoint: Path, tmp_path: Path, calibration_images: str, dtype: str
) -> None:
    pytest.importorskip("onnxruntime")
    settings = {"dtype": dtype, "calibration_images": calibration_images}
    embedder = load(checkpoint, tmp_path / "home", may_prepare=True, **settings)
    embedder.embed_texts(["a boat"])
    assert not (checkpoint / FOLDER).exists()  # texts don't need it
    embedder.load()
    assert embedder.dtype == "int8"
    assert [path.suffix for path in sorted((checkpoint / FOLDER).iterdir())] == [".json", ".lock", ".onnx"]


def test_auto_takes_int8_where_a_worker_has_prepared_it(
    checkpoint: Path, tmp_path: Path, calibration_images: str
) -> None:
    """A client that embeds one image doesn't wait for what pays off after a hundred."""
    pytest.importorskip("onnxruntime")
    settings = {"dtype": "auto", "calibration_images": calibration_images}
    client = load(checkpoint, tmp_path / "home", **settings)
    client.load()
    assert client.dtype != "int8"
    assert not (checkpoint / FOLDER).exists()
    load(checkpoint, tmp_path / "home", may_prepare=True, **settings).load()
    client = load(checkpoint, tmp_path / "home", **settings)
    client.load()
    assert client.dtype == "int8"


def test_where_the_checkpoint_can_t_be_written_int8_is_kept_at_home(
    checkpoint: Path, tmp_path: Path, calibration_images: str
) -> None:
    pytest.importorskip("onnxruntime")
    (checkpoint / FOLDER).write_text("no folder can be made here")
    load(checkpoint, tmp_path / "home", dtype="int8", calibration_images=calibration_images).load()
    assert len(list((tmp_path / "home" / "prepared").glob("*.onnx"))) == 1


def test_int8_without_its_packages_says_what_to_install(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arithmetic, "find_missing_packages", lambda: ["onnxruntime"])
    with pytest.raises(ConfigurationError, match=r"SIGLIP_DTYPE=int8 needs onnxruntime, not installed here: pip"):
        load(checkpoint, tmp_path, dtype="int8")
    assert load(checkpoint, tmp_path, dtype="auto").dtype in {"float32", "bfloat16"}


def test_compiling_and_int8_exclude_each_other(checkpoint: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    with pytest.raises(ConfigurationError, match="SIGLIP_COMPILE=default compiles what torch computes"):
        load(checkpoint, tmp_path, dtype="int8", compile="default")
    assert load(checkpoint, tmp_path, dtype="auto", compile="default").dtype != "int8"


@pytest.mark.slow  # the compiler takes a minute or more
@pytest.mark.filterwarnings("default")
def test_a_compiled_model_gives_the_same(checkpoint: Path, tmp_path: Path) -> None:
    plain = load(checkpoint, tmp_path, dtype="float32")
    compiled = load(checkpoint, tmp_path, dtype="float32", compile="default")
    images = [make_image(50, 40), make_image(40, 60, 1)]
    np.testing.assert_allclose(compiled.embed_images(images), plain.embed_images(images), atol=1e-5)


def test_a_compiler_that_fails_is_said_in_a_sentence(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class CompilerError(RuntimeError):
        __module__ = "torch._inductor.exc"

    def fail(*_: object) -> torch.Tensor:
        raise CompilerError("No C++ compiler was found\nand more")

    embedder = load(checkpoint, tmp_path, dtype="float32")
    monkeypatch.setattr(embedder._model, "encode_texts", fail)
    expected = (
        r"torch\.compile can't compile .* \(CompilerError: No C\+\+ compiler was found\)\. Set SIGLIP_COMPILE=off"
    )
    with pytest.raises(ConfigurationError, match=expected):
        embedder.embed_texts(["a boat"])


def test_staged_images_give_the_same_vectors(checkpoint: Path, tmp_path: Path) -> None:
    embedder = load(checkpoint, tmp_path, dtype="float32", batch_size=2)
    pixels = [embedder.prepare_image(make_image(50, 40 + number, number)) for number in range(5)]
    staged = [embedder.stage_pixels(pixels[:3]), embedder.stage_pixels(pixels[3:])]
    found = np.concatenate([embedder.embed_staged(batch) for batch in staged])
    np.testing.assert_allclose(found, embedder.embed_pixels(pixels), atol=1e-6)
    assert embedder.embed_staged(embedder.stage_pixels([])).shape == (0, embedder.info.dimension)


def test_without_a_setting_batches_have_a_usual_size(checkpoint: Path, tmp_path: Path) -> None:
    assert load(checkpoint, tmp_path, dtype="float32").batch_size == local.DEFAULT_BATCH_SIZE
    assert load(checkpoint, tmp_path, dtype="float32", batch_size=3).batch_size == 3
