"""The transformers API's tokenizers, image processors and processors beside the reference's, on the same files."""

from __future__ import annotations

import io
import logging
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from transformers.image_utils import load_image

from siglip_ingest import siglip
from siglip_ingest.errors import InvalidInputError
from tests.hard_texts import HARD_TEXTS, random_texts
from tests.images import FILES, make_image
from tests.parity.pairs import PUBLISHED, optional_data
from tests.parity.transformers_pairs import KINDS, TEXTS, make_images

# The reference warns about texts that end with </s>, which is what some of these do.
pytestmark = pytest.mark.filterwarnings("ignore:This sequence already has </s>")

LONG = "a photo of " + "many " * 90 + "cats"


@pytest.fixture(scope="module", params=["siglip", "naflex"])
def folder(request: pytest.FixtureRequest, reference_checkpoints: dict[str, Path]) -> Path:
    return reference_checkpoints[request.param]


PUBLISHED_TOKENIZER = pytest.param("the published tokenizer.json", marks=pytest.mark.slow)


@pytest.fixture(scope="module", params=["siglip", "naflex", "t5's vocabulary", PUBLISHED_TOKENIZER])
def tokenizers(
    request: pytest.FixtureRequest, reference_checkpoints: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Any, Any]:
    """Ours and the reference's, of small vocabularies, and of large ones where they are at hand."""
    if request.param in reference_checkpoints:
        folder = reference_checkpoints[request.param]
    elif request.param == "t5's vocabulary":
        folder = tmp_path_factory.mktemp("t5")
        shutil.copy(optional_data("tokenizers/t5/spiece.model"), folder)
        shutil.copy(reference_checkpoints["siglip"] / "tokenizer_config.json", folder)
    else:
        folder = tmp_path_factory.mktemp("published")
        shutil.copy(optional_data("tokenizers/siglip2/tokenizer.json"), folder)
        shutil.copy(reference_checkpoints["naflex"] / "tokenizer_config.json", folder)
    return tuple(library.AutoTokenizer.from_pretrained(folder) for library in (siglip, transformers))


def assert_same(ours: Any, reference: Any, where: str = "result") -> None:
    """Compare dictionaries, lists, arrays and tensors, their types included."""
    if hasattr(ours, "keys"):
        assert set(ours.keys()) == set(reference.keys()), where
        for key in ours.keys():  # noqa: SIM118
            assert_same(ours[key], reference[key], f"{where}[{key!r}]")
    elif isinstance(ours, torch.Tensor):
        assert ours.dtype == reference.dtype, where
        assert torch.equal(ours, reference), where
    elif isinstance(ours, np.ndarray):
        assert ours.dtype == reference.dtype, where
        np.testing.assert_array_equal(ours, reference, err_msg=where)
    elif isinstance(ours, list) and ours and isinstance(ours[0], np.ndarray):
        for index, (mine, theirs) in enumerate(zip(ours, reference, strict=True)):
            np.testing.assert_array_equal(mine, theirs, err_msg=f"{where}[{index}]")
    else:
        assert ours == reference, where


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"padding": True},
        {"padding": "longest", "return_tensors": "pt"},
        {"padding": "max_length", "return_tensors": "np", "truncation": True},
        {"padding": "max_length", "max_length": 12},
        {"padding": "max_length", "max_length": 12, "truncation": True, "return_tensors": "pt"},
        {"max_length": 7, "truncation": True},
        {"add_special_tokens": False},
        {"add_special_tokens": False, "padding": True, "padding_side": "left"},
        {"padding": True, "return_attention_mask": True, "return_tensors": "pt"},
        {"padding": "max_length", "padding_side": "left", "return_attention_mask": True},
    ],
    ids=lambda options: ",".join(f"{name}={value}" for name, value in options.items()) or "nothing",
)
def test_texts_give_the_references_ids_under_each_option(tokenizers: tuple[Any, Any], options: dict[str, Any]) -> None:
    ours, reference = tokenizers
    assert_same(ours([*TEXTS, LONG], **options), reference([*TEXTS, LONG], **options))
    assert_same(ours(TEXTS[0], **options), reference(TEXTS[0], **options))


