-- Purpose: take away what 250_relevant_images.sql made.
-- Parameters: none.
-- A row means: as before.

DROP FUNCTION siglip.relevant_images(@vector@.halfvec, double precision, text, jsonb, integer);
DROP FUNCTION siglip.relevant_images(text, double precision, text, jsonb, integer, double precision);
DROP FUNCTION siglip.images_above(siglip.models, @vector@.halfvec, double precision, text, jsonb);
DROP FUNCTION siglip.narrowing(text, text, jsonb);
