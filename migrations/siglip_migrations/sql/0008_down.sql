-- Purpose: take away what revision 0008 made.
-- Parameters: none.
-- A row means: as before.

DROP TABLE siglip.batch_sizes;
ALTER TABLE siglip.models DROP COLUMN arithmetics;
DROP TABLE siglip.ingestion_images;
DROP TABLE siglip.ingestions;
