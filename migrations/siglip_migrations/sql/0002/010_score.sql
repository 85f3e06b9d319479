-- Purpose: from similarity to the model's own score.
-- Parameters: similarity in [-1, 1]; logit_scale (a logarithm) and logit_bias as in the checkpoint.
-- A row means: one score in [0, 1] = sigmoid(exp(logit_scale) * similarity + logit_bias).

-- exp() fails beyond 709 either way; the score is 0 or 1 to every digit long before. Neither STRICT nor SET: the planner
-- puts the expression in the function's place.
CREATE FUNCTION siglip.score(similarity double precision, logit_scale double precision, logit_bias double precision)
RETURNS double precision
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE
    WHEN exp(logit_scale) * similarity + logit_bias > 700 THEN 1
    WHEN exp(logit_scale) * similarity + logit_bias < -700 THEN 0
    ELSE 1 / (1 + exp(-(exp(logit_scale) * similarity + logit_bias)))
END;

COMMENT ON FUNCTION siglip.score(double precision, double precision, double precision)
    IS 'sigmoid(exp(logit_scale) * similarity + logit_bias).';

CREATE FUNCTION siglip.active_model() RETURNS siglip.models
LANGUAGE plpgsql STABLE
SET search_path FROM CURRENT
AS $$
DECLARE
    model siglip.models;
BEGIN
    SELECT m.* INTO model FROM siglip.models AS m WHERE m.is_active;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'No model is active in this database.'
            USING ERRCODE = 'no_data_found',
                  HINT = 'Start a worker (siglip-ingest worker): it activates its model; or name one: siglip-ingest models use NAME.';
    END IF;
    IF model.described_at IS NULL THEN
        RAISE EXCEPTION 'The active model % has not been loaded by any worker yet.', model.name
            USING ERRCODE = 'no_data_found',
                  HINT = 'Start a worker (siglip-ingest worker) and wait until it says that it is ready.';
    END IF;
    RETURN model;
END
$$;

COMMENT ON FUNCTION siglip.active_model() IS 'The row of siglip.models that searches use; an error where there is none.';

CREATE FUNCTION siglip.score(similarity double precision) RETURNS double precision
LANGUAGE sql STABLE STRICT
SET search_path FROM CURRENT
AS $$
    SELECT siglip.score(similarity, m.logit_scale, m.logit_bias) FROM siglip.active_model() AS m
$$;

COMMENT ON FUNCTION siglip.score(double precision) IS 'The active model''s score of a similarity.';
