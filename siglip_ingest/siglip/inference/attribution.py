"""Which patches of an image made it fit a text: integrated gradients.

Sundararajan, Taly and Yan, 2017, "Axiomatic Attribution for Deep Networks", equation 1. With x an image's patches, b
those of the same image blurred until nothing in it can be told apart, and S the similarity to the text, patch p adds

    sum_c (x_pc - b_pc) * mean_t dS/dx_pc (b + t (x - b)),    t = 1/2n, 3/2n, ..., 1 - 1/2n,

which sums up to S(x) - S(b) over all patches, to the error of the mean. Patches are taken behind their projection,
which is linear: it comes to the same as for pixels.

The gradient has to go through the whole tower. Its layers move what a small thing shows to patches elsewhere, so that
the last states, and the pooling head's attention, say little about where it was.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from torch import Tensor

from siglip_ingest.siglip.inference.layers import Run
from siglip_ingest.siglip.inference.towers import VisionTower

STEPS = 8  # n; docs/numbers.md says what others find
BLUR = 0.25  # standard deviation, of the image's sides


class Attribution:
    """The path from a blurred image to the image.

    Attributes:
        shape: Rows and columns of patches.
    """

    def __init__(
        self, tower: VisionTower, image: Tensor, blurred: Tensor, text: Tensor, shape: tuple[int, int]
    ) -> None:
        """Project the patches of both ends.

        Args:
            tower: In float32, made of plain operators: others have no gradient.
            image: (P, F) uint8, patches in reading order.
            blurred: The same of the blurred image.
            text: (D,) float32 unit vector.
            shape: Rows and columns of patches.
        """
        self.shape = shape
        self._tower = tower
        self._text = text
        with torch.no_grad():
            is_learned = shape[0] * shape[1] == len(tower.positions) and shape[0] == shape[1]
            positions = tower.positions if is_learned else tower.place(*shape)
            self._start = tower.embed(blurred, positions)
            self._change = tower.embed(image, positions) - self._start

    def contributions_at(self, share: float) -> Tensor:
        """What each patch adds at one point of the path, `share` of the way to the image: (P,) float32."""
        with torch.enable_grad():
            x = (self._start + share * self._change).requires_grad_()
            vector = F.normalize(self._tower.encode(x, [Run(1, len(x))]), dim=-1)[0]
            (gradient,) = torch.autograd.grad(vector @ self._text, x)
        return (gradient * self._change).sum(dim=-1)


def blur(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Blur an image (height, width, 3) uint8 until only its broadest tones are left."""
    height, width = pixels.shape[:2]
    return np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur((BLUR * width, BLUR * height))))


def cut(pixels: Tensor, patch_size: int) -> Tensor:
    """Cut an image (height, width, 3) into its whole patches (P, F), in reading order; a rest at the edge is left."""
    rows, columns = pixels.shape[0] // patch_size, pixels.shape[1] // patch_size
    whole = pixels[: rows * patch_size, : columns * patch_size]
    grid = whole.reshape(rows, patch_size, columns, patch_size, 3).transpose(1, 2)
    return grid.reshape(rows * columns, -1)


def stretch(values: NDArray[np.float32], height_share: float, width_share: float) -> NDArray[np.float32]:
    """Lay a grid (rows, columns) that covers these shares of an image's height and width over the whole image.

    Where the patch size doesn't divide the image's, some pixels at the right and the lower edge belong to no patch.
    """
    return _stretch_rows(_stretch_rows(values, height_share).T, width_share).T


def _stretch_rows(values: NDArray[np.float32], share: float) -> NDArray[np.float32]:
    if share == 1.0:
        return values
    rows = np.arange(len(values))
    middles = (rows + 0.5) / share - 0.5
    return np.stack([np.interp(middles, rows, column) for column in values.T], axis=1).astype(np.float32)
