-- Purpose: all vocabularies.
-- Parameters: none.
-- A row means: a vocabulary with its labels in order.
SELECT s.label_set_id, s.name, s.template,
       ARRAY(SELECT l.label FROM siglip.labels AS l WHERE l.label_set_id = s.label_set_id ORDER BY l.position)
FROM siglip.label_sets AS s
ORDER BY s.name
