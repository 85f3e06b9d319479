-- Purpose: store the vectors; of a content that has one, the old one stays.
-- Parameters: model_id.
-- A row means: no rows. Sorted, so that two workers with the same contents don't wait for each other in a circle.
INSERT INTO siglip.image_embeddings (model_id, content_hash, embedding)
SELECT DISTINCT ON (r.content_hash) %(model_id)s::integer, r.content_hash, r.embedding
FROM pg_temp.siglip_new_results AS r
WHERE r.embedding IS NOT NULL
ORDER BY r.content_hash
ON CONFLICT DO NOTHING
