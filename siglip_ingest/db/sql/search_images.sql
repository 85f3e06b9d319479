-- Purpose: the images nearest to a vector.
-- Parameters: embedding; model_id, NULL for the active model; limit; collection, filter, min_score, each NULL for none.
-- A row means: one image, best first.
SELECT r.image_id, r.uri, r.similarity, r.score, r.metadata
FROM siglip.search_images(
    query_embedding => %(embedding)b, max_results => %(limit)s::integer, collection => %(collection)s::text,
    filter => %(filter)s::jsonb, min_score => %(min_score)s::double precision, model_id => %(model_id)s::integer) AS r
