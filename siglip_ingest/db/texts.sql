-- name: find_text
-- Returns the elements of a text's vector from the cache, NULL where the model can't read the text. query is cut as siglip.cut_text does.
SELECT t.embedding::real[]
FROM siglip.texts AS t
WHERE t.model_id = %(model_id)s AND t.text_hash = pg_catalog.md5(%(query)s)::uuid AND t.query = %(query)s;

-- name: store_text
-- Caches the vector that a model (model_id, name, revision) made of a text, or the refusal where the vector is NULL. The cache keeps
-- max_rows texts; warning says what the model doesn't read of this one.
SELECT siglip.store_text(
    %(query)s::text, %(embedding)b, %(model_id)s::integer, %(name)s::text, %(revision)s::text, %(warning)s::text,
    %(refusal)s::text, %(max_rows)s::integer);

-- name: embed_text
-- Returns the elements of a text's vector, from the cache, or from a worker within timeout_s seconds.
SELECT siglip.embed_text(%(query)s::text, %(model_id)s::integer, %(timeout_s)s::double precision)::real[];
