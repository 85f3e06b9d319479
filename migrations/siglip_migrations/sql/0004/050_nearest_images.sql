-- Purpose: the one vector search that the public functions share.
-- Parameters: see siglip.search_images; excluded_image_id is left out of the result.
-- A row means: one image, best first; images of the same similarity in the order of image_id.

-- Loads the extension's library, which brings the settings hnsw.* that a function sets below.
SELECT '[1]'::@vector@.halfvec;

-- The text of the query, so that a test can EXPLAIN what is executed. Its parameters: $1 halfvec query, $2 max_results,
-- $3 excluded_image_id or NULL; for siglip.nearest_matches_query $4 logit_scale and $5 logit_bias; $6 collection, $7 filter.
-- HNSW serves only the bare operator on the indexed expression; "+ 0" keeps it away where an exact answer is wanted.
-- WITH TIES: one content under many URIs is one distance, and which of them come first must not depend on the plan.
CREATE FUNCTION siglip.nearest_images_query(
    model_id integer, dimension integer, is_exact boolean, has_collection boolean, has_filter boolean
) RETURNS text
LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, siglip, pg_temp
AS $$
    SELECT format(
        'SELECT i.image_id, e.embedding::@vector@.halfvec(%1$L) OPERATOR(@vector@.<#>) $1 AS distance'
        ' FROM siglip.image_embeddings AS e JOIN siglip.images AS i ON i.content_hash = e.content_hash'
        ' WHERE e.model_id = %2$L AND i.image_id IS DISTINCT FROM $3'
        || CASE WHEN has_collection THEN ' AND i.collection = $6' ELSE '' END
        || CASE WHEN has_filter THEN ' AND i.metadata @> $7' ELSE '' END
        || CASE WHEN is_exact
                THEN ' ORDER BY (e.embedding::@vector@.halfvec(%1$L) OPERATOR(@vector@.<#>) $1) + 0'
                ELSE ' ORDER BY e.embedding::@vector@.halfvec(%1$L) OPERATOR(@vector@.<#>) $1' END
        || ' FETCH FIRST $2 ROWS WITH TIES',
        dimension, model_id
    )
$$;

COMMENT ON FUNCTION siglip.nearest_images_query(integer, integer, boolean, boolean, boolean)
    IS 'The text of the query that a search executes.';

-- "+ 0" here: HNSW gives a long result nearly in order (relaxed_order), and the planner would take it for sorted.
CREATE FUNCTION siglip.nearest_matches_query(query text) RETURNS text
LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, siglip, pg_temp
AS $$
    SELECT 'SELECT ARRAY('
        'SELECT ROW(i.image_id, i.uri, c.similarity, siglip.score(c.similarity, $4, $5), i.metadata)::siglip.image_match'
        ' FROM (' || query || ') AS n JOIN siglip.images AS i ON i.image_id = n.image_id'
        ' CROSS JOIN LATERAL (SELECT greatest(-1, least(1, -n.distance)) AS similarity OFFSET 0) AS c'
        ' ORDER BY n.distance + 0, n.image_id LIMIT $2)'
$$;

COMMENT ON FUNCTION siglip.nearest_matches_query(text)
    IS 'The text of the query that makes one array of matches, best first, of what siglip.nearest_images_query finds.';

-- To plan an unfiltered search takes a quarter of the time that it takes to run, and the plan is always the same: a
-- function whose text is constant has it planned once in a session. That plan doesn't know how few rows are asked for:
-- to sort or to hash a whole table is never right here.
CREATE FUNCTION siglip.create_nearest_images(model_id integer, dimension integer) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, siglip, pg_temp
AS $$
DECLARE
    name constant text := format('siglip.nearest_images_%s', model_id);
BEGIN
    IF to_regproc(name) IS NOT NULL THEN
        RETURN;
    END IF;
    EXECUTE format(
        'CREATE FUNCTION %s(@vector@.halfvec, integer, bigint, double precision, double precision)'
        ' RETURNS siglip.image_match[] LANGUAGE plpgsql STABLE SET search_path = pg_catalog, siglip, pg_temp'
        ' SET plan_cache_mode = force_generic_plan'
        ' SET enable_sort = off SET enable_hashjoin = off SET enable_mergejoin = off AS %L',
        name,
        format('BEGIN RETURN (%s); END',
               siglip.nearest_matches_query(siglip.nearest_images_query(model_id, dimension, false, false, false)))
    );
    EXECUTE format('COMMENT ON FUNCTION %s IS %L', name, format('The unfiltered search by HNSW under the model %s.', model_id));
