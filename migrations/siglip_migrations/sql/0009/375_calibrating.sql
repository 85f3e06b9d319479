-- Purpose: calibrate labels by marked images, make labels from images alone; versions of the fits, and the way back.
-- Parameters: label_set and label by name; positives and negatives, image ids that are marked first; min_precision and confidence, a wish.
-- A row means: one fit (siglip.calibration), the newest or an earlier one.

CREATE FUNCTION siglip.calibrate(
    label_set     text,
    label         text,
    positives     bigint[] DEFAULT NULL,
    negatives     bigint[] DEFAULT NULL,
    min_precision double precision DEFAULT NULL,
    confidence    double precision DEFAULT 0.9,
    model_id      integer DEFAULT NULL
) RETURNS siglip.calibration
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, siglip, pg_temp
AS $$
DECLARE
    model    siglip.models := siglip.described_model(model_id);
    of_label siglip.labels;
    other    siglip.models;
    result   siglip.calibration;
BEGIN
    PERFORM siglip.check_label_set(label_set, NULL, model);
    PERFORM siglip.check_wish(min_precision, confidence);
    of_label := siglip.find_label(label_set, label);
    IF cardinality(positives) > 0 OR cardinality(negatives) > 0 THEN
        PERFORM siglip.mark_images(label_set, label, positives => calibrate.positives, negatives => calibrate.negatives);
    END IF;
    result := siglip.fit_label(of_label, model, min_precision, confidence);
    IF of_label.is_by_example THEN
        -- The vectors under the other models are made of the same marks.
        FOR other IN SELECT m.* FROM siglip.kept_models() AS k JOIN siglip.models AS m ON m.model_id = k WHERE k <> model.model_id LOOP
            IF EXISTS (SELECT FROM siglip.label_marks(of_label.label_id, other.model_id) AS n WHERE n.is_accepted)
               AND other.logit_scale IS NOT NULL AND min_precision IS NULL THEN
                PERFORM siglip.fit_label(of_label, other, NULL, confidence);
            END IF;
        END LOOP;
    END IF;
    RETURN result;
END
$$;

COMMENT ON FUNCTION siglip.calibrate(text, text, bigint[], bigint[], double precision, double precision, integer)
    IS 'Mark images as having or not having a label, and fit its scores to all marks. min_precision is a wish: the threshold then keeps it with the confidence, where the marks suffice.
Example: SELECT * FROM siglip.calibrate(''scenes'', ''sunset'', positives => ''{1,2}'', negatives => ''{7}'');';

CREATE FUNCTION siglip.recalibrate(model_id integer) RETURNS TABLE (label_set text, label text, version integer, note text)
LANGUAGE plpgsql VOLATILE ROWS 100
SET search_path = pg_catalog, siglip, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    model  siglip.models := siglip.described_model(recalibrate.model_id);
    old    record;
    result siglip.calibration;
BEGIN
    IF model.logit_scale IS NULL THEN
        RAISE EXCEPTION 'The model % has no scores: its logit_scale and logit_bias are not known.', model.name
            USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'Labels need a model that embeds texts.';
    END IF;
    FOR old IN
        SELECT DISTINCT ON (c.label_id) s.name, l AS of_label, c.figures
        FROM siglip.label_calibrations AS c
        JOIN siglip.labels AS l ON l.label_id = c.label_id
        JOIN siglip.label_sets AS s ON s.label_set_id = l.label_set_id
        WHERE c.is_current AND c.model_id <> model.model_id AND NOT EXISTS (
            SELECT FROM siglip.label_calibrations AS o WHERE o.label_id = c.label_id AND o.model_id = model.model_id AND o.is_current)
        ORDER BY c.label_id, c.created_at DESC, c.model_id
    LOOP
        BEGIN
            result := siglip.fit_label(old.of_label, model, (old.figures ->> 'min_precision')::double precision,
                                       coalesce((old.figures ->> 'confidence')::double precision, 0.9));
            IF result.guaranteed_precision IS NOT NULL THEN  -- of the images that this model accepts, the marks are no random sample
                result.note := format('%s marks, chosen by the scores of another model. With this threshold the wish is likely to be kept, but not '
                                      'guaranteed: mark images that siglip.suggest_examples names with only_accepted, and calibrate again.',
                                      result.positives + result.negatives);
                UPDATE siglip.label_calibrations AS c
                SET figures = c.figures || jsonb_build_object('guaranteed_precision', NULL, 'note', result.note)
                WHERE c.label_id = (old.of_label).label_id AND c.model_id = model.model_id AND c.version = result.version;
            END IF;
            RETURN QUERY SELECT old.name, (old.of_label).label, result.version, result.note;
        EXCEPTION WHEN no_data_found THEN
            RETURN QUERY SELECT old.name, (old.of_label).label, NULL::integer, SQLERRM;
        END;
    END LOOP;
