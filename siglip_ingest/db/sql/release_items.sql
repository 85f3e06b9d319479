-- Purpose: hand back what is left of a claim, as if it had not been claimed.
-- Parameters: lease_token.
-- A row means: the model of an item that was handed back.
UPDATE siglip.ingest_items
SET state = 'queued', attempts = greatest(0, attempts - 1), lease_token = NULL, lease_expires_at = NULL, updated_at = now()
WHERE state = 'claimed' AND lease_token = %(lease_token)s
RETURNING model_id
