"""A checkpoint whose files don't fit each other."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from siglip_ingest.errors import CheckpointError
from siglip_ingest.siglip.checkpoint.loading import read_config
from siglip_ingest.siglip.checkpoint.preprocessing import read_image_settings, read_tokenizer
from tests.checkpoints import tiny_config, tiny_naflex_config, write_naflex_preprocessor, write_processor


def write_config(folder: Path, values: dict[str, object]) -> None:
    (folder / "config.json").write_text(json.dumps(values))


def read_settings(folder: Path) -> None:
    read_image_settings(folder, read_config(folder))


def test_images_of_another_size_than_the_models_are_refused(tmp_path: Path) -> None:
    write_config(tmp_path, tiny_config(image_size=64))
    write_processor(tmp_path, image_size=32)
    with pytest.raises(CheckpointError, match=r"preprocessor_config.json makes images of 32 x 32.*takes 64 x 64"):
        read_settings(tmp_path)


def test_a_naflex_processor_beside_a_model_of_a_fixed_size_is_refused(tmp_path: Path) -> None:
    write_config(tmp_path, tiny_config())
    write_naflex_preprocessor(tmp_path)
    with pytest.raises(CheckpointError, match=r"makes NaFlex images.*'siglip', takes images of one fixed size"):
        read_settings(tmp_path)


def test_a_processor_of_a_fixed_size_beside_a_naflex_model_is_refused(tmp_path: Path) -> None:
    write_config(tmp_path, tiny_naflex_config())
    write_processor(tmp_path, image_size=32)
    with pytest.raises(CheckpointError, match=r"makes images of one fixed size.*'siglip2', takes NaFlex"):
        read_settings(tmp_path)


def test_patches_of_another_size_than_the_models_are_refused(tmp_path: Path) -> None:
    write_config(tmp_path, tiny_naflex_config())
    write_naflex_preprocessor(tmp_path, patch_size=16)
    with pytest.raises(CheckpointError, match=r"cuts patches of 16 x 16 pixels.*takes patches of 8 x 8"):
        read_settings(tmp_path)


def test_a_tokenizer_with_more_pieces_than_the_model_has_rows_is_refused(tmp_path: Path) -> None:
    write_config(tmp_path, tiny_config(vocab_size=71))
    write_processor(tmp_path, image_size=32)
    with pytest.raises(CheckpointError, match=r"tokenizer has 72 pieces, but config.json's model only 71"):
        read_tokenizer(tmp_path, read_config(tmp_path))


def test_a_tokenizer_pads_to_the_length_of_the_text_tower(tmp_path: Path) -> None:
    write_config(tmp_path, tiny_config(max_position_embeddings=9))
    write_processor(tmp_path, image_size=32)
    assert read_tokenizer(tmp_path, read_config(tmp_path))(["a cat"]).shape == (1, 9)
