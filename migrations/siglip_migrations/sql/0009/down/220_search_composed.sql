-- Purpose: take the search by composed queries away.
-- Parameters: none.
-- A row means: nothing; there are none.

DROP FUNCTION siglip.search_images(
    siglip.query_part, integer, text, jsonb, double precision, integer, double precision, bigint[], integer, siglip.search_position);
DROP FUNCTION siglip.search_images(
    siglip.composed_query, integer, text, jsonb, double precision, integer, double precision, bigint[], integer, siglip.search_position);
DROP FUNCTION siglip.has_more_images(text, jsonb, bigint[], integer);
DROP FUNCTION siglip.composed_query_text(integer, text, text, boolean);
DROP FUNCTION siglip.composed_candidates(siglip.embedded_part[], siglip.models, text, jsonb, bigint[]);
DROP FUNCTION siglip.sum_parts(siglip.embedded_part[], double precision);
DROP FUNCTION siglip.embed_parts(siglip.composed_query, siglip.models, double precision);