END
$$;

COMMENT ON FUNCTION siglip.recalibrate(integer)
    IS 'Fit each label that is calibrated under another model, and not yet under this one, to its marks: before the model becomes the active one. Without a version, note says why not.
Example: SELECT * FROM siglip.recalibrate(2);';

CREATE FUNCTION siglip.calibrations(label_set text, label text, model_id integer DEFAULT NULL)
RETURNS TABLE (
    version integer, is_current boolean, scale double precision, bias double precision, threshold double precision,
    positives integer, negatives integer, "precision" double precision, recall double precision, guaranteed_precision double precision,
    note text, created_at timestamptz, created_by text
)
LANGUAGE plpgsql STABLE ROWS 10
SET search_path = pg_catalog, siglip, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    model    siglip.models := siglip.described_model(calibrations.model_id);
    of_label siglip.labels := siglip.find_label(calibrations.label_set, calibrations.label);
BEGIN
    RETURN QUERY
        SELECT c.version, c.is_current, c.scale, c.bias, coalesce(c.threshold, of_label.threshold, 0.5)::double precision,
               (c.figures ->> 'positives')::integer, (c.figures ->> 'negatives')::integer,
               (c.figures ->> 'precision')::double precision, (c.figures ->> 'recall')::double precision,
               (c.figures ->> 'guaranteed_precision')::double precision, c.figures ->> 'note', c.created_at, c.created_by
        FROM siglip.label_calibrations AS c
        WHERE c.label_id = of_label.label_id AND c.model_id = model.model_id
        ORDER BY c.version DESC;
END
$$;

COMMENT ON FUNCTION siglip.calibrations(text, text, integer) IS 'The calibrations of a label under a model, the newest first.
Example: SELECT version, is_current, note FROM siglip.calibrations(''scenes'', ''sunset'');';

CREATE FUNCTION siglip.use_calibration(label_set text, label text, version integer, model_id integer DEFAULT NULL) RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, siglip, pg_temp
AS $$
DECLARE
    model    siglip.models := siglip.described_model(model_id);
    of_label siglip.labels := siglip.find_label(label_set, label);
    chosen   siglip.label_calibrations;
BEGIN
    PERFORM FROM siglip.labels AS l WHERE l.label_id = of_label.label_id FOR NO KEY UPDATE;
    SELECT c.* INTO chosen FROM siglip.label_calibrations AS c
    WHERE c.label_id = of_label.label_id AND c.model_id = model.model_id AND c.version = use_calibration.version;
    IF version = 0 AND of_label.is_by_example THEN
        RAISE EXCEPTION 'The label % is by example: the model has no scores of its own for it.', quote_literal(label)
            USING ERRCODE = 'invalid_parameter_value', HINT = 'SELECT * FROM siglip.calibrations(label_set, label) shows what there is.';
    ELSIF version IS DISTINCT FROM 0 AND chosen.version IS NULL THEN
        RAISE EXCEPTION 'The label % has no calibration % under the model %.', quote_literal(label), coalesce(version::text, 'NULL'), model.name
            USING ERRCODE = 'no_data_found',
                  HINT = 'SELECT * FROM siglip.calibrations(label_set, label) shows what there is; 0 is the model''s own scores.';
    ELSIF chosen.figures ? 'embedding' AND NOT of_label.is_by_example THEN
        RAISE EXCEPTION 'The calibration % is of when the label % was by example; now it has prompts.', version, quote_literal(label)
            USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'siglip.calibrate fits the prompts to the same marks.';
    END IF;
    UPDATE siglip.label_calibrations AS c SET is_current = false
    WHERE c.label_id = of_label.label_id AND c.model_id = model.model_id AND c.is_current AND c.version <> use_calibration.version;
    UPDATE siglip.label_calibrations AS c SET is_current = true
    WHERE c.label_id = of_label.label_id AND c.model_id = model.model_id AND NOT c.is_current AND c.version = use_calibration.version;
    IF chosen.figures ? 'embedding' THEN  -- a label by example had another vector then
        UPDATE siglip.label_embeddings AS v SET embedding = (chosen.figures ->> 'embedding')::@vector@.halfvec
        WHERE v.label_id = of_label.label_id AND v.model_id = model.model_id;
    END IF;
