-- Purpose: take away what 400_model_drops.sql made.
-- Parameters: described_model(model_id, NULL for the active one).
-- A row means: as before.

DO $$
BEGIN
    IF EXISTS (SELECT FROM siglip.model_drops) THEN
        RAISE EXCEPTION 'A model is being dropped, which the older schema doesn''t know.'
            USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'Finish it first: CALL siglip.finish_drops().';
    END IF;
END
$$;

DROP TRIGGER tell_of_models ON siglip.models;
DROP FUNCTION siglip.tell_of_models();
DROP FUNCTION siglip.find_model(text);
DROP TABLE siglip.model_drops;

CREATE OR REPLACE FUNCTION siglip.described_model(model_id integer) RETURNS siglip.models
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, siglip, pg_temp
AS $$
DECLARE
    model siglip.models;
BEGIN
    IF described_model.model_id IS NULL THEN
        SELECT m.* INTO model FROM siglip.models AS m WHERE m.is_active;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'No model is active in this database.'
                USING ERRCODE = 'no_data_found',
                      HINT = 'Start a worker (siglip-ingest worker): it activates its model; or name one: siglip-ingest models use NAME.';
        END IF;
    ELSE
        SELECT m.* INTO model FROM siglip.models AS m WHERE m.model_id = described_model.model_id;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'There is no model %.', described_model.model_id
                USING ERRCODE = 'no_data_found', HINT = 'SELECT model_id, name FROM siglip.models shows what there is.';
        END IF;
    END IF;
    IF model.described_at IS NULL THEN
        RAISE EXCEPTION 'The model % has not been loaded by any worker yet.', model.name
            USING ERRCODE = 'no_data_found',
                  HINT = 'Start a worker (siglip-ingest worker) and wait until it says that it is ready.';
    END IF;
    RETURN model;
END
$$;

COMMENT ON FUNCTION siglip.described_model(integer)
    IS 'The row of a model that a worker has loaded, NULL for the active one; an error where there is none.';
