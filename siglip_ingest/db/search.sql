-- In all of these limit is the most rows; collection, filter (JSON), image_ids and min_score (0 to 1) are NULL for no restriction; offset
-- rows are left out before them, or all up to the position after, (similarity,image_id). A row is an image, best first.

-- name: search_cached_text
-- Searches by a text as typed, if the cache has its vector. Each row has the active model and whether the cache has the vector; where no
-- image is found, there is one row without an image.
SELECT r.model_id, r.name, r.revision, r.is_cached, r.image_id, r.uri, r.similarity, r.score, r.metadata
FROM siglip.search_cached_text(
    %(query)s::text, %(limit)s::integer, %(collection)s::text, %(filter)s::jsonb, %(min_score)s::double precision,
    %(image_ids)s::bigint[], %(offset)s::integer, %(after)s::siglip.search_position) AS r;

-- name: search_embedded_text
-- Caches the vector that a model (model_id, name, revision) made of a text, where the role may, and searches with it. The cache keeps
-- max_rows texts; warning says what the model doesn't read of this one.
SELECT r.image_id, r.uri, r.similarity, r.score, r.metadata
FROM siglip.search_embedded_text(
    %(query)s::text, %(embedding)b, %(model_id)s::integer, %(name)s::text, %(revision)s::text, %(warning)s::text,
    %(max_rows)s::integer, %(limit)s::integer, %(collection)s::text, %(filter)s::jsonb, %(min_score)s::double precision,
    %(image_ids)s::bigint[], %(offset)s::integer, %(after)s::siglip.search_position) AS r;

-- name: search_text
-- Searches by a text as typed under model_id, or the active model where that is NULL; where the cache hasn't its vector, a worker has
-- timeout_s seconds to embed it.
SELECT r.image_id, r.uri, r.similarity, r.score, r.metadata
FROM siglip.search_images(
    query => %(query)s::text, max_results => %(limit)s::integer, collection => %(collection)s::text,
    filter => %(filter)s::jsonb, min_score => %(min_score)s::double precision,
    model_id => %(model_id)s::integer, timeout_s => %(timeout_s)s::double precision,
    image_ids => %(image_ids)s::bigint[], skip_results => %(offset)s::integer, after => %(after)s::siglip.search_position) AS r;

-- name: search_images
-- Searches by a vector of model_id, or of the active model where that is NULL.
SELECT r.image_id, r.uri, r.similarity, r.score, r.metadata
FROM siglip.search_images(
    query_embedding => %(embedding)b, max_results => %(limit)s::integer, collection => %(collection)s::text,
    filter => %(filter)s::jsonb, min_score => %(min_score)s::double precision, model_id => %(model_id)s::integer,
    image_ids => %(image_ids)s::bigint[], skip_results => %(offset)s::integer, after => %(after)s::siglip.search_position) AS r;

-- name: similar_images
-- Searches by an indexed image, which isn't among the rows.
SELECT r.image_id, r.uri, r.similarity, r.score, r.metadata
FROM siglip.similar_images(
    image_id => %(image_id)s::bigint, max_results => %(limit)s::integer, collection => %(collection)s::text,
    filter => %(filter)s::jsonb, min_score => %(min_score)s::double precision,
    image_ids => %(image_ids)s::bigint[], skip_results => %(offset)s::integer, after => %(after)s::siglip.search_position) AS r;
