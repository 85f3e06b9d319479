-- Purpose: take the scores of composed queries away.
-- Parameters: none.
-- A row means: nothing; there are none.

DROP FUNCTION siglip.composed_log_score(siglip.embedded_part[], double precision, double precision);
DROP FUNCTION siglip.logit_of_log(double precision);
DROP FUNCTION siglip.log_score(double precision);
DROP TYPE siglip.embedded_part;
