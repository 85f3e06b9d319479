-- Purpose: the images that fit a text best; a new text is embedded by a worker meanwhile.
-- Parameters: query as typed; timeout_s, seconds that a worker has; limit; collection, filter, min_score, each NULL for none.
-- A row means: one image, best first.
SELECT r.image_id, r.uri, r.similarity, r.score, r.metadata
FROM siglip.search_images(
    query => %(query)s::text, max_results => %(limit)s::integer, collection => %(collection)s::text,
    filter => %(filter)s::jsonb, min_score => %(min_score)s::double precision,
    timeout_s => %(timeout_s)s::double precision) AS r
