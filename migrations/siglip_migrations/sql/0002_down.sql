-- Purpose: take away what revision 0002 made: the view and the functions; no data.
-- Parameters: none.
-- A row means: nothing is left of them.

DROP FUNCTION siglip.images_with_label(text, text, double precision, integer, text, jsonb);
DROP VIEW siglip.label_scores;
DROP FUNCTION siglip.similar_images(bigint, integer, text, jsonb, double precision);
DROP FUNCTION siglip.search_images(text, integer, text, jsonb, double precision);
DROP FUNCTION siglip.search_images(halfvec, integer, text, jsonb, double precision);
DROP FUNCTION siglip.nearest_images(siglip.models, halfvec, integer, text, jsonb, double precision, bigint);
DROP FUNCTION siglip.nearest_images_query(integer, boolean, boolean, boolean, boolean);
DROP FUNCTION siglip.check_max_results(integer);
DROP TYPE siglip.image_match;
DROP FUNCTION siglip.embed_text(text, integer);
DROP FUNCTION siglip.request_text(text, integer);
DROP FUNCTION siglip.score(double precision);
DROP FUNCTION siglip.active_model();
DROP FUNCTION siglip.score(double precision, double precision, double precision);
