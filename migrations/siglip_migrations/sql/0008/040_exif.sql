-- Purpose: what EXIF says of an image becomes metadata, where that was asked for.
-- Parameters: none.
-- A row means: as before.

ALTER TABLE siglip.images ADD COLUMN reads_exif boolean NOT NULL DEFAULT false;

COMMENT ON COLUMN siglip.images.reads_exif
    IS 'Whether the worker that embeds it adds capture time, camera and place from its EXIF data to the metadata.';
