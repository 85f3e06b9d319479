-- Purpose: take away what revision 0008 made.
-- Parameters: none.
-- A row means: as before.

ALTER TABLE siglip.images DROP COLUMN reads_exif;

DROP TABLE siglip.ingestion_images;
DROP TABLE siglip.ingestions;
