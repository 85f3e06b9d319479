"""`RemoteEmbedder` asks workers, for programs without torch; with the layout of the messages.

Texts go through the database, as plain SQL's do: each is a statement that waits (see db/text_requests.py). Images go
through Celery: they are resized here, with the model's own settings, and travel as raw bytes of pixels, each
{"dtype": "uint8", "shape": [H, W, 3], "data": <base64>}. The answer names the model, so that vectors of two models are
never mixed:

    {"name": ..., "revision": ..., "embeddings": {"dtype": "float32", "shape": [N, D], "data": ...}, "warning": ...}
    {"error": <a sentence>}
"""

from __future__ import annotations

import base64
import math
import os
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from siglip_ingest.db import Database, texts
from siglip_ingest.errors import ConfigurationError, SiglipError, WorkerUnavailableError
from siglip_ingest.types import ModelInfo

if TYPE_CHECKING:
    import numpy as np
    from celery import Celery
    from celery.backends.redis import RedisBackend
    from numpy.typing import NDArray
    from PIL import Image

    from siglip_ingest.db.models import ModelRow

CONNECT_TIMEOUT_S = 3.0
FIRST_POLL_S = 0.001
LAST_POLL_S = 0.02
SESSIONS = 8  # that ask for texts at a time; a worker makes one batch of what they ask
_FINAL_STATES = {"SUCCESS", "FAILURE", "REVOKED"}
_DTYPES = {"float32", "uint8"}


def queries_queue(model_id: int) -> str:
    """Name of the queue on which the workers of one model take queries."""
    return f"siglip.queries.{model_id}"


def waiting_key(ask_id: str) -> str:
    """Name of the key in Redis that is there for as long as a client waits for the answer."""
    return f"siglip.waiting.{ask_id}"


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
    """Embeds with one model on its workers. Thread-safe."""

    def __init__(
        self, model: ModelRow, database: Database, *, broker_url: str | None = None, timeout_s: float = 10.0
    ) -> None:
        """Make an embedder; nothing is connected before it is used.

        Args:
            model: The model.
            database: Carries the texts.
            broker_url: Redis URL of the workers, which carries images; None where there are none to embed.
            timeout_s: Seconds that a worker has to answer.
        """
        self._model = model
        self._database = database
        self._tasks = None if broker_url is None else TaskClient(broker_url)
        self._timeout_s = timeout_s

    @property
    def info(self) -> ModelInfo:
        """The model.

        Raises:
            WorkerUnavailableError: If no worker had loaded it yet when it was looked up.
        """
        if self._model.info is None:
            raise WorkerUnavailableError(
                f"No worker has loaded the model {self._model.name!r} yet. Start a worker with `siglip-ingest worker` "
                "and try again."
            )
        return self._model.info

    def embed_texts(self, queries: Sequence[str]) -> NDArray[np.float32]:
        """Embed texts as typed; returns (N, D) float32 unit vectors in the same order, in half precision.

        Raises:
            WorkerUnavailableError: If no worker answers in time.
            InvalidInputError: If the model can't read one of them.
        """
        import numpy as np

        if not queries:
            return np.empty((0, self.info.dimension), dtype=np.float32)
        with ThreadPoolExecutor(min(SESSIONS, len(queries)), thread_name_prefix="embed_texts") as threads:
            return np.stack(list(threads.map(self._embed_text, queries)))

    def embed_images(self, images: Sequence[Image.Image]) -> NDArray[np.float32]:
        """Embed decoded RGB images, upright, of any size; returns (N, D) float32 unit vectors in the same order.

        Raises:
            ConfigurationError: If no broker is known.
            WorkerUnavailableError: If no worker answers in time.
        """
        from siglip_ingest.siglip.preprocess.image import ImageSettings, resize_image

        if self._tasks is None:
            raise ConfigurationError(
                "A query image must be embedded, but torch isn't installed here and the workers' Redis isn't known. "
                "Set SIGLIP_BROKER_URL, or pip install 'siglip-ingest[model]'."
            )
        settings = ImageSettings.from_dict(self.info.image_settings)
        pixels = [encode_array(resize_image(image, settings)) for image in images]
        queue = queries_queue(self._model.model_id)
        try:
            answer = self._tasks.call("siglip.embed_query_images", pixels, queue=queue, timeout_s=self._timeout_s)
        except TimeoutError as error:
            raise WorkerUnavailableError(
                f"No worker of the model {self._model.name!r} answered within {self._timeout_s:g} s. Is one running? "
                "`siglip-ingest worker` starts one; SIGLIP_EMBED_TIMEOUT_S gives it longer."
            ) from error
        return _read_answer(answer, self.info)

    def _embed_text(self, query: str) -> NDArray[np.float32]:
        with self._database.connection() as connection:
            return texts.embed_text(connection, self._model.model_id, query, self._timeout_s)


class TaskClient:
    """Sends one task at a time to the workers and waits for its result. Thread-safe; JSON only.

    Celery's own way of waiting shares one subscription among threads, and stays broken once Redis was away. Results are
    small and few here, so they are simply looked for until they are there. A key in Redis says that the client waits; it
    runs out by Redis's own clock, and a worker that finds it gone leaves the task undone.
    """

    def __init__(self, broker_url: str) -> None:
        """Make a client; nothing is connected, and Celery isn't imported, before the first call."""
        self._broker_url = broker_url
        self._lock = threading.Lock()
        self._parts: tuple[Celery, RedisBackend] | None = None
        self._pid = os.getpid()

    def call(self, task: str, argument: Any, *, queue: str, timeout_s: float) -> Mapping[str, Any]:
        """Run a task with one argument on a worker and return its result.

        Raises:
            TimeoutError: If no worker answers in time.
            WorkerUnavailableError: If Redis can't be reached.
        """
        from kombu.exceptions import KombuError
        from redis.exceptions import RedisError

        give_up_at = time.monotonic() + timeout_s
        task_id = str(uuid.uuid4())
        try:
            app, backend = self._open()
            # First of all: where Redis is away, Celery would log and try for a while.
            backend.client.set(waiting_key(task_id), 1, px=max(1, int(1000 * timeout_s)))
            keywords = {"is_waited_for": True}
            app.send_task(task, args=[argument], kwargs=keywords, task_id=task_id, queue=queue, retry=False)
            pause_s = FIRST_POLL_S
            while (meta := backend.get_task_meta(task_id, cache=False))["status"] not in _FINAL_STATES:
                if time.monotonic() > give_up_at:
                    raise TimeoutError(f"{task} took longer than {timeout_s:g} s.")
                time.sleep(pause_s)
                pause_s = min(LAST_POLL_S, 1.2 * pause_s)
            backend.client.delete(waiting_key(task_id))
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

        if self._pid != os.getpid():  # forked off: the connections are the parent's
            self._lock, self._parts, self._pid = threading.Lock(), None, os.getpid()
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
            f"A worker answered with the model {answer['name']!r} at revision {answer['revision']!r}, but "
            f"{info.name!r} at {info.revision!r} was asked. Give each database its own Redis database, and restart the "
            "workers."
        )
    return decode_array(answer["embeddings"])
