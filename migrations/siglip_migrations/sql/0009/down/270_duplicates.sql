-- Purpose: take away what 270_duplicates.sql made.
-- Parameters: none.
-- A row means: as before.

DROP FUNCTION siglip.duplicate_groups(double precision, text, jsonb, integer);
DROP FUNCTION siglip.group_pairs(bigint[], bigint[]);
DROP FUNCTION siglip.near_duplicates(double precision, text, jsonb, integer, bigint, bigint, integer);
DROP FUNCTION siglip.near_duplicate_contents(siglip.models, double precision, text, jsonb, bigint, bigint);
DROP FUNCTION siglip.check_similarity(text, double precision, double precision);
