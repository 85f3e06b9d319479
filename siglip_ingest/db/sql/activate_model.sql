-- Purpose: second half of changing the active model.
-- Parameters: model_id.
-- A row means: no rows.
UPDATE siglip.models SET is_active = true WHERE model_id = %(model_id)s AND NOT is_active
