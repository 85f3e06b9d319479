"""The embedder on a tiny checkpoint with random weights."""

from __future__ import annotations

import hashlib
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from siglip_ingest.embedder import TorchEmbedder, find_revision
from siglip_ingest.errors import CheckpointError, ConfigurationError, InvalidInputError
from siglip_ingest.model import load_model
from siglip_ingest.preprocess.image import ImageSettings, normalize, resize_images
from siglip_ingest.types import Embedder
from tests.checkpoints import write_tiny_checkpoint
from tests.pictures import picture

SIZES = [(30, 20), (1, 1), (1, 500), (64, 64), (20, 30), (33, 31), (50, 50)]


@pytest.fixture
def embedder(tiny_checkpoint: Path) -> TorchEmbedder:
    return TorchEmbedder.from_checkpoint(tiny_checkpoint, name="tiny", device="cpu", batch_size=3)


def pictures() -> list[Any]:
    return [picture(width, height, seed) for seed, (width, height) in enumerate(SIZES)]


def fail_above(size: int, compute: Callable[[Tensor], Tensor], error: Exception) -> Callable[[Tensor], Tensor]:
    """Make a tower that lacks the memory for more than `size` inputs."""

    def compute_or_fail(inputs: Tensor) -> Tensor:
        if len(inputs) > size:
            raise error
        return compute(inputs)

    return compute_or_fail


def test_image_vectors_are_the_models_own_of_unit_length(embedder: TorchEmbedder, tiny_checkpoint: Path) -> None:
    settings = ImageSettings.from_file(tiny_checkpoint / "preprocessor_config.json")
    pixel_values = torch.from_numpy(normalize(resize_images(pictures(), settings), settings))
    with torch.no_grad():
        features = load_model(tiny_checkpoint).get_image_features(pixel_values)
    expected = torch.nn.functional.normalize(features, dim=-1).numpy()
    vectors = embedder.embed_images(pictures())
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, expected, rtol=0, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=0, atol=1e-6)


def test_vectors_do_not_depend_on_the_batch(embedder: TorchEmbedder) -> None:
    together = embedder.embed_images(pictures())
    one_by_one = np.concatenate([embedder.embed_images([image]) for image in pictures()])
    np.testing.assert_allclose(together, one_by_one, rtol=0, atol=1e-6)
    texts = ["a cat", "", "A CAT!", "a boat over water", "x"]
    vectors = embedder.embed_texts(texts)
    one_by_one = np.concatenate([embedder.embed_texts([text]) for text in texts])
    np.testing.assert_allclose(vectors, one_by_one, rtol=0, atol=1e-6)
    np.testing.assert_allclose(vectors[0], vectors[2], rtol=0, atol=1e-6)


def test_prepared_pixels_give_the_same_vectors(embedder: TorchEmbedder) -> None:
    pixels = np.stack([embedder.prepare_image(image) for image in pictures()])
    assert pixels.shape == (len(SIZES), 32, 32, 3)
    pixels.setflags(write=False)
    np.testing.assert_array_equal(embedder.embed_pixels(pixels), embedder.embed_images(pictures()))


def test_nothing_gives_no_vectors(embedder: TorchEmbedder) -> None:
    assert embedder.embed_images([]).shape == (0, 32)
    assert embedder.embed_texts([]).shape == (0, 32)


def test_one_text_instead_of_a_list_is_refused(embedder: TorchEmbedder) -> None:
    with pytest.raises(InvalidInputError, match="list"):
        embedder.embed_texts("a cat")


def test_pixels_of_another_size_are_refused_with_both_sizes(embedder: TorchEmbedder) -> None:
    with pytest.raises(InvalidInputError, match=r"\(N, 32, 32, 3\).*\(1, 16, 16, 3\)"):
        embedder.embed_pixels(np.zeros((1, 16, 16, 3), dtype=np.uint8))


