-- Purpose: queue the images under a model: those that have no item there, and those that had failed.
-- Parameters: model_id.
-- A row means: no rows.
INSERT INTO siglip.ingest_items AS t (image_id, model_id)
SELECT i.image_id, %(model_id)s
FROM (SELECT DISTINCT collection, uri FROM pg_temp.siglip_new_images) AS n
JOIN siglip.images AS i USING (collection, uri)
ORDER BY i.image_id
ON CONFLICT (image_id, model_id) DO UPDATE
SET state = 'queued', attempts = 0, is_suspect = false, not_before = now(), error_code = NULL, error_message = NULL,
    updated_at = now()
WHERE t.state = 'failed'
