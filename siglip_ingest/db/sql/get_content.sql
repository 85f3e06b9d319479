-- Purpose: the bytes of an image that was handed over as bytes.
-- Parameters: image_id; max_image_bytes, of which more aren't sent.
-- A row means: its size in bytes, and its content, NULL where that is larger.
SELECT pg_catalog.octet_length(content), CASE WHEN pg_catalog.octet_length(content) <= %(max_image_bytes)s THEN content END
FROM siglip.image_bytes
WHERE image_id = %(image_id)s
