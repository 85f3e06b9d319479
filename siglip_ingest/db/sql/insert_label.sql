-- Purpose: add a label to a vocabulary.
-- Parameters: label_set_id; position from 0; label; prompts.
-- A row means: the label's key.
INSERT INTO siglip.labels (label_set_id, position, label, prompts)
VALUES (%(label_set_id)s, %(position)s, %(label)s, %(prompts)s)
RETURNING label_id
