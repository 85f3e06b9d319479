"""Tasks: Celery messages that put a query's images through the model on a worker while a client waits.

Arrays travel as JSON: {"dtype": "uint8", "shape": [H, W, 3], "data": <base64>}. The answer names the model, so that
vectors of two models are never mixed:

    {"name": ..., "revision": ..., "embeddings": {"dtype": "float32", "shape": [N, D], "data": ...}, "warning": ...}
    {"error": <a sentence>}

`siglip.locate_text` takes {"pixels": <uint8 (H, W, 3)>, "text_embedding": <float32 (D,)>}, and answers with
{"contributions": <float32 (rows, columns)>, "similarity": ...} in place of the embeddings.
"""

from __future__ import annotations

import base64
import math
import os
import threading
import time
import uuid
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from siglip_ingest.errors import WorkerUnavailableError

if TYPE_CHECKING:
    from celery import Celery
    from celery.backends.redis import RedisBackend
    from numpy.typing import NDArray

CONNECT_TIMEOUT_S = 3.0
FIRST_POLL_S = 0.001
LAST_POLL_S = 0.02
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


class TaskClient:
    """Sends one task at a time to the workers and waits for its result. Thread-safe; JSON only.

    Celery's own way of waiting shares one subscription among threads, and stays broken once Redis was away. Results are
    small and few here, so they are simply looked for until they are there. A key in Redis says that the client waits;
    it runs out by Redis's own clock, and a worker that finds it gone leaves the task undone.
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
