"""A checkpoint arranged for inference: ids, pixels and patches in, embeddings out.

Letters in shapes: B batch, L text length, D dimension of an embedding, N patches of all images of a batch together,
F values of a patch.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from siglip_ingest.errors import ConfigurationError, InvalidInputError
from siglip_ingest.siglip.checkpoint.loading import CONSTANT_NAMES, read_config
from siglip_ingest.siglip.checkpoint.weights import WeightReader
from siglip_ingest.siglip.inference.attribution import Attribution, blur, cut
from siglip_ingest.siglip.inference.int8 import Int8Tower, NotPreparedError
from siglip_ingest.siglip.inference.layers import Source, find_runs
from siglip_ingest.siglip.inference.towers import PixelSettings, TextTower, VisionTower, run_on_pixels
from siglip_ingest.siglip.model.naflex import read_shapes
from siglip_ingest.siglip.model.siglip import SiglipModel

logger = logging.getLogger(__name__)

INT8_IMAGES = 8  # in one pass; more are no faster, and take memory
# Rows in one pass through a tower on the CPU. What lies between two layers then stays in the processor's cache.
CPU_ROWS = 1024


class InferenceModel:
    """Both towers of a checkpoint on one device; each is read at its first use.

    Attributes:
        config: The checkpoint's.
        device: Where it computes.
        dtype: What it computes in.
        logit_scale: The checkpoint's, a logarithm.
        logit_bias: The checkpoint's.
    """

    def __init__(
        self,
        folder: Path,
        *,
        image_settings: PixelSettings,
        device: torch.device,
        dtype: torch.dtype,
        compile_mode: str | None = None,
        make_int8_tower: Callable[[Callable[[], VisionTower]], Int8Tower] | None = None,
    ) -> None:
        """Read the config, the files' headers and the two constants; the towers wait for their first use.

        Args:
            folder: In the published layout.
            image_settings: The checkpoint's.
            device: Where to compute.
            dtype: What to compute in. CPUs have no arithmetic for float16, so there it means float32. Embeddings are
                float32 in any case.
            compile_mode: Run the towers through torch.compile in this mode ("default", "max-autotune", or
                "reduce-overhead", which replays CUDA graphs). Each batch size is compiled at its first use.
            make_int8_tower: Makes what embeds images in place of the vision tower, on the CPU, from what reads that
                tower in float32. Texts are computed in `dtype` all the same.

        Raises:
            CheckpointError: If a file is missing, broken, or of another architecture.
        """
        self.config = read_config(folder)
        self.device = device
        self.dtype = torch.float32 if device.type == "cpu" and dtype == torch.float16 else dtype
        self._reader = WeightReader(folder)
        with torch.device("meta"):
            self._reader.check(SiglipModel(self.config).state_dict())
        self.logit_scale, self.logit_bias = (
            float(self._reader.read(name, dtype=torch.float32)) for name in CONSTANT_NAMES
        )
        self._image_settings = image_settings
        self._compile_mode = compile_mode
        self._text_tower: TextTower | None = None
        self._vision_tower: VisionTower | None = None
        self._plain_tower: VisionTower | None = None
        self._lock = threading.Lock()
        self._int8_tower = None if make_int8_tower is None else make_int8_tower(self._read_plain_tower)

    @property
    def is_int8(self) -> bool:
        """Whether images are embedded in int8, as far as is known before the first one."""
        return self._int8_tower is not None

    @property
    def int8_tower(self) -> Int8Tower | None:
        """What embeds images in place of the vision tower, read now if it wasn't yet; None where nothing does.

        Raises:
            ConfigurationError: If what it gives is too far from float32, and it is required.
        """
        tower = self._int8_tower
        if tower is not None:
            try:
                tower.load()
            except ConfigurationError as error:
                if tower.is_required:
                    raise
                level = logging.INFO if isinstance(error, NotPreparedError) else logging.WARNING
                logger.log(level, "%s It computes in %s.", error, str(self.dtype).removeprefix("torch."))
                self._int8_tower = tower = None
        return tower

    @property
    def text_tower(self) -> TextTower:
        """The text tower, read now if it wasn't yet."""
        with self._lock, torch.inference_mode():
            if self._text_tower is None:
                self._text_tower = TextTower(self._source("text_model"), self.config.text_config)
                self._compile(self._text_tower)
            return self._text_tower

    @property
    def vision_tower(self) -> VisionTower:
        """The vision tower, read now if it wasn't yet."""
        with self._lock, torch.inference_mode():
            if self._vision_tower is None:
                source = self._source("vision_model")
                self._vision_tower = VisionTower(source, self.config.vision_config, self._image_settings)
                self._compile(self._vision_tower)
            return self._vision_tower

    @property
    def plain_tower(self) -> VisionTower:
        """The vision tower in float32, of operators that have a gradient; read now if it wasn't yet."""
        with self._lock:
            if self._plain_tower is None:
                self._plain_tower = self._read_plain_tower()
            return self._plain_tower

    def load(self) -> None:
        """Read both towers now."""
        _ = self.text_tower, self.int8_tower or self.vision_tower

    def forget_inherited(self) -> None:
        """In a forked child: a lock that was held by another thread would never be released here."""
        self._lock = threading.Lock()
        if self._int8_tower is not None:
            self._int8_tower.forget_inherited()

    @torch.inference_mode()
    def encode_texts(self, input_ids: Tensor) -> Tensor:
        """Map padded ids (B, L) int64 to embeddings (B, D) float32, not normalised.

        Raises:
            InvalidInputError: If L isn't possible.
        """
        length, longest = input_ids.shape[1], self.config.text_config.max_position_embeddings
        if length > longest:
            raise InvalidInputError(f"Texts of {length} tokens are too long for this model, which takes {longest}.")
        tower = self.text_tower
        parts = torch.split(input_ids.to(self.device), self._sequences_per_pass(length))
        return torch.cat([_copy(tower(part)) for part in parts])

    @torch.inference_mode()
    def encode_pixels(self, pixels: Tensor) -> Tensor:
        """Map pixels (B, height, width, 3) uint8 to embeddings (B, D) float32, not normalised.

        Raises:
            InvalidInputError: If the images haven't the size that the model takes.
        """
        config = self.config.vision_config
        side, size = config.patches_per_side, config.patch_size
        if pixels.ndim != 4 or {n // size for n in pixels.shape[1:3]} != {side} or pixels.shape[3] != 3:
            raise InvalidInputError(
                f"Pixels must be (B, height, width, 3) with {side} x {side} patches of {size} pixels a side, "
                f"not {tuple(pixels.shape)}."
            )
        used = pixels.to(self.device, non_blocking=True)[:, : side * size, : side * size]
        if self.int8_tower is not None:
            parts = torch.split(used, INT8_IMAGES)
            return torch.cat([torch.from_numpy(self.int8_tower.encode(part.numpy())) for part in parts])
        parts = torch.split(used, self._sequences_per_pass(side**2))
        return torch.cat([_copy(run_on_pixels(self.vision_tower, part, config)) for part in parts])

    @torch.inference_mode()
    def encode_patches(self, patches: Tensor, spatial_shapes: Tensor) -> Tensor:
        """Map the patches of B images of any shapes to embeddings (B, D) float32, not normalised (NaFlex).

        Args:
            patches: (N, F) uint8, each image's in reading order, one image after another; a patch's values in the
                order row, column, channel.
            spatial_shapes: (B, 2) int64, rows and columns of patches; N is the sum of their products.

        Raises:
            InvalidInputError: If the shapes don't add up to N, or the model isn't a NaFlex one.
        """
        if not self.config.vision_config.is_naflex:
            raise InvalidInputError("Only NaFlex models take images of any shape: encode_pixels is this one's.")
        shapes = read_shapes(spatial_shapes)
        counts = [rows * columns for rows, columns in shapes]
        if sum(counts) != len(patches):
            raise InvalidInputError(f"The shapes add up to {sum(counts)} patches, but there are {len(patches)}.")
        images = torch.split(patches.to(self.device), counts)
        # Images with equally many patches share a pass through attention, so they go next to each other.
        order = sorted(range(len(shapes)), key=counts.__getitem__)
        vectors = torch.empty(len(shapes), self.config.dimension, device=self.device)
        for indices in self._split_passes(order, counts):
            positions = torch.cat([self.vision_tower.place(*shapes[index]) for index in indices])
            rows = torch.cat([images[index] for index in indices])
            vectors[indices] = self.vision_tower(rows, positions, find_runs([counts[i] for i in indices])).float()
        return vectors

    def attribute(self, pixels: NDArray[np.uint8], text: NDArray[np.float32]) -> Attribution:
        """Ask which patches of an image (height, width, 3) uint8 made it fit a text, given as its unit vector (D,)."""
        size = self.config.vision_config.patch_size
        image, blurred = (cut(torch.tensor(part, device=self.device), size) for part in (pixels, blur(pixels)))
        vector = torch.tensor(text, dtype=torch.float32, device=self.device)
        shape = pixels.shape[0] // size, pixels.shape[1] // size
        return Attribution(self.plain_tower, image, blurred, vector, shape)

    def _source(self, tower: str) -> Source:
        return Source(self._reader, tower, self.device, self.dtype, is_plain=self._compile_mode is not None)

    def _read_plain_tower(self) -> VisionTower:
        source = Source(self._reader, "vision_model", self.device, torch.float32, is_plain=True)
        return VisionTower(source, self.config.vision_config, self._image_settings)

    def _compile(self, tower: nn.Module) -> None:
        if self._compile_mode is not None:
            tower.compile(mode=self._compile_mode, dynamic=False)

    def _sequences_per_pass(self, length: int) -> int:
        """How many sequences of a length go through a tower at once."""
        return max(1, CPU_ROWS // length) if self.device.type == "cpu" else 1 << 30

    def _split_passes(self, order: list[int], counts: list[int]) -> list[list[int]]:
        """Cut an order of images into passes of at most `CPU_ROWS` patches; other devices take all in one."""
        passes: list[list[int]] = []
        rows = 0
        for index in order:
            rows += counts[index]
            if not passes or (self.device.type == "cpu" and rows > CPU_ROWS):
                passes.append([])
                rows = counts[index]
            passes[-1].append(index)
        return passes


def _copy(x: Tensor) -> Tensor:
    """Make it float32, and never a view of what the next pass may overwrite (CUDA graphs do)."""
    return x.to(torch.float32, copy=True)
