-- Purpose: take away what 140_attach.sql made.
-- Parameters: none.
-- A row means: as before.

DROP FUNCTION siglip.attach(regclass, text, text, text, text[], text[]);
DROP FUNCTION siglip.check_attachable(regclass, text[]);
DROP FUNCTION siglip.refresh_attached(regclass);
