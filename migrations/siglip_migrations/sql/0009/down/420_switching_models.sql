-- Purpose: take away what 420_switching_models.sql made.
-- Parameters: none.
-- A row means: as before.

DROP FUNCTION siglip.switch_model(text, boolean, boolean, double precision);
DROP FUNCTION siglip.switch_model(integer, boolean, boolean, double precision);
DROP FUNCTION siglip.missing_under_model(integer);
