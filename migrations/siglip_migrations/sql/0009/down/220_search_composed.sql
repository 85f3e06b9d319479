-- Purpose: take the search by composed queries away, and by one part of them.
-- Parameters: none.
-- A row means: nothing; there are none.

CREATE OR REPLACE FUNCTION siglip.search_images(
    query        text,
    max_results  integer DEFAULT 10,
    collection   text DEFAULT NULL,
    filter       jsonb DEFAULT NULL,
    min_score    double precision DEFAULT NULL,
    model_id     integer DEFAULT NULL,
    timeout_s    double precision DEFAULT NULL,
    image_ids    bigint[] DEFAULT NULL,
    skip_results integer DEFAULT 0,
    after        siglip.search_position DEFAULT NULL
) RETURNS SETOF siglip.image_match
LANGUAGE plpgsql VOLATILE ROWS 10
SET search_path = pg_catalog, siglip, pg_temp
AS $$
DECLARE
    model siglip.models := siglip.described_model(model_id);
BEGIN
    -- Looked at first: a wrong number should not wait for a worker.
    PERFORM siglip.check_max_results(max_results);
    RETURN QUERY SELECT n.* FROM siglip.nearest_images(
        model, siglip.embed_text(query, model.model_id, timeout_s), max_results, collection, filter, min_score, NULL,
        image_ids, skip_results, after) AS n;
END
$$;

DROP FUNCTION siglip.search_images(
    siglip.composed_query, integer, text, jsonb, double precision, integer, double precision, bigint[], integer, siglip.search_position);
DROP FUNCTION siglip.has_more_images(text, jsonb, bigint[], integer);
DROP FUNCTION siglip.composed_query_text(integer, text, text, boolean);
DROP FUNCTION siglip.composed_candidates(siglip.embedded_part[], siglip.models, text, jsonb, bigint[]);
DROP FUNCTION siglip.sum_parts(siglip.embedded_part[], double precision);
DROP FUNCTION siglip.embed_parts(siglip.composed_query, siglip.models, double precision);
