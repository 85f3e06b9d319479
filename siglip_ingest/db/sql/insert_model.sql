-- Purpose: add a checkpoint that waits for a worker to describe it.
-- Parameters: name; revision, '' where it isn't known yet.
-- A row means: the new model.
INSERT INTO siglip.models AS m (name, revision)
VALUES (%(name)s, %(revision)s)
RETURNING m.model_id, m.name, m.revision, m.is_active, m.dimension, m.logit_scale, m.logit_bias, m.image_settings, m.text_settings
