-- Purpose: where COPY puts the results of a chunk. It ends with the transaction: behind a pooler nothing else is ours.
-- Parameters: none.
-- A row means: one item that was embedded; embedding is NULL where the content has a vector already.
CREATE TEMPORARY TABLE IF NOT EXISTS siglip_new_results ON COMMIT DROP AS
SELECT NULL::bigint AS item_id, NULL::bigint AS image_id, e.content_hash, NULL::integer AS width, NULL::integer AS height,
       NULL::text AS format, e.embedding
FROM siglip.image_embeddings AS e
WITH NO DATA
