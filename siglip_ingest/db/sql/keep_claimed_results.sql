-- Purpose: drop the results of items that are no longer under the claim.
-- Parameters: model_id; lease_token.
-- A row means: no rows.
DELETE FROM pg_temp.siglip_new_results AS r
WHERE (r.item_id, r.image_id) NOT IN (
    SELECT t.item_id, t.image_id FROM siglip.ingest_items AS t
    WHERE t.state = 'claimed' AND t.lease_token = %(lease_token)s AND t.model_id = %(model_id)s
)
