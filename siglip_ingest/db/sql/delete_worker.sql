-- Purpose: say that a worker has ended.
-- Parameters: worker_id.
-- A row means: no rows.
DELETE FROM siglip.workers WHERE worker_id = %(worker_id)s
