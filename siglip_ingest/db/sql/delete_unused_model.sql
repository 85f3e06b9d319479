-- Purpose: take out a model that was never used; its queue, texts and labels' vectors go with it.
-- Parameters: model_id.
-- A row means: the model that is gone; none where it is active or has vectors of images.
DELETE FROM siglip.models AS m
WHERE
    m.model_id = %(model_id)s
    AND NOT m.is_active
    AND NOT EXISTS (SELECT FROM siglip.image_embeddings AS e WHERE e.model_id = m.model_id)
RETURNING m.model_id
