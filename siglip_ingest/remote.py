"""An embedder that asks a worker through Celery, for programs without torch; and the layout of what the two say.

Texts travel as they are; pictures are resized here, with the model's own settings, and travel as raw bytes of
pixels, each {"dtype": "uint8", "shape": [H, W, 3], "data": <base64>}. The answer to both names the model, so that
vectors of two models are never mixed, and has a warning where texts are too long for the model:

    {"name": ..., "revision": ..., "embeddings": {"dtype": "float32", "shape": [N, D], "data": ...}, "warning": ...}
    {"error": <a sentence>}
"""

from __future__ import annotations

import base64
import logging
import math
import threading
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from siglip_ingest.db import Database, models
from siglip_ingest.errors import SiglipError, WorkerUnavailableError
from siglip_ingest.types import ModelInfo

if TYPE_CHECKING:
    import numpy as np
    from celery import Celery
    from celery.backends.redis import RedisBackend
    from numpy.typing import NDArray
    from PIL import Image

    from siglip_ingest.db.models import ModelRow

logger = logging.getLogger(__name__)

CONNECT_TIMEOUT_S = 3.0
FIRST_POLL_S = 0.001
LAST_POLL_S = 0.02
_FINAL_STATES = {"SUCCESS", "FAILURE", "REVOKED"}
_DTYPES = {"float32", "uint8"}


def queries_queue(model_id: int) -> str:
    """Name of the queue on which the workers of one model take queries."""
    return f"siglip.queries.{model_id}"


def encode_array(array: NDArray[Any]) -> dict[str, Any]:
    """Write an array of float32 or uint8 as JSON: little-endian, row by row, in base64."""
    little_endian = array.astype(array.dtype.newbyteorder("<"), order="C", copy=False)
    return {
        "dtype": array.dtype.name,
        "shape": list(array.shape),
        "data": base64.b64encode(little_endian.tobytes()).decode("ascii"),
    }


def decode_array(payload: Mapping[str, Any]) -> NDArray[Any]:
    """Read what `encode_array` wrote.

    Raises:
        ValueError: If the payload isn't one.
    """
    import numpy as np

    if payload.get("dtype") not in _DTYPES:
        raise ValueError(f"an array of {' or '.join(sorted(_DTYPES))} was expected, not of {payload.get('dtype')!r}")
    data = base64.b64decode(payload["data"], validate=True)
    flat = np.frombuffer(data, dtype=np.dtype(payload["dtype"]).newbyteorder("<"))
    if math.prod(payload["shape"]) != flat.size:
        raise ValueError(f"{flat.size} numbers can't have the shape {payload['shape']}")
    return flat.reshape(payload["shape"])


