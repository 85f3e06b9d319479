-- Purpose: end items of a claim as failed, or queue them once more where that may help.
-- Parameters: lease_token; arrays of one length: item_ids; codes; messages; pauses_s, NULL for an end at once; max_attempts.
-- A row means: an item that was changed, and its state.
UPDATE siglip.ingest_items AS t
SET state = CASE WHEN f.pause_s IS NULL OR t.attempts >= %(max_attempts)s THEN 'failed' ELSE 'queued' END,
    is_suspect = false, not_before = clock_timestamp() + pg_catalog.make_interval(secs => coalesce(f.pause_s, 0)),
    lease_token = NULL, worker_id = NULL, error_code = f.code, error_message = f.message, updated_at = now()
FROM unnest(%(item_ids)s::bigint[], %(codes)s::text[], %(messages)s::text[], %(pauses_s)s::double precision[])
    AS f (item_id, code, message, pause_s)
WHERE t.item_id = f.item_id AND t.state = 'claimed' AND t.lease_token = %(lease_token)s
RETURNING t.item_id, t.state