END
$$;

COMMENT ON FUNCTION siglip.create_nearest_images(integer, integer)
    IS 'Make the function that searches a model''s vectors, unless it is there.';

SELECT siglip.create_nearest_images(m.model_id, m.dimension) FROM siglip.models AS m WHERE m.dimension IS NOT NULL;

-- Small tables are searched exactly. In large ones HNSW goes on until it has enough rows that pass the filters, up to
-- hnsw.max_scan_tuples; what it could not fill is filled by an exact search, so that a search returns as many rows as asked.
CREATE FUNCTION siglip.nearest_images(
    model siglip.models, query_embedding @vector@.halfvec, max_results integer,
    collection text, filter jsonb, min_score double precision, excluded_image_id bigint
) RETURNS SETOF siglip.image_match
LANGUAGE plpgsql STABLE ROWS 10
SET search_path = pg_catalog, siglip, pg_temp
SET jit = off
SET hnsw.iterative_scan = relaxed_order
SET hnsw.ef_search = 100
AS $$
#variable_conflict use_column
DECLARE
    exact_below_bytes constant bigint := 8 * 1024 * 1024;
    is_narrowed constant boolean := collection IS NOT NULL OR filter IS NOT NULL;
    is_exact    boolean;
    matches     siglip.image_match[];
BEGIN
    PERFORM siglip.check_max_results(max_results);
    IF jsonb_typeof(filter) <> 'object' THEN
        RAISE EXCEPTION 'filter is a JSON %, not an object.', jsonb_typeof(filter)
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Write for instance filter => ''{"album": "2026"}''.';
    ELSIF min_score NOT BETWEEN 0 AND 1 THEN
        RAISE EXCEPTION 'min_score is %, not a number from 0 to 1.', min_score
            USING ERRCODE = 'invalid_parameter_value', HINT = 'A score is a probability.';
    ELSIF query_embedding IS NULL OR @vector@.l2_norm(query_embedding) = 0 THEN
        RAISE EXCEPTION 'The query embedding is NULL or zero.'
            USING ERRCODE = 'invalid_parameter_value', HINT = 'siglip.embed_text makes one from a text.';
    ELSIF @vector@.vector_dims(query_embedding) <> model.dimension THEN
        RAISE EXCEPTION 'The query embedding has % elements, those of the model % have %.',
            @vector@.vector_dims(query_embedding), model.name, model.dimension
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Embed the query with that model.';
    END IF;
    IF abs(@vector@.l2_norm(query_embedding) - 1) > 0.01 THEN
        query_embedding := @vector@.l2_normalize(query_embedding);
    END IF;

    is_exact := pg_relation_size(format('siglip.%I', 'image_embeddings_' || model.model_id)::regclass) < exact_below_bytes;
    PERFORM set_config('hnsw.ef_search', least(1000, greatest(100, 2 * max_results))::text, true);
    LOOP
        IF is_exact OR is_narrowed THEN
            EXECUTE siglip.nearest_matches_query(siglip.nearest_images_query(
                    model.model_id, model.dimension, is_exact, collection IS NOT NULL, filter IS NOT NULL))
                INTO matches
                USING query_embedding, max_results, excluded_image_id, model.logit_scale, model.logit_bias, collection, filter;
        ELSE
            EXECUTE format('SELECT siglip.nearest_images_%s($1, $2, $3, $4, $5)', model.model_id)
                INTO matches
                USING query_embedding, max_results, excluded_image_id, model.logit_scale, model.logit_bias;
        END IF;
        EXIT WHEN is_exact OR cardinality(matches) >= max_results;
        is_exact := true;
    END LOOP;

    RETURN QUERY SELECT m.* FROM unnest(matches) AS m
        WHERE nearest_images.min_score IS NULL OR m.score >= nearest_images.min_score;
END
$$;

COMMENT ON FUNCTION siglip.nearest_images(siglip.models, @vector@.halfvec, integer, text, jsonb, double precision, bigint)
    IS 'The vector search that search_images and similar_images share.';
