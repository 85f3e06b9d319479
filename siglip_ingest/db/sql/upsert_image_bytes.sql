-- Purpose: store the content of images that were handed over as bytes.
-- Parameters: none.
-- A row means: no rows.
INSERT INTO siglip.image_bytes AS b (image_id, content)
SELECT DISTINCT ON (i.image_id) i.image_id, n.content
FROM pg_temp.siglip_new_images AS n
JOIN siglip.images AS i USING (collection, uri)
WHERE n.content IS NOT NULL
ORDER BY i.image_id, n.position DESC
ON CONFLICT (image_id) DO UPDATE SET content = excluded.content WHERE b.content <> excluded.content
