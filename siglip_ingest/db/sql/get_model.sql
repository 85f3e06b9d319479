-- Purpose: one model by its key.
-- Parameters: model_id.
-- A row means: the model.
SELECT m.model_id, m.name, m.revision, m.is_active, m.dimension, m.logit_scale, m.logit_bias, m.image_settings, m.text_settings
FROM siglip.models AS m
WHERE m.model_id = %(model_id)s
