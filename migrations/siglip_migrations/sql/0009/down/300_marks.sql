-- Purpose: take away what 300_marks.sql made.
-- Parameters: none.
-- A row means: as before.

DROP FUNCTION siglip.mark_images(text, text, bigint[], bigint[], bigint[], text);
DROP FUNCTION siglip.find_label(text, text);
