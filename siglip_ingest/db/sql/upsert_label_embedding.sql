-- Purpose: store a label's vector under a model.
-- Parameters: model_id; label_id; embedding.
-- A row means: no rows.
INSERT INTO siglip.label_embeddings (model_id, label_id, embedding)
VALUES (%(model_id)s, %(label_id)s, %(embedding)b)
ON CONFLICT (model_id, label_id) DO UPDATE SET embedding = excluded.embedding
