"""`RemoteEmbedder` asks workers to embed, for programs without torch.

Texts go through the database, as plain SQL's do: each is a statement that waits (see db/text_requests.py). Images go
through Celery (see broker/tasks.py): they are resized here, with the model's own settings. Where a text is looked for
in an image, its vector goes along.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from siglip_ingest.broker.tasks import TaskClient, decode_array, encode_array, queries_queue
from siglip_ingest.db import Database, texts
from siglip_ingest.errors import ConfigurationError, InvalidInputError, SiglipError, WorkerUnavailableError
from siglip_ingest.process import how_to_install
from siglip_ingest.types import LocatedText, ModelInfo

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

    from siglip_ingest.db.models import ModelRow

LOCATE_TIMES = 3  # as long as a query waits; it takes some passes forward and backward
SESSIONS = 8  # that ask for texts at a time; a worker makes one batch of what they ask


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

    def describe_refusals(self, queries: Sequence[str]) -> list[str | None]:
        """Say for each text why it is refused; None where the model reads something of it.

        A worker is asked only for texts of which a tokenizer may leave nothing: those without a letter or a digit, and
        those that may hold the name of a special token, such as `</s>`.

        Raises:
            WorkerUnavailableError: If no worker answers in time.
        """
        return [self._refuse(query) if _is_doubtful(query) else None for query in queries]

    def embed_images(self, images: Sequence[Image.Image]) -> NDArray[np.float32]:
        """Embed decoded RGB images, upright, of any size; returns (N, D) float32 unit vectors in the same order.

        Raises:
            ConfigurationError: If no broker is known.
            WorkerUnavailableError: If no worker answers in time.
        """
        self._require_tasks()
        pixels = [encode_array(self._resize(image)) for image in images]
        answer = self._ask("siglip.embed_query_images", pixels, self._timeout_s)
        return decode_array(answer["embeddings"])

    def locate_text(self, image: Image.Image, text: str) -> LocatedText:
        """Ask which parts of a decoded RGB image, upright, of any size, made it fit a text as typed.

        Raises:
            ConfigurationError: If no broker is known.
            InvalidInputError: If the model can't read the text.
            WorkerUnavailableError: If no worker answers in time, which is three times as long as for a query.
        """
        self._require_tasks()
        argument = {
            "pixels": encode_array(self._resize(image)),
            "text_embedding": encode_array(self._embed_text(text)),
        }
        answer = self._ask("siglip.locate_text", argument, LOCATE_TIMES * self._timeout_s)
        return LocatedText(decode_array(answer["contributions"]), float(answer["similarity"]))

    def _resize(self, image: Image.Image) -> NDArray[np.uint8]:
        from siglip_ingest.siglip.preprocess.image import ImageSettings, resize_image

        return resize_image(image, ImageSettings.from_dict(self.info.image_settings))

    def _require_tasks(self) -> TaskClient:
        if self._tasks is None:
            raise ConfigurationError(
                "An image must go through the model, but torch isn't installed here and the workers' Redis isn't "
                f"known. Set SIGLIP_BROKER_URL, or {how_to_install('model')}."
            )
        return self._tasks

    def _ask(self, task: str, argument: Any, timeout_s: float) -> Mapping[str, Any]:
        tasks, queue = self._require_tasks(), queries_queue(self._model.model_id)
        try:
            answer = tasks.call(task, argument, queue=queue, timeout_s=timeout_s)
        except TimeoutError as error:
            raise WorkerUnavailableError(
                f"No worker of the model {self._model.name!r} answered within {timeout_s:g} s. Is one running, and "
                "of this version? `siglip-ingest worker` starts one; SIGLIP_EMBED_TIMEOUT_S gives it longer."
            ) from error
        _check_answer(answer, self.info)
        return answer

    def _refuse(self, query: str) -> str | None:
        try:
            self._embed_text(query)
        except InvalidInputError as error:
            return str(error)
        return None

    def _embed_text(self, query: str) -> NDArray[np.float32]:
        with self._database.connection() as connection:
            return texts.embed_text(connection, self._model.model_id, query, self._timeout_s)


def _is_doubtful(text: str) -> bool:
    return "<" in text or not any(letter.isalnum() for letter in text)


def _check_answer(answer: Mapping[str, Any], info: ModelInfo) -> None:
    if "error" in answer:
        raise SiglipError(f"A worker could not embed the query: {answer['error']}")
    if (answer["name"], answer["revision"]) != (info.name, info.revision):
        raise WorkerUnavailableError(
            f"A worker answered with the model {answer['name']!r} at revision {answer['revision']!r}, but "
            f"{info.name!r} at {info.revision!r} was asked. Give each database its own Redis database, and restart the "
            "workers."
        )
