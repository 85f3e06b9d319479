-- Purpose: a text's vector from the cache.
-- Parameters: model_id; query as typed.
-- A row means: the elements of the vector; whether its use should be noted, which once a day is enough for.
SELECT t.embedding::real[],
       t.last_used_at < now() - interval '1 day' AND has_table_privilege('siglip.texts', 'UPDATE')
           AND current_setting('transaction_read_only') = 'off' AS is_to_touch
FROM siglip.texts AS t
WHERE t.model_id = %(model_id)s AND t.text_hash = md5(%(query)s)::uuid AND t.query = %(query)s
