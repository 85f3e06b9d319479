-- Purpose: take away what 290_diverse_images.sql made.
-- Parameters: none.
-- A row means: as before.

DROP FUNCTION siglip.diverse_images(bigint, integer, double precision, text, jsonb, double precision, integer);
DROP FUNCTION siglip.diverse_images(@vector@.halfvec, integer, double precision, text, jsonb, double precision, integer);
DROP FUNCTION siglip.diverse_images(text, integer, double precision, text, jsonb, double precision, integer, double precision);
DROP FUNCTION siglip.diverse_matches(
    siglip.models, @vector@.halfvec, integer, double precision, text, jsonb, double precision, bigint);
