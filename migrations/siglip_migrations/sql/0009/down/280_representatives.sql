-- Purpose: take away what 280_representatives.sql made.
-- Parameters: none.
-- A row means: as before.

DROP FUNCTION siglip.representatives(integer, text, jsonb, integer, integer, integer);
