-- Purpose: take away what 160_follow.sql made.
-- Parameters: none.
-- A row means: as before.

DROP FUNCTION siglip.follow_attached(integer);
DROP FUNCTION siglip.note_names(siglip.attachments, siglip.attachment_plan);
DROP FUNCTION siglip.follow_rows(siglip.attachments, text[]);
DROP FUNCTION siglip.take_changes(integer, integer);
