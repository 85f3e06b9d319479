"""Pixel values, from a file's bytes on."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
import transformers
from PIL import Image
from transformers.image_utils import load_image
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

from siglip_ingest import siglip
from siglip_ingest.siglip.preprocess.image import (
    ImageSettings,
    decode_image,
    lay_on_white,
    make_upright,
    make_upright_rgb,
    normalize,
    resize_image,
)
from tests.images import FILES, MODES, make_image, premultiplied
from tests.parity.pairs import PUBLISHED, optional_data

PIXEL_TOLERANCE = 1e-6


def assert_same_pixel_values(images: list[Image.Image], values: dict[str, object]) -> None:
    settings = ImageSettings.from_dict(values)
    ours = normalize(np.stack([resize_image(image, settings) for image in images]), settings)
    reference = SiglipImageProcessorPil(**values)(images, return_tensors="np")["pixel_values"]
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, reference, rtol=0, atol=PIXEL_TOLERANCE)


@pytest.mark.parametrize("resample", [2, 3], ids=["bilinear", "bicubic"])
@pytest.mark.parametrize("side", [32, 224, 384])
def test_pixel_values_equal_the_references(resample: int, side: int) -> None:
    sizes = [(300, 200), (17, 400), (1, 1), (1, 3000), (224, 224), (1000, 1001)]
    images = [make_image(width, height) for width, height in sizes]
    assert_same_pixel_values(images, {"size": {"height": side, "width": side}, "resample": resample})


def test_pixel_values_with_other_means_equal_the_references() -> None:
    means = {"image_mean": [0.48, 0.45, 0.40], "image_std": [0.26, 0.26, 0.27], "rescale_factor": 1 / 127.5}
    assert_same_pixel_values([make_image(50, 60)], {"size": {"height": 40, "width": 40}, "resample": 3, **means})


def test_default_settings_are_the_references() -> None:
    assert_same_pixel_values([make_image(50, 60)], {})


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_settings_give_the_references_pixel_values(name: str) -> None:
    path = PUBLISHED[name] / "preprocessor_config.json"
    values = json.loads(path.read_text(encoding="utf-8"))
    assert ImageSettings.from_file(path) == ImageSettings.from_dict(values)
    assert_same_pixel_values([make_image(640, 480), make_image(123, 457, seed=1)], values)


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_photograph_gives_the_references_pixel_values(name: str) -> None:
    values = json.loads((PUBLISHED[name] / "preprocessor_config.json").read_text(encoding="utf-8"))
    photograph = optional_data("images/coco/000000039769.png").read_bytes()
    assert_same_pixel_values([decode_image(photograph, max_image_pixels=10**6)], values)


@pytest.mark.filterwarnings("ignore:Palette images with Transparency")  # the reference's own
@pytest.mark.parametrize("name", FILES)
def test_decoded_files_equal_the_references(name: str) -> None:
    content = FILES[name]()
    ours = decode_image(content, max_image_pixels=10**6, clip_16_bit=True)
    with Image.open(io.BytesIO(content)) as opened:
        reference = load_image(opened)
    assert ours.mode == "RGB"
    assert ours.size == reference.size
    np.testing.assert_array_equal(np.asarray(ours), np.asarray(reference))


@pytest.mark.filterwarnings("ignore:Palette images with Transparency")  # the reference's own
@pytest.mark.parametrize("name", FILES)
def test_files_that_a_program_has_opened_equal_the_references(name: str) -> None:
    content = FILES[name]()
    with Image.open(io.BytesIO(content)) as ours, Image.open(io.BytesIO(content)) as opened:
        reference = load_image(opened)
        np.testing.assert_array_equal(np.asarray(make_upright_rgb(ours, clip_16_bit=True)), np.asarray(reference))
    with Image.open(io.BytesIO(content)) as ours:
        assert make_upright(ours).size == reference.size


@pytest.mark.filterwarnings("ignore:Palette images with Transparency")  # the reference's own
@pytest.mark.parametrize("resample", [2, 3], ids=["bilinear", "bicubic"])
@pytest.mark.parametrize("name", FILES)
def test_pixel_values_of_a_file_equal_the_references(name: str, resample: int) -> None:
    content = FILES[name]()
    values = {"size": {"height": 48, "width": 48}, "resample": resample}
    settings = ImageSettings.from_dict(values)
    ours = normalize(
        resize_image(decode_image(content, max_image_pixels=10**6, clip_16_bit=True), settings)[None], settings
    )
    with Image.open(io.BytesIO(content)) as opened:
        reference = SiglipImageProcessorPil(**values)(load_image(opened), return_tensors="np")["pixel_values"]
    np.testing.assert_allclose(ours, reference, rtol=0, atol=PIXEL_TOLERANCE)


@pytest.mark.parametrize("mode", MODES)
def test_images_of_every_mode_become_the_references_rgb(mode: str) -> None:
    image = MODES[mode]()
    assert image.mode == mode
    ours = resize_image(make_upright_rgb(image, clip_16_bit=True), ImageSettings(size=(40, 60)))
    np.testing.assert_array_equal(ours, np.asarray(load_image(image)))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA", "P", "L", "RGB"])
def test_a_transparent_image_that_no_loader_saw_is_laid_on_white_as_the_reference_lays_it(mode: str) -> None:
    image = MODES[mode]()
    if mode in {"P", "L", "RGB"}:
        image.info["transparency"] = {"P": 3, "L": 90, "RGB": image.getpixel((0, 0))}[mode]
    laid = lay_on_white(image)
    reference = SiglipImageProcessorPil(do_resize=False, do_rescale=False, do_normalize=False)(image)["pixel_values"]
    assert laid.mode == "RGB"
    np.testing.assert_array_equal(np.asarray(laid), np.moveaxis(reference[0], 0, -1))


@pytest.mark.parametrize("mode", MODES)
def test_the_familys_door_makes_the_references_pixel_values_of_every_mode(mode: str) -> None:
    ours = siglip.SiglipImageProcessor()(MODES[mode](), return_tensors="np")["pixel_values"]
    reference = SiglipImageProcessorPil()(MODES[mode](), return_tensors="np")["pixel_values"]
    np.testing.assert_allclose(ours, reference, rtol=0, atol=PIXEL_TOLERANCE)


def test_premultiplied_gray_on_which_the_reference_fails_is_decoded() -> None:
    content = premultiplied("LA")
    with Image.open(io.BytesIO(content)) as opened:
        assert opened.mode == "La"
        with pytest.raises(ValueError, match="conversion from La"):
            load_image(opened)
        expected = opened.convert("LA").convert("RGB")
    np.testing.assert_array_equal(
        np.asarray(decode_image(content, max_image_pixels=10**6, clip_16_bit=True)), np.asarray(expected)
    )


def test_the_processor_of_a_saved_checkpoint_is_read_by_the_reference(tiny_checkpoint: Path) -> None:
    image = make_image(70, 50)
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    settings = ImageSettings.from_file(tiny_checkpoint / "preprocessor_config.json")
    ours = normalize(resize_image(decode_image(buffer.getvalue(), max_image_pixels=10**6), settings)[None], settings)
    processor = transformers.AutoImageProcessor.from_pretrained(tiny_checkpoint, use_fast=False)
    np.testing.assert_allclose(
        ours, processor(image, return_tensors="np")["pixel_values"], rtol=0, atol=PIXEL_TOLERANCE
    )
