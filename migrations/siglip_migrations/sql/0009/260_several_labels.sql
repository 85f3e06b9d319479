-- Purpose: images that have all of some labels, any of others, and none of further ones.
-- Parameters: labels by name; min_score on the model's own score, NULL for each label's rule (siglip.label_rules).
-- A row means: one image, best first (label_match); one label that a query names (named_label).

CREATE TYPE siglip.label_match AS (
    image_id bigint,
    uri      text,
    score    double precision,
    metadata jsonb,
    scores   jsonb
);

COMMENT ON TYPE siglip.label_match IS 'An image, its score for a combination of labels, and its score for each of them.';

CREATE TYPE siglip.named_label AS (
    name            text,
    label_set       text,
    label           text,
    embedding       @vector@.halfvec,
    threshold       double precision,
    logit_scale     double precision,
    logit_bias      double precision,
    least_similarity double precision
);

COMMENT ON TYPE siglip.named_label
    IS 'A label as a query names it, with what decides: siglip.score(similarity, logit_scale, logit_bias) >= threshold.';

-- A calibrated score is the sigmoid of scale * logit + bias: a score of the same form with other constants.
CREATE FUNCTION siglip.named_labels(model siglip.models, label_set text, names text[], min_score double precision)
RETURNS SETOF siglip.named_label
LANGUAGE plpgsql STABLE ROWS 3
SET search_path = pg_catalog, siglip, pg_temp
AS $$
DECLARE
    given text;
    found siglip.named_label[];
BEGIN
    FOREACH given IN ARRAY names LOOP
        found := ARRAY(
            SELECT ROW(given, s.name, l.label, v.embedding, c.threshold, c.logit_scale, c.logit_bias,
                       siglip.least_similarity(c.threshold, c.logit_scale, c.logit_bias))::siglip.named_label
            FROM siglip.label_sets AS s
            JOIN siglip.labels AS l USING (label_set_id)
            LEFT JOIN siglip.label_rules AS r ON r.label_id = l.label_id AND r.model_id = model.model_id
            LEFT JOIN siglip.label_embeddings AS v ON v.label_id = l.label_id AND v.model_id = model.model_id
            CROSS JOIN LATERAL (
                SELECT model.logit_scale, model.logit_bias, named_labels.min_score WHERE named_labels.min_score IS NOT NULL
                UNION ALL
                SELECT model.logit_scale + ln(r.scale), r.scale * model.logit_bias + r.bias, r.threshold
                WHERE named_labels.min_score IS NULL
            ) AS c (logit_scale, logit_bias, threshold)
            WHERE (named_labels.label_set IS NULL AND s.name || '/' || l.label = given)
               OR (s.name = named_labels.label_set AND l.label = given));
        IF cardinality(found) = 0 AND label_set IS NULL THEN
            RAISE EXCEPTION 'There is no label %.', coalesce(quote_literal(given), 'NULL')
                USING ERRCODE = 'no_data_found',
                      HINT = 'Without a label set, write the set and the label with a stroke between them: ''scenes/sunset''.';
        ELSIF cardinality(found) = 0 THEN
            RAISE EXCEPTION 'The label set % has no label %.', quote_literal(label_set), coalesce(quote_literal(given), 'NULL')
                USING ERRCODE = 'no_data_found', HINT = 'SELECT label FROM siglip.labels shows what there is.';
        ELSIF cardinality(found) > 1 THEN
            RAISE EXCEPTION '% is the name of several labels: %.', quote_literal(given),
                (SELECT string_agg(format('%L of the label set %L', f.label, f.label_set), ', ' ORDER BY f.label_set) FROM unnest(found) AS f)
                USING ERRCODE = 'invalid_parameter_value', HINT = 'Name the label set in the first argument.';
        ELSIF found[1].embedding IS NULL THEN
            RAISE EXCEPTION 'The label % has no vector under the model % yet.', quote_literal(given), model.name
                USING ERRCODE = 'no_data_found', HINT = siglip.vector_hint(found[1].label_set, found[1].label, model.model_id);
        END IF;
        RETURN NEXT found[1];
    END LOOP;
END
$$;

COMMENT ON FUNCTION siglip.named_labels(siglip.models, text, text[], double precision)
    IS 'The labels that a query names, each with its vector and its rule; an error where one is not there.
Example: SELECT name, threshold FROM siglip.named_labels(siglip.active_model(), ''scenes'', ''{sunset,forest}'', NULL);';

