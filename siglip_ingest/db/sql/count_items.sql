-- Purpose: how far some images are under a model.
-- Parameters: image_ids; model_id.
-- A row means: a state, and how many items are in it.
SELECT t.state, count(*)
FROM siglip.ingest_items AS t
WHERE t.image_id = ANY (%(image_ids)s::bigint[]) AND t.model_id = %(model_id)s
GROUP BY t.state
