-- Purpose: take composed queries away.
-- Parameters: none.
-- A row means: nothing; there are none.

DROP FUNCTION siglip.compose(siglip.query_part[]);
DROP FUNCTION siglip.plain_text(text);
DROP FUNCTION siglip.by_vector(@vector@.halfvec, double precision, integer);
DROP FUNCTION siglip.like(bigint, double precision);
DROP FUNCTION siglip.minus(siglip.query_part, double precision);
DROP FUNCTION siglip.plus(siglip.query_part, double precision);
DROP FUNCTION siglip.check_weight(double precision);
DROP FUNCTION siglip.write_part(jsonb, double precision);
DROP FUNCTION siglip.read_part(siglip.query_part);
DROP TYPE siglip.composed_query;
DROP TYPE siglip.composed_part;
DROP DOMAIN siglip.query_part;
