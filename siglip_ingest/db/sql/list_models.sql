-- Purpose: all models and how much each has.
-- Parameters: none.
-- A row means: a model, and the number of its image vectors.
SELECT m.model_id, m.name, m.revision, m.is_active, m.dimension, m.logit_scale, m.logit_bias, m.image_settings, m.text_settings,
       (SELECT count(*) FROM siglip.image_embeddings AS e WHERE e.model_id = m.model_id) AS embedding_count
FROM siglip.models AS m
ORDER BY m.model_id
