-- Purpose: take away what 010_kept_models.sql made.
-- Parameters: none.
-- A row means: as before.

DROP FUNCTION siglip.kept_models();
ALTER TABLE siglip.models DROP COLUMN is_kept;
