-- Purpose: a text's vector from the cache.
-- Parameters: model_id; query, cut as siglip.cut_text does.
-- A row means: the elements of the vector, NULL where the model can't read the text.
SELECT t.embedding::real[]
FROM siglip.texts AS t
WHERE t.model_id = %(model_id)s AND t.text_hash = pg_catalog.md5(%(query)s)::uuid AND t.query = %(query)s
