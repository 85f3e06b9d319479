"""The table `siglip.workers`: which workers are alive, and taking back the claims of those that aren't."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from siglip_ingest.db.connection.connect import Connection
from siglip_ingest.db.connection.statements import load_statements

SQL = load_statements("workers")


@dataclass(frozen=True, slots=True)
class Requeued:
    """What `requeue_lost` found: items queued again, and items that ended as failed."""

    requeued: int
    failed: int


def renew_worker(
    connection: Connection, worker_id: UUID, model_id: int, *, node: str, lease_s: float, holds_lock: bool = False
) -> None:
    """Note that a worker is alive; to be called several times in `lease_s` seconds, after which it counts as lost.

    Args:
        connection: Any.
        worker_id: The worker's own, new with each start.
        model_id: The model that it serves.
        node: What Celery calls it.
        lease_s: Seconds that it may be silent for.
        holds_lock: Whether a connection of it holds its lock now: then it counts as lost soon after that one ended.
    """
    parameters = {"worker_id": worker_id, "model_id": model_id, "node": node, "lease_s": lease_s}
    connection.execute(SQL.renew_worker, {**parameters, "holds_lock": holds_lock})


def hold_worker_lock(connection: Connection, worker_id: UUID) -> None:
    """Take a worker's lock, which the connection holds until it ends, however its process ends."""
    connection.execute(SQL.hold_worker_lock, {"worker_id": worker_id})


def delete_worker(connection: Connection, worker_id: UUID) -> None:
    """Delete a worker that has ended."""
    connection.execute(SQL.delete_worker, {"worker_id": worker_id})


def requeue_lost(connection: Connection, max_attempts: int, *, own_id: UUID | None = None) -> Requeued:
    """Queue the items of lost workers again; after `max_attempts` they end as failed, with the code `worker_lost`.

    The worker `own_id`, who asks, isn't lost.
    """
    parameters = {"max_attempts": max_attempts, "own_id": own_id}
    ((requeued, failed, _),) = connection.execute(SQL.requeue_lost, parameters)
    return Requeued(requeued=requeued, failed=failed)


def delete_lost_workers(connection: Connection) -> list[str]:
    """Delete the workers that ended without `delete_worker`; returns their Celery names."""
    return [node for (node,) in connection.execute(SQL.delete_lost_workers)]


def count_workers(connection: Connection, model_id: int | None = None) -> int:
    """How many workers are alive, of one model or of any."""
    ((count,),) = connection.execute(SQL.count_workers, {"model_id": model_id})
    return int(count)
