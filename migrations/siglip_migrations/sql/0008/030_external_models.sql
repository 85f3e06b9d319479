-- Purpose: models whose vectors are imported.
-- Parameters: name; dimension, 1 to 4,000; logit_scale (a logarithm) and logit_bias, both NULL where similarities have no scores.
-- A row means: nothing here has rows.

CREATE FUNCTION siglip.add_external_model(
    name text, dimension integer, logit_scale double precision DEFAULT NULL, logit_bias double precision DEFAULT NULL
) RETURNS integer
LANGUAGE plpgsql
SET search_path = pg_catalog, siglip, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    new_id integer;
BEGIN
    -- As siglip_ingest.db.models.lock_models does it: one transaction at a time adds or activates models.
    PERFORM pg_advisory_xact_lock('siglip.models'::regclass::oid::bigint);
    IF EXISTS (SELECT FROM siglip.models AS m WHERE m.name = add_external_model.name) THEN
        RAISE EXCEPTION 'There is a model % already.', quote_literal(add_external_model.name)
            USING ERRCODE = 'unique_violation', HINT = 'SELECT model_id, name, dimension FROM siglip.models shows it.';
    END IF;
    -- The revision is a word that no checkpoint's can be.
    INSERT INTO siglip.models (name, revision, is_external, dimension, logit_scale, logit_bias, described_at)
    VALUES (add_external_model.name, 'external', true, add_external_model.dimension, add_external_model.logit_scale,
            add_external_model.logit_bias, now())
    RETURNING model_id INTO new_id;
    PERFORM siglip.create_embedding_partition(new_id, add_external_model.dimension);
    PERFORM siglip.create_nearest_images(new_id, add_external_model.dimension);
    UPDATE siglip.models AS m SET is_active = true
    WHERE m.model_id = new_id AND NOT EXISTS (SELECT FROM siglip.models AS a WHERE a.is_active);
    RETURN new_id;
END
$$;

COMMENT ON FUNCTION siglip.add_external_model(text, integer, double precision, double precision)
    IS 'Add a model whose vectors are imported, and return its model_id; it becomes the active one where none is.';
