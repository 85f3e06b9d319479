-- Purpose: whether an image has a vector.
-- Parameters: image_id; model_id.
-- A row means: true where it has.
SELECT EXISTS (
    SELECT
    FROM siglip.images AS i
    JOIN siglip.image_embeddings AS e USING (content_hash)
    WHERE i.image_id = %(image_id)s AND e.model_id = %(model_id)s
)
