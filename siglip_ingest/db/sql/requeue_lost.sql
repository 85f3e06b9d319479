-- Purpose: take back what was claimed by workers that are gone.
-- Parameters: max_attempts.
-- A row means: the one row has how many items were queued again, and how many ended as failed.
WITH alive AS (
    -- After a restart of the server every worker needs a moment to be heard again.
    SELECT w.worker_id FROM siglip.workers AS w
    WHERE greatest(w.seen_at, pg_postmaster_start_time()) > clock_timestamp() - pg_catalog.make_interval(secs => w.lease_s)
), lost AS (
    SELECT t.item_id
    FROM siglip.ingest_items AS t
    WHERE t.state = 'claimed' AND NOT EXISTS (SELECT FROM alive AS w WHERE w.worker_id = t.worker_id)
    ORDER BY t.image_id, t.model_id
    FOR NO KEY UPDATE OF t SKIP LOCKED
), taken AS (
    UPDATE siglip.ingest_items AS t
    SET state = CASE WHEN t.attempts >= %(max_attempts)s THEN 'failed' ELSE 'queued' END,
        is_suspect = true, not_before = now(), lease_token = NULL, worker_id = NULL, updated_at = now(),
        error_code = CASE WHEN t.attempts >= %(max_attempts)s THEN 'worker_lost' END,
        error_message = CASE WHEN t.attempts >= %(max_attempts)s
            THEN pg_catalog.format('Each of %%s workers that took this image ended before it was done.', t.attempts) END
    FROM lost AS l
    WHERE t.item_id = l.item_id
    RETURNING t.state, t.model_id
), woken AS (
    SELECT pg_catalog.pg_notify('siglip_ingest_items', m.model_id::text)
    FROM (SELECT DISTINCT model_id FROM taken WHERE state = 'queued') AS m
)
SELECT count(*) FILTER (WHERE state = 'queued'), count(*) FILTER (WHERE state = 'failed'), (SELECT count(*) FROM woken)
FROM taken
