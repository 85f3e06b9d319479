"""Answers plain SQL: `siglip.embed_text` lays a text out as advisory locks; this thread finds it in `pg_locks`.

Of the workers of a model, one answers the questions of a server: it holds a lock that says so, and the others stand by.
What several sessions ask becomes one batch. The vectors go into `siglip.texts` of the primary server, where the waiting
functions find them; those on a standby once they have been replicated.
"""

from __future__ import annotations

import logging
import threading
import time

import psycopg

from siglip_ingest.db import Connection, Database, text_requests, texts
from siglip_ingest.db.text_requests import TextRequest
from siglip_ingest.db.texts import EmbeddedText
from siglip_ingest.errors import ConfigurationError, DatabaseConflictError, DatabaseError
from siglip_ingest.search import TOO_LONG
from siglip_workers.device import Device
from siglip_workers.threads import StoppableThread

logger = logging.getLogger(__name__)

BUSY_POLL_S = 0.002
IDLE_POLL_S = 0.01
BUSY_FOR_S = 10.0  # after a question, the locks are looked at often for so long
STAND_BY_S = 0.2  # whether the one that answers is still there is looked at this often
START_PATIENCE_S = 5.0
FIRST_PAUSE_S = 0.05  # a connection that was lost is opened again at once; then the pauses grow
PAUSE_S = 1.0
LONG_PAUSE_S = 60.0  # where the server's address or the role's rights don't allow it


class TextListener(StoppableThread):
    """The thread for one server. Survives restarts of PostgreSQL."""

    def __init__(
        self,
        server: Database,
        primary: Database,
        device: Device,
        model_id: int,
        *,
        max_cached_texts: int,
    ) -> None:
        """Make a listener; `start` starts it.

        Args:
            server: Whose sessions ask: the primary server or one of its standbys.
            primary: Where vectors are written.
            device: Embeds them.
            model_id: For which texts are answered.
            max_cached_texts: Texts kept for the model.
        """
        super().__init__("text-listener")
        self._server = server
        self._primary = primary
        self._device = device
        self._model_id = model_id
        self._max_cached_texts = max_cached_texts
        self._said = ""
        self._pause_s = FIRST_PAUSE_S
        self._rest_until: dict[TextRequest, float] = {}  # those that were tried, and when they may be tried again
        self._has_tried = threading.Event()

    def start(self) -> None:
        """Begin to listen. Who asks once this has returned finds a listener, if the server can be reached."""
        super().start()
        self._has_tried.wait(START_PATIENCE_S)

    def run(self) -> None:
        """Answer until `stop`, through outages of PostgreSQL."""
        while not self.stopping.is_set():
            try:
                with self._server.session() as connection:
                    self._listen(connection)
                continue
            except ConfigurationError as error:
                message, pause_s = f"New texts that SQL asks for can't be embedded. {error}", LONG_PAUSE_S
            except (psycopg.Error, DatabaseError) as error:
                message, pause_s = f"Waiting for texts from SQL: {_first_line(error)}", self._pause_s
                self._pause_s = min(PAUSE_S, 2 * self._pause_s)
                if not isinstance(error, psycopg.OperationalError) and not getattr(error, "is_retryable", False):
                    pause_s = LONG_PAUSE_S
            self._has_tried.set()
            if message != self._said:
                logger.warning("%s", message)
                self._said = message
            self.stopping.wait(pause_s)

    def _listen(self, connection: Connection) -> None:
        text_requests.announce_listener(connection, self._model_id)
        self._has_tried.set()
        while not text_requests.try_to_be_elected(connection, self._model_id):
            if self.stopping.wait(STAND_BY_S):
                return
        busy_at = -BUSY_FOR_S
        while not self.stopping.is_set():
            asked: list[TextRequest] = []
            try:
                if asked := text_requests.read_text_requests(connection, self._model_id):
                    self._answer(asked)
            except psycopg.errors.OutOfMemory:  # the lock table is full: askers are told, and this one listens on
                self.stopping.wait(FIRST_PAUSE_S)
            except DatabaseError as error:
                if not error.is_retryable:
                    raise
                # The primary server is away, say; a session that was lost is noticed with the next look.
                self.stopping.wait(FIRST_PAUSE_S)
            if asked:
                busy_at = time.monotonic()
                self._said, self._pause_s = "", FIRST_PAUSE_S
            self.stopping.wait(BUSY_POLL_S if time.monotonic() - busy_at < BUSY_FOR_S else IDLE_POLL_S)

    def _answer(self, asked: list[TextRequest]) -> None:
        # A question stays for a moment, on a standby until its answer has been replicated.
        now = time.monotonic()
        self._rest_until = {request: until for request, until in self._rest_until.items() if until > now}
        new = [request for request in asked if request not in self._rest_until]
        if not new:
            return
        answers = self._try_to_embed(new)
        self._rest_until |= dict.fromkeys(new, time.monotonic() + PAUSE_S)
        if not answers:
            return
        try:
            with self._primary.connection() as connection, connection.pipeline():
                if (
                    self._server is self._primary
                ):  # a cache: no need to wait for the disk; a standby is sent what is on it
                    connection.execute("SET LOCAL synchronous_commit = off")
                texts.store_texts(
                    connection, self._model_id, self._device.info, answers, max_rows=self._max_cached_texts
                )
        except DatabaseError as error:
            self._rest_until.clear()
            if not isinstance(error, DatabaseConflictError):
                raise
            logger.warning("Texts that SQL asked for could not be stored: %s", error)

    def _try_to_embed(self, requests: list[TextRequest]) -> list[EmbeddedText]:
        """Embed what can be embedded: one text that the device fails at takes no other with it."""
        try:
            return self._embed(requests)
        except Exception as error:  # noqa: BLE001  # the asker gets a time-out; this thread must live on
            if len(requests) > 1:
                return [answer for request in requests for answer in self._try_to_embed([request])]
            logger.warning("A text that SQL asked for could not be embedded: %s: %s", type(error).__name__, error)
            return []

    def _embed(self, requests: list[TextRequest]) -> list[EmbeddedText]:
        """Embed the texts that the model can read, in one batch."""
        refusals = [self._refuse(request) for request in requests]
        readable = [request.query for request, refusal in zip(requests, refusals, strict=True) if refusal is None]
        embeddings = iter(self._device.embed_texts(readable) if readable else ())
        return [
            EmbeddedText(request.query, None, refusal=refusal)
            if refusal is not None
            else EmbeddedText(request.query, next(embeddings), self._device.describe_truncation([request.query]))
            for request, refusal in zip(requests, refusals, strict=True)
        ]

    def _refuse(self, request: TextRequest) -> str | None:
        if request.is_cut and not self._device.is_settled(request.query):
            return TOO_LONG.format(size=len(request.query.encode()), more=" and more")
        return self._device.describe_refusals([request.query])[0]


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0]
