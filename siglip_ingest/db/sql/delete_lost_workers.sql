-- Purpose: forget workers that ended without a word and whose items were taken back.
-- Parameters: none.
-- A row means: what Celery called one of them.
DELETE FROM siglip.workers AS w
WHERE greatest(w.seen_at, pg_postmaster_start_time()) < clock_timestamp() - pg_catalog.make_interval(secs => w.lease_s)
  AND NOT EXISTS (SELECT FROM siglip.ingest_items AS t WHERE t.state = 'claimed' AND t.worker_id = w.worker_id)
RETURNING w.node
