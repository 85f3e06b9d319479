-- Purpose: take away what revision 0007 made.
-- Parameters: none.
-- A row means: as before.

DROP FUNCTION siglip.delete_images(bigint[], text[], text[], text, jsonb, integer);
DROP FUNCTION siglip.count_images(bigint[], text[], text[], text, jsonb);
DROP FUNCTION siglip.selection_conditions(bigint[], text[], text[], text, jsonb);
DROP INDEX siglip.images_key_btree_idx;
