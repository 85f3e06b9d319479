-- Purpose: add a vocabulary, or, with replace, take the place of the one of that name; two at once wait for each other.
-- Parameters: name; template; replace.
-- A row means: its key; no row where the name is taken.
INSERT INTO siglip.label_sets AS s (name, template) VALUES (%(name)s, %(template)s)
ON CONFLICT (name) DO UPDATE SET template = excluded.template WHERE %(replace)s
RETURNING s.label_set_id
