-- Purpose: hand back what a worker holds under other claims than it knows of, as if it had not been claimed.
-- Parameters: worker_id; lease_tokens, the claims that it knows of.
-- A row means: the model of an item that was handed back.
WITH held AS MATERIALIZED (
    SELECT t.item_id FROM siglip.ingest_items AS t
    WHERE t.state = 'claimed' AND t.worker_id = %(worker_id)s AND t.lease_token <> ALL (%(lease_tokens)s::uuid[])
    ORDER BY t.image_id, t.model_id
    FOR NO KEY UPDATE
)
UPDATE siglip.ingest_items AS t
SET state = 'queued', attempts = greatest(0, t.attempts - 1), lease_token = NULL, worker_id = NULL, updated_at = now()
FROM held AS h
WHERE t.item_id = h.item_id
RETURNING t.model_id
