"""Batches, images, tokenizers and pipelines."""

from __future__ import annotations

import base64
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from siglip_ingest.errors import CheckpointError, ConfigurationError, ImageError, InvalidInputError
from siglip_ingest.siglip import (
    AutoImageProcessor,
    AutoProcessor,
    AutoTokenizer,
    Siglip2ImageProcessor,
    Siglip2Processor,
    Siglip2Tokenizer,
    SiglipImageProcessor,
    SiglipProcessor,
    SiglipTokenizer,
    load_image,
)
from siglip_ingest.siglip.transformers_api.processing.batches import BatchFeature
from tests.images import FILES, encode, make_image


def test_a_batch_moves_and_converts_only_what_it_should() -> None:
    batch = BatchFeature({"pixel_values": [np.ones((2, 2), np.float32)], "input_ids": [[1, 2]]}, "pt")
    batch.note = "attributes that are no inputs stay what they are"
    assert batch.to("cpu", torch.bfloat16) is batch
    assert (batch.pixel_values.dtype, batch["input_ids"].dtype) == (torch.bfloat16, torch.int64)
    assert batch.to(dtype=torch.float16).pixel_values.dtype == torch.float16
    assert {**batch}.keys() == {"pixel_values", "input_ids"}
    with pytest.raises(AttributeError, match="labels"):
        batch.labels  # noqa: B018


def test_rows_of_different_lengths_and_unknown_tensors_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="padding='max_length'"):
        BatchFeature({"input_ids": [[1], [1, 2]]}, "np")
    with pytest.raises(InvalidInputError, match="return_tensors"):
        BatchFeature({"input_ids": [[1]]}, "tf")


def test_files_choose_the_classes(checkpoint: Path, naflex_checkpoint: Path) -> None:
    is_naflex = checkpoint == naflex_checkpoint
    processor = AutoProcessor.from_pretrained(checkpoint)
    assert type(processor) is (Siglip2Processor if is_naflex else SiglipProcessor)
    assert type(processor.tokenizer) is (Siglip2Tokenizer if is_naflex else SiglipTokenizer)
    assert type(processor.image_processor) is (Siglip2ImageProcessor if is_naflex else SiglipImageProcessor)
    assert processor.model_input_names[0] == "input_ids"


def test_a_tokenizer_of_the_other_kind_says_what_is_missing(
    tiny_checkpoint: Path, naflex_checkpoint: Path, tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError, match=r"spiece\.model"):
        SiglipTokenizer.from_pretrained(naflex_checkpoint)
    with pytest.raises(CheckpointError, match=r"tokenizer\.json"):
        Siglip2Tokenizer.from_pretrained(tiny_checkpoint)
    with pytest.raises(CheckpointError, match="no tokenizer"):
        AutoTokenizer.from_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="no sentencepiece file"):
        SiglipTokenizer(tmp_path / "spiece.model")


def test_the_length_comes_from_the_tokenizer_or_else_from_the_text_tower(
    naflex_checkpoint: Path, tmp_path: Path
) -> None:
    assert AutoTokenizer.from_pretrained(naflex_checkpoint).model_max_length == 16  # its config.json's
    shutil.copy(naflex_checkpoint / "tokenizer.json", tmp_path)
    assert AutoTokenizer.from_pretrained(tmp_path).model_max_length == 64
    (tmp_path / "tokenizer_config.json").write_text('{"model_max_length": 1000000000000000019884624838656}')
    assert AutoTokenizer.from_pretrained(tmp_path).model_max_length == 64
    (tmp_path / "tokenizer_config.json").write_text('{"model_max_length": 24}')
    assert AutoTokenizer.from_pretrained(tmp_path).model_max_length == 24
    assert AutoTokenizer.from_pretrained(tmp_path, model_max_length=12).model_max_length == 12


def test_a_naflex_processor_pads_and_cuts_texts_by_itself(naflex_checkpoint: Path) -> None:
    processor = AutoProcessor.from_pretrained(naflex_checkpoint)
    inputs = processor(text=["a cat", "a photo of " * 40], return_tensors="pt")
    assert list(inputs) == ["input_ids"]
    assert inputs.input_ids.shape == (2, 16)
    assert inputs.input_ids[1, -1] == processor.tokenizer.eos_token_id


@pytest.mark.parametrize("options", [{"padding": "shortest"}, {"return_tensors": "jax"}], ids=["padding", "tensors"])
def test_a_tokenizers_unknown_options_are_refused(tiny_checkpoint: Path, options: dict[str, str]) -> None:
    with pytest.raises(InvalidInputError):
        AutoTokenizer.from_pretrained(tiny_checkpoint)("a cat", **options)
    with pytest.raises(AttributeError, match="bos_token"):
        AutoTokenizer.from_pretrained(tiny_checkpoint).bos_token  # noqa: B018


def test_settings_of_a_call_hold_for_that_call_alone(checkpoint: Path) -> None:
    processor = AutoImageProcessor.from_pretrained(checkpoint)
    before = processor.to_dict()
    processor(make_image(60, 40), image_mean=[0.0, 0.0, 0.0], do_resize=None)
    assert processor.to_dict() == before
    processor.image_mean[0] = 0.25
    assert AutoImageProcessor.from_pretrained(checkpoint).image_mean == [0.5, 0.5, 0.5]
    assert type(processor)().image_mean == [0.5, 0.5, 0.5]


