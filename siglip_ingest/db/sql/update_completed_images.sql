-- Purpose: write down what the images are.
-- Parameters: none.
-- A row means: no rows.
UPDATE siglip.images AS i
SET content_hash = r.content_hash, width = r.width, height = r.height, format = r.format, updated_at = now()
FROM pg_temp.siglip_new_results AS r
WHERE i.image_id = r.image_id
  AND (i.content_hash, i.width, i.height, i.format) IS DISTINCT FROM (r.content_hash, r.width, r.height, r.format)
