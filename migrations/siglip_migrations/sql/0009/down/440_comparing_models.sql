-- Purpose: take away what 440_comparing_models.sql made.
-- Parameters: none.
-- A row means: as before.

DROP FUNCTION siglip.compare_models(text, text, integer, integer, integer, integer, double precision);
DROP FUNCTION siglip.compare_models(integer, integer, integer, integer, integer, integer, double precision);
DROP FUNCTION siglip.compare_labels(siglip.models, siglip.models, integer, integer);
DROP FUNCTION siglip.compare_marks(siglip.models, siglip.models, integer, integer);
DROP FUNCTION siglip.mark_ranks(siglip.models, integer);
DROP FUNCTION siglip.compare_queries(siglip.models, siglip.models, integer, integer, double precision);
DROP TYPE siglip.model_comparison;
