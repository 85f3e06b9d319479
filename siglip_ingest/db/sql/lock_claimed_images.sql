-- Purpose: lock a claim's images before its items, in the order of insert_images, so that the two never wait in a circle.
-- Parameters: lease_token; model_id.
-- A row means: an image that is locked until the transaction ends.
SELECT i.image_id
FROM siglip.images AS i
WHERE i.image_id IN (
    SELECT t.image_id FROM siglip.ingest_items AS t
    WHERE t.state = 'claimed' AND t.lease_token = %(lease_token)s AND t.model_id = %(model_id)s
)
ORDER BY i.collection, i.uri
FOR NO KEY UPDATE
