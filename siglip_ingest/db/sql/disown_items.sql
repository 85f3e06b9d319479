-- Purpose: leave a claim whose work doesn't move to whoever looks for lost ones.
-- Parameters: lease_token.
-- A row means: no rows; the number of rows changed is the number of items left.
WITH held AS MATERIALIZED (
    SELECT t.item_id FROM siglip.ingest_items AS t
    WHERE t.state = 'claimed' AND t.lease_token = %(lease_token)s
    ORDER BY t.image_id, t.model_id
    FOR NO KEY UPDATE
)
UPDATE siglip.ingest_items AS t SET worker_id = gen_random_uuid() FROM held AS h WHERE t.item_id = h.item_id
