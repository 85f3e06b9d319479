-- Purpose: close the items whose content has a vector now.
-- Parameters: model_id; lease_token.
-- A row means: no rows; the number of rows changed is the number of items closed.
UPDATE siglip.ingest_items AS t
SET state = 'done', is_suspect = false, lease_token = NULL, worker_id = NULL, error_code = NULL, error_message = NULL,
    updated_at = now()
FROM pg_temp.siglip_new_results AS r
WHERE t.item_id = r.item_id AND t.state = 'claimed' AND t.lease_token = %(lease_token)s
  AND EXISTS (
      SELECT FROM siglip.image_embeddings AS e WHERE e.model_id = %(model_id)s AND e.content_hash = r.content_hash
  )
