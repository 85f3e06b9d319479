-- Purpose: which texts the cache has.
-- Parameters: model_id; queries, each cut as siglip.cut_text does.
-- A row means: one of them that is there.
SELECT t.query
FROM siglip.texts AS t
WHERE t.model_id = %(model_id)s AND t.query = ANY (%(queries)s::text[])
  AND t.text_hash = ANY (ARRAY(SELECT pg_catalog.md5(q)::uuid FROM pg_catalog.unnest(%(queries)s::text[]) AS q))
