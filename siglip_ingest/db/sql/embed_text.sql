-- Purpose: the vector of a text, from the cache or from a worker.
-- Parameters: query as typed; model_id; timeout_s, seconds that a worker has.
-- A row means: the elements of the vector.
SELECT siglip.embed_text(%(query)s::text, %(model_id)s::integer, %(timeout_s)s::double precision)::real[]
