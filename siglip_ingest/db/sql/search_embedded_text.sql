-- Purpose: remember a text's vector, where the role may, and search with it.
-- Parameters: query as typed; embedding; model_id, name, revision of the model that made it; warning; max_rows of the cache.
-- A row means: one image, best first.
SELECT r.image_id, r.uri, r.similarity, r.score, r.metadata
FROM siglip.search_embedded_text(
    %(query)s::text, %(embedding)b, %(model_id)s::integer, %(name)s::text, %(revision)s::text, %(warning)s::text,
    %(max_rows)s::integer, %(limit)s::integer, %(collection)s::text, %(filter)s::jsonb, %(min_score)s::double precision) AS r
