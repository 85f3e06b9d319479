"""A worker keeps the labels of images: of those that it embeds, and of all after a change."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from siglip_ingest.db import Database
from siglip_ingest.ingest import enqueue_images
from tests.programs import wait_until
from tests.workers.helpers import WorkerProcess, fetch_all, items_by_state, write_images

StartWorker = Callable[..., WorkerProcess]

DIFFERENCES = """
    SELECT count(*) FROM (SELECT image_id, label FROM siglip.label_scores WHERE is_accepted) AS v
    FULL JOIN (SELECT image_id, label FROM siglip.labeled_images WHERE marked_by IS NULL) AS k USING (image_id, label)
    WHERE v.image_id IS NULL OR k.image_id IS NULL
"""


def is_current(database: Database, rows_at_least: int) -> bool:
    """Whether every kept label is up to date, with so many rows, and what the view of all scores says."""
    states = fetch_all(database, "SELECT DISTINCT state FROM siglip.label_coverage")
    ((rows,),) = fetch_all(database, "SELECT count(*) FROM siglip.image_labels")
    return states == [("current",)] and int(str(rows)) >= rows_at_least and fetch_all(database, DIFFERENCES) == [(0,)]


def test_a_set_made_in_sql_is_embedded_kept_and_follows_changes(
    tmp_path: Path, database: Database, model_id: int, start_worker: StartWorker
) -> None:
    write_images(tmp_path / "photos", 12)
    start_worker()
    with database.connection() as connection:
        connection.execute("SELECT siglip.create_label_set('scenes', '{sunset, \"night sky\"}', keep => true)")
        connection.execute("UPDATE siglip.labels SET threshold = 0")
    wait_until(lambda: fetch_all(database, "SELECT DISTINCT state FROM siglip.label_coverage") == [("current",)])
    enqueue_images(database, tmp_path / "photos", model_id=model_id).wait(timeout_s=60)
    enqueue_images(database, tmp_path / "photos", model_id=model_id).wait(timeout_s=60)
    assert items_by_state(database) == {"done": 12}
    assert fetch_all(database, "SELECT count(*) FROM siglip.image_labels") == [(24,)]  # with the vectors, not later

    with database.connection() as connection:
        connection.execute("SELECT siglip.add_label('scenes', 'forest', threshold => 0)")
        connection.execute("SELECT siglip.set_threshold('scenes', 'sunset', 1)")
    wait_until(lambda: is_current(database, 24))
    assert fetch_all(database, "SELECT label, count(*) FROM siglip.labeled_images GROUP BY label ORDER BY label") == [
        ("forest", 12),
        ("night sky", 12),
    ]
