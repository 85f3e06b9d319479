-- Purpose: fit one label's scores to the images that people marked, and keep the fit.
-- Parameters: of_label and model, rows; min_precision and confidence, a wish.
-- A row means: one fit (siglip.calibration).

CREATE TYPE siglip.calibration AS (
    scale                double precision,
    bias                 double precision,
    threshold            double precision,
    positives            integer,
    negatives            integer,
    precision            double precision,
    recall               double precision,
    log_loss_before      double precision,
    log_loss_after       double precision,
    guaranteed_precision double precision,
    version              integer,
    note                 text
);

COMMENT ON TYPE siglip.calibration
    IS 'A fit: calibrated score = sigmoid(scale * logit + bias), accepted from threshold on; precision and recall are left-one-out estimates, log losses means a mark.';

CREATE FUNCTION siglip.fit_label(
    of_label siglip.labels, model siglip.models, min_precision double precision, confidence double precision
) RETURNS siglip.calibration
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, siglip, pg_temp
AS $$
DECLARE
    result        siglip.calibration;
    own_threshold constant double precision := coalesce(of_label.threshold, 0.5);
    examples      siglip.label_fit;
    label_vector  @vector@.halfvec;
    fit           record;
    wish          record;
    loo           record;
    kept_threshold real;
    tested        double precision[];
    tested_marks  boolean[];
    positive_weight double precision;
    lowest        double precision;
    next_lower    double precision;
    errors_before integer;
    errors_after  integer;
    is_border_kept boolean;
