-- Purpose: let nobody add vectors, or look at any, while a model's partition is taken out.
-- Parameters: none.
-- A row means: no rows; the lock ends with the transaction.
LOCK TABLE siglip.image_embeddings IN ACCESS EXCLUSIVE MODE
