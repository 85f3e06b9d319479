-- Purpose: which contents need no embedding.
-- Parameters: model_id; content_hashes, SHA-256.
-- A row means: the hash of a content that has a vector under the model.
SELECT e.content_hash
FROM siglip.image_embeddings AS e
WHERE e.model_id = %(model_id)s AND e.content_hash = ANY (%(content_hashes)s::bytea[])
