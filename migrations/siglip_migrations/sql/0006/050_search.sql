-- Purpose: choose between the graph and the exact answer, so that a search returns as many right rows as there are under any filter.
-- Parameters: see siglip.search_images; skip_results and after name the place from which the rows are returned.
-- A row means: one image, best first; images of the same similarity in the order of image_id.
CREATE FUNCTION siglip.exact_images(
    model siglip.models, query_embedding @vector@.halfvec, wanted integer, excluded_image_id bigint,
    collection text, filter jsonb, image_ids bigint[], after siglip.search_position
) RETURNS siglip.image_match[]
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, siglip, pg_temp
SET jit = off
SET enable_indexscan = on
SET parallel_setup_cost = 1000
SET parallel_tuple_cost = 0.1
SET min_parallel_table_scan_size = '8MB'
SET min_parallel_index_scan_size = '512kB'
AS $$
DECLARE
    conditions constant text := siglip.image_conditions(collection IS NOT NULL, filter IS NOT NULL, image_ids IS NOT NULL);
    is_narrowed constant boolean := collection IS NOT NULL OR filter IS NOT NULL OR image_ids IS NOT NULL;
    content_ids bigint[];
    query       text;
    matches     siglip.image_match[];
BEGIN
    IF is_narrowed OR row_security_active('siglip.images') THEN
        -- The rows that pass, then their vectors in the order of their places: half as long as a join.
        EXECUTE 'SELECT array_agg(i.content_id) FROM siglip.images AS i WHERE i.content_id IS NOT NULL AND ' || conditions
            INTO content_ids
            USING query_embedding, wanted, excluded_image_id, model.logit_scale, model.logit_bias, collection, filter, image_ids;
        IF content_ids IS NULL THEN
            RETURN '{}';
        END IF;
    END IF;
    IF content_ids IS NOT NULL THEN
        PERFORM set_config('enable_indexscan', 'off', true);  -- a bitmap reads the table in order, and several processes share it
    END IF;
    IF content_ids IS NULL OR cardinality(content_ids) > 15000 THEN
        PERFORM set_config('parallel_setup_cost', '0', true), set_config('parallel_tuple_cost', '0', true),
                set_config('min_parallel_table_scan_size', '0', true), set_config('min_parallel_index_scan_size', '0', true);
    END IF;
    query := siglip.matches_query(siglip.exact_query(model.model_id, conditions, content_ids IS NOT NULL, after IS NOT NULL));
    IF NOT siglip.has_foreign_segments(model.model_id) THEN
        EXECUTE query
            INTO matches
            USING query_embedding, wanted, excluded_image_id, model.logit_scale, model.logit_bias, collection, filter, image_ids,
                  content_ids, after;
        RETURN matches;
    END IF;
    -- The array itself here: by its length the planner sees that it pays to let the servers sort.
    query := replace(query, 'ARRAY(SELECT unnest($9))', '$9');
    BEGIN
        EXECUTE query
            INTO matches
            USING query_embedding, wanted, excluded_image_id, model.logit_scale, model.logit_bias, collection, filter, image_ids,
                  content_ids, after;
    EXCEPTION WHEN connection_exception OR admin_shutdown OR crash_shutdown THEN
        matches := siglip.find_without_servers(
            model.model_id, query, SQLERRM, query_embedding, wanted, excluded_image_id, model.logit_scale, model.logit_bias,
            collection, filter, image_ids, content_ids, after);
    END;
    RETURN matches;
END
$$;

COMMENT ON FUNCTION siglip.exact_images(
    siglip.models, @vector@.halfvec, integer, bigint, text, jsonb, bigint[], siglip.search_position)
    IS 'The exact answer of a search, as one array of matches.';

