-- Purpose: the views.
-- Parameters: none.
-- A row means: a view: name, query, comment.
SELECT c.relname, pg_get_viewdef(c.oid), obj_description(c.oid)
FROM pg_class AS c
WHERE c.relnamespace = 'siglip'::regnamespace AND c.relkind = 'v'
ORDER BY c.relname
