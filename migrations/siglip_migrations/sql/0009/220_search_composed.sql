-- Purpose: search by a query of several parts.
-- Parameters: see siglip.search_images.
-- A row means: one image, best first; similarity is the one that a single text would need for the same score.

CREATE FUNCTION siglip.embed_parts(query siglip.composed_query, model siglip.models, timeout_s double precision) RETURNS siglip.embedded_part[]
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, siglip, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    part           siglip.composed_part;
    vector         @vector@.halfvec;
    own_content_id bigint;
    embedded       siglip.embedded_part[] := '{}';
BEGIN
    FOREACH part IN ARRAY coalesce((query).parts, '{}') LOOP
        IF part.model_id <> model.model_id THEN
            RAISE EXCEPTION 'A vector of the query is of the model %, and the search is under the model %.', part.model_id, model.model_id
                USING ERRCODE = 'invalid_parameter_value', HINT = 'Vectors of two models can''t be compared. Search with model_id => that of the vector.';
        ELSIF part.query IS NOT NULL AND model.logit_scale IS NULL THEN
            RAISE EXCEPTION 'The model % has no scores: its logit_scale and logit_bias are not known.', model.name
                USING ERRCODE = 'invalid_parameter_value', HINT = 'Compose images and vectors only.';
        END IF;
        vector := part.embedding;
        IF part.image_id IS NOT NULL THEN
            SELECT i.content_id INTO own_content_id FROM siglip.images AS i WHERE i.image_id = part.image_id;
            IF NOT FOUND THEN
                RAISE EXCEPTION 'There is no image %.', part.image_id
                    USING ERRCODE = 'no_data_found', HINT = 'SELECT image_id, uri FROM siglip.images shows what there is.';
            END IF;
            SELECT e.embedding INTO vector
            FROM siglip.image_embeddings AS e WHERE e.model_id = model.model_id AND e.content_id = own_content_id;
            IF NOT FOUND THEN
                RAISE EXCEPTION 'Image % is not embedded under the model %.', part.image_id, model.name
                    USING ERRCODE = 'no_data_found',
                          HINT = format('SELECT state, error_message FROM siglip.ingest_items WHERE image_id = %s tells why.', part.image_id);
            END IF;
        ELSIF vector IS NULL THEN
            vector := siglip.embed_text(part.query, model.model_id, timeout_s);
        END IF;
        vector := siglip.check_search(model, vector, 1, NULL, NULL, 0, NULL);
        embedded := embedded || ROW(vector, part.weight, part.query IS NULL)::siglip.embedded_part;
    END LOOP;
    RETURN embedded;
END
$$;

COMMENT ON FUNCTION siglip.embed_parts(siglip.composed_query, siglip.models, double precision)
    IS 'The parts of a query as unit vectors, all under one model; new texts are embedded by a worker.
Example: SELECT siglip.embed_parts(siglip.compose(''beach'', siglip.like(1)), siglip.described_model(1), NULL);';

CREATE FUNCTION siglip.sum_parts(parts siglip.embedded_part[], negative_weight double precision) RETURNS @vector@.halfvec
LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, siglip, pg_temp
AS $$
    SELECT @vector@.l2_normalize(s.total) FROM (
        SELECT @vector@.sum(p.embedding OPERATOR(@vector@.*) array_fill(
                   (CASE WHEN p.weight < 0 THEN negative_weight ELSE 1 END * p.weight / l.largest)::real,
                   ARRAY[@vector@.vector_dims(p.embedding)])::@vector@.halfvec)
        FROM unnest(parts) AS p, (SELECT max(abs(p.weight)) FROM unnest(parts) AS p) AS l (largest)
    ) AS s (total) WHERE @vector@.l2_norm(s.total) > 0
$$;

COMMENT ON FUNCTION siglip.sum_parts(siglip.embedded_part[], double precision)
    IS 'The direction of the sum of the parts by their weights, for the graph; NULL where there is none. Parts that aren''t wanted weigh negative_weight as much.
Example: SELECT siglip.sum_parts(siglip.embed_parts(siglip.compose(''beach'', siglip.minus(''people'')), siglip.described_model(1), NULL), 0.25);';

