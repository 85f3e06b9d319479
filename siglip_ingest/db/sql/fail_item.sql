-- Purpose: end an item as failed.
-- Parameters: item_id; lease_token; code, a short word; message, a sentence.
-- A row means: no rows; one row is changed, or none where the claim no longer counts.
UPDATE siglip.ingest_items
SET state = 'failed', lease_token = NULL, lease_expires_at = NULL, error_code = %(code)s, error_message = %(message)s,
    updated_at = now()
WHERE item_id = %(item_id)s AND state = 'claimed' AND lease_token = %(lease_token)s
