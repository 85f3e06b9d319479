-- Purpose: store the images; of a URI that was given twice, the last one. Rows that say nothing new are not written.
-- Parameters: none.
-- A row means: no rows.
INSERT INTO siglip.images AS i (collection, uri, key, source_version, metadata)
SELECT DISTINCT ON (n.collection, n.uri) n.collection, n.uri, n.key, n.source_version, n.metadata
FROM pg_temp.siglip_new_images AS n
ORDER BY n.collection, n.uri, n.position DESC
ON CONFLICT (collection, uri) DO UPDATE
SET key = coalesce(excluded.key, i.key),
    source_version = excluded.source_version,
    metadata = i.metadata || excluded.metadata,
    updated_at = now()
WHERE (i.key, i.source_version, i.metadata)
    IS DISTINCT FROM (coalesce(excluded.key, i.key), excluded.source_version, i.metadata || excluded.metadata)
