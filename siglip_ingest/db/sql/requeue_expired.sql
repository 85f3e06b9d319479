-- Purpose: take back what was claimed by workers that are gone.
-- Parameters: max_attempts.
-- A row means: the one row has how many items were queued again, and how many ended as failed.
WITH expired AS (
    SELECT t.item_id
    FROM siglip.ingest_items AS t
    WHERE t.state = 'claimed' AND t.lease_expires_at < clock_timestamp()
    ORDER BY t.lease_expires_at
    FOR NO KEY UPDATE SKIP LOCKED
), taken AS (
    UPDATE siglip.ingest_items AS t
    SET state = CASE WHEN t.attempts >= %(max_attempts)s THEN 'failed' ELSE 'queued' END,
        is_suspect = true, not_before = now(), lease_token = NULL, lease_expires_at = NULL, updated_at = now(),
        error_code = CASE WHEN t.attempts >= %(max_attempts)s THEN 'worker_lost' END,
        error_message = CASE WHEN t.attempts >= %(max_attempts)s
            THEN format('Each of %%s workers that took this image ended before it was done.', t.attempts) END
    FROM expired AS e
    WHERE t.item_id = e.item_id
    RETURNING t.state, t.model_id
), woken AS (
    SELECT pg_notify('siglip_ingest_items', m.model_id::text)
    FROM (SELECT DISTINCT model_id FROM taken WHERE state = 'queued') AS m
)
SELECT count(*) FILTER (WHERE state = 'queued'), count(*) FILTER (WHERE state = 'failed'), (SELECT count(*) FROM woken)
FROM taken
