"""Answers plain SQL: `siglip.embed_text('...')` asks for a text through the write-ahead log, and this thread embeds it.

The function emits a logical message outside of its transaction, so that it is readable at once. A temporary
replication slot reads it; the vector goes into `siglip.texts`, where the waiting function finds it. The slot ends
with its connection, so that a dead worker holds back no log. Every worker answers every question; the first row wins.
"""

from __future__ import annotations

import json
import logging
import threading
import time
import uuid
from typing import TYPE_CHECKING

import psycopg

from siglip_ingest.db import Connection, Database, replication, texts
from siglip_ingest.errors import DatabaseError
from siglip_workers.device import Device
from siglip_workers.threads import make_thread

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

logger = logging.getLogger(__name__)

BUSY_POLL_S = 0.002
IDLE_POLL_S = 0.02
BUSY_FOR_S = 10.0  # after a question, the log is looked at often for so long
PAUSE_S = 1.0
LONG_PAUSE_S = 60.0  # where the server's settings or the role's rights don't allow it
TRIM_INTERVAL_S = 60.0
MAX_TEXT_CHARACTERS = 100_000
PREFIX = b"siglip"
_MESSAGE_HEADER = 10  # bytes: 'M', flags (1), LSN (8)


def read_message(data: bytes) -> bytes | None:
    """Return the content of a logical message of ours; None for anything else that pgoutput writes.

    The layout is 'M', Int8 flags, Int64 LSN, String prefix, Int32 length, content ("Logical Replication Message
    Formats" in PostgreSQL's manual, protocol version 1).
    """
    if data[:1] != b"M":
        return None
    prefix, _, rest = data[_MESSAGE_HEADER:].partition(b"\0")
    return rest[4:] if prefix == PREFIX else None


def read_question(content: bytes, model_id: int) -> str | None:
    """Return the text that a message asks for; None where it is meant for another model or isn't a question."""
    try:
        question = json.loads(content)
        if question["model_id"] != model_id:
            return None
        query = question["query"]
    except (ValueError, KeyError, TypeError):
        return None
    return query if isinstance(query, str) and 0 < len(query) <= MAX_TEXT_CHARACTERS else None


class TextListener:
    """The thread. Survives restarts of PostgreSQL."""

    def __init__(self, database: Database, device: Device, model_id: int, *, max_cached_texts: int) -> None:
        self._database = database
        self._device = device
        self._model_id = model_id
        self._max_cached_texts = max_cached_texts
        self._stopping = threading.Event()
        self._thread = make_thread("text-listener", self._run)

    def start(self) -> None:
        """Begin to listen."""
        self._thread.start()

    def stop(self) -> None:
        """Listen no more."""
        self._stopping.set()

    def close(self) -> None:
        """Stop, and wait for the thread."""
        self.stop()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        said = ""
        while not self._stopping.is_set():
            pause_s = PAUSE_S
            try:
                with self._database.connect() as connection:
                    self._listen(connection)
                continue
            except (psycopg.errors.ObjectNotInPrerequisiteState, psycopg.errors.InsufficientPrivilege) as error:
                message = (
                    "Texts that SQL asks for can't be embedded, except those in the cache: PostgreSQL needs wal_level "
                    f"= logical, and the role REPLICATION. ({_first_line(error)})"
                )
                pause_s = LONG_PAUSE_S
            except (psycopg.Error, DatabaseError) as error:
                message = f"Waiting for texts from SQL: {_first_line(error)}"
            except Exception:
                logger.exception("Listening for texts from SQL failed; trying again in %.0f s.", LONG_PAUSE_S)
                message, pause_s = "", LONG_PAUSE_S
            if message and message != said:
                logger.warning("%s", message)
                said = message
            self._stopping.wait(pause_s)

    def _listen(self, connection: Connection) -> None:
        connection.execute("SET synchronous_commit = off")  # a cache: nobody waits for the disk to have it
        slot = f"{replication.SLOT_PREFIX}{uuid.uuid4().hex}"
        replication.create_slot(connection, slot)
        trimmed_at = time.monotonic()
        busy_at = trimmed_at - BUSY_FOR_S
        position = ""
        while not self._stopping.is_set():
            last_position, position = position, replication.read_log_position(connection)
            if position != last_position and (asked := self._read_questions(connection, slot)):
                busy_at = time.monotonic()
                self._answer(connection, asked)
            now = time.monotonic()
            if now - trimmed_at > TRIM_INTERVAL_S:
                trimmed_at = now
                texts.trim_texts(connection, self._model_id, self._max_cached_texts)
            self._stopping.wait(BUSY_POLL_S if now - busy_at < BUSY_FOR_S else IDLE_POLL_S)

    def _read_questions(self, connection: Connection, slot: str) -> list[str]:
        """Read what was asked since the last time; of a text that is asked several times, one."""
        contents = (read_message(data) for data in replication.read_changes(connection, slot))
        queries = (read_question(content, self._model_id) for content in contents if content is not None)
        return list(dict.fromkeys(query for query in queries if query is not None))

    def _answer(self, connection: Connection, queries: list[str]) -> None:
        # A question is asked again while its answer is on the way, and other workers answer too.
        new = [query for query in queries if texts.find_text(connection, self._model_id, query) is None]
        for query, embedding in self._embed(new):
            texts.insert_text(connection, self._model_id, query, embedding)

    def _embed(self, queries: list[str]) -> list[tuple[str, NDArray[np.float32]]]:
        try:
            return list(zip(queries, self._device.embed_texts(queries), strict=True)) if queries else []
        except Exception as error:  # noqa: BLE001  # the asker gets a time-out; this thread must live on
            reason = f"{type(error).__name__}: {error}"
            logger.warning("%d texts that SQL asked for could not be embedded: %s", len(queries), reason)
            return []


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0]
