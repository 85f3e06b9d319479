-- Purpose: lock what the ledger has of the images that were handed over, in the one order in which items are locked.
-- Parameters: none.
-- A row means: an item that is locked until the transaction ends.
SELECT t.item_id
FROM siglip.ingest_items AS t
WHERE t.image_id IN (SELECT i.image_id FROM siglip.images AS i JOIN pg_temp.siglip_new_images AS n USING (collection, uri))
ORDER BY t.image_id, t.model_id
FOR NO KEY UPDATE
