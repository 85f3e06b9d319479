-- Purpose: take away what 150_detach.sql made.
-- Parameters: none.
-- A row means: as before.

DROP VIEW siglip.attached_tables;
DROP FUNCTION siglip.detach(regclass, boolean);
DROP FUNCTION siglip.forget_attachment(integer, boolean);
DROP FUNCTION siglip.warn_of_rights(regclass);
