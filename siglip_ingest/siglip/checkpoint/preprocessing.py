"""Reads a checkpoint's preprocessor_config.json and tokenizer, and checks that they fit its config.json."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from siglip_ingest.errors import CheckpointError, ConfigurationError
from siglip_ingest.siglip.model.config import SiglipConfig, SiglipVisionConfig
from siglip_ingest.siglip.preprocess.image import PREPROCESSOR_FILE, ImageSettings
from siglip_ingest.siglip.tokenizer.base import Tokenizer
from siglip_ingest.siglip.tokenizer.loading import load_tokenizer

_KINDS = {True: "NaFlex images, which differ in size", False: "images of one fixed size"}


def read_image_settings(folder: Path, config: SiglipConfig, *, max_num_patches: int | None = None) -> ImageSettings:
    """Read a checkpoint's preprocessor_config.json.

    Args:
        folder: In the published layout.
        config: The checkpoint's.
        max_num_patches: NaFlex only: most patches of one image, instead of what the file says.

    Raises:
        CheckpointError: If it is missing, broken, or makes images that the model doesn't take.
        ConfigurationError: If `max_num_patches` is given and the checkpoint isn't NaFlex.
    """
    path = folder / PREPROCESSOR_FILE
    settings = ImageSettings.from_file(path)
    vision = config.vision_config
    if settings.is_naflex != vision.is_naflex:
        raise CheckpointError(
            f"{path} makes {_KINDS[settings.is_naflex]}, but config.json's model, of model_type {config.model_type!r}, "
            f"takes {_KINDS[vision.is_naflex]}. The two files are of different checkpoints: fetch it again."
        )
    if isinstance(vision, SiglipVisionConfig):
        side = vision.image_size
        if settings.size != (side, side):
            height, width = settings.size
            raise CheckpointError(
                f"{path} makes images of {height} x {width} pixels, but config.json's model takes {side} x {side}."
            )
        if max_num_patches is not None:
            raise ConfigurationError(
                f"SIGLIP_MAX_NUM_PATCHES is {max_num_patches}, but {folder} is no NaFlex checkpoint: it takes images "
                f"of {side} x {side} pixels. Unset it, or choose a NaFlex checkpoint."
            )
        return settings
    if settings.patch_size != vision.patch_size:
        raise CheckpointError(
            f"{path} cuts patches of {settings.patch_size} x {settings.patch_size} pixels, but config.json's model "
            f"takes patches of {vision.patch_size} x {vision.patch_size}."
        )
    return settings if max_num_patches is None else dataclasses.replace(settings, max_num_patches=max_num_patches)


def read_tokenizer(folder: Path, config: SiglipConfig) -> Tokenizer:
    """Load a checkpoint's tokenizer, which pads and cuts to the length of its text tower.

    Raises:
        CheckpointError: If it is missing, broken, or gives ids that the model has no embedding of.
    """
    text = config.text_config
    tokenizer = load_tokenizer(folder, max_length=text.max_position_embeddings)
    pieces = tokenizer.settings["vocab_size"]
    if pieces > text.vocab_size:
        raise CheckpointError(
            f"{folder}: the tokenizer has {pieces:,} pieces, but config.json's model only {text.vocab_size:,}. The two "
            "are of different checkpoints: fetch it again."
        )
    return tokenizer
