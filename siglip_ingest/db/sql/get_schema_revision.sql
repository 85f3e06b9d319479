-- Purpose: at which migration the schema is.
-- Parameters: none.
-- A row means: its revision; no row after a downgrade to base.
SELECT version_num FROM siglip.alembic_version
