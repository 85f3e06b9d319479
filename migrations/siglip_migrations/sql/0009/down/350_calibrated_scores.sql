-- Purpose: take away what 350_calibrated_scores.sql made: scores and labels as revision 0006 has them.
-- Parameters: none.
-- A row means: as before.

DROP VIEW siglip.label_scores;

CREATE VIEW siglip.label_scores WITH (security_invoker = true) AS
SELECT i.image_id, s.name AS label_set, l.label, c.similarity, g.logit,
       siglip.score(c.similarity, m.logit_scale, m.logit_bias) AS score
FROM siglip.models AS m
JOIN siglip.label_embeddings AS v ON v.model_id = m.model_id
JOIN siglip.labels AS l USING (label_id)
JOIN siglip.label_sets AS s USING (label_set_id)
JOIN siglip.image_embeddings AS e ON e.model_id = m.model_id
JOIN siglip.images AS i USING (content_id)
CROSS JOIN LATERAL (
    SELECT greatest(-1::double precision, least(1::double precision, -(e.embedding OPERATOR(@vector@.<#>) v.embedding))) AS similarity OFFSET 0
) AS c
CROSS JOIN LATERAL (SELECT exp(m.logit_scale) * c.similarity + m.logit_bias AS logit) AS g
WHERE m.model_id = (SELECT model_id FROM siglip.models WHERE is_active);

COMMENT ON VIEW siglip.label_scores
    IS 'One row is one image x label under the active model. The scores of a label set are independent: they don''t sum to 1.';

DO $$
DECLARE
    reader record;
BEGIN
    FOR reader IN
        SELECT CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END AS role
        FROM pg_class AS c CROSS JOIN LATERAL aclexplode(c.relacl) AS a
        WHERE c.oid = 'siglip.labels'::regclass AND a.grantee <> c.relowner AND a.privilege_type = 'SELECT'
    LOOP
        EXECUTE format('GRANT SELECT ON siglip.label_scores TO %s', reader.role);
    END LOOP;
END
$$;

CREATE OR REPLACE FUNCTION siglip.images_with_label(
    label_set   text,
    label       text,
    min_score   double precision DEFAULT NULL,
    max_results integer DEFAULT NULL,
    collection  text DEFAULT NULL,
    filter      jsonb DEFAULT NULL,
    model_id    integer DEFAULT NULL
) RETURNS SETOF siglip.image_match
LANGUAGE plpgsql VOLATILE ROWS 100
SET search_path = pg_catalog, siglip, pg_temp
SET jit = off
SET hnsw.iterative_scan = relaxed_order
SET hnsw.ef_search = 700
SET hnsw.max_scan_tuples = 100000
SET parallel_setup_cost = 1000
SET min_parallel_table_scan_size = '8MB'
AS $$
#variable_conflict use_column
DECLARE
    model           siglip.models := siglip.described_model(images_with_label.model_id);
    label_embedding @vector@.halfvec;
    landmark        double precision;
    walk            text;
    least_score     double precision;
    bound           double precision;
    conditions      text;
    content_ids     bigint[];
    distances       double precision[];
    step            integer := 600;
    is_large        boolean;
    total           bigint;
    reached         bigint;
    hits            bigint;
    sampled         bigint;
    expected        double precision;
    is_found        boolean := false;
BEGIN
    PERFORM siglip.check_label_set(label_set, min_score, model);
    IF max_results IS NOT NULL THEN
        PERFORM siglip.check_max_results(max_results);
    END IF;
    SELECT v.embedding, coalesce(min_score, l.threshold, 0.5) INTO label_embedding, least_score
    FROM siglip.label_sets AS s
    JOIN siglip.labels AS l USING (label_set_id)
    LEFT JOIN siglip.label_embeddings AS v ON v.label_id = l.label_id AND v.model_id = model.model_id
    WHERE s.name = images_with_label.label_set AND l.label = images_with_label.label;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'The label set % has no label %.', quote_literal(label_set), coalesce(quote_literal(label), 'NULL')
            USING ERRCODE = 'no_data_found', HINT = 'SELECT label FROM siglip.labels shows what there is.';
    ELSIF label_embedding IS NULL THEN
        RAISE EXCEPTION 'The label set % has no vectors under the model % yet.', quote_literal(label_set), model.name
            USING ERRCODE = 'no_data_found', HINT = 'A worker of that model adds them within seconds (siglip-ingest worker).';
    END IF;
    -- A hair below, for rounding; the score itself decides in the end.
    bound := -(siglip.least_similarity(least_score, model.logit_scale, model.logit_bias) - 1e-6);
    conditions := 'i.image_id IS DISTINCT FROM $3'
        || CASE WHEN collection IS NULL THEN '' ELSE ' AND i.collection = $6' END
        || CASE WHEN filter IS NULL THEN '' ELSE ' AND i.metadata @> $7' END;
    IF collection IS NOT NULL OR filter IS NOT NULL THEN
        EXECUTE 'SELECT coalesce(array_agg(i.content_id), ''{}'') FROM siglip.images AS i WHERE i.content_id IS NOT NULL AND ' || conditions
            INTO content_ids USING NULL::integer, NULL::integer, NULL::bigint, NULL::integer, NULL::integer, collection, filter;
    ELSE
        SELECT sum(greatest(c.reltuples, 0)) INTO total
        FROM pg_inherits AS h JOIN pg_class AS c ON c.oid = h.inhrelid
        WHERE h.inhparent = format('siglip.image_embeddings_%s', model.model_id)::regclass;
        is_large := total > 500000;
        IF is_large THEN
            step := 1500;
            PERFORM set_config('hnsw.ef_search', '1000', true);
        END IF;
        SELECT min(l.embedding OPERATOR(@vector@.<#>) label_embedding) INTO landmark
        FROM siglip.landmarks AS l WHERE l.model_id = model.model_id;
        WHILE model.index_kind = 'halfvec' AND step <= total / 50 LOOP
            walk := format(
                'SELECT e.content_id, e.embedding::@vector@.halfvec(%1$s) OPERATOR(@vector@.<#>) $1 AS distance'
                ' FROM siglip.image_embeddings AS e WHERE e.model_id = %2$s'
                ' ORDER BY e.embedding::@vector@.halfvec(%1$s) OPERATOR(@vector@.<#>) $2 LIMIT %3$s',
                model.dimension, model.model_id, step);
            EXECUTE 'SELECT array_agg(n.content_id), array_agg(n.distance) FROM (' || walk || ') AS n'
                INTO content_ids, distances USING label_embedding, label_embedding;
            IF is_large OR (SELECT count(*) < 10 FROM unnest(distances) AS d (distance) WHERE d.distance <= landmark) THEN
                EXECUTE 'SELECT array_agg(n.content_id), array_agg(n.distance)'
                        ' FROM (SELECT * FROM unnest($3, $4) AS u UNION (' || walk || ')) AS n (content_id, distance)'
                    INTO content_ids, distances
                    USING label_embedding, siglip.second_start(model.model_id, label_embedding), content_ids, distances;
            END IF;
            SELECT count(*) INTO reached FROM unnest(distances) AS d (distance) WHERE d.distance <= bound;
            is_found := reached <= step / 2;
            EXIT WHEN is_found;
            step := 4 * step;
        END LOOP;
        IF is_found THEN
            EXECUTE format(
                'SELECT count(*) FILTER (WHERE e.embedding OPERATOR(@vector@.<#>) $1 <= $2), count(*) FROM siglip.image_embeddings AS e'
                ' WHERE e.model_id = %s AND e.content_id = ANY (ARRAY(SELECT unnest($3)))', model.model_id)
                INTO hits, sampled
                USING label_embedding, bound, ARRAY(  -- five neighbours each: they lie on one page
                    SELECT p.place + n
                    FROM (SELECT (random() * (SELECT max(c.content_id) FROM siglip.contents AS c))::bigint AS place
                          FROM generate_series(1, 300)) AS p, generate_series(1, 5) AS n);
            expected := reached * sampled / greatest(total, 1)::double precision;
            is_found := hits <= expected + 3 * sqrt(expected) + 3;
        END IF;
        IF NOT is_found THEN
            content_ids := NULL;
        END IF;
    END IF;
    IF content_ids IS NULL OR cardinality(content_ids) > 15000 THEN
        PERFORM set_config('parallel_setup_cost', '0', true), set_config('min_parallel_table_scan_size', '0', true);
    END IF;
    RETURN QUERY EXECUTE
        'SELECT i.image_id, i.uri, s.similarity, siglip.score(s.similarity, $4, $5), i.metadata FROM ('
        || CASE WHEN is_found THEN 'SELECT u.content_id, u.distance FROM unnest($9, $11) AS u (content_id, distance) WHERE u.distance <= $8'
           ELSE 'SELECT e.content_id, e.embedding OPERATOR(@vector@.<#>) $1 AS distance FROM siglip.image_embeddings AS e'
                ' WHERE e.model_id = ' || model.model_id || ' AND e.embedding OPERATOR(@vector@.<#>) $1 <= $8'
                || CASE WHEN content_ids IS NULL THEN '' ELSE ' AND e.content_id = ANY (ARRAY(SELECT unnest($9)))' END END
        || ') AS n JOIN siglip.images AS i ON i.content_id = n.content_id'
        ' CROSS JOIN LATERAL (SELECT siglip.similarity(n.distance)) AS s (similarity)'
        ' WHERE siglip.score(s.similarity, $4, $5) >= $2 AND ' || conditions ||
        ' ORDER BY s.similarity DESC, i.image_id LIMIT $10'
        USING label_embedding, least_score, NULL::bigint, model.logit_scale, model.logit_bias, collection, filter, bound,
              content_ids, max_results, distances;
END
$$;

COMMENT ON FUNCTION siglip.images_with_label(text, text, double precision, integer, text, jsonb, integer)
    IS 'The images whose score for a label reaches min_score (by default the label''s threshold, else 0.5), best first.';

CREATE OR REPLACE FUNCTION siglip.count_labels(
    label_set  text,
    min_score  double precision DEFAULT NULL,
    collection text DEFAULT NULL,
    filter     jsonb DEFAULT NULL,
    model_id   integer DEFAULT NULL
) RETURNS TABLE (label text, images bigint)
LANGUAGE plpgsql VOLATILE ROWS 20
SET search_path = pg_catalog, siglip, pg_temp
SET jit = off
SET parallel_setup_cost = 0
AS $$
#variable_conflict use_column
DECLARE
    model  siglip.models := siglip.described_model(count_labels.model_id);
    chunk  record;
    counts bigint[];
BEGIN
    PERFORM siglip.check_label_set(label_set, min_score, model);
    FOR chunk IN
        SELECT array_agg(l.label ORDER BY l.position) AS labels,
               string_agg(format(
                   'count(*) FILTER (WHERE e.embedding OPERATOR(@vector@.<#>) %L::@vector@.halfvec <= %L::double precision)', v.embedding,
                   -(siglip.least_similarity(coalesce(min_score, l.threshold, 0.5), model.logit_scale, model.logit_bias) - 1e-9)),
                   ', ' ORDER BY l.position) AS columns
        FROM siglip.label_sets AS s
        JOIN siglip.labels AS l USING (label_set_id)
        JOIN siglip.label_embeddings AS v ON v.label_id = l.label_id AND v.model_id = model.model_id
        WHERE s.name = count_labels.label_set
        GROUP BY l.position / 50
        ORDER BY min(l.position)
    LOOP
        EXECUTE 'SELECT ARRAY[' || chunk.columns || '] FROM siglip.image_embeddings AS e'
            ' JOIN siglip.images AS i ON i.content_id = e.content_id WHERE e.model_id = ' || model.model_id
            || CASE WHEN collection IS NULL THEN '' ELSE ' AND i.collection = $1' END
            || CASE WHEN filter IS NULL THEN '' ELSE ' AND i.metadata @> $2' END
            INTO counts USING collection, filter;
        RETURN QUERY SELECT c.label, c.images FROM unnest(chunk.labels, counts) AS c (label, images);
    END LOOP;
END
$$;

COMMENT ON FUNCTION siglip.count_labels(text, double precision, text, jsonb, integer)
    IS 'How many images have each label of a set: those whose score reaches min_score, or the label''s threshold, else 0.5.';

DROP FUNCTION siglip.sigmoid(double precision);
