-- Purpose: who works, and whose claims count: a worker that lives renews its row several times a lease.
-- Parameters: none.
-- A row means: a worker process (workers); a claimed item has the key of the worker that claimed it (ingest_items.worker_id).

CREATE TABLE siglip.workers (
    worker_id  uuid PRIMARY KEY,
    model_id   integer NOT NULL REFERENCES siglip.models ON DELETE CASCADE,
    node       text NOT NULL DEFAULT '',
    lease_s    real NOT NULL CHECK (lease_s > 0),
    started_at timestamptz NOT NULL DEFAULT now(),
    seen_at    timestamptz NOT NULL DEFAULT now()
);

CREATE INDEX workers_model_id_btree_idx ON siglip.workers (model_id);

COMMENT ON TABLE siglip.workers IS 'One row is a worker process, which renews seen_at several times in lease_s seconds.';
COMMENT ON COLUMN siglip.workers.lease_s IS 'Once it has been silent for so many seconds, what it had claimed is queued again.';
COMMENT ON COLUMN siglip.workers.node IS 'What Celery calls it, for instance siglip-4711@host.';

-- A claim's time ran out by itself before. Now it counts for as long as its worker lives, and what was claimed is queued.
UPDATE siglip.ingest_items
SET state = 'queued', attempts = greatest(0, attempts - 1), lease_token = NULL, lease_expires_at = NULL
WHERE state = 'claimed';

ALTER TABLE siglip.ingest_items DROP CONSTRAINT ingest_items_lease_check;
ALTER TABLE siglip.ingest_items DROP COLUMN lease_expires_at;  -- and the index on it
ALTER TABLE siglip.ingest_items ADD COLUMN worker_id uuid;
ALTER TABLE siglip.ingest_items ADD CONSTRAINT ingest_items_lease_check
    CHECK (num_nonnulls(lease_token, worker_id) = CASE state WHEN 'claimed' THEN 2 ELSE 0 END);

CREATE INDEX ingest_items_claimed_btree_idx ON siglip.ingest_items (worker_id) WHERE state = 'claimed';

COMMENT ON COLUMN siglip.ingest_items.worker_id IS 'The worker that has the item, while it is claimed.';
