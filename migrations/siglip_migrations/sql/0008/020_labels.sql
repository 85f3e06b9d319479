-- Purpose: the checks that the functions of labels share, as in revision 0007; and an external model has no labels.
-- Parameters: label_set by name; min_score 0 to 1, or NULL; the model.
-- A row means: nothing here has rows.

CREATE OR REPLACE FUNCTION siglip.check_label_set(label_set text, min_score double precision, model siglip.models) RETURNS void
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, siglip, pg_temp
AS $$
BEGIN
    IF min_score NOT BETWEEN 0 AND 1 THEN
        RAISE EXCEPTION 'min_score is %, not a number from 0 to 1.', min_score
            USING ERRCODE = 'invalid_parameter_value', HINT = 'A score is a probability.';
    ELSIF NOT EXISTS (SELECT FROM siglip.label_sets AS s WHERE s.name = check_label_set.label_set) THEN
        RAISE EXCEPTION 'There is no label set %.', coalesce(quote_literal(label_set), 'NULL')
            USING ERRCODE = 'no_data_found', HINT = 'SELECT name FROM siglip.label_sets shows what there is.';
    ELSIF model.is_external THEN
        RAISE EXCEPTION 'The model % is external: its vectors are imported, and no worker can embed a label with it.', model.name
            USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'Labels need a model that embeds texts.';
    ELSIF model.logit_scale IS NULL THEN
        RAISE EXCEPTION 'The model % has no scores: its logit_scale and logit_bias are not known.', model.name
            USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'Labels need a model that embeds texts.';
    END IF;
END
$$;
