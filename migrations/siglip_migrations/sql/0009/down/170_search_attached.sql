-- Purpose: take away what 170_search_attached.sql made.
-- Parameters: none.
-- A row means: as before.

DROP FUNCTION siglip.search_rows(anyelement, text, integer, jsonb, double precision, integer, double precision);
DROP FUNCTION siglip.search(regclass, text, integer, jsonb, double precision, integer, double precision);
DROP FUNCTION siglip.search(regclass, @vector@.halfvec, integer, jsonb, double precision, integer);
DROP FUNCTION siglip.row_matches_query(siglip.attachments, siglip.attachment_plan);
DROP TYPE siglip.row_match;
