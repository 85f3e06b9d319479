-- Purpose: the tables, without the partitions that models add.
-- Parameters: none.
-- A row means: a table: oid, name, partition key, comment, whether it has row-level security.
SELECT c.oid, c.relname, pg_get_partkeydef(c.oid), obj_description(c.oid), c.relrowsecurity
FROM pg_class AS c
WHERE c.relnamespace = 'siglip'::regnamespace AND c.relkind IN ('r', 'p') AND c.relname <> 'alembic_version'
  AND NOT c.relispartition
ORDER BY c.relname
