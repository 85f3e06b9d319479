"""A thread that stands in for a worker that answers the texts that SQL asks for."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from siglip_ingest.db import Database, text_requests, texts
from siglip_ingest.db.text_requests import TextRequest
from siglip_ingest.db.texts import EmbeddedText
from tests.database.helpers import INFO, text_vector


class Listener(threading.Thread):
    """Reads questions out of the locks of a server and answers them, unless it is told to be mute."""

    def __init__(self, server: Database, primary: Database, model_id: int, *, is_mute: bool = False) -> None:
        super().__init__(daemon=True)
        self.asked: list[TextRequest] = []
        self.is_ready = threading.Event()
        self._server = server
        self._primary = primary
        self._model_id = model_id
        self._is_mute = is_mute
        self._stopping = threading.Event()

    def run(self) -> None:
        with self._server.session() as connection:
            text_requests.announce_listener(connection, self._model_id)
            self.is_ready.set()
            while not self._stopping.wait(0.002):
                for request in text_requests.read_text_requests(connection, self._model_id):
                    if request not in self.asked:
                        self.asked.append(request)
                        self._answer(request)

    def stop(self) -> None:
        self._stopping.set()
        self.join(10)

    def _answer(self, request: TextRequest) -> None:
        if not self._is_mute:
            with self._primary.connection() as connection:
                answer = EmbeddedText(request.query, text_vector(request.query))
                texts.store_texts(connection, self._model_id, INFO, [answer])


@contextmanager
def listening(
    database: Database, model_id: int = 1, *, server: Database | None = None, is_mute: bool = False
) -> Iterator[Listener]:
    listener = Listener(server or database, database, model_id, is_mute=is_mute)
    listener.start()
    assert listener.is_ready.wait(30)
    try:
        yield listener
    finally:
        listener.stop()
