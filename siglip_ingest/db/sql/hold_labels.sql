-- Purpose: keep labels from being deleted until the transaction ends.
-- Parameters: label_ids.
-- A row means: one of them that is there.
SELECT l.label_id FROM siglip.labels AS l WHERE l.label_id = ANY (%(label_ids)s::integer[]) ORDER BY l.label_id FOR KEY SHARE
