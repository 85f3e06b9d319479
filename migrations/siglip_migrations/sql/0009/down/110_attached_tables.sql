-- Purpose: take away what 110_attached_tables.sql made.
-- Parameters: none.
-- A row means: as before.

DROP TABLE siglip.released_images;
DROP TABLE siglip.attached_changes;
DROP TABLE siglip.attached_images;
DROP TABLE siglip.attachments;
