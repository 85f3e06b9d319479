-- Purpose: the indexes of a table that no constraint makes.
-- Parameters: oid of the table.
-- A row means: an index as SQL.
SELECT pg_get_indexdef(i.indexrelid)
FROM pg_index AS i
WHERE i.indrelid = %s AND NOT EXISTS (SELECT FROM pg_constraint AS c WHERE c.conindid = i.indexrelid)
ORDER BY i.indexrelid::regclass::text
