-- Purpose: a worker whose connection ended counts as lost within seconds, before its lease ends; and what was lost is found quickly.
-- Parameters: a row of siglip.workers.
-- A row means: nothing here has rows.

ALTER TABLE siglip.workers ADD COLUMN holds_lock boolean NOT NULL DEFAULT false;

COMMENT ON COLUMN siglip.workers.holds_lock
    IS 'Whether a connection of it holds the advisory lock that shows that it lives; behind a pooler none can.';

CREATE FUNCTION siglip.is_alive(worker siglip.workers) RETURNS boolean
LANGUAGE sql VOLATILE
SET search_path = pg_catalog, siglip, pg_temp
AS $$
    SELECT greatest(worker.seen_at, pg_postmaster_start_time()) > clock_timestamp() - make_interval(secs => CASE
        WHEN worker.holds_lock AND NOT EXISTS (
            SELECT FROM pg_locks AS l
            WHERE l.locktype = 'advisory' AND l.classid = 1399416684 AND l.objsubid = 2 AND l.granted
              AND l.objid = (hashtext(worker.worker_id::text)::bigint & 4294967295)::oid
              AND l.database = (SELECT d.oid FROM pg_database AS d WHERE d.datname = current_database())
        ) THEN least(worker.lease_s, 3)
        ELSE worker.lease_s
    END)
$$;

COMMENT ON FUNCTION siglip.is_alive(siglip.workers)
    IS 'Whether a worker lives, as far as its signs of life and its lock tell; a start of the server counts as a sign of life.';

DROP INDEX siglip.ingest_items_lease_token_btree_idx;  -- each claim wrote to it, and nothing reads it any more
CREATE INDEX ingest_items_suspects_btree_idx ON siglip.ingest_items (model_id, item_id) WHERE state = 'queued' AND is_suspect;
