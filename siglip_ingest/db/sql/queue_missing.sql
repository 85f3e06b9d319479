-- Purpose: queue every image that has no item under a model.
-- Parameters: model_id.
-- A row means: no rows; the number of rows changed is the number of images queued.
INSERT INTO siglip.ingest_items (image_id, model_id)
SELECT i.image_id, %(model_id)s
FROM siglip.images AS i
WHERE NOT EXISTS (
    SELECT FROM siglip.ingest_items AS t WHERE t.image_id = i.image_id AND t.model_id = %(model_id)s
)
ORDER BY i.image_id
ON CONFLICT (image_id, model_id) DO NOTHING
