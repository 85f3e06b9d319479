-- Purpose: make what siglip-ingest migrate made a part of the extension, as if CREATE EXTENSION had made it.
-- Parameters: none.
-- A row means: nothing here has rows. What models and servers add later stays outside, as it does after CREATE EXTENSION.

DO $$
DECLARE
    statement text;
BEGIN
    FOR statement IN
        SELECT format('ALTER EXTENSION siglip ADD %s siglip.%I',
                      CASE c.relkind WHEN 'v' THEN 'VIEW' WHEN 'S' THEN 'SEQUENCE' WHEN 'c' THEN 'TYPE' ELSE 'TABLE' END, c.relname)
        FROM pg_catalog.pg_class AS c
        WHERE c.relnamespace = 'siglip'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'S', 'c') AND NOT c.relispartition
        UNION ALL
        SELECT format('ALTER EXTENSION siglip ADD ROUTINE %s', p.oid::regprocedure)
        FROM pg_catalog.pg_proc AS p
        WHERE p.pronamespace = 'siglip'::regnamespace AND p.proname !~ '^nearest_images_[0-9]+$'
    LOOP
        EXECUTE statement;
    END LOOP;
END
$$;
