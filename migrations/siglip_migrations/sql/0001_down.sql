-- Purpose: take away what revision 0001 made, data included.
-- Parameters: none.
-- A row means: nothing is left but the empty schema; the extension stays, other tables may use it.

DROP PUBLICATION siglip_messages;
DROP TABLE siglip.label_embeddings, siglip.labels, siglip.label_sets, siglip.texts, siglip.ingest_items;
DROP TABLE siglip.image_embeddings, siglip.image_bytes, siglip.images, siglip.models;
DROP FUNCTION siglip.create_embedding_partition(integer, integer);
