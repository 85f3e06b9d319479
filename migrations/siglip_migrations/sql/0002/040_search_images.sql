-- Purpose: search under the active model, by a vector, by a text, or by an image that is indexed.
-- Parameters: max_results 1 to 10,000; collection and filter (metadata @> filter) narrow the search; min_score 0 to 1.
-- A row means: one image, best first: image_id, uri, similarity in [-1, 1], score in [0, 1], metadata.

CREATE FUNCTION siglip.search_images(
    query_embedding halfvec,
    max_results     integer DEFAULT 10,
    collection      text DEFAULT NULL,
    filter          jsonb DEFAULT NULL,
    min_score       double precision DEFAULT NULL
) RETURNS SETOF siglip.image_match
LANGUAGE plpgsql STABLE ROWS 10
SET search_path FROM CURRENT
AS $$
BEGIN
    RETURN QUERY SELECT n.* FROM siglip.nearest_images(
        siglip.active_model(), query_embedding, max_results, collection, filter, min_score, NULL) AS n;
END
$$;

COMMENT ON FUNCTION siglip.search_images(halfvec, integer, text, jsonb, double precision)
    IS 'The images nearest to a vector of the active model, best first.';

CREATE FUNCTION siglip.search_images(
    query       text,
    max_results integer DEFAULT 10,
    collection  text DEFAULT NULL,
    filter      jsonb DEFAULT NULL,
    min_score   double precision DEFAULT NULL
) RETURNS SETOF siglip.image_match
LANGUAGE plpgsql VOLATILE ROWS 10
SET search_path FROM CURRENT
AS $$
DECLARE
    model siglip.models := siglip.active_model();
BEGIN
    -- Looked at first: a wrong number should not wait for a worker.
    PERFORM siglip.check_max_results(max_results);
    RETURN QUERY SELECT n.* FROM siglip.nearest_images(
        model, siglip.embed_text(query, model.model_id), max_results, collection, filter, min_score, NULL) AS n;
END
$$;

COMMENT ON FUNCTION siglip.search_images(text, integer, text, jsonb, double precision)
    IS 'The images that fit a text best, best first. The text comes from the cache or is embedded by a worker.';

CREATE FUNCTION siglip.similar_images(
    image_id    bigint,
    max_results integer DEFAULT 10,
    collection  text DEFAULT NULL,
    filter      jsonb DEFAULT NULL,
    min_score   double precision DEFAULT NULL
) RETURNS SETOF siglip.image_match
LANGUAGE plpgsql STABLE ROWS 10
SET search_path FROM CURRENT
AS $$
DECLARE
    model           siglip.models := siglip.active_model();
    query_embedding halfvec;
BEGIN
    SELECT e.embedding INTO query_embedding
    FROM siglip.images AS i
    LEFT JOIN siglip.image_embeddings AS e ON e.model_id = model.model_id AND e.content_hash = i.content_hash
    WHERE i.image_id = similar_images.image_id;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'There is no image %.', coalesce(similar_images.image_id::text, 'NULL')
            USING ERRCODE = 'no_data_found', HINT = 'SELECT image_id, uri FROM siglip.images shows what there is.';
    ELSIF query_embedding IS NULL THEN
        RAISE EXCEPTION 'Image % is not embedded under the active model %.', similar_images.image_id, model.name
            USING ERRCODE = 'no_data_found',
                  HINT = format('SELECT state, error_message FROM siglip.ingest_items WHERE image_id = %s tells why.',
                                similar_images.image_id);
    END IF;
    RETURN QUERY SELECT n.* FROM siglip.nearest_images(
        model, query_embedding, max_results, collection, filter, min_score, similar_images.image_id) AS n;
END
$$;

COMMENT ON FUNCTION siglip.similar_images(bigint, integer, text, jsonb, double precision)
    IS 'The images most similar to one that is indexed, best first, without that one. Only the order of the scores means something.';
