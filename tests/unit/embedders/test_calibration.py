"""The images by which a model is prepared in int8."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from siglip_ingest.embedders.calibration import DRAWN_IMAGES, MOST_IMAGES, choose_calibration
from siglip_ingest.errors import ConfigurationError
from tests.images import make_image


def test_without_a_folder_scenes_are_drawn() -> None:
    calibration = choose_calibration(None)
    assert calibration.name == f"{DRAWN_IMAGES} drawn images"
    assert next(iter(calibration.open_images())).size == (384, 288)


def test_a_folder_s_images_are_opened_and_broken_ones_passed_over(tmp_path: Path) -> None:
    (tmp_path / "inside").mkdir()
    make_image(50, 40).save(tmp_path / "inside" / "one.JPG", "JPEG")
    make_image(60, 40).save(tmp_path / "two.png")
    (tmp_path / "broken.png").write_bytes(b"no image")
    (tmp_path / "notes.txt").write_text("no image either")
    assert [image.size for image in choose_calibration(str(tmp_path)).open_images()] == [(50, 40), (60, 40)]


def test_the_name_changes_with_the_images(tmp_path: Path) -> None:
    make_image(50, 40).save(tmp_path / "one.png")
    names = [choose_calibration(str(tmp_path)).name]
    os.utime(tmp_path / "one.png", (1, 1))
    names.append(choose_calibration(str(tmp_path)).name)
    make_image(50, 40).save(tmp_path / "two.png")
    names.append(choose_calibration(str(tmp_path)).name)
    assert len(set(names)) == 3


def test_a_large_folder_is_sampled_evenly(tmp_path: Path) -> None:
    for number in range(MOST_IMAGES * 2 + 1):
        (tmp_path / f"{number:05}.png").touch()
    assert choose_calibration(str(tmp_path)).name.startswith(f"{MOST_IMAGES} images of {tmp_path}")


@pytest.mark.parametrize("folder", ["", "missing"])
def test_a_folder_without_images_is_refused(tmp_path: Path, folder: str) -> None:
    with pytest.raises(ConfigurationError, match=r"SIGLIP_CALIBRATION_IMAGES is .*, which has no images"):
        choose_calibration(str(tmp_path / folder))
