-- Purpose: give what waits for a model that will never come to another one.
-- Parameters: from_model_id; to_model_id.
-- A row means: no rows; the number of rows changed is the number of items moved.
WITH waiting AS MATERIALIZED (
    SELECT t.item_id
    FROM siglip.ingest_items AS t
    WHERE t.model_id = %(from_model_id)s AND t.state IN ('queued', 'failed')
      AND NOT EXISTS (
          SELECT FROM siglip.ingest_items AS o WHERE o.image_id = t.image_id AND o.model_id = %(to_model_id)s
      )
    ORDER BY t.image_id, t.model_id
    FOR NO KEY UPDATE OF t
)
UPDATE siglip.ingest_items AS t
SET model_id = %(to_model_id)s, state = 'queued', attempts = 0, is_suspect = false, not_before = now(),
    error_code = NULL, error_message = NULL, updated_at = now()
FROM waiting AS w
WHERE t.item_id = w.item_id
