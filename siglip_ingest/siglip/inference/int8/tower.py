"""`Int8Tower`: prepares a checkpoint's vision tower in int8, and runs it with ONNX Runtime."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from siglip_ingest import process
from siglip_ingest.errors import ConfigurationError
from siglip_ingest.siglip.inference.int8.calibration import Calibration, observe
from siglip_ingest.siglip.inference.int8.graph import SCHEME, write_graph
from siglip_ingest.siglip.inference.int8.prepared import Prepared, find, read_or_make
from siglip_ingest.siglip.inference.towers import VisionTower, run_on_pixels
from siglip_ingest.siglip.model.config import VisionConfig

logger = logging.getLogger(__name__)

PACKAGES = ("onnxruntime", "onnx")
LEAST_COSINE = 0.99  # to float32, on images that weren't calibrated with
CHECKED_EVERY = 5  # every fifth image is kept from calibration, for that
_BATCH = 8


class NotPreparedError(ConfigurationError):
    """Nobody has prepared the model in int8 yet, and this process isn't to."""


@dataclass(frozen=True)
class Int8Options:
    """How the vision tower becomes int8.

    Attributes:
        calibration: Images that stand for those to come.
        places: Folders to keep the prepared model in, the preferred first.
        is_required: False to compute as without int8 where it isn't close enough to float32, or isn't prepared.
        may_prepare: Whether to prepare it here where nobody has: that takes longer than a few images do otherwise.
    """

    calibration: Calibration
    places: Sequence[Path]
    is_required: bool = True
    may_prepare: bool = True


class Int8Tower:
    """The vision tower in int8: pixels to embeddings. Prepared, or read, at its first use. Thread-safe."""

    def __init__(
        self,
        options: Int8Options,
        *,
        name: str,
        revision: str | Callable[[], str],
        config: VisionConfig,
        image_settings: Mapping[str, Any],
        prepare_image: Callable[[Image.Image], NDArray[np.uint8]],
        read_tower: Callable[[], VisionTower],
    ) -> None:
        """Put together what is needed; nothing is read yet.

        Args:
            options: Calibration, and where the model is kept.
            name: The checkpoint's, for messages.
            revision: The checkpoint's, or what finds it out.
            config: The tower's; not NaFlex.
            image_settings: The checkpoint's: a model that was prepared with others isn't used.
            prepare_image: Resizes an image to what the model takes, (height, width, 3) uint8.
            read_tower: Reads the tower in float32, made of plain operators.

        Raises:
            ConfigurationError: If ONNX Runtime isn't installed.
        """
        if missing := find_missing_packages():
            raise ConfigurationError(
                f"SIGLIP_DTYPE=int8 needs {' and '.join(missing)}, which isn't installed: "
                f"{process.how_to_install('cpu')}. Or set SIGLIP_DTYPE=auto."
            )
        self._options = options
        self._name = name
        self._revision = revision
        self._config = config
        self._image_settings = image_settings
        self._prepare_image = prepare_image
        self._read_tower = read_tower
        self._session: Any = None
        self._lock = threading.Lock()

    @property
    def is_required(self) -> bool:
        """Whether a model that isn't close enough to float32 is an error."""
        return self._options.is_required

    def load(self) -> None:
        """Read the prepared model; prepare it where there is none.

        Raises:
            NotPreparedError: If there is none, and it may not be prepared here.
            ConfigurationError: If what comes out is too far from float32.
        """
        with self._lock:
            if self._session is not None:
                return
            prepared = self._find()
            if not prepared.least_cosine >= LEAST_COSINE:
                raise ConfigurationError(
                    f"In int8 the model {self._name} gives vectors whose cosine to float32's falls to "
                    f"{prepared.least_cosine:.4f}, expected at least {LEAST_COSINE}. Set SIGLIP_CALIBRATION_IMAGES to "
                    "a folder of images like yours, or SIGLIP_DTYPE=bfloat16 or float32."
                )
            self._session = open_session(prepared.content)

    def encode(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Map pixels (B, height, width, 3), whole patches, to embeddings (B, D), not normalised."""
        self.load()
        (vectors,) = self._session.run(None, {"pixels": np.ascontiguousarray(pixels)})
        return vectors  # type: ignore[no-any-return]

    def forget_inherited(self) -> None:
        """In a forked child: the session's threads are the parent's. The next use opens one of its own."""
        process.keep_alive(self._session)
        self._session = None
        self._lock = threading.Lock()

    def _find(self) -> Prepared:
        if self._options.may_prepare or self._options.is_required:
            return read_or_make(self._options.places, self._key(), self._prepare)
        prepared = find(self._options.places, self._key())
        if prepared is None:
            raise NotPreparedError(f"The model {self._name} isn't prepared in int8 here; a worker does that.")
        return prepared

    def _key(self) -> dict[str, Any]:
        return {
            "scheme": SCHEME,
            "revision": self._revision if isinstance(self._revision, str) else self._revision(),
            "runtime": describe_runtime(),
            "calibration": self._options.calibration.name,
            "image_settings": json.loads(json.dumps(dict(self._image_settings))),
        }

    def _prepare(self) -> Prepared:
        started = time.perf_counter()
        logger.info("Preparing %s in int8, once: calibrating with %s.", self._name, self._options.calibration.name)
        images = [self._prepare_image(image) for image in self._options.calibration.open_images()]
        if len(images) < CHECKED_EVERY:
            raise ConfigurationError(
                f"Calibration needs at least {CHECKED_EVERY} images, but there are {len(images)} in "
                f"{self._options.calibration.name}: name another folder as SIGLIP_CALIBRATION_IMAGES, or unset it."
            )
        pixels = np.stack(images)[:, : self._config.patches_per_side * self._config.patch_size]
        pixels = pixels[:, :, : self._config.patches_per_side * self._config.patch_size]
        is_checked = np.arange(len(pixels)) % CHECKED_EVERY == CHECKED_EVERY - 1
        with torch.inference_mode():
            tower = self._read_tower()
            with observe(tower) as observed:
                _run(tower, pixels[~is_checked], self._config)
            content = write_graph(tower, self._config, observed)
            wanted = _run(tower, pixels[is_checked], self._config)
        (found,) = open_session(content).run(None, {"pixels": pixels[is_checked]})
        least = float(F.cosine_similarity(torch.from_numpy(found), wanted).min())
        logger.info(
            "Prepared %s in int8 in %.0f s; its vectors' least cosine to float32's is %.4f.",
            self._name, time.perf_counter() - started, least,
        )  # fmt: skip
        return Prepared(content, least)


def _run(tower: VisionTower, pixels: NDArray[np.uint8], config: VisionConfig) -> Tensor:
    batches = torch.split(torch.from_numpy(pixels), _BATCH)
    return torch.cat([run_on_pixels(tower, batch, config) for batch in batches])


def open_session(content: bytes) -> Any:
    """Open an ONNX model, on as many threads as torch uses and bound to no core.

    The threads sleep between two batches: while they waited awake, the threads that decode the next one got less done.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1 if process.has_inherited("torch") else torch.get_num_threads()
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])


def find_missing_packages() -> list[str]:
    """The packages of the extra `cpu` that aren't installed; finding out imports nothing."""
    return [name for name in PACKAGES if importlib.util.find_spec(name) is None]


def describe_runtime() -> str:
    """ONNX Runtime with its version."""
    return f"ONNX Runtime {importlib.metadata.version('onnxruntime')}"
