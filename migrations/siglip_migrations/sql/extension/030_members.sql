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
        UNION ALL
        SELECT format('ALTER EXTENSION siglip ADD TYPE siglip.%I', t.typname)
        FROM pg_catalog.pg_type AS t
        WHERE t.typnamespace = 'siglip'::regnamespace AND t.typtype IN ('d', 'e', 'r')
        UNION ALL
        SELECT format('ALTER EXTENSION siglip ADD OPERATOR %s', o.oid::regoperator)
        FROM pg_catalog.pg_operator AS o
        WHERE o.oprnamespace = 'siglip'::regnamespace
    LOOP
        EXECUTE statement;
    END LOOP;
END
$$;
