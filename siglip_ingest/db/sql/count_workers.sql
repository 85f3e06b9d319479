-- Purpose: how many workers live.
-- Parameters: model_id, NULL for any.
-- A row means: their number.
SELECT count(*)
FROM siglip.workers AS w
WHERE (%(model_id)s::integer IS NULL OR w.model_id = %(model_id)s::integer)
  AND w.seen_at > clock_timestamp() - pg_catalog.make_interval(secs => w.lease_s)
