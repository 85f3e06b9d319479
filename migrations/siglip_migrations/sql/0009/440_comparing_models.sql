-- Purpose: what would change with another model, measured on what people asked and marked.
-- Parameters: two models, by number or name; k, results that are looked at; samples: max_queries, the last used, max_labels, max_images.
-- A row means: one measure, its value under each model (one value of both in both), how many cases it is the mean of, and what it says.

CREATE TYPE siglip.model_comparison AS (
    measure text,
    value_a double precision,
    value_b double precision,
    n       bigint,
    note    text
);

COMMENT ON TYPE siglip.model_comparison IS 'One measure of two models, over n cases; NULL where there is nothing to compare, and the note says why.';

CREATE FUNCTION siglip.compare_queries(model_a siglip.models, model_b siglip.models, k integer, max_queries integer, timeout_s double precision)
RETURNS SETOF siglip.model_comparison
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, siglip, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    asked    record;
    vector_b @vector@.halfvec;
    found_a  siglip.image_match[];
    found_b  siglip.image_match[];
    can_ask  boolean := NOT model_b.is_external AND siglip.has_text_listener(model_b.model_id);
    left_out bigint := 0;
    compared bigint := 0;
    answered bigint := 0;
    overlap  double precision := 0;
    first    double precision := 0;
    best_a   double precision := 0;
    best_b   double precision := 0;
    note     text;
BEGIN
    FOR asked IN
        SELECT t.query, t.embedding, o.embedding AS embedding_b, o.text_hash IS NOT NULL AS is_known
        FROM siglip.texts AS t
        LEFT JOIN siglip.texts AS o ON o.model_id = model_b.model_id AND o.text_hash = t.text_hash AND o.query = t.query
        WHERE t.model_id = model_a.model_id AND t.refusal IS NULL
        ORDER BY t.last_used_at DESC, t.text_hash
        LIMIT max_queries
    LOOP
        vector_b := asked.embedding_b;
        IF NOT asked.is_known AND can_ask THEN
            BEGIN
                vector_b := siglip.embed_text(asked.query, model_b.model_id, timeout_s);
            EXCEPTION
                WHEN SQLSTATE 'SIG01' THEN can_ask := false;  -- no worker answers
                WHEN invalid_parameter_value THEN NULL;  -- this model reads nothing of it
            END;
        END IF;
        IF vector_b IS NULL THEN
            left_out := left_out + 1;
            CONTINUE;
        END IF;
        SELECT array_agg(f) INTO found_a FROM siglip.nearest_images(model_a, asked.embedding, k, NULL, NULL, NULL, NULL) AS f;
        SELECT array_agg(f) INTO found_b FROM siglip.nearest_images(model_b, vector_b, k, NULL, NULL, NULL, NULL) AS f;
        compared := compared + 1;
        CONTINUE WHEN found_a IS NULL OR found_b IS NULL;
        answered := answered + 1;
        overlap := overlap + (SELECT count(*) FROM unnest(found_a) AS x JOIN unnest(found_b) AS y USING (image_id))::double precision
                             / greatest(cardinality(found_a), cardinality(found_b));
        first := first + (found_a[1].image_id = found_b[1].image_id)::integer;
        best_a := best_a + found_a[1].score;
        best_b := best_b + found_b[1].score;
    END LOOP;
    note := CASE WHEN compared + left_out = 0 THEN format('Nobody has asked %s anything yet.', model_a.name)
                 WHEN left_out > 0 THEN format('%s queries have no vector under %s: %s', left_out, model_b.name,
                     CASE WHEN model_b.is_external THEN 'it is external.' ELSE 'a worker of it embeds them while it runs.' END)
                 WHEN answered = 0 THEN 'No image is embedded under both.' END;
    RETURN QUERY VALUES
        (format('overlap@%s of queries', k), overlap / nullif(answered, 0), overlap / nullif(answered, 0), answered,
         concat_ws(' ', 'Share of the results that both find, over the queries asked last.', note)),
        ('same best result', first / nullif(answered, 0), first / nullif(answered, 0), answered, note),
        ('score of the best result', best_a / nullif(answered, 0), best_b / nullif(answered, 0), answered,
         concat_ws(' ', 'Scores of two models don''t measure the same.', note));
