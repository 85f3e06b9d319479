-- Purpose: the images that fit a text best, where its vector is in the cache.
-- Parameters: query as typed; limit; collection, filter, min_score, each NULL for none.
-- A row means: the model that was searched under, whether it has the text's vector, and one image, best first; no image, one row.
SELECT r.model_id, r.name, r.revision, r.is_cached, r.image_id, r.uri, r.similarity, r.score, r.metadata
FROM siglip.search_cached_text(
    %(query)s::text, %(limit)s::integer, %(collection)s::text, %(filter)s::jsonb, %(min_score)s::double precision) AS r
