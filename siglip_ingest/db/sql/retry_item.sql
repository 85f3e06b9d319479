-- Purpose: queue an item again after an error that may pass, or end it as failed if it was tried often enough.
-- Parameters: item_id; lease_token; code; message; not_before_s, seconds to wait; max_attempts.
-- A row means: no rows; one row is changed, or none where the claim no longer counts.
UPDATE siglip.ingest_items
SET state = CASE WHEN attempts >= %(max_attempts)s THEN 'failed' ELSE 'queued' END, is_suspect = false,
    not_before = clock_timestamp() + make_interval(secs => %(not_before_s)s), lease_token = NULL, lease_expires_at = NULL,
    error_code = %(code)s, error_message = %(message)s, updated_at = now()
WHERE item_id = %(item_id)s AND state = 'claimed' AND lease_token = %(lease_token)s