END
$$;

COMMENT ON FUNCTION siglip.use_calibration(text, text, integer, integer)
    IS 'Make an earlier calibration the current one again, or a later one; 0 is the model''s own scores.
Example: SELECT siglip.use_calibration(''scenes'', ''sunset'', 0);';

CREATE FUNCTION siglip.label_from_images(
    label_set text, label text, positives bigint[] DEFAULT NULL, negatives bigint[] DEFAULT NULL, model_id integer DEFAULT NULL
) RETURNS siglip.calibration
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, siglip, pg_temp
AS $$
#variable_conflict use_column
BEGIN
    IF label_set IS NULL OR label_set = '' OR label IS NULL OR label = '' THEN
        RAISE EXCEPTION 'A label set and a label need names, not % and %.', coalesce(quote_literal(label_set), 'NULL'), coalesce(quote_literal(label), 'NULL')
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Write for instance siglip.label_from_images(''pets'', ''our dog'', ''{1,5}'').';
    END IF;
    INSERT INTO siglip.label_sets (name, template) VALUES (label_from_images.label_set, 'This is a photo of {label}.')
    ON CONFLICT (name) DO NOTHING;
    INSERT INTO siglip.labels (label_set_id, position, label, prompts, is_by_example)
    SELECT s.label_set_id, (SELECT coalesce(max(l.position) + 1, 0) FROM siglip.labels AS l WHERE l.label_set_id = s.label_set_id),
           label_from_images.label, '{}', true
    FROM siglip.label_sets AS s WHERE s.name = label_from_images.label_set
    ON CONFLICT (label_set_id, label) DO NOTHING;
    IF NOT (siglip.find_label(label_from_images.label_set, label_from_images.label)).is_by_example THEN
        RAISE EXCEPTION 'The label % has prompts: it is not by example.', quote_literal(label_from_images.label)
            USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'siglip.calibrate fits it to marked images; or choose another name.';
    END IF;
    RETURN siglip.calibrate(label_from_images.label_set, label_from_images.label, label_from_images.positives, label_from_images.negatives,
                            model_id => label_from_images.model_id);
END
$$;

COMMENT ON FUNCTION siglip.label_from_images(text, text, bigint[], bigint[], integer)
    IS 'Make a label out of images that have it, and images that have not, without words; or teach it more. New marks change it by siglip.calibrate, too.
Example: SELECT * FROM siglip.label_from_images(''scenes'', ''like our holiday'', positives => ''{1,2,3}'', negatives => ''{21,22}'');';

CREATE FUNCTION siglip.embed_example_labels(model_id integer) RETURNS integer
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, siglip, pg_temp
AS $$
DECLARE
    model  siglip.models;
    lacks  siglip.labels;
    made   integer := 0;
BEGIN
    FOR lacks IN
        SELECT l.* FROM siglip.labels AS l
        WHERE l.is_by_example
          AND NOT EXISTS (SELECT FROM siglip.label_embeddings AS v WHERE v.label_id = l.label_id AND v.model_id = embed_example_labels.model_id)
          AND NOT EXISTS (
              SELECT FROM siglip.image_labels AS m JOIN siglip.ingest_items AS q ON q.image_id = m.image_id
              WHERE m.label_id = l.label_id AND m.marked_by IS NOT NULL
                AND q.model_id = embed_example_labels.model_id AND q.state IN ('queued', 'claimed'))
          AND EXISTS (SELECT FROM siglip.label_marks(l.label_id, embed_example_labels.model_id) AS m WHERE m.is_accepted)
    LOOP
        model := coalesce(model, siglip.described_model(model_id));
        CONTINUE WHEN model.logit_scale IS NULL;
        PERFORM siglip.fit_label(lacks, model, NULL, 0.9);
        made := made + 1;
    END LOOP;
    RETURN made;
END
$$;

COMMENT ON FUNCTION siglip.embed_example_labels(integer)
    IS 'Make the vectors of labels by example that have none under a model, once their marked images are embedded under it; returns how many. Workers call it.
Example: SELECT siglip.embed_example_labels(2);';
