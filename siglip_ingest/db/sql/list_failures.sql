-- Purpose: which images failed, and why.
-- Parameters: image_ids; model_id.
-- A row means: one image that failed.
SELECT t.image_id, i.uri, t.error_code, t.error_message
FROM siglip.ingest_items AS t
JOIN siglip.images AS i USING (image_id)
WHERE t.image_id = ANY (%(image_ids)s::bigint[]) AND t.model_id = %(model_id)s AND t.state = 'failed'
ORDER BY t.image_id