BEGIN
    -- Two that fit the same label wait for each other here.
    PERFORM FROM siglip.labels AS l WHERE l.label_id = of_label.label_id FOR NO KEY UPDATE;
    IF of_label.is_by_example THEN
        examples := siglip.fit_examples(of_label.label_id, model, min_precision IS NOT NULL);
        IF examples IS NULL THEN
            RAISE EXCEPTION 'No image that is marked with the label % has a vector under the model %.', quote_literal(of_label.label), model.name
                USING ERRCODE = 'no_data_found',
                      HINT = 'A label by example needs a positive that is embedded, and with min_precision more, half of which test the others.';
        END IF;
    ELSE
        SELECT v.embedding INTO label_vector
        FROM siglip.label_embeddings AS v WHERE v.label_id = of_label.label_id AND v.model_id = model.model_id;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'The label % has no vector under the model % yet.', quote_literal(of_label.label), model.name
                USING ERRCODE = 'no_data_found', HINT = 'A worker of that model adds it within seconds (siglip-ingest worker).';
        END IF;
        SELECT label_vector, 1, 0, array_agg(s.logit ORDER BY s.content_id), array_agg(s.is_accepted ORDER BY s.content_id),
               array_agg(false)
        INTO examples.embedding, examples.prior_scale, examples.prior_bias, examples.logits, examples.marks, examples.is_used
        FROM (
            SELECT m.content_id, m.is_accepted,
                   exp(model.logit_scale) * siglip.similarity(m.embedding OPERATOR(@vector@.<#>) label_vector) + model.logit_bias AS logit
            FROM siglip.label_marks(of_label.label_id, model.model_id) AS m
        ) AS s;
        IF examples.logits IS NULL THEN
            RAISE EXCEPTION 'No image with a vector under the model % is marked for the label %.', model.name, quote_literal(of_label.label)
                USING ERRCODE = 'no_data_found', HINT = 'Give positives or negatives: siglip.suggest_examples names images whose marks teach most.';
        END IF;
    END IF;
    -- In the prior's own logits, so that (1, 0) is where the fit begins. A single positive of a label by example has no logit without itself.
    SELECT array_agg(examples.prior_scale * m.logit + examples.prior_bias ORDER BY m.number) FILTER (WHERE m.logit IS NOT NULL),
           array_agg(m.mark ORDER BY m.number) FILTER (WHERE m.logit IS NOT NULL),
           count(*) FILTER (WHERE m.mark), count(*) FILTER (WHERE NOT m.mark),
           array_agg(m.logit ORDER BY m.number) FILTER (WHERE NOT m.is_used), array_agg(m.mark ORDER BY m.number) FILTER (WHERE NOT m.is_used)
    INTO examples.logits, examples.marks, result.positives, result.negatives, tested, tested_marks
    FROM unnest(examples.logits, examples.marks, examples.is_used) WITH ORDINALITY AS m (logit, mark, is_used, number);
    examples.logits := coalesce(examples.logits, '{}');
    examples.marks := coalesce(examples.marks, '{}');

    -- The positives of a label by example are in its prior already; and somebody who marks as many of each would have one image in two
    -- have the label.
    positive_weight := CASE WHEN of_label.is_by_example THEN CASE WHEN result.negatives > 0 THEN 0.2 ELSE 0 END ELSE 1 END;
    SELECT f.* INTO fit FROM siglip.fit_logistic(examples.logits, examples.marks, positive_weight => positive_weight) AS f;
    result.log_loss_before := siglip.log_loss(examples.logits, examples.marks, 1, 0);
    errors_before := siglip.count_errors(examples.logits, examples.marks, 1, 0, own_threshold);
    errors_after := siglip.count_errors(examples.logits, examples.marks, fit.scale, fit.bias, own_threshold);
    IF errors_after > errors_before AND own_threshold > 0 AND own_threshold < 1 THEN
        -- The same images as before are accepted: those above the old border, whose calibrated score is this.
        kept_threshold := siglip.sigmoid(fit.scale * ln(own_threshold / (1 - own_threshold)) + fit.bias);
        errors_after := siglip.count_errors(examples.logits, examples.marks, fit.scale, fit.bias, kept_threshold);
    END IF;
    IF siglip.log_loss(examples.logits, examples.marks, fit.scale, fit.bias) > result.log_loss_before OR errors_after > errors_before THEN
        fit.scale := 1;
        fit.bias := 0;
        kept_threshold := NULL;
        errors_after := errors_before;
    END IF;
    result.note := format('%s mark%s%s', result.positives + result.negatives,
        CASE WHEN result.positives + result.negatives = 1 THEN '' ELSE 's' END,
        CASE WHEN of_label.is_by_example AND result.positives < 10 THEN ': a sample of all images counts as negatives.'
             WHEN result.positives + result.negatives < 10 THEN ': the model''s own scores still count most.'
             WHEN result.positives = 0 THEN ', none of them positive.'
             WHEN result.negatives = 0 THEN ', none of them negative.' ELSE '.' END
        || CASE WHEN of_label.is_by_example OR result.positives + result.negatives >= 10 THEN ''
                WHEN result.positives = 0 THEN ' None of them is positive: mark images with the label, too.'
                WHEN result.negatives = 0 THEN ' None of them is negative: mark images without the label, too, or too many may be accepted.' ELSE '' END);
    is_border_kept := kept_threshold IS NOT NULL;
    IF min_precision IS NOT NULL THEN
        SELECT g.* INTO wish FROM siglip.guaranteed_marks(coalesce(tested, '{}'), coalesce(tested_marks, '{}'), min_precision, 1 - confidence) AS g;
        IF wish.accepted IS NULL THEN
            result.note := format('%s Not enough marks yet for a precision of %s: it takes at least %s more of images that score highest.',
                result.note, round(min_precision::numeric, 4)::double precision, wish.missing);
        ELSE
            SELECT s.sorted[wish.accepted], s.sorted[wish.accepted + 1] INTO lowest, next_lower
            FROM (SELECT array_agg(t ORDER BY t DESC) AS sorted FROM unnest(tested) AS t) AS s;
            SELECT siglip.sigmoid(fit.scale * (examples.prior_scale * b.logit + examples.prior_bias) + fit.bias)::real INTO kept_threshold
            FROM (SELECT CASE WHEN next_lower IS NULL THEN lowest ELSE (lowest + next_lower) / 2 END AS logit) AS b;
            -- Rounded to single precision it must not let the next one in.
            WHILE kept_threshold < 1 AND next_lower IS NOT NULL
                  AND siglip.sigmoid(fit.scale * (examples.prior_scale * next_lower + examples.prior_bias) + fit.bias) >= kept_threshold LOOP
                kept_threshold := least(1, kept_threshold + 1e-7::real);
            END LOOP;
            result.guaranteed_precision := wish.lower_bound;
            result.note := format('%s %s of the %s marked images that are accepted have the label: the precision is at least %s, with a confidence of %s.',
                result.note, wish.accepted - wish.errors, wish.accepted, round(wish.lower_bound::numeric, 3), confidence);
        END IF;
    END IF;
    IF is_border_kept AND result.guaranteed_precision IS NULL THEN
        result.note := result.note || ' The same images are accepted as before: at another border more of the marks would be wrong.';
    END IF;
    result.scale := fit.scale * examples.prior_scale;
    result.bias := fit.scale * examples.prior_bias + fit.bias;
    result.threshold := coalesce(kept_threshold, own_threshold);
    errors_after := siglip.count_errors(examples.logits, examples.marks, fit.scale, fit.bias, result.threshold);
    result.log_loss_after := siglip.log_loss(examples.logits, examples.marks, fit.scale, fit.bias);
    SELECT l.* INTO loo FROM siglip.leave_one_out(examples.logits, examples.marks, fit.scale, fit.bias, result.threshold, positive_weight) AS l;
    result.precision := loo.right_accepted / nullif(loo.accepted, 0)::double precision;
    result.recall := loo.right_accepted / nullif((SELECT count(*) FROM unnest(examples.marks) AS m WHERE m), 0)::double precision;

    IF of_label.is_by_example THEN
        INSERT INTO siglip.label_embeddings AS v (model_id, label_id, embedding)
        VALUES (model.model_id, of_label.label_id, examples.embedding)
        ON CONFLICT (model_id, label_id) DO UPDATE SET embedding = excluded.embedding;
    END IF;
    SELECT coalesce(max(c.version), 0) + 1 INTO result.version
    FROM siglip.label_calibrations AS c WHERE c.label_id = of_label.label_id AND c.model_id = model.model_id;
    UPDATE siglip.label_calibrations AS c SET is_current = false
    WHERE c.label_id = of_label.label_id AND c.model_id = model.model_id AND c.is_current;
    INSERT INTO siglip.label_calibrations (label_id, model_id, version, scale, bias, threshold, figures)
    VALUES (of_label.label_id, model.model_id, result.version, result.scale, result.bias, kept_threshold,
            to_jsonb(result) - '{scale,bias,threshold,version}'::text[]
            || jsonb_build_object('errors_before', errors_before, 'errors_after', errors_after, 'accepted', loo.accepted,
                                  'right_accepted', loo.right_accepted, 'min_precision', min_precision, 'confidence', confidence)
            || CASE WHEN of_label.is_by_example THEN jsonb_build_object('embedding', examples.embedding::text) ELSE '{}' END);
    RETURN result;
END
$$;

COMMENT ON FUNCTION siglip.fit_label(siglip.labels, siglip.models, double precision, double precision)
    IS 'Fit a label to its marks under a model and make that its current calibration: what siglip.calibrate does once the marks are there.
Example: SELECT f.note FROM siglip.models AS m, siglip.fit_label(siglip.find_label(''scenes'', ''sunset''), m, NULL, 0.9) AS f WHERE m.is_active;';

CREATE FUNCTION siglip.log_loss(logits double precision[], marks boolean[], scale double precision, bias double precision)
RETURNS double precision
LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, siglip, pg_temp
AS $$
    SELECT avg(greatest(c.u, 0) + ln(1 + exp(-least(abs(c.u), 700))) - CASE WHEN c.y THEN c.u ELSE 0 END)
    FROM (SELECT scale * m.x + bias AS u, m.y FROM unnest(logits, marks) AS m (x, y)) AS c
$$;

COMMENT ON FUNCTION siglip.log_loss(double precision[], boolean[], double precision, double precision)
    IS 'The mean of -ln(the probability that sigmoid(scale * logit + bias) gives to what was marked); NULL without marks.
Example: SELECT siglip.log_loss(''{-3,2}'', ''{false,true}'', 1, 0);';

CREATE FUNCTION siglip.count_errors(
    logits double precision[], marks boolean[], scale double precision, bias double precision, threshold double precision
) RETURNS integer
LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, siglip, pg_temp
AS $$
    SELECT (count(*) FILTER (WHERE (siglip.sigmoid(scale * m.x + bias) >= threshold) <> m.y))::integer FROM unnest(logits, marks) AS m (x, y)
$$;

COMMENT ON FUNCTION siglip.count_errors(double precision[], boolean[], double precision, double precision, double precision)
    IS 'How many marks a calibration and a threshold decide otherwise.
Example: SELECT siglip.count_errors(''{-3,2}'', ''{false,true}'', 1, 0, 0.5);';

CREATE FUNCTION siglip.check_wish(min_precision double precision, confidence double precision) RETURNS void
LANGUAGE plpgsql IMMUTABLE
SET search_path = pg_catalog, siglip, pg_temp
AS $$
BEGIN
    IF min_precision NOT BETWEEN 0.01 AND 0.999 THEN
        RAISE EXCEPTION 'min_precision is %, not a number from 0.01 to 0.999.', min_precision
            USING ERRCODE = 'invalid_parameter_value', HINT = '0.95: of the images that are accepted, 95 in 100 have the label.';
    ELSIF confidence IS NULL OR confidence NOT BETWEEN 0.5 AND 0.999 THEN
        RAISE EXCEPTION 'confidence is %, not a number from 0.5 to 0.999.', coalesce(confidence::text, 'NULL')
            USING ERRCODE = 'invalid_parameter_value', HINT = '0.9: of ten such thresholds, at most one misses the wish.';
    END IF;
END
$$;

COMMENT ON FUNCTION siglip.check_wish(double precision, double precision) IS 'Raise where a wished precision or its confidence is out of range.
Example: SELECT siglip.check_wish(0.95, 0.9);';
