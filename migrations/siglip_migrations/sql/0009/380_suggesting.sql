-- Purpose: name the images whose marks teach a label most.
-- Parameters: label_set and label by name; max_results 1 to 100; only_accepted for a random sample of what the label accepts; model_id.
-- A row means: one image that nobody has marked for the label.

-- Looked at are the 500 images nearest to the label's vector, which the graph finds, and 5,000 spread over all: about as much work in a table
-- of a million as in one of ten thousand. Two in three are those whose calibrated logit is nearest to the border, where the fit knows least
-- (uncertainty sampling: Lewis and Gale, 1994); one in three is a random one of those above it, without which nothing is known of the precision.
-- No two are more similar to each other than 0.95: images of one burst would teach the same.
CREATE FUNCTION siglip.suggest_examples(
    label_set     text,
    label         text,
    max_results   integer DEFAULT 10,
    only_accepted boolean DEFAULT false,
    model_id      integer DEFAULT NULL
) RETURNS TABLE (image_id bigint, uri text, score double precision, calibrated_score double precision, is_accepted boolean, reason text)
LANGUAGE plpgsql VOLATILE ROWS 10
SET search_path = pg_catalog, siglip, pg_temp
SET jit = off
AS $$
#variable_conflict use_column
DECLARE
    model        siglip.models := siglip.described_model(suggest_examples.model_id);
    of_label     siglip.labels;
    rule         record;
    border       double precision;
    label_vector @vector@.halfvec;
    chosen       @vector@.halfvec[] := '{}';
    chosen_ids   bigint[] := '{}';
    candidate    record;
    wanted       integer;
    accepted     integer := 0;
BEGIN
    PERFORM siglip.check_label_set(label_set, NULL, model);
    IF max_results IS NULL OR max_results NOT BETWEEN 1 AND 100 THEN
        RAISE EXCEPTION 'max_results is %, not a number from 1 to 100.', coalesce(max_results::text, 'NULL')
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Ten marks teach much; ask again when they are made.';
    END IF;
    of_label := siglip.find_label(suggest_examples.label_set, suggest_examples.label);
    SELECT r.scale, r.bias, r.threshold INTO rule
    FROM siglip.label_rules AS r WHERE r.label_id = of_label.label_id AND r.model_id = model.model_id;
    SELECT v.embedding INTO label_vector
    FROM siglip.label_embeddings AS v WHERE v.label_id = of_label.label_id AND v.model_id = model.model_id;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'The label % has no vector under the model % yet.', quote_literal(of_label.label), model.name
            USING ERRCODE = 'no_data_found', HINT = siglip.vector_hint(label_set, of_label.label, model.model_id);
    END IF;
    border := ln(greatest(rule.threshold, 1e-9) / greatest(1 - rule.threshold, 1e-9));
    wanted := CASE WHEN only_accepted THEN 0 ELSE max_results - max_results / 3 END;
    FOR candidate IN
        WITH near AS MATERIALIZED (
            SELECT i.content_id, n.similarity
            FROM siglip.nearest_images(model, label_vector, 500, NULL, NULL, NULL, NULL) AS n
            JOIN siglip.images AS i ON i.image_id = n.image_id
        ), spread AS MATERIALIZED (
            SELECT s.content_id, siglip.similarity(s.embedding OPERATOR(@vector@.<#>) label_vector) AS similarity
            FROM siglip.sample_contents(model.model_id, 5000) AS s
        ), unmarked AS (
            SELECT DISTINCT ON (i.content_id) i.image_id, i.uri, i.content_id, c.similarity, c.is_near, g.logit,
                   siglip.sigmoid(rule.scale * g.logit + rule.bias) AS calibrated_score
            FROM (
                SELECT n.content_id, n.similarity, true AS is_near FROM near AS n
                UNION ALL SELECT s.content_id, s.similarity, false FROM spread AS s
            ) AS c
            JOIN siglip.images AS i ON i.content_id = c.content_id
            CROSS JOIN LATERAL (SELECT exp(model.logit_scale) * c.similarity + model.logit_bias AS logit) AS g
            WHERE i.content_id NOT IN (
                SELECT o.content_id FROM siglip.image_labels AS m JOIN siglip.images AS o ON o.image_id = m.image_id
                WHERE m.label_id = of_label.label_id AND m.marked_by IS NOT NULL AND o.content_id IS NOT NULL)
            -- Of the walk all that are accepted are a sample only where it saw them all.
            ORDER BY i.content_id, c.is_near = (SELECT min(siglip.sigmoid(rule.scale * (exp(model.logit_scale) * n.similarity + model.logit_bias)
                                                                         + rule.bias)) < rule.threshold FROM near AS n) DESC, i.image_id
        ), ranked AS (
            SELECT u.*, u.calibrated_score >= rule.threshold AS is_accepted,
                   row_number() OVER (ORDER BY abs(rule.scale * u.logit + rule.bias - border), u.content_id) AS place,
                   (SELECT min(siglip.sigmoid(rule.scale * (exp(model.logit_scale) * n.similarity + model.logit_bias) + rule.bias))
                           < rule.threshold FROM near AS n) AS has_all
            FROM unmarked AS u
        ), pool AS (
            (SELECT r.*, 'uncertain' AS reason, r.place AS turn FROM ranked AS r WHERE wanted > 0 ORDER BY r.place LIMIT 20 * max_results)
            UNION ALL
            (SELECT r.*, 'accepted', 1000000 + row_number() OVER (ORDER BY hashint8extended(r.content_id, 11))
             FROM ranked AS r WHERE r.is_accepted AND r.is_near = r.has_all
             ORDER BY hashint8extended(r.content_id, 11) LIMIT 20 * max_results)
        )
        SELECT p.image_id, p.uri, p.logit, p.calibrated_score, p.is_accepted, p.reason, e.embedding
        FROM pool AS p
        JOIN siglip.image_embeddings AS e ON e.model_id = model.model_id AND e.content_id = p.content_id
        ORDER BY p.turn
    LOOP
        CONTINUE WHEN candidate.image_id = ANY (chosen_ids) OR (candidate.reason = 'uncertain' AND cardinality(chosen_ids) >= wanted);
        -- A random sample keeps what is alike: it stands for all that the label accepts.
        CONTINUE WHEN NOT only_accepted
            AND EXISTS (SELECT FROM unnest(chosen) AS v WHERE -(v OPERATOR(@vector@.<#>) candidate.embedding) > 0.95);
        chosen := chosen || candidate.embedding;
        chosen_ids := chosen_ids || candidate.image_id;
        image_id := candidate.image_id;
        uri := candidate.uri;
        score := siglip.sigmoid(candidate.logit);
        calibrated_score := candidate.calibrated_score;
        is_accepted := candidate.is_accepted;
        reason := candidate.reason;
        RETURN NEXT;
        EXIT WHEN cardinality(chosen_ids) >= max_results;
    END LOOP;
END
$$;

COMMENT ON FUNCTION siglip.suggest_examples(text, text, integer, boolean, integer)
    IS 'Unmarked images whose marks would teach a label most: near the border, none like another, and some that are accepted; or only a random sample of those that are accepted, which a wished precision needs.
Example: SELECT image_id, calibrated_score, reason FROM siglip.suggest_examples(''scenes'', ''sunset'', 5);';
