-- Purpose: which models are being taken away, what a model is called, and word of it to the workers when the models change.
-- Parameters: find_model(model, a name or the number of a model).
-- A row means: one model that siglip.drop_model takes away, and how far that is (model_drops).

CREATE TABLE siglip.model_drops (
    model_id      integer PRIMARY KEY REFERENCES siglip.models ON DELETE CASCADE,
    dropped_at    timestamptz NOT NULL DEFAULT now(),
    next_image_id bigint NOT NULL DEFAULT 0,
    freed_bytes   bigint NOT NULL DEFAULT 0
);

-- Whoever asks for a model by its name looks here, roles included that were given their rights before there was such a table.
GRANT SELECT ON siglip.model_drops TO PUBLIC;

COMMENT ON TABLE siglip.model_drops
    IS 'One row is a model that siglip.drop_model takes away; it goes with the model once the last of its space is free.';
COMMENT ON COLUMN siglip.model_drops.next_image_id IS 'The ledger has nothing of the model any more for images before this one.';
COMMENT ON COLUMN siglip.model_drops.freed_bytes IS 'Of vectors and indexes, so far.';

CREATE FUNCTION siglip.find_model(model text) RETURNS integer
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, siglip, pg_temp
AS $$
DECLARE
    found_id integer;
BEGIN
    SELECT m.model_id INTO found_id FROM siglip.models AS m
    WHERE m.name = find_model.model
    ORDER BY m.is_active DESC, m.described_at DESC NULLS LAST, m.model_id
    LIMIT 1;
    IF NOT FOUND AND find_model.model ~ '^[1-9][0-9]{0,8}$' THEN
        SELECT m.model_id INTO found_id FROM siglip.models AS m WHERE m.model_id = find_model.model::integer;
    END IF;
    IF found_id IS NULL THEN
        RAISE EXCEPTION 'There is no model %.', coalesce(quote_literal(find_model.model), 'NULL')
            USING ERRCODE = 'no_data_found', HINT = 'SELECT model_id, name FROM siglip.models shows what there is.';
    END IF;
    RETURN found_id;
END
$$;

COMMENT ON FUNCTION siglip.find_model(text) IS 'The model_id of a name: of several revisions the active one, else the one loaded last. Also takes a number.
Example: SELECT siglip.find_model(''other'');';

-- A model that is being dropped has no dimension any more, so that nothing searches it.
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
        IF EXISTS (SELECT FROM siglip.model_drops AS d WHERE d.model_id = model.model_id) THEN
            RAISE EXCEPTION 'The model % is dropped.', model.name
                USING ERRCODE = 'no_data_found', HINT = 'SELECT model_id, name FROM siglip.models WHERE dimension IS NOT NULL shows the others.';
        END IF;
        RAISE EXCEPTION 'The model % has not been loaded by any worker yet.', model.name
            USING ERRCODE = 'no_data_found',
                  HINT = 'Start a worker (siglip-ingest worker) and wait until it says that it is ready.';
    END IF;
    RETURN model;
END
$$;

COMMENT ON FUNCTION siglip.described_model(integer) IS 'The row of a model, or of the active one, whose vectors'' length is known; an error where there is none.
Example: SELECT name, dimension FROM siglip.described_model(2);';

CREATE FUNCTION siglip.tell_of_models() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, siglip, pg_temp
AS $$
BEGIN
    PERFORM pg_notify('siglip_models', '');
    RETURN NULL;
END
$$;

COMMENT ON FUNCTION siglip.tell_of_models() IS 'Tell the workers that which models they are to serve may have changed: NOTIFY siglip_models.
Example: UPDATE siglip.models SET is_kept = true WHERE name = ''other'';';

CREATE TRIGGER tell_of_models AFTER INSERT OR DELETE OR UPDATE OF is_active, is_kept, dimension ON siglip.models
FOR EACH STATEMENT EXECUTE FUNCTION siglip.tell_of_models();
