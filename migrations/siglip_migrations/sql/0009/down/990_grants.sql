-- Purpose: take away what 990_grants.sql made.
-- Parameters: none.
-- A row means: as before.

SELECT 1;  -- grants go with their tables
