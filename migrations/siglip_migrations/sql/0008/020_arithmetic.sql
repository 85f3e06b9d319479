-- Purpose: which arithmetic made a model's vectors.
-- Parameters: none.
-- A row means: of siglip.models, as before.

ALTER TABLE siglip.models ADD COLUMN arithmetics text[] NOT NULL DEFAULT '{}';

COMMENT ON COLUMN siglip.models.arithmetics
    IS 'What the workers that made its image vectors computed in, in the order of their first starts: float32, bfloat16, int8 (ONNX Runtime 1.32.0).';
