from __future__ import annotations

from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch

from siglip_ingest.errors import InvalidInputError
from siglip_ingest.siglip.preprocess.image import ImageSettings, make_naflex_inputs, resize_image
from siglip_ingest.siglip.preprocess.opening import open_image
from siglip_ingest.siglip.tokenizer.base import Tokenizer
from siglip_ingest.siglip.tokenizer.loading import load_tokenizer
from siglip_ingest.siglip.training import Batch, ProcessGroup
from siglip_ingest.siglip.training.data import ClassBatches, ImageReader, PairBatches, find_classes, find_pairs
from tests.unit.siglip.training.sets import png, write_captioned, write_classes, write_shard

SETTINGS = ImageSettings(size=(32, 32))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_captioned(tmp_path_factory.mktemp("data") / "set")


@pytest.fixture(scope="module")
def tokenizer(tiny_checkpoint: Path) -> Tokenizer:
    return load_tokenizer(tiny_checkpoint, max_length=16)


def names_of(folder: Path, numbers: range, *, seed: int = 0, group: ProcessGroup | None = None) -> list[list[str]]:
    with ImageReader(find_pairs(str(folder)).examples, SETTINGS, batch_size=4, seed=seed, group=group) as images:
        return [[row.example.name for row in images.read(number)] for number in numbers]


def test_an_epoch_has_every_image_once_in_an_order_of_its_own(folder: Path) -> None:
    batches = names_of(folder, range(6))
    first, second = chain(*batches[:3]), chain(*batches[3:])
    assert sorted(first) == sorted(second) == [f"{number:02d}.png" for number in range(12)]
    assert batches[:3] != batches[3:]
    assert batches != names_of(folder, range(6), seed=1)


def test_a_batch_is_the_same_whatever_was_read_before(folder: Path) -> None:
    assert names_of(folder, range(5, 6)) == names_of(folder, range(6))[5:]


@pytest.mark.parametrize("size", [2, 4])
def test_processes_have_the_parts_of_one_batch(folder: Path, size: int) -> None:
    parts = [names_of(folder, range(3), group=ProcessGroup(rank, size)) for rank in range(size)]
    assert [list(chain(*(part[number] for part in parts))) for number in range(3)] == names_of(folder, range(3))


def test_another_image_stands_in_for_a_broken_one_and_it_is_named(tmp_path: Path) -> None:
    folder = write_captioned(tmp_path / "set")
    (folder / "05.png").write_bytes(png(0)[:200])
    (folder / "07.png").write_text("no image")
    examples = find_pairs(str(folder)).examples
    with ImageReader(examples, SETTINGS, batch_size=12) as images:
        first = [row.example.name for row in images.read(0)]
        assert images.broken.keys() == {"05.png", "07.png"}
        assert "cut off" in images.broken["05.png"]
        assert "not an image" in images.broken["07.png"]
    assert len(first) == 12
    assert not {"05.png", "07.png"} & set(first)
    with ImageReader(examples, SETTINGS, batch_size=12) as images:
        assert [row.example.name for row in images.read(0)] == first


def test_data_without_a_readable_image_are_refused(tmp_path: Path) -> None:
    folder = write_captioned(tmp_path / "set", 3)
    for path in folder.glob("*.png"):
        path.write_text("no image")
    with (
        ImageReader(find_pairs(str(folder)).examples, SETTINGS, batch_size=2) as images,
        pytest.raises(InvalidInputError, match="3 images can't be read"),
    ):
        images.read(0)


def test_a_batch_that_does_not_fit_is_refused(folder: Path) -> None:
    examples = find_pairs(str(folder)).examples
    with pytest.raises(InvalidInputError, match="A batch of 13 is larger than the data, 12 images"):
        ImageReader(examples, SETTINGS, batch_size=13)
    with pytest.raises(InvalidInputError, match="can't be split evenly among 2"):
        ImageReader(examples, SETTINGS, batch_size=5, group=ProcessGroup(0, 2))


