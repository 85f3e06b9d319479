-- Purpose: the model that a statement works with; and no built-in name that another schema could stand in for.
-- Parameters: model_id, NULL for the active model.
-- A row means: one model that a worker has loaded.

-- The functions of revision 0002 had pgvector's schema in their search_path, which often is `public`: who may create there
-- could define a public.format(text, text) that is preferred to the built-in one. From here on the extension's names are
-- written out (the migration puts its schema in), and every path is pg_catalog, siglip, pg_temp.
DROP VIEW siglip.label_scores;
DROP FUNCTION siglip.images_with_label(text, text, double precision, integer, text, jsonb);
DROP FUNCTION siglip.similar_images(bigint, integer, text, jsonb, double precision);
DROP FUNCTION siglip.search_images(text, integer, text, jsonb, double precision);
DROP FUNCTION siglip.search_images(@vector@.halfvec, integer, text, jsonb, double precision);
DROP FUNCTION siglip.nearest_images(siglip.models, @vector@.halfvec, integer, text, jsonb, double precision, bigint);
DROP FUNCTION siglip.nearest_images_query(integer, boolean, boolean, boolean, boolean);
DROP FUNCTION siglip.embed_text(text, integer);
DROP FUNCTION siglip.score(double precision);
DROP FUNCTION siglip.active_model();

CREATE FUNCTION siglip.described_model(model_id integer) RETURNS siglip.models
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

CREATE FUNCTION siglip.active_model() RETURNS siglip.models
LANGUAGE sql STABLE
SET search_path = pg_catalog, siglip, pg_temp
AS $$
    SELECT siglip.described_model(NULL)
$$;

COMMENT ON FUNCTION siglip.active_model() IS 'The row of siglip.models that searches use; an error where there is none.';

CREATE FUNCTION siglip.score(similarity double precision, model_id integer DEFAULT NULL) RETURNS double precision
LANGUAGE sql STABLE
SET search_path = pg_catalog, siglip, pg_temp
AS $$
    SELECT siglip.score(similarity, m.logit_scale, m.logit_bias) FROM siglip.described_model(model_id) AS m
$$;

COMMENT ON FUNCTION siglip.score(double precision, integer) IS 'A model''s score of a similarity; by default the active model''s.';

CREATE OR REPLACE FUNCTION siglip.create_embedding_partition(model_id integer, dimension integer) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, siglip, pg_temp
AS $$
DECLARE
    partition_name text := format('image_embeddings_%s', model_id);
BEGIN
    IF to_regclass(format('siglip.%I', partition_name)) IS NOT NULL THEN
        RETURN;
    END IF;
    EXECUTE format('CREATE TABLE siglip.%I (LIKE siglip.image_embeddings INCLUDING ALL)', partition_name);
    EXECUTE format(
        'ALTER TABLE siglip.%I'
        ' ADD CONSTRAINT %I CHECK (model_id = %L::integer),'
        ' ADD CONSTRAINT %I CHECK (@vector@.vector_dims(embedding) = %L::integer)',
        partition_name, partition_name || '_model_id_check', model_id, partition_name || '_dimension_check', dimension
    );
    EXECUTE format(
        'CREATE INDEX %I ON siglip.%I USING hnsw ((embedding::@vector@.halfvec(%L)) @vector@.halfvec_ip_ops)',
        partition_name || '_embedding_hnsw_idx', partition_name, dimension
    );
    EXECUTE format(
        'ALTER TABLE siglip.image_embeddings ATTACH PARTITION siglip.%I FOR VALUES IN (%L)', partition_name, model_id
    );
END
$$;

CREATE OR REPLACE FUNCTION siglip.check_max_results(max_results integer) RETURNS void
LANGUAGE plpgsql IMMUTABLE
SET search_path = pg_catalog, siglip, pg_temp
AS $$
BEGIN
    IF max_results IS NULL OR max_results NOT BETWEEN 1 AND 10000 THEN
        RAISE EXCEPTION 'max_results is %, not a number from 1 to 10000.', coalesce(max_results::text, 'NULL')
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Ask for fewer rows, or narrow the search with filter or collection.';
    END IF;
END
$$;
