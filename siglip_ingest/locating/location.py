"""`Location`: a heat map of a text over an image."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from siglip_ingest.errors import InvalidInputError
from siglip_ingest.types import LocatedText

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL import Image

# Ten points of matplotlib's colour map "inferno" (public domain), evenly spaced, from 0 to 1: lightness rises evenly.
COLOURS = ("000004", "1b0c41", "4a0c6b", "781c6d", "a52c60", "cf4446", "ed6925", "fb9b06", "f7d13d", "fcffa4")
OPACITY = 0.6
SHOWN_PIXELS = 640  # longest side in a notebook


@dataclass(frozen=True, eq=False)
class Location:
    """Where in an image a text matched.

    Attributes:
        values: (rows, columns) float32 in [0, 1], a grid over the whole upright image: how much each cell speaks for
            the text, the strongest being 1; all 0 where none does. They say where, not how well: the score says that.
        peak: The middle of the strongest cell, (x, y) in [0, 1] of the image's width and height, from the upper left.
        similarity: Cosine of text and image, in [-1, 1].
        score: The model's probability that text and image belong together, in [0, 1].
        image: What was looked at: upright, RGB.
    """

    values: NDArray[np.float32]
    peak: tuple[float, float]
    similarity: float
    score: float
    image: Image.Image = field(repr=False)

    @classmethod
    def of(cls, located: LocatedText, *, score: float, image: Image.Image) -> Location:
        """Make it of what an embedder says."""
        added = located.contributions
        rows, columns = added.shape
        row, column = divmod(int(added.argmax()), columns)
        values = np.maximum(added, 0.0) / max(float(added.max()), np.finfo(np.float32).tiny)
        peak = (column + 0.5) / columns, (row + 0.5) / rows
        return cls(values.astype(np.float32), peak, located.similarity, score, image)

    def overlay(self, image: Image.Image | None = None, *, opacity: float = OPACITY) -> Image.Image:
        """Draw the map over the image: dark where nothing speaks for the text, bright where most does.

        Args:
            image: Another rendition of the image, upright; by default `self.image`.
            opacity: Share of the map in what comes out, 0 to 1.

        Returns:
            RGB, of the image's size.

        Raises:
            InvalidInputError: If the opacity is out of its range.
        """
        from PIL import Image

        if not 0 <= opacity <= 1:
            raise InvalidInputError(f"opacity must be a number from 0 to 1, not {opacity!r}.")
        below = (self.image if image is None else image).convert("RGB")
        coarse = Image.fromarray(np.rint(255 * self.values).astype(np.uint8))
        drawn = coarse.resize(below.size, Image.Resampling.BICUBIC)
        drawn.putpalette(_palette())
        return Image.blend(below, drawn.convert("RGB"), opacity)

    def _repr_png_(self) -> bytes:
        """The overlay as PNG, which notebooks show."""
        shown = self.image.copy()
        shown.thumbnail((SHOWN_PIXELS, SHOWN_PIXELS))
        buffer = io.BytesIO()
        self.overlay(shown).save(buffer, "PNG")
        return buffer.getvalue()


@cache
def _palette() -> bytes:
    """The colours of 0 to 255, red, green and blue one after the other."""
    points = np.array([tuple(bytes.fromhex(colour)) for colour in COLOURS], dtype=np.float64)
    at = np.linspace(0, len(points) - 1, 256)
    table = np.stack([np.interp(at, np.arange(len(points)), channel) for channel in points.T], axis=1)
    return bytes(np.rint(table).astype(np.uint8).tobytes())
