-- Purpose: the composite types.
-- Parameters: none.
-- A row means: a type, its comment, and its attributes as SQL.
SELECT t.typname, obj_description(t.oid, 'pg_type'),
       (SELECT string_agg(format('    %I %s', a.attname, format_type(a.atttypid, a.atttypmod)), E',\n' ORDER BY a.attnum)
        FROM pg_attribute AS a WHERE a.attrelid = t.typrelid)
FROM pg_type AS t JOIN pg_class AS c ON c.oid = t.typrelid
WHERE t.typnamespace = 'siglip'::regnamespace AND c.relkind = 'c'
ORDER BY t.typname