CREATE FUNCTION siglip.check_search(
    model siglip.models, query_embedding @vector@.halfvec, max_results integer, filter jsonb, min_score double precision,
    skip_results integer, after siglip.search_position
) RETURNS @vector@.halfvec
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, siglip, pg_temp
AS $$
BEGIN
    PERFORM siglip.check_max_results(max_results);
    IF jsonb_typeof(filter) <> 'object' THEN
        RAISE EXCEPTION 'filter is a JSON %, not an object.', jsonb_typeof(filter)
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Write for instance filter => ''{"album": "2026"}''.';
    ELSIF min_score NOT BETWEEN 0 AND 1 THEN
        RAISE EXCEPTION 'min_score is %, not a number from 0 to 1.', min_score
            USING ERRCODE = 'invalid_parameter_value', HINT = 'A score is a probability.';
    ELSIF min_score IS NOT NULL AND model.logit_scale IS NULL THEN
        RAISE EXCEPTION 'The model % has no scores: its logit_scale and logit_bias are not known.', model.name
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Search without min_score, and look at the similarity.';
    ELSIF query_embedding IS NULL OR @vector@.l2_norm(query_embedding) = 0 THEN
        RAISE EXCEPTION 'The query embedding is NULL or zero.'
            USING ERRCODE = 'invalid_parameter_value', HINT = 'siglip.embed_text makes one from a text.';
    ELSIF @vector@.vector_dims(query_embedding) <> model.dimension THEN
        RAISE EXCEPTION 'The query embedding has % elements, those of the model % have %.',
            @vector@.vector_dims(query_embedding), model.name, model.dimension
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Embed the query with that model.';
    ELSIF skip_results IS NULL OR skip_results NOT BETWEEN 0 AND 1000000 THEN
        RAISE EXCEPTION 'skip_results is %, not a number from 0 to 1000000.', coalesce(skip_results::text, 'NULL')
            USING ERRCODE = 'invalid_parameter_value', HINT = 'after => (similarity, image_id) of the last row goes on at any depth.';
    ELSIF num_nonnulls(after) > 0 AND (after.similarity IS NULL OR after.similarity = 'NaN' OR after.image_id IS NULL OR skip_results > 0) THEN
        RAISE EXCEPTION 'after is %, not the similarity and the image_id of a row%.', after,
            CASE WHEN skip_results > 0 THEN ', or is given with skip_results' ELSE '' END
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Write after => (0.31, 42) with those of the last row that you have.';
    END IF;
    RETURN CASE WHEN abs(@vector@.l2_norm(query_embedding) - 1) > 0.01 THEN @vector@.l2_normalize(query_embedding)
                ELSE query_embedding END;
END
$$;

COMMENT ON FUNCTION siglip.check_search(
    siglip.models, @vector@.halfvec, integer, jsonb, double precision, integer, siglip.search_position)
    IS 'An error where an argument of a search is wrong; returns the query as a unit vector.';

-- What the graph gives in one round (ef_search candidates a segment, twice as many under a filter) costs a few milliseconds. Where three
-- times as many of them as wanted pass the filter, the best of them are the nearest of all that pass, as surely as without a filter. Where
-- fewer do, their number tells whether a larger round would have enough; if not, the graph would have to be walked far for rows that may lie
-- elsewhere, and the rows that pass are compared one by one. A page that skips rows is exact: rounds of different sizes miss different rows,
-- and pages of them would repeat some.
CREATE FUNCTION siglip.nearest_images(
    model siglip.models, query_embedding @vector@.halfvec, max_results integer,
    collection text, filter jsonb, min_score double precision, excluded_image_id bigint,
    image_ids bigint[] DEFAULT NULL, skip_results integer DEFAULT 0, after siglip.search_position DEFAULT NULL
) RETURNS SETOF siglip.image_match
LANGUAGE plpgsql STABLE ROWS 10
SET search_path = pg_catalog, siglip, pg_temp
SET jit = off
SET hnsw.iterative_scan = relaxed_order
SET hnsw.ef_search = 400
AS $$
#variable_conflict use_column
DECLARE
    exact_below_rows constant integer := 5000;
    surplus     constant integer := 3;
    is_narrowed constant boolean := num_nonnulls(collection, filter, image_ids) > 0 OR row_security_active('siglip.images');
    ef_search   integer := coalesce(model.ef_search, siglip.default_ef_search());
    wanted      integer;
    asked       integer;
    found       integer;
    matches     siglip.image_match[];
