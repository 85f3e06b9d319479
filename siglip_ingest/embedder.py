"""Images and texts to unit vectors with torch in this process."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from siglip_ingest.errors import CheckpointError, ConfigurationError, InvalidInputError
from siglip_ingest.model import SiglipModel, load_model
from siglip_ingest.model.checkpoint import find_weight_files
from siglip_ingest.preprocess.image import PREPROCESSOR_FILE, ImageSettings, resize_image, resize_images
from siglip_ingest.preprocess.text import Tokenizer, load_tokenizer
from siglip_ingest.types import ModelInfo

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


class TorchEmbedder:
    """A loaded checkpoint on one device. Implements `types.Embedder`.

    Thread-safe: any thread may prepare images at any time, and one batch at a time is on the device. Where the device's
    memory doesn't suffice, the batch is halved and the smaller size is kept.
    """

    def __init__(
        self,
        model: SiglipModel,
        tokenizer: Tokenizer,
        image_settings: ImageSettings,
        *,
        name: str,
        revision: str,
        batch_size: int = 32,
    ) -> None:
        """Put loaded parts together; `from_checkpoint` loads them.

        Args:
            model: In evaluation mode, on the device and in the dtype to compute in.
            tokenizer: The checkpoint's.
            image_settings: The checkpoint's.
            name: Goes into `info`.
            revision: Goes into `info`.
            batch_size: Most images or texts in one forward pass.
        """
        self.batch_size = batch_size
        self._model = model
        self._tokenizer = tokenizer
        self._image_settings = image_settings
        weight = model.vision_model.embeddings.patch_embedding.weight
        self._device, self._dtype = weight.device, weight.dtype
        self._device_lock = threading.Lock()
        mean, std = torch.tensor(image_settings.image_mean), torch.tensor(image_settings.image_std)
        self._mean, self._std = (values.view(3, 1, 1).to(self._device) for values in (mean, std))
        self._info = ModelInfo(
            name=name,
            revision=revision,
            dimension=model.config.dimension,
            logit_scale=float(model.logit_scale),
            logit_bias=float(model.logit_bias),
            image_settings=image_settings.to_dict(),
            text_settings=tokenizer.settings,
        )

    @classmethod
    def from_checkpoint(
        cls, folder: Path, *, name: str, device: str = "auto", dtype: str = "auto", batch_size: int = 32
    ) -> TorchEmbedder:
        """Load a checkpoint.

        Args:
            folder: In the published layout; `hub.resolve_checkpoint` finds it by name.
            name: What the database calls the model.
            device: `auto` (CUDA where there is a device, else CPU), `cpu`, `cuda`, `cuda:1`, ...
            dtype: `auto` (bfloat16 on CUDA, float32 elsewhere), `float32`, `bfloat16` or `float16`.
            batch_size: Most images or texts in one forward pass.

        Raises:
            CheckpointError: If a file is missing, broken, or of another architecture.
            ConfigurationError: If there is no such device or dtype.
        """
        torch_device = choose_device(device)
        model = load_model(folder, device=torch_device, dtype=choose_dtype(dtype, torch_device))
        image_settings = ImageSettings.from_file(folder / PREPROCESSOR_FILE)
        side = model.config.vision_config.image_size
        if image_settings.size != (side, side):
            raise CheckpointError(
                f"{folder}: {PREPROCESSOR_FILE} makes pictures of {image_settings.size[0]} x {image_settings.size[1]} "
                f"pixels, but config.json's model takes {side} x {side}."
            )
        tokenizer = load_tokenizer(folder, max_length=model.config.text_config.max_position_embeddings)
        vocabulary, rows = tokenizer.settings["vocab_size"], model.config.text_config.vocab_size
        if vocabulary > rows:
            raise CheckpointError(f"{folder}: the tokenizer has {vocabulary} pieces, but the model only {rows}.")
        return cls(model, tokenizer, image_settings, name=name, revision=find_revision(folder), batch_size=batch_size)

    @property
    def info(self) -> ModelInfo:
        """The model whose vectors these are."""
        return self._info

    @property
    def device(self) -> str:
        """Where the model is, such as `cpu` or `cuda:0`."""
        return str(self._device)

    @property
    def dtype(self) -> str:
        """What the model computes in, one of `DTYPES`."""
        return str(self._dtype).removeprefix("torch.")

    def tokenize(self, texts: Sequence[str]) -> NDArray[np.int64]:
        """Turn N texts as typed into the model's token ids (N, max_position_embeddings), padded."""
        return self._tokenizer(texts)

    def embed_images(self, images: Sequence[Image.Image]) -> NDArray[np.float32]:
        """Embed decoded images, of any size and mode; returns (N, D) float32 unit vectors in the same order."""
        size = self.batch_size
        batches = (images[start : start + size] for start in range(0, len(images), size))
        parts = [self.embed_pixels(resize_images(batch, self._image_settings)) for batch in batches]
        return np.concatenate(parts) if parts else self._no_vectors()

    def embed_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed texts as typed; returns (N, D) float32 unit vectors in the same order."""
        if isinstance(texts, str):
            raise InvalidInputError("embed_texts takes a list of texts, not one text.")
        return self._embed(torch.from_numpy(self._tokenizer(texts)), self._model.get_text_features)

    def prepare_image(self, image: Image.Image) -> NDArray[np.uint8]:
        """Squeeze a decoded image to the model's size, without the device: (height, width, 3) uint8.

        Stacked, the results are what `embed_pixels` takes, so that threads prepare one batch while another is embedded.
        """
        return resize_image(image, self._image_settings)

    def embed_pixels(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Embed prepared images (N, height, width, 3) uint8; returns (N, D) float32 unit vectors in the same order."""
        if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[1:] != (*self._image_settings.size, 3):
            height, width = self._image_settings.size
            raise InvalidInputError(
                f"Pixels must be (N, {height}, {width}, 3) uint8, not {pixels.shape} {pixels.dtype}."
            )
        if not pixels.flags.writeable:
            pixels = pixels.copy()  # torch warns about arrays that it could write to but mustn't
        return self._embed(torch.from_numpy(pixels), self._get_pixel_features)

    def _get_pixel_features(self, pixels: Tensor) -> Tensor:
        """Normalise (B, height, width, 3) uint8 on the device, where it costs nothing, and run the vision tower."""
        rescaled = pixels.permute(0, 3, 1, 2).float() * self._image_settings.rescale_factor
        return self._model.get_image_features(((rescaled - self._mean) / self._std).to(self._dtype))

    def _embed(self, inputs: Tensor, get_features: Callable[[Tensor], Tensor]) -> NDArray[np.float32]:
        """Run (N, ...) through a tower in batches that fit; returns (N, D) float32 unit vectors.

        Raises:
            CheckpointError: If the model gives numbers that aren't finite.
            ConfigurationError: If not even one input fits into the device's memory.
        """
        vectors = np.empty((len(inputs), self._info.dimension), dtype=np.float32)
        start = 0
        while start < len(inputs):
            size = self.batch_size
            batch = inputs[start : start + size]
            try:
                with self._device_lock, torch.inference_mode():
                    features = get_features(batch.to(self._device)).float()
                    vectors[start : start + len(batch)] = F.normalize(features, dim=-1).cpu().numpy()
            except RuntimeError as error:
                if not _is_out_of_memory(error):
                    raise
                self._shrink_batches(len(batch), error)
                continue
            start += len(batch)
        if not np.isfinite(vectors).all():
            raise CheckpointError(
                f"The model {self._info.name} gave vectors with numbers that aren't finite, computing in {self.dtype}. "
                "Its weights are damaged, or it needs SIGLIP_DTYPE=float32."
            )
        return vectors

    def _shrink_batches(self, failed_size: int, error: RuntimeError) -> None:
        if failed_size == 1:
            raise ConfigurationError(
                f"The device {self._device} lacks the memory to embed one image or text with {self._info.name}. Free "
                "some of it, choose a smaller model, or set SIGLIP_DEVICE=cpu."
            ) from error
        with self._device_lock:
            self.batch_size = max(1, min(self.batch_size, failed_size // 2))
            if self._device.type == "cuda":
                torch.cuda.empty_cache()

    def _no_vectors(self) -> NDArray[np.float32]:
        return np.empty((0, self._info.dimension), dtype=np.float32)


def choose_device(name: str) -> torch.device:
    """Turn a setting into a device that is there.

    Raises:
        ConfigurationError: If it isn't.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).partition("\n")[0]
        raise ConfigurationError(
            f"There is no device {name!r} ({reason}). Set SIGLIP_DEVICE to auto or cpu."
        ) from error
    return device


def choose_dtype(name: str, device: torch.device) -> torch.dtype:
    """Turn a setting into a dtype.

    Raises:
        ConfigurationError: If it isn't one of `DTYPES`.
    """
    if name == "auto":
        return torch.bfloat16 if device.type == "cuda" else torch.float32
    if name not in DTYPES:
        raise ConfigurationError(f"SIGLIP_DTYPE must be auto, {', '.join(DTYPES)}, not {name!r}.")
    return DTYPES[name]


def find_revision(folder: Path) -> str:
    """Name a checkpoint's exact content: the commit of a hub snapshot, else `sha256:` and the hash of its weights."""
    if folder.parent.name == "snapshots" and re.fullmatch("[0-9a-f]{40}", folder.name):
        return folder.name
    digest = hashlib.sha256()
    for path in find_weight_files(folder):
        for block in _read_blocks(path):
            digest.update(block)
    return f"sha256:{digest.hexdigest()}"


def _read_blocks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            yield block


def _is_out_of_memory(error: RuntimeError) -> bool:
    """Tell a lack of memory from other errors: CUDA's has a class, cuBLAS's and the CPU's only their words."""
    words = ("CUBLAS_STATUS_ALLOC_FAILED", "can't allocate memory")
    return isinstance(error, torch.OutOfMemoryError) or any(text in str(error) for text in words)
