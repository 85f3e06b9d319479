-- Purpose: first half of changing the active model; at most one is active at any time.
-- Parameters: model_id of the one to become active.
-- A row means: no rows.
UPDATE siglip.models SET is_active = false WHERE is_active AND model_id <> %(model_id)s
