"""Where in an image a text matched, asked of a worker."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from siglip_ingest.broker.tasks import encode_array
from siglip_ingest.db import Database, texts
from siglip_ingest.db.models import get_model
from siglip_ingest.embedders.remote import RemoteEmbedder
from siglip_ingest.errors import InvalidInputError, SiglipError, WorkerUnavailableError
from siglip_workers.device import Device
from siglip_workers.queries.answers import answer_location
from tests.database.helpers import add_model
from tests.images import make_image
from tests.workers.helpers import WorkerProcess, load_tiny_embedder

TEXT = "a red boat"


class AnsweringTasks:
    """In place of Celery: answers at once, as a worker's task does."""

    def __init__(self, answer: Callable[[Any], Mapping[str, Any]]) -> None:
        self._answer = answer
        self.asked: list[tuple[str, float]] = []

    def call(self, task: str, argument: Any, *, queue: str, timeout_s: float) -> Mapping[str, Any]:
        self.asked.append((task, timeout_s))
        return self._answer(argument)


@pytest.fixture
def remote(database: Database, tiny_checkpoint: Path) -> RemoteEmbedder:
    """Of a described model, whose cache has the text: no worker is needed for that."""
    local = load_tiny_embedder(tiny_checkpoint)
    with database.connection() as connection:
        model_id = add_model(connection, local.info)
        texts.store_texts(connection, model_id, local.info, [texts.EmbeddedText(TEXT, local.embed_texts([TEXT])[0])])
        row = get_model(connection, model_id)
    return RemoteEmbedder(row, database, timeout_s=2.0)


def test_a_workers_answer_is_the_local_one(remote: RemoteEmbedder, tiny_checkpoint: Path) -> None:
    local = load_tiny_embedder(tiny_checkpoint)
    tasks = AnsweringTasks(lambda asked: answer_location(Device(local), asked))
    remote._tasks = tasks  # type: ignore[assignment]
    found, expected = remote.locate_text(make_image(60, 40), TEXT), local.locate_text(make_image(60, 40), TEXT)
    scale = np.abs(expected.contributions).max()
    np.testing.assert_allclose(found.contributions, expected.contributions, atol=5e-3 * scale)  # half precision
    assert found.similarity == pytest.approx(expected.similarity, abs=1e-3)
    assert tasks.asked == [("siglip.locate_text", 6.0)]


def test_answers_of_another_model_and_errors_are_told(remote: RemoteEmbedder, tiny_checkpoint: Path) -> None:
    answer = {"name": "other", "revision": "1", "contributions": encode_array(np.zeros((4, 4), np.float32))}
    remote._tasks = AnsweringTasks(lambda _: answer)  # type: ignore[assignment]
    with pytest.raises(WorkerUnavailableError, match="A worker answered with the model 'other'"):
        remote.locate_text(make_image(60, 40), TEXT)
    device = Device(load_tiny_embedder(tiny_checkpoint))
    spoilt = {"pixels": encode_array(np.zeros((5, 5, 3), np.uint8)), "text_embedding": encode_array(np.ones(32, "f"))}
    remote._tasks = AnsweringTasks(lambda _: answer_location(device, spoilt))  # type: ignore[assignment]
    with pytest.raises(SiglipError, match=r"could not embed the query: InvalidInputError: .*\(5, 5, 3\)"):
        remote.locate_text(make_image(60, 40), TEXT)


@pytest.mark.slow
def test_a_worker_says_where_a_text_matched(
    database: Database, broker_url: str, tiny_checkpoint: Path, start_worker: Callable[..., WorkerProcess]
) -> None:
    worker = start_worker()
    with database.connection() as connection:
        row = get_model(connection, 1)
    remote, local = RemoteEmbedder(row, database, broker_url=broker_url), load_tiny_embedder(tiny_checkpoint)
    found, expected = (each.locate_text(make_image(60, 40), "night sky") for each in (remote, local))
    scale = np.abs(expected.contributions).max()
    np.testing.assert_allclose(found.contributions, expected.contributions, atol=5e-3 * scale)
    with pytest.raises(InvalidInputError):
        remote.locate_text(make_image(60, 40), "...")
    worker.kill()
    hasty = RemoteEmbedder(row, database, broker_url=broker_url, timeout_s=0.1)
    with pytest.raises(WorkerUnavailableError, match=r"answered within 0.3 s"):
        hasty.locate_text(make_image(60, 40), "night sky")
