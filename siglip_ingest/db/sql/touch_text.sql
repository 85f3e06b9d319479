-- Purpose: note that a text was used, unless another transaction is just at that row.
-- Parameters: model_id; query as typed.
-- A row means: no rows.
UPDATE siglip.texts AS t SET last_used_at = now()
WHERE (t.model_id, t.text_hash) IN (
    SELECT u.model_id, u.text_hash
    FROM siglip.texts AS u
    WHERE u.model_id = %(model_id)s AND u.text_hash = md5(%(query)s)::uuid
    FOR NO KEY UPDATE SKIP LOCKED
)
