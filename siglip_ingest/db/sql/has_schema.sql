-- Purpose: whether the schema was ever migrated. Asked first: a table that isn't there is an error.
-- Parameters: none.
-- A row means: true where siglip.alembic_version exists.
SELECT pg_catalog.to_regclass('siglip.alembic_version') IS NOT NULL
