-- Purpose: add a vocabulary.
-- Parameters: name; template.
-- A row means: its key; no row where the name is taken.
INSERT INTO siglip.label_sets (name, template) VALUES (%(name)s, %(template)s)
ON CONFLICT (name) DO NOTHING
RETURNING label_set_id
