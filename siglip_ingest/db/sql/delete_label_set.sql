-- Purpose: delete a vocabulary, its labels and their vectors.
-- Parameters: name.
-- A row means: no rows; one row is deleted, or none where there is none of that name.
DELETE FROM siglip.label_sets WHERE name = %(name)s