-- The graph knows one vector at a time: it gives the images nearest to the sum of all parts, to that of the texts that are wanted, and to
-- that of the images that are wanted.
CREATE FUNCTION siglip.composed_candidates(
    parts siglip.embedded_part[], model siglip.models, collection text, filter jsonb, image_ids bigint[]
) RETURNS bigint[]
LANGUAGE sql STABLE
SET search_path = pg_catalog, siglip, pg_temp
AS $$
    SELECT array_agg(DISTINCT n.image_id)
    FROM (
        SELECT siglip.sum_parts(parts, 0.25)
        UNION
        SELECT siglip.sum_parts(array_agg(p.part), 1)
        FROM (SELECT ROW(p.embedding, p.weight, p.is_image)::siglip.embedded_part, p.is_image FROM unnest(parts) AS p WHERE p.weight > 0)
             AS p (part, is_image)
        GROUP BY p.is_image
    ) AS v (direction)
    CROSS JOIN LATERAL siglip.nearest_images(model, v.direction, 500, collection, filter, NULL, NULL, image_ids) AS n
    WHERE v.direction IS NOT NULL
$$;

COMMENT ON FUNCTION siglip.composed_candidates(siglip.embedded_part[], siglip.models, text, jsonb, bigint[])
    IS 'Images that may fit a query of several parts best: the 500 nearest to up to three sums of them.
Example: SELECT siglip.composed_candidates(siglip.embed_parts(siglip.compose(''beach'', siglip.like(1)), siglip.described_model(1), NULL), siglip.described_model(1), NULL, NULL, NULL);';

-- $1 vectors of the parts; $2 images that stand in the query; $3 collection, $4 filter, $5 image_ids, $6 candidates; $7 min_score; $8 after;
-- $9 rows to leave out, $10 rows to return; $11 logit_scale, $12 logit_bias.
-- ARRAY(SELECT ...): few vectors of a large table are looked up by their keys, whatever the planner thinks of the filter.
CREATE FUNCTION siglip.composed_query_text(model_id integer, log_score text, conditions text, is_by_keys boolean) RETURNS text
LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, siglip, pg_temp
AS $$
    SELECT format(
        'SELECT ARRAY(SELECT ROW(i.image_id, i.uri, s.similarity, CASE WHEN $11 IS NOT NULL THEN siglip.score(s.similarity, $11, $12) END, i.metadata)'
        '::siglip.image_match FROM ('
        'SELECT i.image_id, (siglip.logit_of_log(%s) - coalesce($12, 0)) / exp(coalesce($11, 0)) AS similarity'
        ' FROM siglip.images AS i JOIN siglip.image_embeddings AS e ON e.content_id = i.content_id'
        ' WHERE e.model_id = %s AND %s%s OFFSET 0) AS s JOIN siglip.images AS i USING (image_id)'
        ' WHERE ($7 IS NULL OR siglip.score(s.similarity, $11, $12) >= $7)'
        ' AND ($8 IS NULL OR (-s.similarity, s.image_id) > (-($8).similarity, ($8).image_id))'
        ' ORDER BY s.similarity DESC, s.image_id OFFSET $9 LIMIT $10)',
        log_score, model_id, conditions,
        CASE WHEN is_by_keys
             THEN ' AND e.content_id = ANY (ARRAY(SELECT i.content_id FROM siglip.images AS i WHERE ' || conditions || '))' ELSE '' END)
$$;

COMMENT ON FUNCTION siglip.composed_query_text(integer, text, text, boolean)
    IS 'The text of the statement that puts images into the order of their score for a query of several parts.
Example: SELECT siglip.composed_query_text(1, ''0'', ''i.collection = $3'', true);';

CREATE FUNCTION siglip.has_more_images(collection text, filter jsonb, image_ids bigint[], count integer) RETURNS boolean
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, siglip, pg_temp
AS $$
DECLARE
    found integer;
BEGIN
    EXECUTE 'SELECT count(*) FROM (SELECT FROM siglip.images AS i WHERE i.content_id IS NOT NULL'
        || CASE WHEN collection IS NOT NULL THEN ' AND i.collection = $1' ELSE '' END
        || CASE WHEN filter IS NOT NULL THEN ' AND i.metadata @> $2' ELSE '' END
        || CASE WHEN image_ids IS NOT NULL THEN ' AND i.image_id = ANY ($3)' ELSE '' END
        || ' LIMIT $4 + 1) AS n' INTO found USING collection, filter, image_ids, count;
    RETURN found > count;
END
$$;

