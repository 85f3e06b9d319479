"""Images by which a model is prepared in int8: a folder's, or some that are drawn here."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from siglip_ingest.errors import ConfigurationError, ImageError
from siglip_ingest.process import expand_user

if TYPE_CHECKING:
    from PIL import Image

    from siglip_ingest.siglip.inference.int8 import Calibration

DRAWN_IMAGES = 80
MOST_IMAGES = 320  # of a folder, evenly spread over its names
SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp"})


def choose_calibration(folder: str | None) -> Calibration:
    """The images of a folder; without one, scenes of the demo world.

    Raises:
        ConfigurationError: If there is no such folder, or it has no images.
    """
    from siglip_ingest.siglip.inference.int8 import Calibration

    if folder is None:
        return Calibration(f"{DRAWN_IMAGES} drawn images", _draw_images)
    path = expand_user(folder)
    paths = _list_images(path)
    if not paths:
        raise ConfigurationError(
            f"SIGLIP_CALIBRATION_IMAGES is {folder}, which has no images ({', '.join(sorted(SUFFIXES))}): name another "
            "folder, or unset it."
        )
    said = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in paths]
    digest = hashlib.sha256(repr(said).encode()).hexdigest()[:16]
    return Calibration(f"{len(paths)} images of {path} ({digest})", lambda: _open_images(paths))


def _list_images(folder: Path) -> list[Path]:
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    step = max(1, len(paths) // MOST_IMAGES)
    return paths[::step][:MOST_IMAGES]


def _draw_images() -> Iterator[Image.Image]:
    from siglip_ingest.demo.world import CALIBRATION_SEED, render_scene

    for number in range(DRAWN_IMAGES):
        yield render_scene(CALIBRATION_SEED + number).image


def _open_images(paths: list[Path]) -> Iterator[Image.Image]:
    """Open those that can be read; the others are passed over."""
    from siglip_ingest.siglip.preprocess.opening import open_image

    for path in paths:
        try:
            yield open_image(path)
        except ImageError:
            continue