def test_each_hard_text_goes_to_ids_and_pieces_and_back_as_in_the_reference(tokenizers: tuple[Any, Any]) -> None:
    ours, reference = tokenizers
    for text in [*HARD_TEXTS.values(), *random_texts(100)]:
        ids = ours.encode(text)
        assert ids == reference.encode(text), repr(text)
        assert ours.tokenize(text) == reference.tokenize(text), repr(text)
        pieces = ours.convert_ids_to_tokens(ids)
        assert pieces == reference.convert_ids_to_tokens(ids), repr(text)
        assert ours.convert_tokens_to_ids(pieces) == reference.convert_tokens_to_ids(pieces), repr(text)
        for is_skipping in (False, True):
            back = reference.decode(ids, skip_special_tokens=is_skipping)
            assert ours.decode(ids, skip_special_tokens=is_skipping) == back, repr(text)
            assert ours.batch_decode([ids], skip_special_tokens=is_skipping) == [back], repr(text)


def test_a_tokenizer_knows_its_vocabulary_as_the_reference_does(tokenizers: tuple[Any, Any]) -> None:
    ours, reference = tokenizers
    assert type(ours).__name__ == type(reference).__name__
    assert (len(ours), ours.vocab_size) == (len(reference), reference.vocab_size)
    assert ours.get_vocab() == reference.get_vocab()
    assert ours.special_tokens_map == reference.special_tokens_map
    assert sorted(ours.all_special_ids) == sorted(reference.all_special_ids)
    assert (ours.model_max_length, ours.padding_side) == (reference.model_max_length, reference.padding_side)
    for part in ("eos_token", "pad_token", "unk_token"):
        assert getattr(ours, part) == getattr(reference, part)
        assert getattr(ours, f"{part}_id") == getattr(reference, f"{part}_id")
    assert ours.convert_tokens_to_ids("no such piece") == reference.convert_tokens_to_ids("no such piece")


def test_lists_of_ids_get_the_references_special_tokens(reference_checkpoints: dict[str, Path]) -> None:
    ours, reference = (
        library.SiglipTokenizer.from_pretrained(reference_checkpoints["siglip"]) for library in (siglip, transformers)
    )
    for method in (
        "build_inputs_with_special_tokens",
        "get_special_tokens_mask",
        "create_token_type_ids_from_sequences",
    ):
        for ids in ([[5, 6]], [[]], [[5, 1]], [[5, 6], [7]], [[5], [6, 1]]):
            assert getattr(ours, method)(*ids) == getattr(reference, method)(*ids), (method, ids)
    masks = [one.get_special_tokens_mask([5, 2, 1], already_has_special_tokens=True) for one in (ours, reference)]
    assert masks[0] == masks[1]


def test_a_vocabulary_is_saved_under_the_references_name(tokenizers: tuple[Any, Any], tmp_path: Path) -> None:
    ours, reference = tokenizers
    paths = ours.save_vocabulary(str(tmp_path))
    assert ours.save_vocabulary(tmp_path) == paths  # onto itself
    assert (tmp_path / Path(paths[0]).name).read_bytes() == Path(ours.vocab_file).read_bytes()
    assert Path(ours.save_vocabulary(tmp_path, "mine")[0]).name == f"mine-{Path(paths[0]).name}"
    if hasattr(reference, "sp_model"):
        assert paths == reference.save_vocabulary(str(tmp_path))


