-- Purpose: zero-shot labels as rows.
-- Parameters: label_set and label by name; min_score 0 to 1, NULL for the label's threshold, else 0.5; model_id.
-- A row means: one image x label under the active model (label_scores); one image that has a label (images_with_label).

-- OFFSET 0 keeps the planner from computing the product once more for each column that is derived from it.
CREATE VIEW siglip.label_scores AS
SELECT i.image_id, s.name AS label_set, l.label, c.similarity, g.logit,
       siglip.score(c.similarity, m.logit_scale, m.logit_bias) AS score
FROM siglip.models AS m
JOIN siglip.label_embeddings AS v ON v.model_id = m.model_id
JOIN siglip.labels AS l USING (label_id)
JOIN siglip.label_sets AS s USING (label_set_id)
JOIN siglip.image_embeddings AS e ON e.model_id = m.model_id
JOIN siglip.images AS i USING (content_hash)
CROSS JOIN LATERAL (
    SELECT greatest(-1::double precision, least(1::double precision, -(e.embedding OPERATOR(@vector@.<#>) v.embedding))) AS similarity OFFSET 0
) AS c
CROSS JOIN LATERAL (SELECT exp(m.logit_scale) * c.similarity + m.logit_bias AS logit) AS g
WHERE m.model_id = (SELECT model_id FROM siglip.models WHERE is_active);

COMMENT ON VIEW siglip.label_scores
    IS 'One row is one image x label under the active model. The scores of a label set are independent: they don''t sum to 1.';

CREATE FUNCTION siglip.images_with_label(
    label_set   text,
    label       text,
    min_score   double precision DEFAULT NULL,
    max_results integer DEFAULT NULL,
    collection  text DEFAULT NULL,
    filter      jsonb DEFAULT NULL,
    model_id    integer DEFAULT NULL
) RETURNS SETOF siglip.image_match
LANGUAGE plpgsql STABLE ROWS 100
SET search_path = pg_catalog, siglip, pg_temp
SET jit = off
AS $$
#variable_conflict use_column
DECLARE
    model           siglip.models := siglip.described_model(images_with_label.model_id);
    label_embedding @vector@.halfvec;
    least_score     double precision;
BEGIN
    IF max_results IS NOT NULL THEN
        PERFORM siglip.check_max_results(max_results);
    END IF;
    IF min_score NOT BETWEEN 0 AND 1 THEN
        RAISE EXCEPTION 'min_score is %, not a number from 0 to 1.', min_score
            USING ERRCODE = 'invalid_parameter_value', HINT = 'A score is a probability.';
    END IF;
    IF NOT EXISTS (SELECT FROM siglip.label_sets AS s WHERE s.name = images_with_label.label_set) THEN
        RAISE EXCEPTION 'There is no label set %.', coalesce(quote_literal(label_set), 'NULL')
            USING ERRCODE = 'no_data_found', HINT = 'SELECT name FROM siglip.label_sets shows what there is.';
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
    RETURN QUERY
        SELECT i.image_id, i.uri, c.similarity, g.score, i.metadata
        FROM siglip.image_embeddings AS e
        JOIN siglip.images AS i USING (content_hash)
        CROSS JOIN LATERAL (
            SELECT greatest(-1::double precision, least(1::double precision, -(e.embedding OPERATOR(@vector@.<#>) label_embedding))) AS similarity
            OFFSET 0
        ) AS c
        CROSS JOIN LATERAL (SELECT siglip.score(c.similarity, model.logit_scale, model.logit_bias) AS score) AS g
        WHERE e.model_id = model.model_id
          AND (images_with_label.collection IS NULL OR i.collection = images_with_label.collection)
          AND (images_with_label.filter IS NULL OR i.metadata @> images_with_label.filter)
          AND g.score >= least_score
        ORDER BY c.similarity DESC, i.image_id
        LIMIT max_results;
END
$$;

COMMENT ON FUNCTION siglip.images_with_label(text, text, double precision, integer, text, jsonb, integer)
    IS 'The images whose score for a label reaches min_score (by default the label''s threshold, else 0.5), best first.';

CREATE FUNCTION siglip.score_labels(query_embedding @vector@.halfvec, label_set text, model_id integer DEFAULT NULL)
RETURNS TABLE (label text, score double precision)
LANGUAGE plpgsql STABLE ROWS 10
SET search_path = pg_catalog, siglip, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    model siglip.models := siglip.described_model(score_labels.model_id);
BEGIN
    RETURN QUERY
        SELECT l.label, siglip.score(c.similarity, model.logit_scale, model.logit_bias)
        FROM siglip.label_embeddings AS v
        JOIN siglip.labels AS l USING (label_id)
        JOIN siglip.label_sets AS s USING (label_set_id)
        CROSS JOIN LATERAL (
            SELECT greatest(-1::double precision, least(1::double precision, -(v.embedding OPERATOR(@vector@.<#>) query_embedding)))
                AS similarity
            OFFSET 0
        ) AS c
        WHERE v.model_id = model.model_id AND s.name = score_labels.label_set
        ORDER BY c.similarity DESC, l.label;
END
$$;

COMMENT ON FUNCTION siglip.score_labels(@vector@.halfvec, text, integer)
    IS 'The scores of an image vector for each label of a set, best first: an image that isn''t indexed.';
