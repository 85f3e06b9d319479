-- Purpose: take away what 310_marks.sql made.
-- Parameters: none.
-- A row means: as before.

DROP VIEW siglip.labeled_images;
DROP FUNCTION siglip.mark_images(text, text, bigint[], bigint[], bigint[], text);
