-- Purpose: let pg_dump keep the rows of the tables, and how far the sequences have counted.
-- Parameters: none.
-- A row means: nothing here has rows. The revision isn't kept: CREATE EXTENSION writes that of its own files.

DO $$
DECLARE
    kept regclass;
BEGIN
    FOR kept IN
        SELECT c.oid
        FROM pg_catalog.pg_class AS c
        WHERE c.relnamespace = 'siglip'::regnamespace AND c.relkind IN ('r', 'S') AND NOT c.relispartition
          AND c.relname <> 'alembic_version'
          AND c.oid <> ALL (coalesce((SELECT x.extconfig FROM pg_catalog.pg_extension AS x WHERE x.extname = 'siglip'), '{}'))
        ORDER BY c.relname
    LOOP
        PERFORM pg_catalog.pg_extension_config_dump(kept, '');  -- one a statement: it changes a row of the catalog
    END LOOP;
END
$$;
