-- Purpose: lock the items of a model, in the one order in which items are locked, before its vectors are.
-- Parameters: model_id.
-- A row means: an item that is locked until the transaction ends.
SELECT t.item_id FROM siglip.ingest_items AS t WHERE t.model_id = %(model_id)s ORDER BY t.image_id, t.model_id FOR UPDATE
