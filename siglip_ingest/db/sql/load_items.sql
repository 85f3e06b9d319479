-- Purpose: what is still under a claim.
-- Parameters: lease_token; item_ids.
-- A row means: one of the items that is claimed under that token.
SELECT t.item_id, t.image_id, i.uri,
       EXISTS (SELECT FROM siglip.image_bytes AS b WHERE b.image_id = t.image_id) AS has_content, t.attempts
FROM siglip.ingest_items AS t
JOIN siglip.images AS i USING (image_id)
WHERE t.item_id = ANY (%(item_ids)s) AND t.state = 'claimed' AND t.lease_token = %(lease_token)s
ORDER BY t.item_id