def make_pairs(folder: Path, tokenizer: Tokenizer, numbers: range, settings: ImageSettings = SETTINGS) -> list[Batch]:
    with ImageReader(find_pairs(str(folder)).examples, settings, batch_size=12) as images:
        batches = PairBatches(images, tokenizer)
        return [batches(number) for number in numbers]


def test_captions_take_turns_and_equal_ones_are_true_of_both_images(tmp_path: Path, tokenizer: Tokenizer) -> None:
    folder = write_captioned(tmp_path / "set")
    lines = (folder / "captions.jsonl").read_text().splitlines()
    lines[1] = '{"image": "01.png", "caption": "a red boat"}'
    lines[2] = '{"image": "02.png", "caption": "A red boat!"}'  # the same to the tokenizer
    (folder / "captions.jsonl").write_text("\n".join(lines))
    examples = find_pairs(str(folder)).examples
    chosen: list[dict[str, tuple[int, ...]]] = []
    with ImageReader(examples, SETTINGS, batch_size=12) as images:
        batches = PairBatches(images, tokenizer)
        for number in range(2):
            batch = batches(number)
            rows = [row.example.name for row in images.read(number)]
            assert batch.match_ids is not None
            is_match = batch.match_ids[:, None] == batch.match_ids
            twins = {rows.index("01.png"), rows.index("02.png")}
            for i in range(12):
                assert set(is_match[i].nonzero().flatten().tolist()) == (twins if i in twins else {i})
            ids = [tuple(values) for values in batch.input_ids.tolist()]
            chosen.append(dict(zip(rows, ids, strict=True)))
    differing = {name for name in chosen[0] if chosen[0][name] != chosen[1][name]}
    assert differing == {"00.png", "03.png", "06.png", "09.png"}


def test_images_of_a_fixed_size_are_normalised(folder: Path, tokenizer: Tokenizer) -> None:
    (batch,) = make_pairs(folder, tokenizer, range(1))
    assert batch.pixel_values.shape == (12, 3, 32, 32)
    assert batch.pixel_values.dtype == torch.float32
    assert -1 <= batch.pixel_values.min() < -0.5 < batch.pixel_values.max() <= 1
    assert batch.pixel_attention_mask is None


def test_naflex_images_are_padded_to_the_longest_of_the_batch(folder: Path, tokenizer: Tokenizer) -> None:
    settings = ImageSettings(patch_size=8, max_num_patches=16)
    with ImageReader(find_pairs(str(folder)).examples, settings, batch_size=12) as images:
        rows = images.read(0)
        values, mask, shapes = images.to_inputs(rows)
    images = [open_image(row.example.path) for row in rows]
    expected = make_naflex_inputs([resize_image(image, settings) for image in images], settings)
    longest = int(expected.pixel_attention_mask.sum(axis=1).max())
    assert mask is not None
    assert shapes is not None
    np.testing.assert_array_equal(values, expected.pixel_values[:, :longest])
    np.testing.assert_array_equal(mask, expected.pixel_attention_mask[:, :longest])
    np.testing.assert_array_equal(shapes, expected.spatial_shapes)


def test_images_in_shards_are_decoded_from_their_places(tmp_path: Path) -> None:
    files = {name: content for n in range(3) for name, content in ((f"{n}.png", png(n)), (f"{n}.txt", b"a boat"))}
    shard = write_shard(tmp_path / "one.tar", files)
    for n in range(3):
        (tmp_path / f"{n}.png").write_bytes(png(n))
    with ImageReader(find_pairs(str(shard)).examples, SETTINGS, batch_size=3) as images:
        for row in images.read(0):
            image = open_image(tmp_path / row.example.name.split("/")[1])
            np.testing.assert_array_equal(row.pixels, np.asarray(image.resize((32, 32), resample=3)))


def test_classes_come_as_their_numbers(tmp_path: Path) -> None:
    data = find_classes(str(write_classes(tmp_path / "set", per_class=3)))
    with ImageReader(data.examples, SETTINGS, batch_size=6) as images:
        batch = ClassBatches(images)(0)
    brightness = batch.pixel_values.mean(dim=(1, 2, 3))
    assert batch.targets.tolist() == [int(value > brightness.mean()) for value in brightness]