END
$$;

COMMENT ON FUNCTION siglip.compare_queries(siglip.models, siglip.models, integer, integer, double precision) IS 'How alike two models answer the queries that were asked last of the first one.
Example: SELECT c.* FROM siglip.described_model(1) AS a, siglip.described_model(2) AS b, siglip.compare_queries(a, b, 10, 100, 10) AS c;';

-- Ranks are among all images of a model, by one pass for each label.
CREATE FUNCTION siglip.mark_ranks(model siglip.models, label_id integer)
RETURNS TABLE (image_id bigint, is_accepted boolean, place bigint)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, siglip, pg_temp
SET jit = off
AS $$
#variable_conflict use_column
DECLARE
    label_embedding @vector@.halfvec;
BEGIN
    SELECT v.embedding INTO label_embedding FROM siglip.label_embeddings AS v
    WHERE v.model_id = model.model_id AND v.label_id = mark_ranks.label_id;
    RETURN QUERY EXECUTE format(
        'SELECT l.image_id, l.is_accepted, r.place FROM ('
        '  SELECT e.content_id, rank() OVER (ORDER BY e.embedding OPERATOR(@vector@.<#>) $1) AS place'
        '  FROM siglip.image_embeddings AS e WHERE e.model_id = %s'
        ') AS r JOIN siglip.images AS i ON i.content_id = r.content_id'
        ' JOIN siglip.image_labels AS l ON l.image_id = i.image_id'
        ' WHERE l.label_id = $2 AND l.marked_by IS NOT NULL', model.model_id)
        USING label_embedding, label_id;
END
$$;

COMMENT ON FUNCTION siglip.mark_ranks(siglip.models, integer) IS 'The images that people marked with a label, each with its place among all images by the similarity with the label under a model.
Example: SELECT r.* FROM siglip.described_model(1) AS m, siglip.labels AS l, siglip.mark_ranks(m, l.label_id) AS r WHERE l.label = ''sunset'';';

CREATE FUNCTION siglip.compare_marks(model_a siglip.models, model_b siglip.models, k integer, max_labels integer)
RETURNS SETOF siglip.model_comparison
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, siglip, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    labels     integer[];
    has_others boolean;
    marked     record;
    none       constant text := 'No image that is embedded under both is marked with a label that has vectors under both.';
