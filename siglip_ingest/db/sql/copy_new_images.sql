-- Purpose: send the images.
-- Parameters: the rows of the COPY.
-- A row means: one image that was handed over.
COPY pg_temp.siglip_new_images (position, collection, uri, key, source_version, metadata, content) FROM STDIN
