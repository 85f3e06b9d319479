"""Real text listeners in this process, before a device that only hashes texts and remembers what it was given."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Sequence
from typing import cast

import numpy as np
from numpy.typing import NDArray

from siglip_ingest.db import Connection, Database
from siglip_ingest.types import ModelInfo
from siglip_workers.device import Device
from siglip_workers.queries.text_listener import TextListener
from tests.database.helpers import INFO, text_vector
from tests.programs import wait_until


class FakeDevice:
    """A text's hash as its vector. `gate` holds batches back; 16 words are all that it reads."""

    def __init__(self, info: ModelInfo = INFO) -> None:
        self.info = info
        self.batches: list[list[str]] = []
        self.gate = threading.Event()
        self.gate.set()

    @property
    def texts(self) -> list[str]:
        return [text for batch in self.batches for text in batch]

    def embed_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.batches.append(list(texts))
        assert self.gate.wait(30)
        if any("unembeddable" in text for text in texts):
            raise RuntimeError("the device is out of order")
        return np.stack([text_vector(text, self.info.dimension) for text in texts])

    def describe_truncation(self, texts: Sequence[str]) -> str | None:
        return next((f"{text[:10]!r} is not read to its end." for text in texts if len(text.split()) > 16), None)

    def describe_refusals(self, texts: Sequence[str]) -> list[str | None]:
        return ["The model reads nothing of it." if text == "???" else None for text in texts]

    def is_settled(self, prefix: str) -> bool:
        return len(prefix.split()) > 20


@contextlib.contextmanager
def listening(
    database: Database, model_id: int, *, server: Database | None = None, max_cached_texts: int = 1000
) -> Iterator[FakeDevice]:
    """Listen to `server` (by default the database's own) while the block runs; gives the device."""
    device = FakeDevice()
    listener = TextListener(
        server or database, database, cast("Device", device), model_id, max_cached_texts=max_cached_texts
    )
    listener.start()
    try:
        wait_until_heard(server or database, model_id)
        yield device
    finally:
        device.gate.set()
        listener.close()


def has_listener(connection: Connection, model_id: int) -> bool:
    return connection.execute("SELECT siglip.has_text_listener(%s)", [model_id]).fetchone() == (True,)


def wait_until_heard(server: Database, model_id: int) -> None:
    with server.session() as connection:
        wait_until(lambda: has_listener(connection, model_id))


def count_askers(connection: Connection) -> int:
    """How many sessions wait for a text: those whose doorbell's lock is held."""
    row = connection.execute(
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND classid = x'5349474C'::bigint::oid"
    ).fetchone()
    assert row is not None
    return int(str(row[0]))
