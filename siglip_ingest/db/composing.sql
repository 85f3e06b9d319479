-- name: find_missing_texts
-- Says which of queries, cut as siglip.cut_text does, the cache hasn't under the active model, and whether the role may add to it. One row.
SELECT m.model_id, m.name, m.revision, siglip.can_write_texts() AS can_write, ARRAY(
    SELECT q.query FROM pg_catalog.unnest(%(queries)s::text[]) AS q (query)
    WHERE NOT EXISTS (
        SELECT FROM siglip.texts AS t
        WHERE t.model_id = m.model_id AND t.text_hash = pg_catalog.md5(q.query)::uuid AND t.query = q.query
    )
) AS missing
FROM siglip.active_model() AS m;

-- name: search_composed
-- Searches by parts as siglip.compose takes them, under model_id, or under the active model where that is NULL; a worker has timeout_s seconds
-- for each text that comes without a vector and isn't in the cache. The others as in search.sql. A row is an image, best first.
SELECT r.image_id, r.uri, r.similarity, r.score, r.metadata
FROM siglip.search_images(
    query => siglip.compose(VARIADIC %(parts)s::siglip.query_part[]), max_results => %(limit)s::integer,
    collection => %(collection)s::text, filter => %(filter)s::jsonb, min_score => %(min_score)s::double precision,
    model_id => %(model_id)s::integer, timeout_s => %(timeout_s)s::double precision,
    image_ids => %(image_ids)s::bigint[], skip_results => %(offset)s::integer, after => %(after)s::siglip.search_position) AS r;
