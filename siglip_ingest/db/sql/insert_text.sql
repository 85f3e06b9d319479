-- Purpose: remember a text's vector.
-- Parameters: model_id; query as typed; embedding as text.
-- A row means: no rows.
INSERT INTO siglip.texts (model_id, query, embedding)
VALUES (%(model_id)s, %(query)s, %(embedding)s::text::halfvec)
ON CONFLICT (model_id, text_hash) DO NOTHING
