-- Purpose: take away what 305_label_refusals.sql made.
-- Parameters: none.
-- A row means: as before.

DROP FUNCTION siglip.vector_hint(text, text, integer);
DROP VIEW siglip.label_status;
DROP TABLE siglip.label_refusals;