BEGIN
    SELECT array_agg(c.label_id), coalesce(bool_or(c.number > max_labels), false) INTO labels, has_others
    FROM (
        SELECT l.label_id, row_number() OVER (ORDER BY count(*) DESC, l.label_id) AS number
        FROM siglip.image_labels AS m JOIN siglip.labels AS l USING (label_id)
        JOIN siglip.label_embeddings AS a ON a.label_id = l.label_id AND a.model_id = model_a.model_id
        JOIN siglip.label_embeddings AS b ON b.label_id = l.label_id AND b.model_id = model_b.model_id
        WHERE m.marked_by IS NOT NULL AND NOT l.is_by_example
        GROUP BY l.label_id
    ) AS c WHERE c.number <= max_labels + 1;
    labels := labels[1:max_labels];
    WITH ranks AS MATERIALIZED (
        SELECT l.label_id, a.image_id, a.is_accepted, a.place AS place_a, b.place AS place_b
        FROM unnest(labels) AS l (label_id)
        CROSS JOIN LATERAL siglip.mark_ranks(model_a, l.label_id) AS a
        JOIN LATERAL siglip.mark_ranks(model_b, l.label_id) AS b ON b.image_id = a.image_id
    )
    SELECT count(*) FILTER (WHERE r.is_accepted) AS n,
           percentile_cont(0.5) WITHIN GROUP (ORDER BY r.place_a) FILTER (WHERE r.is_accepted) AS median_a,
           percentile_cont(0.5) WITHIN GROUP (ORDER BY r.place_b) FILTER (WHERE r.is_accepted) AS median_b,
           avg((r.place_a <= k)::integer) FILTER (WHERE r.is_accepted) AS recall_a,
           avg((r.place_b <= k)::integer) FILTER (WHERE r.is_accepted) AS recall_b,
           p.labels, p.precision_a, p.precision_b
    INTO marked
    FROM ranks AS r
    CROSS JOIN (
        -- Average precision of the marked images alone, of labels that have both kinds of marks.
        SELECT count(*) AS labels, avg(s.precision_a) AS precision_a, avg(s.precision_b) AS precision_b
        FROM (
            SELECT o.label_id, avg(o.hits_a / o.seen_a::double precision) FILTER (WHERE o.is_accepted) AS precision_a,
                   avg(o.hits_b / o.seen_b::double precision) FILTER (WHERE o.is_accepted) AS precision_b
            FROM (
                SELECT q.label_id, q.is_accepted,
                       count(*) FILTER (WHERE q.is_accepted) OVER (PARTITION BY q.label_id ORDER BY q.place_a) AS hits_a,
                       count(*) OVER (PARTITION BY q.label_id ORDER BY q.place_a) AS seen_a,
                       count(*) FILTER (WHERE q.is_accepted) OVER (PARTITION BY q.label_id ORDER BY q.place_b) AS hits_b,
                       count(*) OVER (PARTITION BY q.label_id ORDER BY q.place_b) AS seen_b
                FROM ranks AS q
            ) AS o
            GROUP BY o.label_id
            HAVING bool_or(o.is_accepted) AND NOT bool_and(o.is_accepted)
        ) AS s
    ) AS p
    GROUP BY p.labels, p.precision_a, p.precision_b;
    RETURN QUERY VALUES
        (format('recall@%s of marked images', k), marked.recall_a::double precision, marked.recall_b::double precision, coalesce(marked.n, 0),
         CASE WHEN coalesce(marked.n, 0) = 0 THEN none
              ELSE concat_ws(' ', format('Share of the images marked with a label that are among its first %s.', k),
                             CASE WHEN has_others THEN format('The %s labels with the most marks.', max_labels) END) END),
        ('rank of marked images', marked.median_a, marked.median_b, coalesce(marked.n, 0),
         CASE WHEN coalesce(marked.n, 0) = 0 THEN none ELSE 'The median place among all images; 1 is best.' END),
        ('average precision of marks', marked.precision_a, marked.precision_b, coalesce(marked.labels, 0),
         CASE WHEN coalesce(marked.labels, 0) = 0 THEN 'No label has images marked with yes and images marked with no.'
              ELSE 'Whether images marked with yes come before those marked with no; the mean of the labels.' END);
END
$$;

COMMENT ON FUNCTION siglip.compare_marks(siglip.models, siglip.models, integer, integer) IS 'How well each of two models finds the images that people marked with labels.
Example: SELECT c.* FROM siglip.described_model(1) AS a, siglip.described_model(2) AS b, siglip.compare_marks(a, b, 10, 20) AS c;';

CREATE FUNCTION siglip.compare_labels(model_a siglip.models, model_b siglip.models, max_labels integer, max_images integer)
RETURNS SETOF siglip.model_comparison
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, siglip, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    percent  double precision;
    contents bigint[];
    counts   record;
    chance   double precision;
    note     text;
