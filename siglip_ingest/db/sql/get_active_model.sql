-- Purpose: the model that searches use.
-- Parameters: none.
-- A row means: that model; no row where none is active.
SELECT m.model_id, m.name, m.revision, m.is_active, m.dimension, m.logit_scale, m.logit_bias, m.image_settings, m.text_settings
FROM siglip.models AS m
WHERE m.is_active
