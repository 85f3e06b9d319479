-- Purpose: make pgvector's types known by name where the extension is in a schema that the search_path leaves out.
-- Parameters: none.
-- A row means: the new search_path; no row where nothing had to be done.
SELECT set_config('search_path', concat_ws(', ', nullif(current_setting('search_path'), ''), quote_ident(n.nspname)), false)
FROM pg_extension AS e JOIN pg_namespace AS n ON n.oid = e.extnamespace
WHERE e.extname = 'vector' AND n.nspname <> ALL (current_schemas(false))