def test_a_changed_setting_is_saved_and_used(tiny_checkpoint: Path, tmp_path: Path) -> None:
    processor = AutoImageProcessor.from_pretrained(tiny_checkpoint, size={"height": 8, "width": 12})
    processor.save_pretrained(tmp_path)
    again = SiglipImageProcessor.from_pretrained(tmp_path, use_fast=True)
    assert again(make_image(60, 40), return_tensors="pt").pixel_values.shape == (1, 3, 8, 12)


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"max_patches": 3}, InvalidInputError),
        ({"size": {"side": 3}}, CheckpointError),
        ({"image_mean": [1]}, CheckpointError),
    ],
    ids=["unknown", "size", "mean"],
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, object], error: type[Exception]) -> None:
    with pytest.raises(error):
        SiglipImageProcessor(**settings)
    with pytest.raises(error):
        SiglipImageProcessor()(make_image(60, 40), **settings)


@pytest.mark.parametrize("images", [[], 7, [None], np.zeros((4, 4), np.uint8), np.zeros((5, 4, 2), np.uint8)], ids=str)
def test_what_is_no_image_is_refused(images: object) -> None:
    with pytest.raises(InvalidInputError):
        SiglipImageProcessor()(images)


def test_nothing_to_prepare_is_refused(tiny_checkpoint: Path) -> None:
    with pytest.raises(InvalidInputError, match="images, text, or both"):
        AutoProcessor.from_pretrained(tiny_checkpoint)()


def test_an_image_is_loaded_upright_from_whatever_holds_it(tmp_path: Path) -> None:
    content = FILES["orientation_6.jpg"]()
    path = tmp_path / "image.jpg"
    path.write_bytes(content)
    wanted = np.asarray(load_image(content))
    assert wanted.shape == (60, 40, 3)
    url = "data:image/jpeg;base64," + base64.b64encode(content).decode()
    for source in (path, str(path), url, load_image(path)):
        assert np.array_equal(np.asarray(load_image(source)), wanted)


@pytest.mark.parametrize(
    "source", ["missing.jpg", b"no image", "data:image/png;base64,???"], ids=["path", "bytes", "url"]
)
def test_an_image_that_cannot_be_read_is_an_image_error(source: str | bytes) -> None:
    with pytest.raises(ImageError):
        load_image(source)


def test_a_damaged_image_that_a_program_opened_is_an_image_error() -> None:
    from PIL import Image

    with (
        Image.open(__import__("io").BytesIO(encode(make_image(60, 40), "PNG")[:-900])) as image,
        pytest.raises(ImageError),
    ):
        SiglipImageProcessor()(image)


def test_axes_of_an_array_can_be_told(tiny_checkpoint: Path) -> None:
    processor = AutoImageProcessor.from_pretrained(tiny_checkpoint)
    pixels = np.asarray(make_image(60, 40))
    wanted = processor(pixels, return_tensors="np", input_data_format="channels_last").pixel_values
    turned = np.ascontiguousarray(pixels.transpose(2, 0, 1))
    for array in (turned, torch.from_numpy(turned)):
        found = processor(array, return_tensors="np", input_data_format="channels_first").pixel_values
        assert np.array_equal(found, wanted)
    with pytest.raises(InvalidInputError, match="input_data_format"):
        processor(pixels, input_data_format="first")
    with pytest.raises(InvalidInputError, match="data_format must be channels_first"):
        processor(pixels, data_format="channels_last")


def test_tensors_go_to_the_device_of_the_call(checkpoint: Path) -> None:
    processor = AutoProcessor.from_pretrained(checkpoint)
    batch = processor(images=make_image(60, 40), return_tensors="pt", device="meta", data_format="channels_first")
    assert batch.pixel_values.is_meta


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_a_batch_goes_to_no_device_that_is_not_there(tiny_checkpoint: Path) -> None:
    batch = AutoImageProcessor.from_pretrained(tiny_checkpoint)(make_image(60, 40), return_tensors="pt")
    with pytest.raises(ConfigurationError, match="no device 'cuda'"):
        batch.to("cuda")


@pytest.mark.parametrize(
    "pixels",
    [np.full((8, 8, 3), -0.5), np.full((8, 8, 3), 254.5), np.full((8, 8, 3), 256), np.full((8, 8, 3), 1j)],
    ids=["below_0", "neither_whole_nor_up_to_1", "above_255", "complex"],
)
def test_numbers_that_are_no_pixels_are_refused(pixels: np.ndarray) -> None:
    with pytest.raises(InvalidInputError):
        SiglipImageProcessor()(pixels, do_rescale=False)


def test_a_tensor_without_a_counterpart_in_numpy_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="numpy"):
        SiglipImageProcessor()(torch.zeros(3, 8, 8, dtype=torch.bfloat16))


def test_processors_are_saved_with_the_arguments_of_a_model(tiny_checkpoint: Path, tmp_path: Path) -> None:
    processor = AutoProcessor.from_pretrained(tiny_checkpoint)
    for part in (processor, processor.tokenizer, processor.image_processor):
        part.save_pretrained(tmp_path, push_to_hub=False)
        with pytest.raises(InvalidInputError, match="push_to_hub"):
            part.save_pretrained(tmp_path, push_to_hub=True)
    for name in ("tokenizer_config.json", "preprocessor_config.json"):
        assert "push_to_hub" not in (tmp_path / name).read_text()
