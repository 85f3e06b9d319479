-- Purpose: take away what 390_explaining.sql made.
-- Parameters: none.
-- A row means: as before.

DROP FUNCTION siglip.explain_score(bigint, text, text, integer);
DROP FUNCTION siglip.describe_score(double precision);