COMMENT ON FUNCTION siglip.has_more_images(text, jsonb, bigint[], integer) IS 'Whether more than so many images pass a collection, a filter and image_ids.
Example: SELECT siglip.has_more_images(''holiday'', NULL, NULL, 10000);';

CREATE FUNCTION siglip.search_images(
    query        siglip.composed_query,
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
SET jit = off
AS $$
#variable_conflict use_column
DECLARE
    exact_images constant integer := 10000;
    model        constant siglip.models := siglip.described_model(model_id);
    parts        siglip.embedded_part[];
    is_wide      boolean;
    candidates   bigint[];
    matches      siglip.image_match[];
BEGIN
    IF query IS NULL OR NOT EXISTS (SELECT FROM unnest((query).parts) AS p WHERE p.weight > 0) THEN
        RAISE EXCEPTION 'The query says nothing that is wanted.'
            USING ERRCODE = 'invalid_parameter_value', HINT = 'siglip.compose(''beach'', siglip.minus(''people'')) makes one.';
    END IF;
    -- Looked at first: a wrong number should not wait for a worker. Any vector of the right length stands for the query's.
    PERFORM siglip.check_search(model, array_fill(1::real, ARRAY[model.dimension])::@vector@.halfvec,
                                max_results, filter, min_score, skip_results, after);
    parts := siglip.embed_parts(query, model, timeout_s);
    is_wide := siglip.has_more_images(collection, filter, image_ids, exact_images);
    -- Pages are exact: candidates of different calls miss different images, and pages of them would repeat some.
    IF is_wide AND max_results <= 250 AND skip_results = 0 AND after IS NULL THEN
        candidates := coalesce(siglip.composed_candidates(parts, model, collection, filter, image_ids), '{}');
    END IF;
    EXECUTE siglip.composed_query_text(
            model.model_id, siglip.composed_log_score(parts, model.logit_scale, model.logit_bias),
            'i.image_id <> ALL ($2)'
            || CASE WHEN collection IS NOT NULL THEN ' AND i.collection = $3' ELSE '' END
            || CASE WHEN filter IS NOT NULL THEN ' AND i.metadata @> $4' ELSE '' END
            || CASE WHEN image_ids IS NOT NULL THEN ' AND i.image_id = ANY ($5)' ELSE '' END
            || CASE WHEN candidates IS NOT NULL THEN ' AND i.image_id = ANY ($6)' ELSE '' END,
            candidates IS NOT NULL
            OR (NOT is_wide AND (num_nonnulls(collection, filter, image_ids) > 0 OR row_security_active('siglip.images'))))
        INTO matches
        USING (SELECT array_agg(p.embedding ORDER BY p.place) FROM unnest(parts) WITH ORDINALITY AS p (embedding, weight, is_image, place)),
              ARRAY(SELECT p.image_id FROM unnest((query).parts) AS p WHERE p.image_id IS NOT NULL),
              collection, filter, image_ids, candidates, min_score, after, skip_results, max_results, model.logit_scale, model.logit_bias;
    RETURN QUERY SELECT m.* FROM unnest(matches) AS m;
END
$$;

COMMENT ON FUNCTION siglip.search_images(
    siglip.composed_query, integer, text, jsonb, double precision, integer, double precision, bigint[], integer, siglip.search_position)
    IS 'The images that fit a query of several parts best, best first, without those that stand in it. similarity is the one that a single text would need for the score.
Example: SELECT * FROM siglip.search_images(siglip.compose(''beach'', siglip.minus(''people''), siglip.like(1, 0.7), ''at night''), 5, min_score => 0.01);';

-- A part alone comes here: PostgreSQL takes a domain for the type below it as soon as one argument is a literal.
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
    model siglip.models;
BEGIN
    IF starts_with(query, E'\x1f') THEN
        RETURN QUERY SELECT s.* FROM siglip.search_images(
            siglip.compose(query), max_results, collection, filter, min_score, model_id, timeout_s, image_ids, skip_results, after) AS s;
        RETURN;
    END IF;
    model := siglip.described_model(model_id);
    -- Looked at first: a wrong number should not wait for a worker.
    PERFORM siglip.check_max_results(max_results);
    RETURN QUERY SELECT n.* FROM siglip.nearest_images(
        model, siglip.embed_text(query, model.model_id, timeout_s), max_results, collection, filter, min_score, NULL,
        image_ids, skip_results, after) AS n;
END
$$;
