-- Purpose: the one vector search that the public functions share.
-- Parameters: see siglip.search_images; excluded_image_id is left out of the result.
-- A row means: one image, best first; images of the same similarity in the order of image_id.

-- Loads the extension's library, which brings the settings hnsw.* that a function sets below.
SELECT '[1]'::@vector@.halfvec;

-- The text of the query, so that a test can EXPLAIN what is executed. Its parameters: $1 halfvec query, $2 model_id,
-- $3 collection, $4 filter, $5 excluded_image_id, $6 max_results.
-- HNSW serves only the bare operator on the indexed expression; "+ 0" keeps it away where an exact answer is wanted.
-- WITH TIES: one content under many URIs is one distance, and which of them come first must not depend on the plan.
CREATE FUNCTION siglip.nearest_images_query(
    dimension integer, is_exact boolean, has_collection boolean, has_filter boolean, has_excluded_image boolean
) RETURNS text
LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, siglip, pg_temp
AS $$
    SELECT format(
        'SELECT i.image_id, e.embedding::@vector@.halfvec(%1$L) OPERATOR(@vector@.<#>) $1 AS distance'
        ' FROM siglip.image_embeddings AS e JOIN siglip.images AS i ON i.content_hash = e.content_hash'
        ' WHERE e.model_id = $2'
        || CASE WHEN has_collection THEN ' AND i.collection = $3' ELSE '' END
        || CASE WHEN has_filter THEN ' AND i.metadata @> $4' ELSE '' END
        || CASE WHEN has_excluded_image THEN ' AND i.image_id <> $5' ELSE '' END
        || CASE WHEN is_exact
                THEN ' ORDER BY (e.embedding::@vector@.halfvec(%1$L) OPERATOR(@vector@.<#>) $1) + 0'
                ELSE ' ORDER BY e.embedding::@vector@.halfvec(%1$L) OPERATOR(@vector@.<#>) $1' END
        || ' FETCH FIRST $6 ROWS WITH TIES',
        dimension
    )
$$;

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
    is_exact     boolean;
    image_ids    bigint[];
    distances    double precision[];
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
        EXECUTE 'SELECT array_agg(n.image_id ORDER BY n.distance, n.image_id),'
            ' array_agg(n.distance ORDER BY n.distance, n.image_id) FROM ('
            || siglip.nearest_images_query(
                model.dimension, is_exact, collection IS NOT NULL, filter IS NOT NULL, excluded_image_id IS NOT NULL)
            || ') AS n'
            INTO image_ids, distances
            USING query_embedding, model.model_id, collection, filter, excluded_image_id, max_results;
        EXIT WHEN is_exact OR cardinality(image_ids) >= max_results;
        is_exact := true;
    END LOOP;

    RETURN QUERY
        SELECT i.image_id, i.uri, s.similarity, s.score, i.metadata
        FROM unnest(image_ids[:max_results], distances[:max_results]) WITH ORDINALITY AS n (image_id, distance, position)
        JOIN siglip.images AS i ON i.image_id = n.image_id
        CROSS JOIN LATERAL (SELECT greatest(-1, least(1, -n.distance)) AS similarity) AS c
        CROSS JOIN LATERAL (
            SELECT c.similarity, siglip.score(c.similarity, model.logit_scale, model.logit_bias) AS score
        ) AS s
        WHERE nearest_images.min_score IS NULL OR s.score >= nearest_images.min_score
        ORDER BY n.position;
END
$$;

COMMENT ON FUNCTION siglip.nearest_images(siglip.models, @vector@.halfvec, integer, text, jsonb, double precision, bigint)
    IS 'The vector search that search_images and similar_images share.';
COMMENT ON FUNCTION siglip.nearest_images_query(integer, boolean, boolean, boolean, boolean)
    IS 'The text of the query that siglip.nearest_images executes.';