class RemoteEmbedder:
    """Embeds with the database's active model on a worker. Thread-safe."""

    def __init__(self, broker_url: str, database: Database, *, timeout_s: float = 10.0) -> None:
        """Make an embedder; nothing is connected before it is used.

        Args:
            broker_url: Redis URL of the workers.
            database: Says which model is active.
            timeout_s: Seconds that a worker has to answer.
        """
        self._tasks = TaskClient(broker_url)
        self._database = database
        self._timeout_s = timeout_s

    @property
    def info(self) -> ModelInfo:
        """The active model.

        Raises:
            WorkerUnavailableError: If there is none yet, or no worker has loaded it yet.
        """
        return self._described_model()[1]

    def embed_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Embed texts as typed; returns (N, D) float32 unit vectors in the same order.

        Raises:
            WorkerUnavailableError: If no worker answers in time.
        """
        model, info = self._described_model()
        return self._ask("siglip.embed_texts", list(texts), model, info)

    def embed_images(self, images: Sequence[Image.Image]) -> NDArray[np.float32]:
        """Embed decoded RGB images, upright, of any size; returns (N, D) float32 unit vectors in the same order.

        Raises:
            WorkerUnavailableError: If no worker answers in time.
        """
        from siglip_ingest.preprocess.image import ImageSettings, resize_image

        model, info = self._described_model()
        settings = ImageSettings.from_dict(info.image_settings)
        pixels = [encode_array(resize_image(image, settings)) for image in images]
        return self._ask("siglip.embed_query_images", pixels, model, info)

    def _described_model(self) -> tuple[ModelRow, ModelInfo]:
        with self._database.connection() as connection:
            model = models.active_model(connection)
        if model is None or model.info is None:
            what = "No model is active yet" if model is None else f"No worker has loaded the model {model.name!r} yet"
            raise WorkerUnavailableError(f"{what}. Start a worker with `siglip-ingest worker` and try again.")
        return model, model.info

    def _ask(self, task: str, argument: Any, model: ModelRow, info: ModelInfo) -> NDArray[np.float32]:
        try:
            answer = self._tasks.call(task, argument, queue=queries_queue(model.model_id), timeout_s=self._timeout_s)
        except TimeoutError as error:
            raise WorkerUnavailableError(
                f"No worker of the model {info.name!r} answered within {self._timeout_s:g} s. Is one running? "
                "`siglip-ingest worker` starts one; SIGLIP_EMBED_TIMEOUT_S gives it longer."
            ) from error
        return _read_answer(answer, info)


class TaskClient:
    """Sends one task at a time to the workers and waits for its result. Thread-safe; JSON only.

    Celery's own way of waiting shares one subscription among threads, and stays broken once Redis was away. Results are
    small and few here, so they are simply looked for until they are there.
    """

    def __init__(self, broker_url: str) -> None:
        """Make a client; nothing is connected, and Celery isn't imported, before the first call."""
        self._broker_url = broker_url
        self._lock = threading.Lock()
        self._parts: tuple[Celery, RedisBackend] | None = None

    def call(self, task: str, argument: Any, *, queue: str, timeout_s: float) -> Mapping[str, Any]:
        """Run a task with one argument on a worker and return its result.

        Raises:
            TimeoutError: If no worker answers in time.
            WorkerUnavailableError: If Redis can't be reached.
        """
        from kombu.exceptions import KombuError
        from redis.exceptions import RedisError

        deadline = time.monotonic() + timeout_s
        try:
            app, backend = self._open()
            backend.client.ping()  # where Redis is away, Celery would log and try for a while
            task_id = app.send_task(task, args=[argument], queue=queue, expires=timeout_s, retry=False).id
            pause_s = FIRST_POLL_S
            while (meta := backend.get_task_meta(task_id, cache=False))["status"] not in _FINAL_STATES:
                if time.monotonic() > deadline:
                    raise TimeoutError(f"{task} took longer than {timeout_s:g} s.")
                time.sleep(pause_s)
                pause_s = min(LAST_POLL_S, 1.2 * pause_s)
            backend.forget(task_id)
        except (KombuError, RedisError) as error:
            raise WorkerUnavailableError(
                "The workers can't be reached: no Redis answers at the broker's URL. Start it, or correct "
                "SIGLIP_BROKER_URL."
            ) from error
        return meta["result"] if meta["status"] == "SUCCESS" else {"error": f"{meta['result']!r}"}

    def _open(self) -> tuple[Celery, RedisBackend]:
        from celery import Celery
        from celery.backends.redis import RedisBackend

        with self._lock:
            if self._parts is None:
                app = Celery("siglip_ingest", broker=self._broker_url, set_as_current=False)
                app.conf.update(
                    accept_content=["json"],
                    broker_transport_options={"socket_connect_timeout": CONNECT_TIMEOUT_S, "max_retries": 1},
                    redis_socket_connect_timeout=CONNECT_TIMEOUT_S,
                )
                self._parts = app, RedisBackend(app=app, url=self._broker_url)
            return self._parts


def _read_answer(answer: Mapping[str, Any], info: ModelInfo) -> NDArray[np.float32]:
    if "error" in answer:
        raise SiglipError(f"A worker could not embed the query: {answer['error']}")
    if (answer["name"], answer["revision"]) != (info.name, info.revision):
        raise WorkerUnavailableError(
            f"A worker answered with the model {answer['name']!r} at revision {answer['revision']!r}, but the active "
            f"one is {info.name!r} at {info.revision!r}. Give each database its own Redis database, and restart the "
            "workers."
        )
    if warning := answer.get("warning"):
        logger.warning("%s", warning)
    return decode_array(answer["embeddings"])
