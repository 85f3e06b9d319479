-- Purpose: the images' vectors, a partition for each model, so that each has one dimension and an HNSW index of its own.
-- Parameters: create_embedding_partition(model_id, dimension in elements).
-- A row means: the unit vector of one content under one model, however many images have that content.

CREATE TABLE siglip.image_embeddings (
    model_id     integer NOT NULL,
    content_hash bytea NOT NULL CHECK (octet_length(content_hash) = 32),
    embedding    halfvec NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (model_id, content_hash)
) PARTITION BY LIST (model_id);

-- Vectors of more than 1,000 elements would go to the TOAST table, and an exact scan would fetch each from there.
ALTER TABLE siglip.image_embeddings ALTER COLUMN embedding SET STORAGE PLAIN;

COMMENT ON TABLE siglip.image_embeddings IS 'One row is the unit vector of one content under one model.';

-- Made apart and then attached: ATTACH, unlike CREATE ... PARTITION OF, lets searches go on meanwhile.
CREATE FUNCTION siglip.create_embedding_partition(model_id integer, dimension integer) RETURNS void
LANGUAGE plpgsql
SET search_path FROM CURRENT
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
        ' ADD CONSTRAINT %I CHECK (vector_dims(embedding) = %L::integer)',
        partition_name, partition_name || '_model_id_check', model_id, partition_name || '_dimension_check', dimension
    );
    EXECUTE format(
        'CREATE INDEX %I ON siglip.%I USING hnsw ((embedding::halfvec(%L)) halfvec_ip_ops)',
        partition_name || '_embedding_hnsw_idx', partition_name, dimension
    );
    EXECUTE format(
        'ALTER TABLE siglip.image_embeddings ATTACH PARTITION siglip.%I FOR VALUES IN (%L)', partition_name, model_id
    );
END
$$;

COMMENT ON FUNCTION siglip.create_embedding_partition(integer, integer)
    IS 'Make the partition of siglip.image_embeddings for one model, with its HNSW index; nothing happens where it exists.';
