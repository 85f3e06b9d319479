-- Purpose: queue what failed once more.
-- Parameters: model_id; collection, NULL for all.
-- A row means: no rows; the number of rows changed is the number of items queued.
WITH failed AS MATERIALIZED (
    SELECT t.item_id
    FROM siglip.ingest_items AS t
    JOIN siglip.images AS i USING (image_id)
    WHERE t.model_id = %(model_id)s AND t.state = 'failed'
      AND (%(collection)s::text IS NULL OR i.collection = %(collection)s::text)
    ORDER BY t.image_id, t.model_id
    FOR NO KEY UPDATE OF t
)
UPDATE siglip.ingest_items AS t
SET state = 'queued', attempts = 0, is_suspect = false, not_before = now(), error_code = NULL, error_message = NULL,
    updated_at = now()
FROM failed AS f
WHERE t.item_id = f.item_id
