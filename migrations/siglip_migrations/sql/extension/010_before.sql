-- Purpose: look at what is there before the extension makes the schema.
-- Parameters: none.
-- A row means: nothing here has rows.

SET LOCAL client_min_messages = error;  -- else revision 0001 warns, where wal_level is lower, of a publication that 0004 drops

DO $$
DECLARE
    revision text;
BEGIN
    IF EXISTS (SELECT FROM pg_catalog.pg_extension AS x
               WHERE x.extname = 'vector' AND x.extnamespace = 'siglip'::regnamespace) THEN
        -- CASCADE puts it there for a role called siglip, and other roles would not find its types.
        RAISE EXCEPTION 'The extension vector is in the schema siglip, which is not for it.'
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  HINT = 'CREATE EXTENSION vector SCHEMA public; first, then CREATE EXTENSION siglip;';
    END IF;
    IF to_regclass('siglip.alembic_version') IS NULL THEN
        RETURN;
    END IF;
    EXECUTE 'SELECT v.version_num FROM siglip.alembic_version AS v' INTO revision;
    IF revision IS NOT NULL THEN
        RAISE EXCEPTION 'The schema siglip is here already, at revision %: siglip-ingest migrate made it.', revision
            USING ERRCODE = 'duplicate_schema',
                  HINT = 'CREATE EXTENSION siglip VERSION ''unpackaged''; then ALTER EXTENSION siglip UPDATE; make it an extension.';
    END IF;
    EXECUTE 'DROP TABLE siglip.alembic_version';  -- what siglip-ingest migrate base leaves
END
$$;