BEGIN
    -- Every second image that is drawn may lack a vector under one of them.
    SELECT least(100, 300.0 * max_images / greatest(1, c.reltuples)) INTO percent FROM pg_class AS c WHERE c.oid = 'siglip.images'::regclass;
    LOOP
        SELECT array_agg(s.content_id) INTO contents
        FROM (
            SELECT DISTINCT i.content_id FROM siglip.images AS i TABLESAMPLE BERNOULLI (percent)
            WHERE EXISTS (SELECT FROM siglip.image_embeddings AS e WHERE e.model_id = model_a.model_id AND e.content_id = i.content_id)
              AND EXISTS (SELECT FROM siglip.image_embeddings AS e WHERE e.model_id = model_b.model_id AND e.content_id = i.content_id)
            LIMIT max_images
        ) AS s;
        EXIT WHEN contents IS NOT NULL OR percent >= 100;
        percent := 100;
    END LOOP;
    WITH chosen AS MATERIALIZED (
        SELECT ra.label_id, va.embedding AS vector_a, vb.embedding AS vector_b, ra.scale AS scale_a, ra.bias AS bias_a,
               ra.threshold AS threshold_a, rb.scale AS scale_b, rb.bias AS bias_b, rb.threshold AS threshold_b
        FROM siglip.label_rules AS ra
        JOIN siglip.label_rules AS rb ON rb.label_id = ra.label_id AND rb.model_id = model_b.model_id
        JOIN siglip.label_embeddings AS va ON va.label_id = ra.label_id AND va.model_id = model_a.model_id
        JOIN siglip.label_embeddings AS vb ON vb.label_id = ra.label_id AND vb.model_id = model_b.model_id
        WHERE ra.model_id = model_a.model_id
        ORDER BY ra.label_id LIMIT max_labels
    ), decided AS (
        SELECT siglip.score(siglip.similarity(ea.embedding OPERATOR(@vector@.<#>) c.vector_a),
                            model_a.logit_scale + ln(c.scale_a), c.scale_a * model_a.logit_bias + c.bias_a) >= c.threshold_a AS is_a,
               siglip.score(siglip.similarity(eb.embedding OPERATOR(@vector@.<#>) c.vector_b),
                            model_b.logit_scale + ln(c.scale_b), c.scale_b * model_b.logit_bias + c.bias_b) >= c.threshold_b AS is_b
        FROM siglip.image_embeddings AS ea
        JOIN siglip.image_embeddings AS eb ON eb.model_id = model_b.model_id AND eb.content_id = ea.content_id
        CROSS JOIN chosen AS c
        WHERE ea.model_id = model_a.model_id AND ea.content_id = ANY (contents)
    )
    SELECT count(*) AS n, avg(is_a::integer)::double precision AS a, avg(is_b::integer)::double precision AS b,
           avg((is_a = is_b)::integer)::double precision AS same,
           (SELECT count(*) FROM chosen) AS labels
    INTO counts FROM decided;
    note := CASE WHEN counts.labels = 0 THEN 'No label has vectors under both.'
                 WHEN counts.n = 0 THEN 'No image is embedded under both.' END;
    chance := counts.a * counts.b + (1 - counts.a) * (1 - counts.b);
    RETURN QUERY VALUES
        ('labels of an image', counts.a * counts.labels, counts.b * counts.labels, coalesce(cardinality(contents), 0)::bigint,
         coalesce(note, format('How many of %s labels an image has, at their thresholds.', counts.labels))),
        ('label agreement', counts.same, counts.same, counts.n,
         coalesce(note, 'Share of images x labels that both decide alike.')),
        ('label agreement, kappa', (counts.same - chance) / nullif(1 - chance, 0), (counts.same - chance) / nullif(1 - chance, 0), counts.n,
         coalesce(note, CASE WHEN chance = 1 THEN 'Both decide all alike, which chance would do as well.'
                             ELSE 'Agreement beyond that of chance (Cohen): 1 is all, 0 is none.' END));
END
$$;

COMMENT ON FUNCTION siglip.compare_labels(siglip.models, siglip.models, integer, integer) IS 'How alike two models decide which images have which labels, by siglip.label_rules, on a random sample of images.
Example: SELECT c.* FROM siglip.described_model(1) AS a, siglip.described_model(2) AS b, siglip.compare_labels(a, b, 100, 1000) AS c;';

CREATE FUNCTION siglip.compare_models(
    a integer, b integer, k integer DEFAULT 10, max_queries integer DEFAULT 100, max_labels integer DEFAULT 20, max_images integer DEFAULT 1000,
    timeout_s double precision DEFAULT NULL
) RETURNS SETOF siglip.model_comparison
LANGUAGE plpgsql VOLATILE ROWS 10
SET search_path = pg_catalog, siglip, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    model_a siglip.models := siglip.described_model(coalesce(a, 0));
    model_b siglip.models := siglip.described_model(coalesce(b, 0));
    ranges  constant text := '%s is %s, not a number from 1 to %s.';
BEGIN
    IF a = b THEN
        RAISE EXCEPTION 'The model % is compared with itself.', quote_literal(model_a.name)
            USING ERRCODE = 'invalid_parameter_value', HINT = 'SELECT model_id, name FROM siglip.models shows the others.';
    ELSIF coalesce(k NOT BETWEEN 1 AND 1000, true) THEN
        RAISE EXCEPTION '%', format(ranges, 'k', coalesce(k::text, 'NULL'), 1000) USING ERRCODE = 'invalid_parameter_value';
    ELSIF coalesce(max_queries NOT BETWEEN 1 AND 10000, true) THEN
        RAISE EXCEPTION '%', format(ranges, 'max_queries', coalesce(max_queries::text, 'NULL'), 10000) USING ERRCODE = 'invalid_parameter_value';
    ELSIF coalesce(max_labels NOT BETWEEN 1 AND 10000, true) THEN
        RAISE EXCEPTION '%', format(ranges, 'max_labels', coalesce(max_labels::text, 'NULL'), 10000) USING ERRCODE = 'invalid_parameter_value';
    ELSIF coalesce(max_images NOT BETWEEN 1 AND 1000000, true) THEN
        RAISE EXCEPTION '%', format(ranges, 'max_images', coalesce(max_images::text, 'NULL'), 1000000) USING ERRCODE = 'invalid_parameter_value';
    END IF;
    RETURN QUERY
    SELECT 'images embedded', count(*) FILTER (WHERE ca.content_id IS NOT NULL)::double precision,
           count(*) FILTER (WHERE cb.content_id IS NOT NULL)::double precision, count(*), 'n are all images.'
    FROM siglip.images AS i
    LEFT JOIN siglip.image_embeddings AS ca ON ca.model_id = model_a.model_id AND ca.content_id = i.content_id
    LEFT JOIN siglip.image_embeddings AS cb ON cb.model_id = model_b.model_id AND cb.content_id = i.content_id;
    RETURN QUERY SELECT c.* FROM siglip.compare_queries(model_a, model_b, k, max_queries, timeout_s) AS c;
    IF num_nulls(model_a.logit_scale, model_b.logit_scale) = 0 THEN
        RETURN QUERY SELECT c.* FROM siglip.compare_marks(model_a, model_b, k, max_labels) AS c;
        RETURN QUERY SELECT c.* FROM siglip.compare_labels(model_a, model_b, max_labels, max_images) AS c;
    END IF;
END
$$;

COMMENT ON FUNCTION siglip.compare_models(integer, integer, integer, integer, integer, integer, double precision) IS 'What would change with another model: its answers to the queries that people asked, the places of images that they marked, and its labels.
Example: SELECT * FROM siglip.compare_models(1, 2);';

CREATE FUNCTION siglip.compare_models(
    a text, b text, k integer DEFAULT 10, max_queries integer DEFAULT 100, max_labels integer DEFAULT 20, max_images integer DEFAULT 1000,
    timeout_s double precision DEFAULT NULL
) RETURNS SETOF siglip.model_comparison
LANGUAGE sql VOLATILE ROWS 10
SET search_path = pg_catalog, siglip, pg_temp
AS $$
    SELECT c.* FROM siglip.compare_models(siglip.find_model(a), siglip.find_model(b), k, max_queries, max_labels, max_images, timeout_s) AS c
$$;

COMMENT ON FUNCTION siglip.compare_models(text, text, integer, integer, integer, integer, double precision) IS 'What would change with another model, by the models'' names.
Example: SELECT * FROM siglip.compare_models(''demo'', ''other'', k => 5);';
