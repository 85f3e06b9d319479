-- Purpose: take away what 010_api_keys.sql made.
-- Parameters: none.
-- A row means: as before.

DROP TABLE siglip.api_sessions;
DROP TABLE siglip.api_keys;
