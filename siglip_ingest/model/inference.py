"""A checkpoint arranged for inference: ids, pixels and patches in, embeddings out.

Letters in shapes: B batch, L text length, D dimension of an embedding, N patches of all pictures of a batch together.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from siglip_ingest.model.checkpoint import load_model, read_config
from siglip_ingest.model.siglip import SiglipModel


class PixelSettings(Protocol):
    """How a checkpoint normalises pixels: pixel_values = (pixel * rescale_factor - image_mean) / image_std."""

    @property
    def rescale_factor(self) -> float:
        """Multiplies a pixel in [0, 255]."""

    @property
    def image_mean(self) -> tuple[float, float, float]:
        """Subtracted from each rescaled channel, red first."""

    @property
    def image_std(self) -> tuple[float, float, float]:
        """Divides each channel after that."""


class InferenceModel:
    """Both towers of a checkpoint on one device; each is read at its first use."""

    def __init__(
        self, folder: Path, *, image_settings: PixelSettings, device: torch.device, dtype: torch.dtype
    ) -> None:
        """Read the config and the two constants; the towers wait for their first use.

        Args:
            folder: In the published layout.
            image_settings: The checkpoint's.
            device: Where to compute.
            dtype: What to compute in. Embeddings are float32 whatever it is.

        Raises:
            CheckpointError: If a file is missing, broken, or of another architecture.
        """
        self.config = read_config(folder)
        self.device = device
        self.dtype = dtype
        self._folder = folder
        self._image_settings = image_settings
        self._model: SiglipModel | None = None

    @property
    def logit_scale(self) -> float:
        """The checkpoint's, a logarithm."""
        return float(self.load().logit_scale)

    @property
    def logit_bias(self) -> float:
        """The checkpoint's."""
        return float(self.load().logit_bias)

    def load(self) -> SiglipModel:
        """Read both towers now."""
        if self._model is None:
            self._model = load_model(self._folder, device=self.device, dtype=self.dtype)
        return self._model

    @torch.inference_mode()
    def encode_texts(self, input_ids: Tensor) -> Tensor:
        """Map padded ids (B, L) int64 to embeddings (B, D) float32, not normalised."""
        return self.load().get_text_features(input_ids.to(self.device)).float()

    @torch.inference_mode()
    def encode_pixels(self, pixels: Tensor) -> Tensor:
        """Map pixels (B, height, width, 3) uint8 to embeddings (B, D) float32, not normalised."""
        normalized = self._normalize(pixels.to(self.device))
        return self.load().get_image_features(normalized.permute(0, 3, 1, 2)).float()

    @torch.inference_mode()
    def encode_patches(self, patches: Tensor, spatial_shapes: Tensor) -> Tensor:
        """Map the patches of B pictures of any shapes to embeddings (B, D) float32, not normalised (NaFlex).

        Args:
            patches: (N, patch_size * patch_size * 3) uint8, each picture's in reading order, one picture after another.
            spatial_shapes: (B, 2) int64, rows and columns of patches; N is the sum of their products.
        """
        normalized = self._normalize(patches.to(self.device).view(len(patches), -1, 3)).flatten(1)
        return self.load().get_packed_image_features(normalized, spatial_shapes).float()

    def _normalize(self, pixels: Tensor) -> Tensor:
        """Turn pixels (..., 3) uint8 into normalised ones of the model's dtype."""
        settings = self._image_settings
        mean, std = (pixels.new_tensor(v, dtype=torch.float32) for v in (settings.image_mean, settings.image_std))
        return ((pixels.float() * settings.rescale_factor - mean) / std).to(self.dtype)
