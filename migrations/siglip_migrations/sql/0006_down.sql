-- Purpose: take away what revision 0006 made: hashes return to the images and to the vectors.
-- Parameters: none.
-- A row means: as before; a vector of a content without a hash, which revision 0005 can't hold, is dropped.
DROP FUNCTION siglip.score_labels(@vector@.halfvec, text, integer);  -- sql/0004/070 makes it again
DROP VIEW siglip.index_status;
DROP FUNCTION siglip.maintain(integer, boolean);
DROP FUNCTION siglip.is_loading(integer);
DROP FUNCTION siglip.segments_to_rebuild(integer, boolean, boolean);
DROP FUNCTION siglip.remove_released_contents(integer);
DROP FUNCTION siglip.rebuild_segments(regclass[]);
DROP FUNCTION siglip.replace_segments(text, regclass[], regclass, text);
DROP FUNCTION siglip.catch_up(regclass, regclass[]);
DROP FUNCTION siglip.create_segment_index(regclass, integer, text, bigint);
DROP FUNCTION siglip.build_memory();
DROP FUNCTION siglip.check_isolation();
DROP FUNCTION siglip.graph_bytes(integer, text);
DROP FUNCTION siglip.close_segment(integer);
DROP FUNCTION siglip.exact_below_bytes();
DROP VIEW siglip.segments;
DROP FUNCTION siglip.create_segment(integer);
DROP FUNCTION siglip.segment_number(regclass);
DROP TABLE siglip.segment_builds;

DROP TRIGGER release_deleted ON siglip.images;
DROP TRIGGER release_changed ON siglip.images;
DROP TRIGGER release_truncated ON siglip.images;
DROP FUNCTION siglip.release_contents();
DROP TABLE siglip.released_contents;

DELETE FROM siglip.models WHERE is_external;
ALTER TABLE siglip.models
    DROP CONSTRAINT models_described_check,
    ADD CONSTRAINT models_described_check
        CHECK (num_nonnulls(dimension, logit_scale, logit_bias, described_at) IN (0, 4)),
    DROP COLUMN is_external, DROP COLUMN index_kind, DROP COLUMN ef_search;

ALTER TABLE siglip.images
    ADD COLUMN content_hash bytea CHECK (octet_length(content_hash) = 32),
    ADD COLUMN width integer CHECK (width > 0), ADD COLUMN height integer CHECK (height > 0), ADD COLUMN format text;
UPDATE siglip.images AS i
SET content_hash = c.content_hash, width = c.width, height = c.height, format = c.format
FROM siglip.contents AS c
WHERE c.content_id = i.content_id;
ALTER TABLE siglip.images DROP COLUMN content_id;
CREATE INDEX images_content_hash_btree_idx ON siglip.images (content_hash);
COMMENT ON COLUMN siglip.images.content_hash IS 'SHA-256 of the bytes that were embedded last; NULL before the first time.';

ALTER TABLE siglip.image_embeddings RENAME TO image_embeddings_after;
CREATE TABLE siglip.image_embeddings (
    model_id     integer NOT NULL,
    content_hash bytea NOT NULL CHECK (octet_length(content_hash) = 32),
    embedding    @vector@.halfvec NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (model_id, content_hash)
) PARTITION BY LIST (model_id);
ALTER TABLE siglip.image_embeddings ALTER COLUMN embedding SET STORAGE PLAIN;
COMMENT ON TABLE siglip.image_embeddings IS 'One row is the unit vector of one content under one model.';

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

COMMENT ON FUNCTION siglip.create_embedding_partition(integer, integer)
    IS 'Make the partition of siglip.image_embeddings for one model, with its HNSW index; nothing happens where it exists.';

-- An index is built faster once the rows are there.
DO $$
DECLARE
    model     record;
    statement text;
BEGIN
    FOR model IN SELECT m.model_id, m.dimension FROM siglip.models AS m WHERE m.dimension IS NOT NULL ORDER BY m.model_id LOOP
        EXECUTE format('ALTER TABLE IF EXISTS siglip.%I RENAME TO %I',
                       'image_embeddings_' || model.model_id, 'image_embeddings_after_' || model.model_id);
        PERFORM siglip.create_embedding_partition(model.model_id, model.dimension);
        statement := pg_get_indexdef(format('siglip.image_embeddings_%s_embedding_hnsw_idx', model.model_id)::regclass);
        EXECUTE format('DROP INDEX siglip.image_embeddings_%s_embedding_hnsw_idx', model.model_id);
        INSERT INTO siglip.image_embeddings (model_id, content_hash, embedding)
        SELECT e.model_id, c.content_hash, e.embedding
        FROM siglip.image_embeddings_after AS e JOIN siglip.contents AS c USING (content_id)
        WHERE e.model_id = model.model_id AND c.content_hash IS NOT NULL;
        EXECUTE statement;
    END LOOP;
END
$$;

DROP TABLE siglip.image_embeddings_after;
DROP TABLE siglip.contents;
DROP SEQUENCE siglip.segment_numbers;
