"""`TorchEmbedder`: images and texts to unit vectors, with torch in this process."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from siglip_ingest import process
from siglip_ingest.errors import CheckpointError, ConfigurationError, InvalidInputError
from siglip_ingest.siglip.checkpoint.loading import read_config
from siglip_ingest.siglip.checkpoint.preprocessing import read_image_settings, read_tokenizer
from siglip_ingest.siglip.checkpoint.revisions import find_revision
from siglip_ingest.siglip.checkpoint.weights import WeightReader
from siglip_ingest.siglip.devices import (
    choose_device,
    choose_dtype,
    is_compile_error,
    is_out_of_memory,
    leave_inherited_threads,
)
from siglip_ingest.siglip.inference import InferenceModel
from siglip_ingest.siglip.inference.arithmetic import name_processor
from siglip_ingest.siglip.inference.attribution import STEPS, stretch
from siglip_ingest.siglip.inference.int8 import Int8Options, Int8Tower, describe_runtime
from siglip_ingest.siglip.inference.memory import find_batch_size
from siglip_ingest.siglip.inference.staging import StagedPixels, Stager
from siglip_ingest.siglip.inference.towers import VisionTower
from siglip_ingest.siglip.model.config import SiglipConfig
from siglip_ingest.siglip.preprocess.image import ImageSettings, resize_image
from siglip_ingest.siglip.preprocess.naflex import cut_images
from siglip_ingest.siglip.tokenizer.base import Tokenizer, shorten
from siglip_ingest.types import LocatedText, ModelInfo


class TorchEmbedder:
    """A checkpoint on one device. Implements `types.Embedder`.

    Each tower is read from the disk when it is first needed, or by `load`. Thread-safe: any thread may prepare images
    at any time, and one batch at a time is on the device. Where the device's memory doesn't suffice, the batch is
    halved and the smaller size is kept.
    """

    def __init__(
        self,
        model: InferenceModel,
        tokenizer: Tokenizer,
        image_settings: ImageSettings,
        *,
        name: str,
        revision: str | Callable[[], str],
        batch_size: int = 32,
    ) -> None:
        """Put opened parts together; `from_checkpoint` opens them.

        Args:
            model: On the device and in the dtype to compute in.
            tokenizer: The checkpoint's.
            image_settings: The checkpoint's.
            name: Goes into `info`.
            revision: Goes into `info`; or what finds it out when `info` is first asked for.
            batch_size: Most images or texts in one forward pass. For NaFlex that bounds its patches too: each image has
                `max_num_patches` of them at most.
        """
        self.batch_size = batch_size
        self._model = model
        self._tokenizer = tokenizer
        self._image_settings = image_settings
        self._device_lock = threading.Lock()
        self._stager = Stager(model.device)
        process.register_for_forks(self)
        self._name = name
        self._revision = revision

    @classmethod
    def from_checkpoint(
        cls,
        folder: Path,
        *,
        name: str,
        revision: str | None = None,
        device: str = "auto",
        dtype: str = "auto",
        batch_size: int = 32,
        max_num_patches: int | None = None,
        int8: Int8Options | None = None,
        compile_mode: str | None = None,
    ) -> TorchEmbedder:
        """Open a checkpoint.

        Args:
            folder: In the published layout; `hub.resolve_checkpoint` finds it by name.
            name: What the database calls the model.
            revision: Names the exact content. By default `find_revision` finds it out when `info` is first asked for,
                which reads all weights of a folder that isn't a snapshot of the hub; embedding doesn't need it.
            device: `auto` (CUDA where there is a device, else CPU), `cpu`, `cuda`, `cuda:1`, ...
            dtype: `auto` (bfloat16 on CUDA, float32 elsewhere), `float32`, `bfloat16` or `float16`.
            batch_size: Most images or texts in one forward pass.
            max_num_patches: NaFlex only: most patches of one image; by default what the checkpoint's
                preprocessor_config.json says.
            int8: Images go through the vision tower in int8, on the CPU, and `dtype` is the text tower's alone.
            compile_mode: Run the towers through torch.compile in this mode; see `InferenceModel`.

        Raises:
            CheckpointError: If a file is missing, broken, of another architecture, or doesn't fit the others.
            ConfigurationError: If there is no such device or dtype, `max_num_patches` is given and the checkpoint
                isn't NaFlex, or int8 is asked for without its packages.
        """
        config = read_config(folder)
        WeightReader(folder)  # that the files are another library's is said before what follows from it
        image_settings = read_image_settings(folder, config, max_num_patches=max_num_patches)
        torch_device = choose_device(device)
        found_revision = revision or partial(find_revision, folder)
        make_int8_tower = None
        if int8 is not None:
            make_int8_tower = partial(
                _make_int8_tower, int8, name=name, revision=found_revision, config=config, settings=image_settings
            )
        model = InferenceModel(
            folder,
            image_settings=image_settings,
            device=torch_device,
            dtype=choose_dtype(dtype, torch_device),
            compile_mode=compile_mode,
            make_int8_tower=make_int8_tower,
        )
        return cls(
            model,
            read_tokenizer(folder, config),
            image_settings,
            name=name,
            revision=found_revision,
            batch_size=batch_size,
        )

    @cached_property
    def info(self) -> ModelInfo:
        """The model whose vectors these are.

        Raises:
            CheckpointError: If the revision is yet to be found out, and the weights aren't there any more.
        """
        return ModelInfo(
            name=self._name,
            revision=self._revision if isinstance(self._revision, str) else self._revision(),
            dimension=self._model.config.dimension,
            logit_scale=self._model.logit_scale,
            logit_bias=self._model.logit_bias,
            image_settings=self._image_settings.to_dict(),
            text_settings=self._tokenizer.settings,
        )

    @property
    def device(self) -> str:
        """Where the model is, such as `cpu` or `cuda:0`."""
        return str(self._model.device)

    @property
    def dtype(self) -> str:
        """What images are computed in: `int8`, or one of `devices.DTYPES`."""
        return "int8" if self._model.is_int8 else self.text_dtype

    @property
    def text_dtype(self) -> str:
        """What texts are computed in, one of `devices.DTYPES`."""
        return str(self._model.dtype).removeprefix("torch.")

    @property
    def arithmetic(self) -> str:
        """What makes image vectors, in words: `float32`, `bfloat16`, `int8 (ONNX Runtime 1.32.0)`."""
        return f"int8 ({describe_runtime()})" if self._model.is_int8 else self.dtype

    @property
    def device_name(self) -> str:
        """The device as its maker calls it, such as `NVIDIA H100 80GB HBM3` or `AMD EPYC`."""
        device = self._model.device
        return torch.cuda.get_device_name(device) if device.type == "cuda" else name_processor()

    def find_batch_size(self) -> int:
        """Load the model, find how many images fit into the device's memory, and take that as `batch_size`."""
        self.load()
        pixels = self.prepare_image(Image.new("RGB", (640, 480), (128, 128, 128)))

        def embed(count: int) -> None:
            self.batch_size = count
            self.embed_pixels([pixels] * count)

        self.batch_size = find_batch_size(self._model.device, embed)
        return self.batch_size

    def load(self) -> None:
        """Read both towers now, so that the first call doesn't wait for them.

        Raises:
            CheckpointError: If the weights can't be read or aren't those that config.json asks for.
        """
        with self._device_lock:
            self._model.load()

    def forget_inherited(self) -> None:
        """In a process that was forked off: the locks are the parent's; what was loaded is there."""
        self._device_lock = threading.Lock()
        self._model.forget_inherited()

    def tokenize(self, texts: Sequence[str]) -> NDArray[np.int64]:
        """Turn N texts as typed into the model's token ids (N, max_position_embeddings), padded or silently cut."""
        return self._tokenizer.tokenize(texts).input_ids

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """How many tokens the model reads of each text, the final one included and padding not."""
        return [min(len(ids), self._tokenizer.max_length) for ids in self._tokenizer.encode(texts)]

    def describe_truncation(self, texts: Sequence[str]) -> str | None:
        """Say which texts are too long for the model, and what of them it doesn't read; None where it reads all."""
        return self._tokenizer.tokenize(texts).warning

    def embed_images(self, images: Sequence[Image.Image]) -> NDArray[np.float32]:
        """Embed decoded images, of any size and mode; returns (N, D) float32 unit vectors in the same order."""
        size = self.batch_size
        batches = (images[start : start + size] for start in range(0, len(images), size))
        parts = [self.embed_pixels([self.prepare_image(image) for image in batch]) for batch in batches]
        return np.concatenate(parts) if parts else self._no_vectors()

    def describe_refusals(self, texts: Sequence[str]) -> list[str | None]:
        """Say for each text why it is refused; None where the model reads something of it.

        Of what is refused the tokenizer leaves nothing. Padding alone has a vector too, which says nothing: images
        match it with scores of 1.
        """
        return self._describe_refusals(texts, self.tokenize(texts))

    def is_settled(self, prefix: str) -> bool:
        """True where no text that follows `prefix` changes what the model reads: it is full well before that."""
        return self._tokenizer.is_settled(prefix)

    def embed_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed texts as typed; returns (N, D) float32 unit vectors in the same order.

        Raises:
            InvalidInputError: If it isn't a list of texts, or the model's tokenizer leaves nothing of one.
        """
        if isinstance(texts, str):
            raise InvalidInputError("embed_texts takes a list of texts, not one text.")
        input_ids = self._tokenizer(texts)
        for index, refusal in enumerate(self._describe_refusals(texts, input_ids)):
            if refusal is not None:
                raise InvalidInputError(refusal if len(texts) == 1 else f"Text {index + 1} of {len(texts)}: {refusal}")
        return self.embed_tokens(input_ids)

    def embed_tokens(self, input_ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """Embed token ids as the reference does, whatever they are.

        Args:
            input_ids: (N, max_position_embeddings), padded, as `tokenize` gives them.

        Returns:
            (N, D) float32 unit vectors in the same order.
        """
        ids = torch.from_numpy(input_ids)
        return self._embed(len(ids), lambda rows: (ids[rows.start : rows.stop],), self._model.encode_texts)

    def prepare_image(self, image: Image.Image) -> NDArray[np.uint8]:
        """Squeeze a decoded image to the size that the model takes, without the device: (height, width, 3) uint8.

        The results are what `embed_pixels` takes, so that threads prepare one batch while another is embedded. For
        NaFlex, height and width suit the image; else all images get the same.
        """
        return resize_image(image, self._image_settings)

    def choose_size(self, height: int, width: int) -> tuple[int, int]:
        """The height and width in pixels to which `prepare_image` resizes an image of this height and width."""
        return self._image_settings.choose_size(height, width)

    def embed_pixels(self, pixels: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Embed prepared images.

        Args:
            pixels: N images as `prepare_image` gives them, (height, width, 3) uint8; they may be stacked where all have
                the same size.

        Returns:
            (N, D) float32 unit vectors in the same order.

        Raises:
            InvalidInputError: If an image isn't uint8 or hasn't a size that the model takes.
        """
        for image in pixels:
            self._check_pixels(image)
        if self._image_settings.is_naflex:
            return self._embed_naflex(pixels)
        return self._embed(
            len(pixels),
            lambda rows: (torch.from_numpy(np.stack([pixels[row] for row in rows])),),
            self._model.encode_pixels,
        )

    def stage_pixels(self, pixels: Sequence[NDArray[np.uint8]]) -> StagedPixels | Sequence[NDArray[np.uint8]]:
        """Start to bring a batch to the device, while another one may be computed there; `embed_staged` takes it.

        Args:
            pixels: As `embed_pixels` takes them, `batch_size` of them at most. NaFlex's stay where they are.

        Raises:
            InvalidInputError: As `embed_pixels` does.
        """
        for image in pixels:
            self._check_pixels(image)
        if self._image_settings.is_naflex or not len(pixels):
            return pixels
        return self._stager.stage(pixels)

    def embed_staged(self, staged: StagedPixels | Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Embed what `stage_pixels` gave: (N, D) float32 unit vectors in the same order."""
        if not isinstance(staged, StagedPixels):
            return self.embed_pixels(staged)
        images = staged.receive()
        return self._embed(len(images), lambda rows: (images[rows.start : rows.stop],), self._model.encode_pixels)

    def locate_text(self, image: Image.Image, text: str) -> LocatedText:
        """Ask which parts of a decoded image made it fit a text as typed; see `types.Locator`.

        Raises:
            InvalidInputError: If the model's tokenizer leaves nothing of the text.
        """
        return self.locate_vector(self.prepare_image(image), self.embed_texts([text])[0])

    def locate_vector(
        self, pixels: NDArray[np.uint8], text_embedding: NDArray[np.float32], *, steps: int = STEPS
    ) -> LocatedText:
        """Ask which parts of a prepared image made it fit a text, by integrated gradients.

        Takes `steps` passes forward and backward through the vision tower, which is read once more for that, in
        float32. What others want of the device goes between them.

        Args:
            pixels: As `prepare_image` gives them, (height, width, 3) uint8.
            text_embedding: (D,) unit vector.
            steps: Points of the path at which the gradient is taken.

        Raises:
            InvalidInputError: If the image hasn't a size that the model takes, or the vector another length.
            ConfigurationError: If the device's memory doesn't suffice.
        """
        similarity = float(self.embed_pixels([pixels])[0] @ self._check_vector(text_embedding))
        leave_inherited_threads()
        try:
            with self._device_lock, torch.inference_mode(mode=False):
                attribution = self._model.attribute(pixels, text_embedding)
            parts = []
            for step in range(steps):
                with self._device_lock, torch.inference_mode(mode=False):
                    parts.append(attribution.contributions_at((step + 0.5) / steps))
            added = torch.stack(parts).mean(dim=0).reshape(attribution.shape).cpu().numpy()
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            raise ConfigurationError(
                f"The device {self.device} lacks the memory to take a gradient through {self._name}. Free some of it, "
                "choose a smaller model, or set SIGLIP_DEVICE=cpu."
            ) from error
        size = self._model.config.vision_config.patch_size
        covered = (count * size / side for count, side in zip(attribution.shape, pixels.shape, strict=False))
        return LocatedText(stretch(added, *covered), similarity)

    def _check_vector(self, vector: NDArray[np.float32]) -> NDArray[np.float32]:
        if vector.shape != (self._model.config.dimension,):
            raise InvalidInputError(f"The vector must be ({self._model.config.dimension},), not {vector.shape}.")
        return vector

    def _embed_naflex(self, pixels: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Embed images of differing sizes, in batches whose patches lie one behind the other without padding."""
        side = self._image_settings.patch_size or 1
        # Images with as many patches side by side: the model attends over them together.
        order = sorted(range(len(pixels)), key=lambda index: (pixels[index].size, pixels[index].shape))

        def pack(rows: range) -> tuple[Tensor, Tensor]:
            batch = [pixels[order[row]] for row in rows]
            patches, shapes = cut_images(batch, patch_size=side)
            return torch.from_numpy(np.concatenate(patches)), torch.tensor(shapes)

        vectors = self._no_vectors(len(pixels))
        vectors[order] = self._embed(len(pixels), pack, self._model.encode_patches)
        return vectors

    def _describe_refusals(self, texts: Sequence[str], input_ids: NDArray[np.int64]) -> list[str | None]:
        sentence = "The model's tokenizer leaves nothing of the text {!r}. Say in words what the image shows."
        has_content = self._tokenizer.has_content(texts, input_ids)
        return [None if found else sentence.format(shorten(t)) for t, found in zip(texts, has_content, strict=True)]

    def _check_pixels(self, image: NDArray[np.uint8]) -> None:
        settings = self._image_settings
        is_fitting = image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3
        if settings.patch_size is not None and settings.max_num_patches is not None:
            side, most = settings.patch_size, settings.max_num_patches
            wanted = f"(height, width, 3) uint8 of at most {most} whole patches of {side} x {side}"
            if is_fitting:
                height, width = image.shape[:2]
                is_fitting = not (height % side or width % side) and 1 <= height * width // side**2 <= most
        else:
            wanted = f"({settings.size[0]}, {settings.size[1]}, 3) uint8"
            is_fitting = is_fitting and image.shape[:2] == settings.size
        if not is_fitting:
            raise InvalidInputError(f"Each image's pixels must be {wanted}, not {image.shape} {image.dtype}.")

    def _embed(
        self, count: int, prepare: Callable[[range], tuple[Tensor, ...]], encode: Callable[..., Tensor]
    ) -> NDArray[np.float32]:
        """Run N inputs through a tower in batches that fit.

        Args:
            count: N.
            prepare: Gives the tower's inputs for a range of them, in this process's memory.
            encode: The tower: (B, D) float32 of what `prepare` gave.

        Returns:
            (N, D) float32 unit vectors.

        Raises:
            CheckpointError: If the model gives numbers that aren't finite.
            ConfigurationError: If not even one input fits into the device's memory, or torch.compile fails.
        """
        vectors = self._no_vectors(count)
        start = 0
        while start < count:
            rows = range(start, min(count, start + self.batch_size))
            inputs = prepare(rows)
            try:
                leave_inherited_threads()
                with self._device_lock, torch.inference_mode():
                    vectors[start : rows.stop] = F.normalize(encode(*inputs), dim=-1).cpu().numpy()
            except RuntimeError as error:
                if is_compile_error(error):
                    raise ConfigurationError(
                        f"torch.compile can't compile the model {self._name} here ({type(error).__name__}: "
                        f"{str(error).strip().partition(chr(10))[0][:200]}). Set SIGLIP_COMPILE=off."
                    ) from error
                if not is_out_of_memory(error):
                    raise
                self._shrink_batches(len(rows), error)
                continue
            start = rows.stop
        if not np.isfinite(vectors).all():
            raise CheckpointError(
                f"The model {self._name} gave vectors with numbers that aren't finite, computing in {self.dtype}. "
                "Its weights are damaged" + (", or it needs SIGLIP_DTYPE=float32." if self.dtype != "float32" else ".")
            )
        return vectors

    def _shrink_batches(self, failed_size: int, error: RuntimeError) -> None:
        if failed_size == 1:
            raise ConfigurationError(
                f"The device {self.device} lacks the memory to embed one image or text with {self._name}. Free "
                "some of it, choose a smaller model, or set SIGLIP_DEVICE=cpu."
            ) from error
        with self._device_lock:
            self.batch_size = max(1, min(self.batch_size, failed_size // 2))
            if self._model.device.type == "cuda":
                torch.cuda.empty_cache()

    def _no_vectors(self, count: int = 0) -> NDArray[np.float32]:
        return np.empty((count, self._model.config.dimension), dtype=np.float32)


def _make_int8_tower(
    options: Int8Options,
    read_tower: Callable[[], VisionTower],
    *,
    name: str,
    revision: str | Callable[[], str],
    config: SiglipConfig,
    settings: ImageSettings,
) -> Int8Tower:
    return Int8Tower(
        options,
        name=name,
        revision=revision,
        config=config.vision_config,
        image_settings=settings.to_dict(),
        prepare_image=partial(resize_image, settings=settings),
        read_tower=read_tower,
    )