def test_truncation_is_reported(tokenizers: tuple[Any, Any], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        tokenizers[0]([LONG, "a cat"], truncation=True, max_length=10)
    assert "the model reads 10" in caplog.text


@pytest.mark.parametrize("kind", KINDS)
def test_a_saved_processor_is_equal_in_the_reference(
    kind: str, reference_checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    processor = siglip.AutoProcessor.from_pretrained(reference_checkpoints[kind])
    shutil.copy(reference_checkpoints[kind] / "config.json", tmp_path)
    processor.save_pretrained(tmp_path)
    reference = transformers.AutoProcessor.from_pretrained(tmp_path)
    again = siglip.AutoProcessor.from_pretrained(tmp_path)
    assert type(reference).__name__ == type(again).__name__ == type(processor).__name__
    options = {"padding": "max_length", "truncation": True, "return_tensors": "pt"}
    texts = list(HARD_TEXTS.values())
    batch = processor(text=texts, images=make_images(), **options)
    assert_same(again(text=texts, images=make_images(), **options), batch)
    assert_same(batch, reference(text=texts, images=make_images(), **options))


@pytest.mark.parametrize("kind", ["siglip", "naflex"])
def test_what_the_reference_saves_is_equal_here(
    kind: str, reference_checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    reference = transformers.AutoProcessor.from_pretrained(reference_checkpoints[kind])
    reference.save_pretrained(tmp_path)  # one processor_config.json, where we write preprocessor_config.json
    processor = siglip.AutoProcessor.from_pretrained(tmp_path)
    options = {"padding": "max_length", "return_tensors": "pt"}
    assert_same(
        processor(text=TEXTS, images=make_images(), **options), reference(text=TEXTS, images=make_images(), **options)
    )


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_image_settings_read_as_in_the_reference(name: str) -> None:
    ours, reference = (
        library.AutoImageProcessor.from_pretrained(PUBLISHED[name]) for library in (siglip, transformers)
    )
    wanted = reference.to_dict()
    for key, value in ours.to_dict().items():
        if key != "do_convert_rgb":  # null in one of them: here images become RGB in any case
            assert value == (list(wanted[key]) if isinstance(wanted[key], tuple) else wanted[key]), key
    assert_same(ours(make_images(), return_tensors="np"), reference(make_images(), return_tensors="np"))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"return_tensors": "np"},
        {"return_tensors": "pt"},
        {"return_tensors": "np", "do_normalize": False},
        {"return_tensors": "np", "do_rescale": False},
        {"return_tensors": "np", "resample": 0},
        {"return_tensors": "np", "image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6]},
        {"return_tensors": "np", "rescale_factor": 0.01},
    ],
    ids=lambda options: ",".join(options) or "nothing",
)
def test_images_give_the_references_pixels_under_each_option(folder: Path, options: dict[str, Any]) -> None:
    ours, reference = (library.AutoImageProcessor.from_pretrained(folder) for library in (siglip, transformers))
    assert_same(ours(make_images(), **options), reference(make_images(), **options))
    assert_same(ours.preprocess(make_images()[0], **options), reference.preprocess(make_images()[0], **options))


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, np.int64], ids=str)
@pytest.mark.parametrize(
    "options",
    [
        {"do_rescale": False},
        {},
        {"do_rescale": False, "do_resize": False},
        {"do_resize": False},
        {"do_rescale": False, "do_normalize": False, "return_tensors": "pt"},
        {"do_rescale": False, "input_data_format": "channels_last", "data_format": "channels_first", "device": "cpu"},
    ],
    ids=lambda options: ",".join(options) or "nothing",
)
def test_arrays_of_other_numbers_give_the_references_pixels(
    folder: Path, options: dict[str, Any], dtype: type[np.generic]
) -> None:
    ours, reference = (library.AutoImageProcessor.from_pretrained(folder) for library in (siglip, transformers))
    options = {"return_tensors": "np"} | options
    whole = np.asarray(make_image(48, 32))
    drawn = np.random.default_rng(0).random((32, 48, 3))
    arrays = [whole.astype(dtype)] if dtype is np.int64 else [drawn.astype(dtype), whole.astype(dtype)]
    for array in arrays:
        if array.max() <= 1 and options.get("do_rescale", True):
            with pytest.raises(InvalidInputError, match="rescaled already"):  # the reference makes it nearly black
                ours(array, **options)
            continue
        wanted = reference(array, **options)
        if wanted["pixel_values"].dtype == torch.uint8:  # it leaves bytes that nothing changes; here pixels are floats
            wanted["pixel_values"] = wanted["pixel_values"].float()
        assert_same(ours(array, **options), wanted)
        assert_same(ours(torch.from_numpy(array), **options), wanted)


