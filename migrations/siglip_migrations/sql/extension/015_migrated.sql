-- Purpose: look at a schema that siglip-ingest migrate made before it becomes an extension.
-- Parameters: @revision@, where it must be.
-- A row means: nothing here has rows.

DO $$
DECLARE
    revision text;
BEGIN
    IF to_regclass('siglip.alembic_version') IS NOT NULL THEN
        EXECUTE 'SELECT v.version_num FROM siglip.alembic_version AS v' INTO revision;
    END IF;
    IF revision IS DISTINCT FROM '@revision@' THEN
        RAISE EXCEPTION 'The schema siglip is at revision %, not at @revision@.', coalesce(revision, 'base')
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  HINT = 'CREATE EXTENSION siglip makes a new one; siglip-ingest migrate --revision @revision@ brings an older one there.';
    END IF;
END
$$;
