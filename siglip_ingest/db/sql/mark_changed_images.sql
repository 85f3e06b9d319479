-- Purpose: lock the images that are there already, always in the same order, and find those whose source has changed.
-- Parameters: none.
-- A row means: no rows.
WITH existing AS (
    SELECT i.collection, i.uri, i.source_version
    FROM siglip.images AS i
    WHERE (i.collection, i.uri) IN (SELECT n.collection, n.uri FROM pg_temp.siglip_new_images AS n)
    ORDER BY i.collection, i.uri
    FOR NO KEY UPDATE
)
UPDATE pg_temp.siglip_new_images AS n
SET is_changed = n.source_version IS DISTINCT FROM e.source_version
FROM existing AS e
WHERE n.collection = e.collection AND n.uri = e.uri
