"""The end of the stream: writes vectors and closes items, many in a transaction."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from siglip_ingest.db import Database, items
from siglip_ingest.errors import DatabaseError, ImageError
from siglip_ingest.sources import hide_secrets
from siglip_workers.ingest.stage_queue import StageQueue
from siglip_workers.ingest.work import Finished
from siglip_workers.outages import retry_through_outages
from siglip_workers.threads import make_thread

logger = logging.getLogger(__name__)

MAX_WRITTEN_AT_ONCE = 1024
MAX_WAIT_S = 0.5  # a result waits so long for others to be written with it
OUTAGE_PATIENCE_S = 120.0  # vectors wait so long for PostgreSQL to come back
RETRY_PAUSE_S = 5.0  # before the second attempt
RETRY_FACTOR = 6.0  # the third attempt waits so many times longer


class Writer:
    """Writes results, in a thread.

    Args:
        database: Where to.
        model_id: The model whose vectors they are.
        max_attempts: After so many an item ends as failed.
        is_more_coming: Whether there are items in the stream that have no result yet.
        leave: Told what is written or given up.
        stop_worker: Called where PostgreSQL refuses for good.
    """

    def __init__(
        self,
        database: Database,
        model_id: int,
        max_attempts: int,
        is_more_coming: Callable[[], bool],
        leave: Callable[[Sequence[Finished], items.Closed], None],
        stop_worker: Callable[[], None],
    ) -> None:
        self._database = database
        self._model_id = model_id
        self._max_attempts = max_attempts
        self._is_more_coming = is_more_coming
        self._leave = leave
        self._stop_worker = stop_worker
        self._is_closing = False
        self._results: StageQueue[Finished] = StageQueue(1 << 30)  # bounded by what is claimed
        self._thread = make_thread("writer", self._run)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def put(self, finished: Sequence[Finished]) -> None:
        """Take results in."""
        self._results.put(finished)

    def look(self) -> None:
        """Look again whether a transaction is due."""
        self._results.look()

    def close(self) -> None:
        """Write what is there, if PostgreSQL answers, and end."""
        self._is_closing = True
        self._results.close(is_dropped=False)
        self._thread.join()

    def _run(self) -> None:
        while finished := self._results.take_batch(lambda: MAX_WRITTEN_AT_ONCE, MAX_WAIT_S, self._is_more_coming):
            closed = items.Closed()
            try:
                closed = retry_through_outages(
                    lambda: self._write(finished), patience_s=OUTAGE_PATIENCE_S, is_ending=lambda: self._is_closing
                )
            except DatabaseError as error:
                if error.is_retryable:
                    logger.warning("%d images go back to the queue: %s", len(finished), str(error).strip())
                else:
                    logger.error("%s The worker stops: it can't do its work.", str(error).strip())  # noqa: TRY400
                    self._stop_worker()
            else:
                _log_failures(finished)
            self._leave(finished, closed)

    def _write(self, finished: Sequence[Finished]) -> items.Closed:
        completed, failed = [], []
        for entry in finished:
            if isinstance(entry.result, ImageError):
                failed.append(_describe_failure(entry, entry.result))
            else:
                completed.append(_describe_result(entry))
        with self._database.connection() as connection:
            return items.close_items(connection, self._model_id, completed, failed, max_attempts=self._max_attempts)


def _describe_result(entry: Finished) -> items.CompletedItem:
    (item, lease_token, metadata), content_hash, result = entry
    assert content_hash is not None  # noqa: S101
    assert not isinstance(result, ImageError)  # noqa: S101
    width, height, image_format = result.size or (None, None, None)
    return items.CompletedItem(
        item_id=item.item_id,
        image_id=item.image_id,
        lease_token=lease_token,
        content_hash=content_hash,
        width=width,
        height=height,
        format=image_format,
        embedding=result.embedding,
        metadata=metadata,
    )


def _describe_failure(entry: Finished, error: ImageError) -> items.FailedItem:
    item, lease_token, _ = entry.work
    pause_s = RETRY_PAUSE_S * RETRY_FACTOR ** max(0, item.attempts - 1)
    return items.FailedItem(item.item_id, lease_token, error.code, str(error), pause_s if error.is_retryable else None)


def _log_failures(finished: Sequence[Finished]) -> None:
    for entry in finished:
        if isinstance(entry.result, ImageError):
            logger.warning("%s: %s [%s]", hide_secrets(entry.work.item.uri), entry.result, entry.result.code)
