-- Purpose: empty a vocabulary.
-- Parameters: label_set_id.
-- A row means: no rows.
DELETE FROM siglip.labels WHERE label_set_id = %(label_set_id)s
