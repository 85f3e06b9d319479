-- Purpose: queue what failed once more.
-- Parameters: model_id; collection, NULL for all.
-- A row means: no rows; the number of rows changed is the number of items queued.
UPDATE siglip.ingest_items AS t
SET state = 'queued', attempts = 0, is_suspect = false, not_before = now(), error_code = NULL, error_message = NULL,
    updated_at = now()
FROM siglip.images AS i
WHERE i.image_id = t.image_id AND t.model_id = %(model_id)s AND t.state = 'failed'
  AND (%(collection)s::text IS NULL OR i.collection = %(collection)s::text)
