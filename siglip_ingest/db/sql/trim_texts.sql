-- Purpose: keep the cache bounded.
-- Parameters: model_id; max_rows that stay.
-- A row means: no rows; the number of rows changed is the number of texts forgotten.
DELETE FROM siglip.texts AS t
WHERE t.model_id = %(model_id)s AND t.text_hash IN (
    SELECT u.text_hash
    FROM siglip.texts AS u
    WHERE u.model_id = %(model_id)s
    ORDER BY u.last_used_at DESC, u.text_hash
    OFFSET %(max_rows)s
)
