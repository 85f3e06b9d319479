"""The parts of a map beside autograd through the reference model, from pixel values on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray

from siglip_ingest.errors import InvalidInputError
from siglip_ingest.siglip.checkpoint.loading import load_model
from siglip_ingest.siglip.embedder import TorchEmbedder
from siglip_ingest.siglip.inference.attribution import blur, stretch
from siglip_ingest.siglip.preprocess.image import ImageSettings, make_naflex_inputs, normalize
from tests.checkpoints import write_tiny_checkpoint
from tests.images import make_image

PATCH = 8
SIZES = {"usual": (60, 40), "wide": (90, 30), "square": (50, 50), "one row": (400, 20)}
NAFLEX_SHAPES = {"usual": (3, 5), "wide": (2, 6), "square": (4, 4), "one row": (1, 16)}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[bool, Path]:
    """A fixed-size and a NaFlex checkpoint with random weights, by whether it is NaFlex."""
    folder = tmp_path_factory.mktemp("attribution")
    return {naflex: write_tiny_checkpoint(folder / str(naflex), is_naflex=naflex) for naflex in (False, True)}


def open_embedder(folder: Path, **options: Any) -> TorchEmbedder:
    return TorchEmbedder.from_checkpoint(folder, name="tiny", device="cpu", **options)


def attribute_by_reference(
    folder: Path, pixels: NDArray[np.uint8], text: NDArray[np.float32], steps: int
) -> tuple[NDArray[np.float32], float]:
    """Integrated gradients of pixel values, and the similarity, by the whole reference model; NaFlex's is padded."""
    model = load_model(folder).eval()
    settings = ImageSettings.from_file(folder / "preprocessor_config.json")
    rows, columns = pixels.shape[0] // PATCH, pixels.shape[1] // PATCH
    options: dict[str, Any] = {}

    def to_values(image: NDArray[np.uint8]) -> torch.Tensor:
        if not settings.is_naflex:
            return torch.from_numpy(normalize(image[None], settings))
        padded = make_naflex_inputs([image], settings)
        options["pixel_attention_mask"] = torch.from_numpy(padded.pixel_attention_mask)
        options["spatial_shapes"] = torch.from_numpy(padded.spatial_shapes)
        return torch.from_numpy(padded.pixel_values)

    end, start = to_values(pixels), to_values(blur(pixels))
    total = torch.zeros_like(end)
    for step in range(steps):
        x = (start + (step + 0.5) / steps * (end - start)).requires_grad_()
        vector = F.normalize(model.get_image_features(x, **options), dim=-1)[0]
        total += torch.autograd.grad(vector @ torch.from_numpy(text), x)[0] / steps
    added = total * (end - start)
    with torch.no_grad():
        similarity = float(F.normalize(model.get_image_features(end, **options), dim=-1)[0] @ torch.from_numpy(text))
    if settings.is_naflex:
        assert not added[0, rows * columns :].any()
        return added[0, : rows * columns].sum(-1).reshape(rows, columns).numpy(), similarity
    return added.reshape(3, rows, PATCH, columns, PATCH).sum((0, 2, 4)).numpy(), similarity


@pytest.mark.parametrize("is_naflex", [False, True], ids=["fixed", "naflex"])
@pytest.mark.parametrize("shape", SIZES)
def test_a_map_is_the_references(folders: dict[bool, Path], is_naflex: bool, shape: str) -> None:
    embedder = open_embedder(folders[is_naflex])
    image, text = make_image(*SIZES[shape]), embedder.embed_texts(["a red boat"])[0]
    pixels = embedder.prepare_image(image)
    found = embedder.locate_vector(pixels, text, steps=3)
    expected, similarity = attribute_by_reference(folders[is_naflex], pixels, text, steps=3)
    assert found.contributions.shape == expected.shape == (pixels.shape[0] // PATCH, pixels.shape[1] // PATCH)
    assert found.contributions.dtype == np.float32
    assert expected.shape == (NAFLEX_SHAPES[shape] if is_naflex else (4, 4))
    np.testing.assert_allclose(found.contributions, expected, atol=1e-6 + 1e-4 * np.abs(expected).max())
    assert found.similarity == pytest.approx(similarity, abs=1e-5)


@pytest.mark.parametrize("is_naflex", [False, True], ids=["fixed", "naflex"])
def test_the_parts_add_up_to_what_the_blurred_image_lacks(folders: dict[bool, Path], is_naflex: bool) -> None:
    embedder = open_embedder(folders[is_naflex])
    text, pixels = embedder.embed_texts(["a red boat"])[0], embedder.prepare_image(make_image(60, 40))
    sharp, blurred = (embedder.embed_pixels([pixels, blur(pixels)]) @ text).tolist()
    added = embedder.locate_vector(pixels, text, steps=64).contributions.sum()
    assert float(added) == pytest.approx(sharp - blurred, abs=1e-3 * abs(sharp - blurred) + 1e-5)


def test_the_same_question_has_the_same_answer_in_every_arithmetic(folders: dict[bool, Path]) -> None:
    first, second = (open_embedder(folders[False], dtype=dtype) for dtype in ("float32", "bfloat16"))
    text, pixels = first.embed_texts(["a red boat"])[0], first.prepare_image(make_image(60, 40))
    maps = [each.locate_vector(pixels, text).contributions for each in (first, first, second)]
    assert np.array_equal(maps[0], maps[1])
    assert np.array_equal(maps[0], maps[2])
    with torch.inference_mode():  # a caller's
        located = open_embedder(folders[False]).locate_text(make_image(60, 40), "a red boat")
    assert np.array_equal(located.contributions, maps[0])


def test_embedding_goes_on_after_a_gradient(folders: dict[bool, Path]) -> None:
    embedder = open_embedder(folders[False])
    before = embedder.embed_images([make_image(60, 40)])
    embedder.locate_text(make_image(60, 40), "a red boat")
    assert np.array_equal(embedder.embed_images([make_image(60, 40)]), before)


def test_what_does_not_fit_the_model_is_refused(folders: dict[bool, Path]) -> None:
    embedder = open_embedder(folders[False])
    pixels = embedder.prepare_image(make_image(60, 40))
    with pytest.raises(InvalidInputError, match=r"The vector must be \(32,\), not \(5,\)"):
        embedder.locate_vector(pixels, np.ones(5, np.float32))
    with pytest.raises(InvalidInputError, match=r"Each image's pixels must be"):
        embedder.locate_vector(pixels[:5], np.ones(32, np.float32))
    with pytest.raises(InvalidInputError, match="leaves nothing of the text"):
        embedder.locate_text(make_image(60, 40), "...")


def test_a_grid_that_leaves_pixels_out_is_laid_over_the_whole_image(tmp_path: Path) -> None:
    embedder = open_embedder(write_tiny_checkpoint(tmp_path / "odd", image_size=36))  # 4 x 4 patches cover 32 of 36
    pixels = embedder.prepare_image(make_image(60, 40))
    assert embedder.locate_vector(pixels, embedder.embed_texts(["boat"])[0]).contributions.shape == (4, 4)
    columns = np.float32([[0, 1, 2, 3]])
    laid = stretch(columns, 1.0, 0.5)  # the grid ends in the middle of the image
    np.testing.assert_allclose(laid, [[0.5, 2.5, 3.0, 3.0]])
    np.testing.assert_allclose(stretch(columns.T, 0.5, 1.0), laid.T)
    assert stretch(columns, 1.0, 1.0) is not None
    np.testing.assert_array_equal(stretch(columns, 1.0, 1.0), columns)
