-- Purpose: say that an update has brought the schema to another revision.
-- Parameters: @revision@, that revision.
-- A row means: as before.

UPDATE siglip.alembic_version SET version_num = '@revision@';