-- The landmarks are a sample of the vectors: the label that fewest of them have is the one to begin with.
CREATE FUNCTION siglip.rarest_label(model siglip.models, labels siglip.named_label[]) RETURNS siglip.named_label
LANGUAGE sql STABLE
SET search_path = pg_catalog, siglip, pg_temp
AS $$
    SELECT u
    FROM unnest(labels) WITH ORDINALITY
         AS p (name, label_set, label, embedding, threshold, logit_scale, logit_bias, least_similarity, place)
    CROSS JOIN LATERAL (
        SELECT count(*) FILTER (WHERE d.excess >= 0) AS hits, max(d.excess) AS excess
        FROM siglip.landmarks AS m
        CROSS JOIN LATERAL (SELECT siglip.similarity(m.embedding OPERATOR(@vector@.<#>) p.embedding) - p.least_similarity) AS d (excess)
        WHERE m.model_id = model.model_id
    ) AS c
    CROSS JOIN LATERAL (
        SELECT ROW(p.name, p.label_set, p.label, p.embedding, p.threshold, p.logit_scale, p.logit_bias, p.least_similarity)::siglip.named_label
    ) AS r (u)
    ORDER BY c.hits, c.excess, p.place LIMIT 1
$$;

COMMENT ON FUNCTION siglip.rarest_label(siglip.models, siglip.named_label[])
    IS 'The label that the fewest images have, as a sample of the vectors tells; the first where there is no sample.
Example: SELECT (siglip.rarest_label(siglip.active_model(), ARRAY(SELECT n FROM siglip.named_labels(siglip.active_model(), ''scenes'', ''{sunset,forest}'', NULL) AS n))).label;';

-- One label is looked up by the index (siglip.images_with_label): the rarest of those that an image must have, else each of those of which
-- it must have one. The others are checked on the images found.
CREATE FUNCTION siglip.images_with_labels(
    label_set   text,
    all_of      text[] DEFAULT '{}',
    any_of      text[] DEFAULT '{}',
    none_of     text[] DEFAULT '{}',
    min_score   double precision DEFAULT NULL,
    max_results integer DEFAULT NULL,
    collection  text DEFAULT NULL,
    filter      jsonb DEFAULT NULL,
    model_id    integer DEFAULT NULL
) RETURNS SETOF siglip.label_match
LANGUAGE plpgsql VOLATILE ROWS 100
SET search_path = pg_catalog, siglip, pg_temp
SET jit = off
SET hnsw.iterative_scan = relaxed_order
SET hnsw.ef_search = 700
AS $$
#variable_conflict use_variable
DECLARE
    model     siglip.models := siglip.described_model(images_with_labels.model_id);
    required  siglip.named_label[];
    optional  siglip.named_label[];
    excluded  siglip.named_label[];
    labels    siglip.named_label[];
    image_ids bigint[];
    row_query constant text :=
        'SELECT i.image_id, i.uri, c.score, i.metadata, c.scores'
        ' FROM siglip.images AS i JOIN siglip.image_embeddings AS e ON e.content_id = i.content_id AND e.model_id = %s'
        ' CROSS JOIN LATERAL ('
        '    SELECT jsonb_object_agg(u.name, u.score) AS scores, bool_and(u.score >= u.threshold) FILTER (WHERE u.place <= $3) AS has_all,'
        '           bool_or(u.score >= u.threshold) FILTER (WHERE u.place > $3 AND u.place <= $4) AS has_any,'
        '           bool_or(u.score >= u.threshold) FILTER (WHERE u.place > $4) AS has_excluded,'
        '           least(min(u.score) FILTER (WHERE u.place <= $3),'
        '                 max(u.score) FILTER (WHERE u.place > $3 AND u.place <= $4 AND u.score >= u.threshold)) AS score'
        '    FROM (SELECT l.name, l.threshold, l.place,'
        '                 siglip.score(siglip.similarity(e.embedding OPERATOR(@vector@.<#>) l.embedding), l.logit_scale, l.logit_bias) AS score'
        '          FROM unnest($2) WITH ORDINALITY'
        '               AS l (name, label_set, label, embedding, threshold, logit_scale, logit_bias, least_similarity, place)'
        '          OFFSET 0) AS u'
        ' ) AS c'
        ' WHERE i.image_id = ANY (ARRAY(SELECT unnest($1)))%s'
        ' AND c.has_all IS NOT FALSE AND c.has_any IS NOT FALSE AND c.has_excluded IS NOT TRUE'
        ' ORDER BY c.score DESC, i.image_id LIMIT $5';
BEGIN
    IF label_set IS NOT NULL THEN
        PERFORM siglip.check_label_set(label_set, min_score, model);
    ELSE
        PERFORM siglip.check_label_set(s.name, min_score, model) FROM siglip.label_sets AS s LIMIT 1;
    END IF;
    IF max_results IS NOT NULL THEN
        PERFORM siglip.check_max_results(max_results);
    END IF;
    required := ARRAY(SELECT n FROM siglip.named_labels(model, label_set, coalesce(all_of, '{}'), min_score) AS n);
    optional := ARRAY(SELECT n FROM siglip.named_labels(model, label_set, coalesce(any_of, '{}'), min_score) AS n);
    excluded := ARRAY(SELECT n FROM siglip.named_labels(model, label_set, coalesce(none_of, '{}'), min_score) AS n);
    labels := required || optional || excluded;
    IF cardinality(required) + cardinality(optional) = 0 THEN
        RAISE EXCEPTION 'No label is named that the images have.'
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Give labels in all_of or in any_of; none_of alone would be nearly all images.';
    END IF;
    -- The scores of a label that is calibrated are others; their order is the same. A hair less, for rounding: the row's own score decides.
    SELECT array_agg(DISTINCT f.image_id) INTO image_ids
    FROM unnest(CASE WHEN cardinality(required) > 0 THEN ARRAY[siglip.rarest_label(model, required)] ELSE optional END) AS l
    CROSS JOIN LATERAL siglip.images_with_label(
        label_set => l.label_set, label => l.label, collection => images_with_labels.collection, filter => images_with_labels.filter,
        min_score => siglip.score(l.least_similarity - 1e-5, model.logit_scale, model.logit_bias), model_id => model.model_id) AS f;
    RETURN QUERY EXECUTE format(row_query, model.model_id, siglip.narrowing('i', collection, filter))
        USING image_ids, labels, cardinality(required), cardinality(required) + cardinality(optional), max_results;
END
$$;

COMMENT ON FUNCTION siglip.images_with_labels(text, text[], text[], text[], double precision, integer, text, jsonb, integer)
    IS 'The images that have all labels of all_of, one of any_of and none of none_of, best first. score is the least of the required ones and of the best optional one; scores has each label''s. Without a label set, a label is written ''scenes/sunset''.
Example: SELECT image_id, score, scores FROM siglip.images_with_labels(''scenes'', all_of => ''{forest}'', none_of => ''{"night sky"}'');';

CREATE FUNCTION siglip.all_of(
    label_set   text,
    labels      text[],
    min_score   double precision DEFAULT NULL,
    max_results integer DEFAULT NULL,
    collection  text DEFAULT NULL,
    filter      jsonb DEFAULT NULL,
    model_id    integer DEFAULT NULL
) RETURNS SETOF siglip.label_match
LANGUAGE plpgsql VOLATILE ROWS 100
SET search_path = pg_catalog, siglip, pg_temp
AS $$
BEGIN
    RETURN QUERY SELECT n.* FROM siglip.images_with_labels(
        label_set, labels, NULL, NULL, min_score, max_results, collection, filter, model_id) AS n;
END
$$;

COMMENT ON FUNCTION siglip.all_of(text, text[], double precision, integer, text, jsonb, integer)
    IS 'The images that have all of some labels, best first; score is the least of their scores. min_score is one for all labels, NULL stands for each label''s own rule.
Example: SELECT image_id, score FROM siglip.all_of(''scenes'', ''{sunset,forest}'', 0.1);';

CREATE FUNCTION siglip.any_of(
    label_set   text,
    labels      text[],
    min_score   double precision DEFAULT NULL,
    max_results integer DEFAULT NULL,
    collection  text DEFAULT NULL,
    filter      jsonb DEFAULT NULL,
    model_id    integer DEFAULT NULL
) RETURNS SETOF siglip.label_match
LANGUAGE plpgsql VOLATILE ROWS 100
SET search_path = pg_catalog, siglip, pg_temp
AS $$
BEGIN
    RETURN QUERY SELECT n.* FROM siglip.images_with_labels(
        label_set, NULL, labels, NULL, min_score, max_results, collection, filter, model_id) AS n;
END
$$;

COMMENT ON FUNCTION siglip.any_of(text, text[], double precision, integer, text, jsonb, integer)
    IS 'The images that have at least one of some labels, best first; score is the greatest of those they have.
Example: SELECT image_id, scores FROM siglip.any_of(NULL, ''{scenes/sunset,scenes/forest}'', 0.1);';
