-- Purpose: write down what a loaded checkpoint is.
-- Parameters: model_id; the fields of ModelInfo.
-- A row means: no rows.
UPDATE siglip.models
SET revision = %(revision)s, dimension = %(dimension)s, logit_scale = %(logit_scale)s, logit_bias = %(logit_bias)s,
    image_settings = %(image_settings)s, text_settings = %(text_settings)s, described_at = now()
WHERE model_id = %(model_id)s
