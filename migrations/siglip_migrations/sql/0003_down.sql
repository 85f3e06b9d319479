-- Purpose: take away what revision 0003 made.
-- Parameters: none.
-- A row means: as before; workers compare with nothing.

ALTER TABLE siglip.models DROP COLUMN figures;
