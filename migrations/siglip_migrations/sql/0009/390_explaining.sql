-- Purpose: say why an image has a label or not.
-- Parameters: image_id; label_set and label by name; model_id.
-- A row means: one image and one label.

CREATE FUNCTION siglip.explain_score(
    image_id bigint, label_set text, label text, model_id integer DEFAULT NULL,
    OUT similarity double precision, OUT logit double precision, OUT score double precision, OUT calibrated_score double precision,
    OUT threshold double precision, OUT is_accepted boolean, OUT mark boolean, OUT percentile double precision,
    OUT is_percentile_exact boolean, OUT label_rank integer, OUT label_count integer, OUT nearest_marked jsonb, OUT explanation text
)
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, siglip, pg_temp
SET jit = off
AS $$
#variable_conflict use_column
DECLARE
    exact_up_to   constant integer := 20000;
    sample_size   constant integer := 5000;
    model         siglip.models := siglip.described_model(explain_score.model_id);
    of_label      siglip.labels;
    rule          record;
    label_vector  @vector@.halfvec;
    own_content   bigint;
    own_vector    @vector@.halfvec;
    marker        text;
BEGIN
    PERFORM siglip.check_label_set(label_set, NULL, model);
    of_label := siglip.find_label(explain_score.label_set, explain_score.label);
    SELECT i.content_id INTO own_content FROM siglip.images AS i WHERE i.image_id = explain_score.image_id;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'There is no image %.', coalesce(explain_score.image_id::text, 'NULL')
            USING ERRCODE = 'no_data_found', HINT = 'SELECT image_id, uri FROM siglip.images shows what there is.';
    END IF;
    SELECT e.embedding INTO own_vector FROM siglip.image_embeddings AS e WHERE e.model_id = model.model_id AND e.content_id = own_content;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'Image % is not embedded under the model %.', explain_score.image_id, model.name
            USING ERRCODE = 'no_data_found',
                  HINT = format('SELECT state, error_message FROM siglip.ingest_items WHERE image_id = %s tells why.', explain_score.image_id);
    END IF;
    SELECT v.embedding INTO label_vector
    FROM siglip.label_embeddings AS v WHERE v.label_id = of_label.label_id AND v.model_id = model.model_id;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'The label % has no vector under the model % yet.', quote_literal(of_label.label), model.name
            USING ERRCODE = 'no_data_found', HINT = siglip.vector_hint(label_set, of_label.label, model.model_id);
    END IF;
    SELECT r.scale, r.bias, r.threshold, r.calibration_version INTO rule
    FROM siglip.label_rules AS r WHERE r.label_id = of_label.label_id AND r.model_id = model.model_id;

    similarity := siglip.similarity(own_vector OPERATOR(@vector@.<#>) label_vector);
    logit := exp(model.logit_scale) * similarity + model.logit_bias;
    score := siglip.sigmoid(logit);
    calibrated_score := siglip.sigmoid(rule.scale * logit + rule.bias);
    threshold := rule.threshold;
    is_accepted := calibrated_score >= threshold;

    -- Of the other images that the caller may see: those that score less, and half of those that score the same.
    is_percentile_exact := (SELECT count(*) FROM (
        SELECT FROM siglip.image_embeddings AS e WHERE e.model_id = model.model_id LIMIT exact_up_to + 1) AS c) <= exact_up_to;
    SELECT 100 * (count(*) FILTER (WHERE c.similarity < explain_score.similarity)
                  + count(*) FILTER (WHERE c.similarity = explain_score.similarity) / 2.0) / nullif(count(*), 0)
    INTO percentile
    FROM (
        SELECT siglip.similarity(s.embedding OPERATOR(@vector@.<#>) label_vector) AS similarity
        FROM siglip.sample_contents(model.model_id, CASE WHEN is_percentile_exact THEN exact_up_to ELSE sample_size END) AS s
        JOIN siglip.images AS i ON i.content_id = s.content_id
        WHERE i.image_id <> explain_score.image_id
    ) AS c;

    -- By the calibrated score, which can be compared: a label by example has a similarity of another kind than one of words.
    SELECT count(*), 1 + count(*) FILTER (WHERE l.label_id <> of_label.label_id AND c.calibrated_logit > rule.scale * explain_score.logit + rule.bias)
    INTO label_count, label_rank
    FROM siglip.labels AS l
    JOIN siglip.label_embeddings AS v ON v.label_id = l.label_id AND v.model_id = model.model_id
    JOIN siglip.label_rules AS r ON r.label_id = l.label_id AND r.model_id = model.model_id
    CROSS JOIN LATERAL (
        SELECT r.scale * (exp(model.logit_scale) * siglip.similarity(own_vector OPERATOR(@vector@.<#>) v.embedding) + model.logit_bias) + r.bias
    ) AS c (calibrated_logit)
    WHERE l.label_set_id = of_label.label_set_id;

    SELECT coalesce(jsonb_agg(jsonb_build_object('image_id', n.image_id, 'similarity', round(n.similarity::numeric, 4), 'mark', n.is_accepted)
                              ORDER BY n.similarity DESC, n.image_id), '[]')
    INTO nearest_marked
    FROM (
        SELECT m.image_id, m.is_accepted, siglip.similarity(m.embedding OPERATOR(@vector@.<#>) own_vector) AS similarity
        FROM siglip.label_marks(of_label.label_id, model.model_id) AS m
        WHERE m.content_id <> own_content
        ORDER BY similarity DESC, m.image_id LIMIT 5
    ) AS n;

    SELECT m.is_accepted, m.marked_by INTO mark, marker
    FROM siglip.image_labels AS m
    WHERE m.label_id = of_label.label_id AND m.image_id = explain_score.image_id AND m.marked_by IS NOT NULL;
    explanation := format('%s: the %s %s %s the threshold %s%s.',
        CASE WHEN is_accepted THEN 'Accepted' ELSE 'Not accepted' END,
        CASE WHEN rule.calibration_version IS NULL THEN 'score' ELSE 'calibrated score' END,
        siglip.describe_score(calibrated_score), CASE WHEN is_accepted THEN 'reaches' ELSE 'is below' END, siglip.describe_score(threshold),
        CASE WHEN rule.calibration_version IS NULL THEN '; the label is not calibrated'
             ELSE format(' of calibration %s; the model''s own score is %s', rule.calibration_version, siglip.describe_score(score)) END)
        || CASE WHEN mark IS NULL THEN ''
                ELSE format(' %s has marked that the image %s the label, and that counts.', marker, CASE WHEN mark THEN 'has' ELSE 'has not' END) END;
END
$$;

COMMENT ON FUNCTION siglip.explain_score(bigint, text, text, integer)
    IS 'Why an image has a label or not: similarity, scores, threshold, its place among all images (of up to 20,000 exact, else of a sample of 5,000), the label''s rank for the image, and the nearest marked images.
Example: SELECT score, percentile, explanation FROM siglip.explain_score(4, ''scenes'', ''sunset'');';

CREATE FUNCTION siglip.describe_score(score double precision) RETURNS text
LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, siglip, pg_temp
AS $$
    SELECT CASE WHEN score < 0.0005 THEN 'below 0.001' WHEN score > 0.9995 AND score < 1 THEN 'above 0.999'
                ELSE round(score::numeric, 3)::text END
$$;

COMMENT ON FUNCTION siglip.describe_score(double precision) IS 'A score as a sentence says it, with three digits.
Example: SELECT siglip.describe_score(0.00001);';
