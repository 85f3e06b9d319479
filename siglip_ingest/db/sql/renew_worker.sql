-- Purpose: say that a worker lives; the first time, that it is there.
-- Parameters: worker_id; model_id; node; lease_s, seconds that it may be silent for.
-- A row means: no rows.
INSERT INTO siglip.workers AS w (worker_id, model_id, node, lease_s)
VALUES (%(worker_id)s, %(model_id)s, %(node)s, %(lease_s)s)
ON CONFLICT (worker_id) DO UPDATE SET seen_at = clock_timestamp()
