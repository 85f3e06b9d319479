-- Purpose: lock what is still under a claim, in the one order in which items are locked.
-- Parameters: lease_token; model_id.
-- A row means: an item that is locked until the transaction ends.
SELECT t.item_id
FROM siglip.ingest_items AS t
WHERE t.state = 'claimed' AND t.lease_token = %(lease_token)s AND t.model_id = %(model_id)s
ORDER BY t.image_id, t.model_id
FOR NO KEY UPDATE
