-- Purpose: lock the images before their items, and in the order of insert_images, so that the two never wait for each other.
-- Parameters: none.
-- A row means: an image that is locked until the transaction ends.
SELECT i.image_id
FROM siglip.images AS i
WHERE i.image_id IN (SELECT r.image_id FROM pg_temp.siglip_new_results AS r)
ORDER BY i.collection, i.uri
FOR NO KEY UPDATE
