"""One ingestion with a fault in it: queued, followed from outside, and compared with an undisturbed one."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import psycopg
from numpy.typing import NDArray

from siglip_ingest.db import Database, models
from siglip_ingest.ingest import enqueue_images
from tests.faults.ingest.corpus import Corpus
from tests.faults.ingest.record import FaultRecord
from tests.programs import wait_until

MOST_S = 10.0  # the fault is over: by then work must go on
STALL_S = 30.0  # without an image done
# A batch of other images adds float32 numbers in another order: after rounding, the last bit of a halfvec may differ.
FLOAT32_NOISE = 1e-6
_POLL_S = 0.01

Vectors = Mapping[bytes, NDArray[np.float16]]  # by the content's SHA-256


@dataclass(frozen=True)
class Mark:
    """A moment: how many images were done, and when."""

    done: int
    at: float


def activate(database_url: str, model: str) -> int:
    """Make a model the active one of a new database, as the first program does that indexes; returns its key."""
    with Database(database_url) as database, database.connection() as connection:
        model_id = models.register_model(connection, model)
        models.activate_model(connection, model_id)
        return model_id


class Run:
    """Images of a corpus in a database of their own, under one model."""

    def __init__(self, record: FaultRecord, corpus: Corpus, database_url: str, model_id: int) -> None:
        self.record = record
        self.url = database_url
        self.model_id = model_id
        self._corpus = corpus
        self._expected: set[str] = set()  # names of files
        self._accepted: set[int] = set()
        self._is_disturbed = False

    def queue(self, paths: Sequence[Path]) -> None:
        """Queue images as a program does; the record counts what was accepted."""
        with Database(self.url) as database:
            accepted = enqueue_images(database, list(paths), model_id=self.model_id).image_ids
        self.expect(paths)
        self._accepted |= set(accepted)
        self.record.images = len(self._accepted)

    def expect(self, paths: Sequence[Path]) -> None:
        """Expect images that somebody else queues."""
        self._expected |= {path.name for path in paths}

    def count(self, *states: str) -> int:
        """How many images are in these states."""
        statement = "SELECT count(*) FROM siglip.ingest_items WHERE model_id = %s AND state::text = ANY (%s)"
        return int(self.fetch(statement, self.model_id, list(states))[0][0])

    def fetch(self, statement: str, *parameters: object) -> list[tuple[object, ...]]:
        """Ask the database, on a connection of its own."""
        with psycopg.connect(self.url, autocommit=True, connect_timeout=10, application_name="test") as connection:
            return connection.execute(statement, parameters).fetchall()  # type: ignore[call-overload]

    def wait_for(self, done: int) -> None:
        """Wait until so many images are done, of which some are left: a fault comes in the middle."""
        self._wait_for_more_than(done - 1)
        assert self.count("queued", "claimed"), "it was all done before it could be disturbed"

    def mark(self) -> Mark:
        """Note how far it is, once the database answers."""
        give_up_at = time.monotonic() + STALL_S
        while True:
            try:
                return Mark(self.count("done"), time.monotonic())
            except psycopg.OperationalError:
                assert time.monotonic() < give_up_at, "the database doesn't answer"
                time.sleep(_POLL_S)

    def measure_recovery(self, since: Mark) -> None:
        """Measure how long it takes from a mark, where the fault ended, until the next image is done.

        Where nothing was left to do, since the fault stopped nothing, it took no time. `finish` measures on from here.
        """
        self._wait_for_more_than(since.done)
        self.record.add_recovery(time.monotonic() - since.at)
        self._is_disturbed = True

    def held_by(self, node: str) -> list[tuple[object, ...]]:
        """What a worker has claimed: (item_id, lease_token)s."""
        return self.fetch(
            "SELECT item_id, lease_token FROM siglip.ingest_items JOIN siglip.workers USING (worker_id)"
            " WHERE state = 'claimed' AND node LIKE %s",
            node,
        )

    def measure_release(self, held: Sequence[tuple[object, ...]], since: float) -> None:
        """Measure how long it takes from a moment until nothing is claimed any more as it was."""
        statement = """
            SELECT count(*) FROM siglip.ingest_items AS t
            JOIN unnest(%s::bigint[], %s::uuid[]) AS h (item_id, lease_token) USING (item_id, lease_token)
            WHERE t.state = 'claimed'
        """
        columns = [[row[column] for row in held] for column in (0, 1)]
        wait_until(lambda: self.fetch(statement, *columns) == [(0,)], timeout_s=STALL_S)
        self.record.add_release(time.monotonic() - since)

    def wait_until_finished(self) -> None:
        """Wait until every image is done or has failed; after a fault, pauses on the way count as recovery."""
        done = self.count("done")
        while self.count("queued", "claimed"):
            started = time.monotonic()
            done = self._wait_for_more_than(done)
            if self._is_disturbed:
                self.record.add_recovery(time.monotonic() - started)

    def finish(self, undisturbed: Vectors) -> None:
        """Wait for the end, fill the record in, and check it."""
        self.wait_until_finished()
        reasons = self._find_lost()
        self.record.lost = len(reasons)
        vectors = self.read_vectors()
        is_close = self._compare(vectors, undisturbed)
        assert not reasons, reasons[:5]
        assert self.record.doubled == 0
        assert vectors.keys() == self._expected_hashes(), "vectors of other contents than were queued"
        assert is_close, f"vectors of other images, or of another model: {self.record}"
        assert self.record.went_on_s is None or self.record.went_on_s <= MOST_S, self.record
        assert self.record.released_s is None or self.record.released_s <= MOST_S, self.record

    def read_vectors(self) -> dict[bytes, NDArray[np.float16]]:
        """The vectors under the model; notes in the record how many a content has too many."""
        rows = self.fetch(
            "SELECT content_hash, embedding::real[]"
            " FROM siglip.image_embeddings JOIN siglip.contents USING (content_id) WHERE model_id = %s",
            self.model_id,
        )
        vectors = {bytes(content): np.array(vector, np.float16) for content, vector in rows}  # type: ignore[arg-type,call-overload]
        self.record.doubled = len(rows) - len(vectors)
        return vectors

    def _expected_hashes(self) -> set[bytes]:
        return {self._corpus.hashes[name] for name in self._expected if name in self._corpus.hashes}

    def _find_lost(self) -> list[str]:
        """Describe each image that isn't what it must be: done with its own content, or failed with its reason."""
        rows = self.fetch(
            "SELECT i.uri, t.state::text, t.error_code, t.error_message, c.content_hash"
            " FROM siglip.ingest_items AS t JOIN siglip.images AS i USING (image_id)"
            " LEFT JOIN siglip.contents AS c USING (content_id) WHERE t.model_id = %s",
            self.model_id,
        )
        found = {Path(unquote(str(uri))).name: outcome for uri, *outcome in rows}
        assert len(found) == len(rows), "an image is there twice"
        lost = []
        for name in sorted(self._expected):
            state, code, message, content_hash = found.get(name, ["missing", None, None, None])
            if name in self._corpus.broken:
                is_right = (state, code) == ("failed", self._corpus.broken[name]) and bool(message)
            else:
                is_right = state == "done" and content_hash == self._corpus.hashes[name]
            if not is_right:
                lost.append(f"{name}: {state} [{code}] {message}")
        return lost

    def _compare(self, vectors: Vectors, undisturbed: Vectors) -> bool:
        """Count the vectors that differ in any bit; returns whether all are equal but for the last one."""
        common = [key for key in vectors if key in undisturbed]
        ours, theirs = (np.stack([each[key] for key in common]) for each in (vectors, undisturbed))
        self.record.changed = int((ours != theirs).any(axis=1).sum())
        difference = np.abs(ours.astype(np.float32) - theirs.astype(np.float32))
        self.record.largest_difference = float(difference.max())
        last_bit = np.spacing(np.maximum(np.abs(ours), np.abs(theirs))).astype(np.float32)
        return bool((difference <= last_bit + FLOAT32_NOISE).all())

    def _wait_for_more_than(self, done: int) -> int:
        """Wait until more images are done, or all; returns how many are."""
        give_up_at = time.monotonic() + STALL_S
        statement = (
            "SELECT count(*) FILTER (WHERE state = 'done'), count(*) FILTER (WHERE state IN ('queued', 'claimed'))"
            " FROM siglip.ingest_items WHERE model_id = %s"
        )
        with psycopg.connect(self.url, autocommit=True, application_name="test") as connection:
            while True:
                row = connection.execute(statement, [self.model_id]).fetchone()
                assert row is not None
                if row[0] > done or not row[1]:
                    return int(row[0])
                assert time.monotonic() < give_up_at, f"{row[0]} images are done, and no more for {STALL_S:g} s"
                time.sleep(_POLL_S)