@pytest.mark.parametrize(
    "error",
    [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("DefaultCPUAllocator: can't allocate memory")],
    ids=["cuda", "cpu"],
)
def test_out_of_memory_halves_the_batch_and_remembers(
    tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    embedder = TorchEmbedder.from_checkpoint(tiny_checkpoint, name="tiny", device="cpu", batch_size=7)
    expected = embedder.embed_images(pictures())
    model = embedder._model
    monkeypatch.setattr(model, "get_image_features", fail_above(2, model.get_image_features, error))
    np.testing.assert_allclose(embedder.embed_images(pictures()), expected, rtol=0, atol=1e-6)
    assert embedder.batch_size == 1


def test_not_enough_memory_for_one_says_what_to_do(embedder: TorchEmbedder, monkeypatch: pytest.MonkeyPatch) -> None:
    error = torch.OutOfMemoryError("CUDA out of memory")
    monkeypatch.setattr(embedder._model, "get_text_features", fail_above(0, lambda inputs: inputs, error))
    with pytest.raises(ConfigurationError, match="SIGLIP_DEVICE=cpu"):
        embedder.embed_texts(["a cat"])


def test_other_errors_of_the_device_pass_through(embedder: TorchEmbedder, monkeypatch: pytest.MonkeyPatch) -> None:
    error = RuntimeError("something else")
    monkeypatch.setattr(embedder._model, "get_text_features", fail_above(0, lambda inputs: inputs, error))
    with pytest.raises(RuntimeError, match="something else"):
        embedder.embed_texts(["a cat"])


def test_numbers_that_are_not_finite_are_never_returned(embedder: TorchEmbedder) -> None:
    with torch.inference_mode():
        embedder._model.text_model.head.bias[3] = float("nan")
    with pytest.raises(CheckpointError, match="finite"):
        embedder.embed_texts(["a cat"])


def test_threads_get_their_own_vectors(embedder: TorchEmbedder) -> None:
    expected = embedder.embed_images(pictures())
    results: dict[int, Any] = {}

    def embed(index: int) -> None:
        results[index] = embedder.embed_images(pictures()[index:])

    threads = [threading.Thread(target=embed, args=(index,)) for index in range(len(SIZES))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for index, vectors in results.items():
        np.testing.assert_allclose(vectors, expected[index:], rtol=0, atol=1e-6)


def test_info_describes_the_checkpoint(embedder: TorchEmbedder, tiny_checkpoint: Path) -> None:
    as_protocol: Embedder = embedder
    info = as_protocol.info
    weights = (tiny_checkpoint / "model.safetensors").read_bytes()
    assert info.name == "tiny"
    assert info.revision == f"sha256:{hashlib.sha256(weights).hexdigest()}"
    assert info.dimension == 32
    assert info.logit_scale == pytest.approx(np.log(10))
    assert info.logit_bias == -10
    assert info.image_settings["size"] == {"height": 32, "width": 32}
    assert info.text_settings["max_length"] == 16


def test_the_revision_of_a_hub_snapshot_is_its_commit(tmp_path: Path) -> None:
    commit = "0123456789abcdef0123456789abcdef01234567"
    assert find_revision(tmp_path / "models--a--b" / "snapshots" / commit) == commit


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_narrow_dtypes_give_nearly_the_same_vectors(tiny_checkpoint: Path, embedder: TorchEmbedder, dtype: str) -> None:
    narrow = TorchEmbedder.from_checkpoint(tiny_checkpoint, name="tiny", device="cpu", dtype=dtype)
    cosines = (narrow.embed_images(pictures()) * embedder.embed_images(pictures())).sum(axis=1)
    assert cosines.min() > 0.999
    assert narrow.info.logit_scale == embedder.info.logit_scale


@pytest.mark.parametrize("device", ["cuda:99", "nonsense", "xpu"])
def test_a_device_that_is_not_there_is_named(tiny_checkpoint: Path, device: str) -> None:
    with pytest.raises(ConfigurationError, match=f"no device '{device}'"):
        TorchEmbedder.from_checkpoint(tiny_checkpoint, name="tiny", device=device)


def test_an_unknown_dtype_is_named(tiny_checkpoint: Path) -> None:
    with pytest.raises(ConfigurationError, match="int8"):
        TorchEmbedder.from_checkpoint(tiny_checkpoint, name="tiny", device="cpu", dtype="int8")


def test_pictures_of_another_size_than_the_models_are_refused(tmp_path: Path) -> None:
    folder = write_tiny_checkpoint(tmp_path / "other", image_size=64)
    small = write_tiny_checkpoint(tmp_path / "small", image_size=32)
    shutil.copy(small / "preprocessor_config.json", folder)
    with pytest.raises(CheckpointError, match=r"32 x 32.*64 x 64"):
        TorchEmbedder.from_checkpoint(folder, name="other", device="cpu")
