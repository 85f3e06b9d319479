"""Loads a checkpoint in this process: for a client, a worker, or `classify`."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

from siglip_ingest.embedders.settings import EmbedderSettings
from siglip_ingest.errors import ConfigurationError
from siglip_ingest.process import expand_user, how_to_install
from siglip_ingest.siglip.checkpoint.download import resolve_checkpoint
from siglip_ingest.types import ModelInfo

if TYPE_CHECKING:
    from siglip_ingest.siglip.embedder import TorchEmbedder
    from siglip_ingest.siglip.inference.arithmetic import Arithmetic
    from siglip_ingest.siglip.inference.int8 import Int8Options

DEFAULT_BATCH_SIZE = 32  # where nothing measures: a worker does


def load_embedder(
    name: str, settings: EmbedderSettings, *, known: ModelInfo | None = None, may_prepare: bool = False
) -> TorchEmbedder:
    """Find a checkpoint, fetching it where it must be, and open it on the settings' device.

    Each tower is read when it is first needed, or by the embedder's `load`.

    Args:
        name: Of the checkpoint.
        settings: Say where and how to compute, and keep what was found out about large weights in their `home`.
        known: What the database knows of it, if anything: where the settings leave it open, a NaFlex model goes on with
            the `max_num_patches` that the database's vectors were made with.
        may_prepare: Prepare int8 for `auto` where nobody has yet: for who embeds many images.

    Raises:
        CheckpointError: If there is no such checkpoint, or it can't be fetched or read.
        ConfigurationError: If torch isn't installed, or there is no such device.
    """
    try:
        from siglip_ingest.siglip.checkpoint.revisions import CACHE_FILE, find_revision
        from siglip_ingest.siglip.devices import choose_device
        from siglip_ingest.siglip.embedder import TorchEmbedder
        from siglip_ingest.siglip.inference.arithmetic import choose_arithmetic
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"Embedding in this process needs {error.name}, which isn't installed: {how_to_install('model')}."
        ) from error
    folder = resolve_checkpoint(name)
    max_num_patches = settings.max_num_patches
    if max_num_patches is None and known is not None:
        max_num_patches = known.image_settings.get("max_num_patches")
    home = None if settings.home is None else expand_user(settings.home)
    arithmetic = choose_arithmetic(
        settings.dtype, choose_device(settings.device), is_naflex=_is_naflex(folder), cache=home
    )
    compile_mode = None if settings.compile == "off" else settings.compile
    if compile_mode and arithmetic.is_int8:
        arithmetic = _without_int8(arithmetic, compile_mode)
    return TorchEmbedder.from_checkpoint(
        folder,
        name=name,
        revision=find_revision(folder, cache=None if home is None else home / CACHE_FILE),
        device=settings.device,
        dtype=arithmetic.dtype,
        batch_size=settings.batch_size or DEFAULT_BATCH_SIZE,
        max_num_patches=max_num_patches,
        int8=_int8_options(folder, home, settings, arithmetic, may_prepare) if arithmetic.is_int8 else None,
        compile_mode=compile_mode,
    )


def _int8_options(
    folder: Path, home: Path | None, settings: EmbedderSettings, arithmetic: Arithmetic, may_prepare: bool
) -> Int8Options:
    """Keep the prepared model beside the checkpoint, or where that can't be written in our own folder."""
    from siglip_ingest.embedders.calibration import choose_calibration
    from siglip_ingest.siglip.inference.int8 import Int8Options
    from siglip_ingest.siglip.inference.int8.prepared import FOLDER

    places = [folder / FOLDER, *([] if home is None else [home / "prepared"])]
    return Int8Options(choose_calibration(settings.calibration_images), places, arithmetic.is_required, may_prepare)


def _without_int8(arithmetic: Arithmetic, compile_mode: str) -> Arithmetic:
    """Compiling is torch's: `auto` then leaves int8 alone.

    Raises:
        ConfigurationError: If int8 was asked for.
    """
    if arithmetic.is_required:
        raise ConfigurationError(
            f"SIGLIP_COMPILE={compile_mode} compiles what torch computes, and int8 is ONNX Runtime's: set "
            "SIGLIP_COMPILE=off, or SIGLIP_DTYPE=bfloat16."
        )
    return arithmetic._replace(is_int8=False)


def _is_naflex(folder: Path) -> bool:
    from siglip_ingest.siglip.checkpoint.loading import read_config

    return read_config(folder).vision_config.is_naflex


def check_checkpoint(name: str, *, max_num_patches: int | None) -> None:
    """Refuse a checkpoint that a worker couldn't load, as far as its small files tell. Does nothing without torch.

    Raises:
        CheckpointError: If there is no such checkpoint, or its files are missing or don't fit each other.
        ConfigurationError: If `max_num_patches` is given and the checkpoint isn't NaFlex.
    """
    if not has_torch():
        return
    from siglip_ingest.siglip.checkpoint.loading import read_config
    from siglip_ingest.siglip.checkpoint.preprocessing import read_image_settings
    from siglip_ingest.siglip.checkpoint.weights import WeightReader

    folder = resolve_checkpoint(name)
    config = read_config(folder)
    WeightReader(folder)
    read_image_settings(folder, config, max_num_patches=max_num_patches)


def has_torch() -> bool:
    """Whether this process can embed at all; finding out imports nothing."""
    return importlib.util.find_spec("torch") is not None
