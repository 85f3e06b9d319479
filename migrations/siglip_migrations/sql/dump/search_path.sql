-- Purpose: write names of the schema siglip with their schema, and pgvector's types without theirs.
-- Parameters: none.
-- A row means: the search_path, until the transaction ends.
SELECT set_config('search_path', quote_ident(n.nspname), true)
FROM pg_extension AS e JOIN pg_namespace AS n ON n.oid = e.extnamespace
WHERE e.extname = 'vector'