BEGIN
    -- What is usual passes in one expression: of each more, a transaction pays the preparation.
    IF (max_results BETWEEN 1 AND 10000 AND skip_results = 0 AND num_nonnulls(filter, min_score, after) = 0
        AND @vector@.vector_dims(query_embedding) = model.dimension
        AND abs(@vector@.l2_norm(query_embedding) - 1) <= 0.01) IS NOT TRUE THEN
        query_embedding := siglip.check_search(model, query_embedding, max_results, filter, min_score, skip_results, after);
    END IF;

    wanted := max_results + skip_results;
    IF wanted <= 500 AND skip_results = 0 AND (image_ids IS NULL OR cardinality(image_ids) >= exact_below_rows) THEN
        -- A page that begins further down is cut out of the best 1,000, the most that a graph finds in one round.
        asked := CASE WHEN after IS NOT NULL THEN 1000 WHEN is_narrowed THEN surplus * wanted ELSE wanted END;
        ef_search := least(1000, greatest(CASE WHEN is_narrowed THEN 2 ELSE 1 END * ef_search, 2 * asked));
        IF is_narrowed OR after IS NOT NULL THEN
            PERFORM set_config('hnsw.iterative_scan', 'off', true);  -- one round
        END IF;
        LOOP
            PERFORM set_config('hnsw.ef_search', ef_search::text, true);
            EXECUTE format('SELECT siglip.nearest_images_%s($1, $2, $3, $4, $5, $6, $7, $8)', model.model_id)
                INTO matches
                USING query_embedding, asked, excluded_image_id, model.logit_scale, model.logit_bias, collection, filter, image_ids;
            found := coalesce(cardinality(matches), 0);
            EXIT WHEN NOT is_narrowed OR matches IS NULL OR found >= asked OR ef_search = 1000 OR 1000 * found < 1.5 * asked * ef_search;
            ef_search := least(1000, ceil(1.5 * asked * ef_search / found));
        END LOOP;
        IF after IS NOT NULL THEN
            -- What follows the position, if it lies among the better half of what was found: the far end of a round has gaps.
            SELECT array_agg(m ORDER BY p.place) INTO matches
            FROM unnest(matches[1 : cardinality(matches) / 2]) WITH ORDINALITY
                 AS p (image_id, uri, similarity, score, metadata, place)
            CROSS JOIN LATERAL (SELECT ROW(p.image_id, p.uri, p.similarity, p.score, p.metadata)::siglip.image_match) AS r (m)
            WHERE (-p.similarity, p.image_id) > (-(after).similarity, (after).image_id);
            asked := wanted;
        END IF;
    END IF;
    IF coalesce(cardinality(matches), 0) < coalesce(asked, 1) THEN
        matches := siglip.exact_images(model, query_embedding, wanted, excluded_image_id, collection, filter, image_ids, after);
    END IF;

    RETURN QUERY
        SELECT p.image_id, p.uri, p.similarity, p.score, p.metadata
        FROM unnest(matches) WITH ORDINALITY AS p (image_id, uri, similarity, score, metadata, place)
        WHERE p.place > skip_results AND p.place <= wanted
          AND (nearest_images.min_score IS NULL OR p.score >= nearest_images.min_score)
        ORDER BY p.place;
END
$$;

COMMENT ON FUNCTION siglip.nearest_images(
    siglip.models, @vector@.halfvec, integer, text, jsonb, double precision, bigint, bigint[], integer, siglip.search_position)
    IS 'The vector search that search_images and similar_images share.';
