-- Purpose: take away what 430_dropping_models.sql made.
-- Parameters: none.
-- A row means: as before.

DROP PROCEDURE siglip.finish_drops();
DROP FUNCTION siglip.free_dropped();
DROP FUNCTION siglip.drop_segment(regclass);
DROP FUNCTION siglip.await_transactions(double precision);
DROP FUNCTION siglip.drop_model(text);
DROP FUNCTION siglip.drop_model(integer);
