-- Purpose: take away what 130_note_changes.sql made, and the triggers of the attached tables with it.
-- Parameters: none.
-- A row means: as before.

DROP FUNCTION siglip.note_attached_changes() CASCADE;
