-- Purpose: all images that fit a query well enough, however many, so that they can be put in another order: by date, say.
-- Parameters: see siglip.search_images; min_score 0 to 1.
-- A row means: one image, best first; images of the same similarity in the order of image_id.

CREATE FUNCTION siglip.narrowing(name text, collection text, filter jsonb) RETURNS text
LANGUAGE plpgsql IMMUTABLE
SET search_path = pg_catalog, siglip, pg_temp
AS $$
BEGIN
    IF jsonb_typeof(filter) <> 'object' THEN
        RAISE EXCEPTION 'filter is a JSON %, not an object.', jsonb_typeof(filter)
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Write for instance filter => ''{"album": "2026"}''.';
    END IF;
    RETURN CASE WHEN collection IS NULL THEN '' ELSE format(' AND %I.collection = %L', name, collection) END
        || CASE WHEN filter IS NULL THEN '' ELSE format(' AND %I.metadata @> %L', name, filter) END;
END
$$;

COMMENT ON FUNCTION siglip.narrowing(text, text, jsonb) IS 'The text of the conditions that a collection and a filter are, for images of that name in a query.
Example: SELECT siglip.narrowing(''i'', ''holiday'', ''{"album": "2026"}'');';

-- The 50 best come out of the graph in a millisecond or two, the 500 best in some more. Where all of them reach the score there may be
-- others, and one pass over the vectors finds them.
CREATE FUNCTION siglip.images_above(
    model siglip.models, query_embedding @vector@.halfvec, min_score double precision, collection text, filter jsonb
) RETURNS SETOF siglip.image_match
LANGUAGE plpgsql VOLATILE ROWS 100
SET search_path = pg_catalog, siglip, pg_temp
SET jit = off
SET parallel_setup_cost = 0
SET parallel_tuple_cost = 0
SET min_parallel_table_scan_size = 0
AS $$
#variable_conflict use_column
DECLARE
    best_rows integer;
    found     siglip.image_match[];
BEGIN
    IF min_score IS NULL THEN
        RAISE EXCEPTION 'min_score is NULL, not a number from 0 to 1.'
            USING ERRCODE = 'invalid_parameter_value', HINT = 'siglip.search_images finds the best whatever their score.';
    END IF;
    query_embedding := siglip.check_search(model, query_embedding, 1, filter, min_score, 0, NULL);
    FOREACH best_rows IN ARRAY ARRAY[50, 500] LOOP
        found := ARRAY(
            SELECT ROW(n.image_id, n.uri, n.similarity, n.score, n.metadata)::siglip.image_match
            FROM siglip.nearest_images(model, query_embedding, best_rows, collection, filter, images_above.min_score, NULL) AS n);
        IF cardinality(found) < best_rows THEN
            RETURN QUERY SELECT f.* FROM unnest(found) AS f;
            RETURN;
        END IF;
    END LOOP;
    RETURN QUERY EXECUTE format(
        'SELECT i.image_id, i.uri, s.similarity, siglip.score(s.similarity, $3, $4), i.metadata FROM ('
        'SELECT e.content_id, e.embedding OPERATOR(@vector@.<#>) $1 AS distance FROM siglip.image_embeddings AS e'
        ' WHERE e.model_id = %s AND e.embedding OPERATOR(@vector@.<#>) $1 <= $5'
        ') AS n JOIN siglip.images AS i ON i.content_id = n.content_id'
        ' CROSS JOIN LATERAL (SELECT siglip.similarity(n.distance)) AS s (similarity)'
        ' WHERE siglip.score(s.similarity, $3, $4) >= $2%s ORDER BY s.similarity DESC, i.image_id',
        model.model_id, siglip.narrowing('i', collection, filter))
        USING query_embedding, min_score, model.logit_scale, model.logit_bias,
              -(siglip.least_similarity(min_score, model.logit_scale, model.logit_bias) - 1e-6);  -- a hair below: the score decides
END
$$;

COMMENT ON FUNCTION siglip.images_above(siglip.models, @vector@.halfvec, double precision, text, jsonb)
    IS 'All images whose score for a vector of the model reaches min_score, best first.
Example: SELECT * FROM siglip.images_above(siglip.active_model(), siglip.embed_text(''a lake''), 0.1, NULL, NULL);';

CREATE FUNCTION siglip.relevant_images(
    query      text,
    min_score  double precision DEFAULT 0.5,
    collection text DEFAULT NULL,
    filter     jsonb DEFAULT NULL,
    model_id   integer DEFAULT NULL,
    timeout_s  double precision DEFAULT NULL
) RETURNS SETOF siglip.image_match
LANGUAGE plpgsql VOLATILE ROWS 100
SET search_path = pg_catalog, siglip, pg_temp
AS $$
DECLARE
    model siglip.models := siglip.described_model(model_id);
BEGIN
    RETURN QUERY SELECT n.* FROM siglip.images_above(
        model, siglip.embed_text(siglip.plain_text(query), model.model_id, timeout_s), min_score, collection, filter) AS n;
END
$$;

COMMENT ON FUNCTION siglip.relevant_images(text, double precision, text, jsonb, integer, double precision)
    IS 'All images whose score for a text reaches min_score, however many, best first: to be put in another order.
Example: SELECT uri, score FROM siglip.relevant_images(''a lake'', 0.1) ORDER BY metadata->>''taken_at'' DESC LIMIT 10;';

CREATE FUNCTION siglip.relevant_images(
    query_embedding @vector@.halfvec,
    min_score       double precision DEFAULT 0.5,
    collection      text DEFAULT NULL,
    filter          jsonb DEFAULT NULL,
    model_id        integer DEFAULT NULL
) RETURNS SETOF siglip.image_match
LANGUAGE plpgsql VOLATILE ROWS 100
SET search_path = pg_catalog, siglip, pg_temp
AS $$
BEGIN
    RETURN QUERY SELECT n.* FROM siglip.images_above(
        siglip.described_model(model_id), query_embedding, min_score, collection, filter) AS n;
END
$$;

COMMENT ON FUNCTION siglip.relevant_images(@vector@.halfvec, double precision, text, jsonb, integer)
    IS 'All images whose score for a vector of the active model, or of another, reaches min_score, best first.
Example: SELECT image_id, score FROM siglip.relevant_images(siglip.embed_text(''a lake''), 0.1, ''holiday'');';
