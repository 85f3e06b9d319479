-- Purpose: take away what 380_suggesting.sql made.
-- Parameters: none.
-- A row means: as before.

DROP FUNCTION siglip.suggest_examples(text, text, integer, boolean, integer);
