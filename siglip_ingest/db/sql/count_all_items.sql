-- Purpose: how far everything is.
-- Parameters: model_id, NULL for all.
-- A row means: a state, and how many items are in it.
SELECT t.state, count(*)
FROM siglip.ingest_items AS t
WHERE %(model_id)s::integer IS NULL OR t.model_id = %(model_id)s::integer
GROUP BY t.state
