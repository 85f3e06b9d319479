-- The schema itself stands in migrations/schema.sql.

-- name: get_schema_revision
-- Returns the revision that the schema is at; no row after a downgrade to base.
SELECT version_num FROM siglip.alembic_version;