def test_sizes_of_a_call_give_the_references_pixels(reference_checkpoints: dict[str, Path]) -> None:
    ours, reference = (
        library.SiglipImageProcessor.from_pretrained(reference_checkpoints["siglip"])
        for library in (siglip, transformers)
    )
    for options in ({"size": {"height": 10, "width": 20}}, {"do_resize": False}):
        assert_same(
            ours(make_images()[0], return_tensors="np", **options),
            reference(make_images()[0], return_tensors="np", **options),
        )


@pytest.mark.parametrize("max_num_patches", [1, 9, 256, 1024])
def test_naflex_patches_of_a_call_equal_the_references(
    reference_checkpoints: dict[str, Path], max_num_patches: int
) -> None:
    ours, reference = (
        library.AutoProcessor.from_pretrained(reference_checkpoints["naflex"]) for library in (siglip, transformers)
    )
    options = {"max_num_patches": max_num_patches, "return_tensors": "pt"}
    images = [*make_images(), make_image(1, 1), make_image(300, 2)]
    assert_same(ours(images=images, **options), reference(images=images, **options))


@pytest.mark.parametrize("name", [name for name in FILES if not name.startswith("orientation")])
def test_every_mode_gives_the_references_pixels(
    reference_checkpoints: dict[str, Path], name: str, tmp_path: Path
) -> None:
    ours, reference = (
        library.SiglipImageProcessor.from_pretrained(reference_checkpoints["siglip"])
        for library in (siglip, transformers)
    )
    with Image.open(io.BytesIO(FILES[name]())) as image:
        assert_same(ours(image, return_tensors="np"), reference(image, return_tensors="np"))


@pytest.mark.parametrize("name", [name for name in FILES if name.startswith("gray_16")])
def test_16_bit_gray_of_a_file_is_loaded_as_the_reference_loads_it(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(FILES[name]())
    ours, reference = siglip.load_image(str(path)), load_image(str(path))
    np.testing.assert_array_equal(np.asarray(ours), np.asarray(reference))


@pytest.mark.parametrize("name", ["orientation_3.jpg", "orientation_6.jpg", "orientation_6.png", "orientation_8.jpg"])
def test_a_path_is_turned_upright_and_an_opened_image_left_as_it_lies(folder: Path, name: str, tmp_path: Path) -> None:
    ours, reference = (library.AutoImageProcessor.from_pretrained(folder) for library in (siglip, transformers))
    path = tmp_path / name
    path.write_bytes(FILES[name]())
    from_path = ours(os.fspath(path), return_tensors="np")
    assert_same(from_path, reference(os.fspath(path), return_tensors="np"))
    assert_same(ours(path.read_bytes(), return_tensors="np"), from_path)
    with Image.open(path) as image:
        opened = reference(image, return_tensors="np")
        assert_same(ours(image, return_tensors="np"), opened)
    assert not np.array_equal(opened["pixel_values"], from_path["pixel_values"])


def test_arrays_and_tensors_are_images_too(folder: Path) -> None:
    ours, reference = (library.AutoImageProcessor.from_pretrained(folder) for library in (siglip, transformers))
    array = np.asarray(make_images()[0])
    for image in (array, array.transpose(2, 0, 1), np.stack([array, array]), torch.from_numpy(array.copy())):
        assert_same(ours(image, return_tensors="np"), reference(image, return_tensors="np"))
    with pytest.raises(InvalidInputError, match="uint8"):
        ours(array / 255)


def test_a_processor_without_padding_says_why_rows_are_no_tensor(folder: Path) -> None:
    processor = siglip.AutoProcessor.from_pretrained(folder)
    with pytest.raises(InvalidInputError, match="padding='max_length'"):
        processor(text=TEXTS, padding=False, return_tensors="pt")
