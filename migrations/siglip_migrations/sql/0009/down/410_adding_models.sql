-- Purpose: take away what 410_adding_models.sql made.
-- Parameters: none.
-- A row means: as before.

DROP VIEW siglip.collection_coverage;
DROP VIEW siglip.model_coverage;
DROP FUNCTION siglip.add_model(text);
DROP FUNCTION siglip.queue_missing_images(integer);
