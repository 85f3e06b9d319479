-- Purpose: make the partition for a model's vectors, with its HNSW index, and the function that searches it, unless they are there.
-- Parameters: model_id; dimension in elements.
-- A row means: nothing.
SELECT siglip.create_embedding_partition(%(model_id)s::integer, %(dimension)s::integer),
       siglip.create_nearest_images(%(model_id)s::integer, %(dimension)s::integer)
