"""A map and its drawing, with contributions that are made up."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from siglip_ingest.cli.locating import draw_characters
from siglip_ingest.errors import InvalidInputError
from siglip_ingest.locating import Location
from siglip_ingest.locating.location import COLOURS
from siglip_ingest.types import LocatedText


def locate_in(contributions: object, size: tuple[int, int] = (40, 20)) -> Location:
    located = LocatedText(np.array(contributions, np.float32), 0.25)
    return Location.of(located, score=0.75, image=Image.new("RGB", size, (200, 200, 200)))


def test_values_are_shares_of_the_strongest_and_never_negative() -> None:
    location = locate_in([[-4, 1, 0], [0.5, 2, -1]])
    np.testing.assert_allclose(location.values, [[0, 0.5, 0], [0.25, 1, 0]])
    assert location.values.dtype == np.float32
    assert location.peak == (0.5, 0.75)
    assert (location.similarity, location.score) == (0.25, 0.75)


def test_where_nothing_speaks_for_the_text_all_is_0() -> None:
    location = locate_in([[-4, -1], [0, -1]])
    assert not location.values.any()
    assert location.peak == (0.25, 0.75)


def test_an_overlay_is_bright_at_the_peak_and_dark_elsewhere() -> None:
    drawn = np.asarray(locate_in([[0, 0, 0, 0], [0, 0, 0, 8]], (80, 40)).overlay()).astype(int)
    assert drawn.shape == (40, 80, 3)
    assert drawn[30:38, 70:78].sum(axis=-1).mean() > 550
    assert drawn[:10, :10].sum(axis=-1).mean() < 260


def test_the_opacity_is_the_share_of_the_map() -> None:
    location = locate_in([[1, 0], [0, 0]])
    plain = np.asarray(location.image)
    assert np.array_equal(np.asarray(location.overlay(opacity=0.0)), plain)
    assert not np.array_equal(np.asarray(location.overlay(opacity=1.0)), plain)
    other = Image.new("L", (10, 10), 0)
    assert location.overlay(other).size == (10, 10)
    with pytest.raises(InvalidInputError, match="from 0 to 1, not 2"):
        location.overlay(opacity=2)


def test_a_notebook_gets_a_small_png() -> None:
    shown = Image.open(io.BytesIO(locate_in([[1, 0]], (3000, 1000))._repr_png_()))
    assert (shown.format, shown.size) == ("PNG", (640, 213))


def test_colours_grow_lighter_in_even_steps() -> None:
    rgb = np.array([tuple(bytes.fromhex(colour)) for colour in COLOURS]) / 255
    linear = np.where(rgb > 0.04045, ((rgb + 0.055) / 1.055) ** 2.4, rgb / 12.92)
    luminance = linear @ [0.2126, 0.7152, 0.0722]
    lightness = np.where(luminance > 0.008856, 116 * np.cbrt(luminance) - 16, 903.3 * luminance)  # CIELAB's L*
    steps = np.diff(lightness)
    assert lightness[0] < 1
    assert lightness[-1] > 97
    assert steps.min() > 0.6 * steps.mean()
    assert steps.max() < 1.6 * steps.mean()


def test_characters_keep_the_images_shape() -> None:
    lines = draw_characters(locate_in([[0, 1], [0.5, 0]], (40, 20)))
    assert lines == ["+--------+", "|    @@@@|", "|====    |", "+--------+"]
    assert len(draw_characters(locate_in([[0] * 3] * 9, (10, 90)))[0]) == 2 + 3
