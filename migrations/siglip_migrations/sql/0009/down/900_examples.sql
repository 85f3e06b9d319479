-- Purpose: take away what 900_examples.sql made.
-- Parameters: none.
-- A row means: as before.

DO $$
DECLARE
    example record;
BEGIN
    FOR example IN
        SELECT p.oid::regprocedure AS function, obj_description(p.oid, 'pg_proc') AS description
        FROM pg_proc AS p
        WHERE p.pronamespace = 'siglip'::regnamespace AND obj_description(p.oid, 'pg_proc') LIKE E'%\nExample: %'
    LOOP
        EXECUTE format('COMMENT ON ROUTINE %s IS %L', example.function, split_part(example.description, E'\nExample: ', 1));
    END LOOP;
END
$$;
