-- Purpose: the keys of the images that were handed over.
-- Parameters: none.
-- A row means: one of them, in the order in which they came.
SELECT i.image_id
FROM pg_temp.siglip_new_images AS n
JOIN siglip.images AS i USING (collection, uri)
ORDER BY n.position
