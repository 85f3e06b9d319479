-- Purpose: the images most similar to one that is indexed.
-- Parameters: image_id; limit; collection, filter, min_score, each NULL for none.
-- A row means: one image, best first, without that one.
SELECT r.image_id, r.uri, r.similarity, r.score, r.metadata
FROM siglip.similar_images(
    image_id => %(image_id)s::bigint, max_results => %(limit)s::integer, collection => %(collection)s::text,
    filter => %(filter)s::jsonb, min_score => %(min_score)s::double precision) AS r
