-- Purpose: take away what revision 0008 made.
-- Parameters: none.
-- A row means: as before.

DROP TABLE siglip.batch_sizes;
ALTER TABLE siglip.models DROP COLUMN arithmetics;
ALTER TABLE siglip.images DROP COLUMN reads_exif;
DROP INDEX siglip.ingest_items_suspects_btree_idx;
CREATE INDEX ingest_items_lease_token_btree_idx ON siglip.ingest_items (lease_token) WHERE state = 'claimed';
DROP FUNCTION siglip.is_alive(siglip.workers);
ALTER TABLE siglip.workers DROP COLUMN holds_lock;
DROP TABLE siglip.ingestion_images;
DROP TABLE siglip.ingestions;
