-- Purpose: the images that are to be embedded, are embedded, or have failed under a model.
-- Parameters: model_id; collection, or NULL for all.
-- A row means: an image_id, in order.
SELECT t.image_id
FROM siglip.ingest_items AS t JOIN siglip.images AS i USING (image_id)
WHERE t.model_id = %(model_id)s AND (%(collection)s::text IS NULL OR i.collection = %(collection)s)
ORDER BY t.image_id
