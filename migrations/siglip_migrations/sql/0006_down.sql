-- Purpose: take away what revision 0006 made: hashes return to the images and to the vectors.
-- Parameters: none.
-- A row means: as before; a vector of a content without a hash, which revision 0005 can't hold, is dropped.
DO $$
BEGIN
    IF EXISTS (SELECT FROM siglip.segments AS s WHERE s.server IS NOT NULL) THEN
        RAISE EXCEPTION 'Segments lie on other servers, which the older revision can''t reach.'
            USING ERRCODE = 'object_in_use',
                  HINT = 'SELECT siglip.move_segment(segment, NULL) FROM siglip.segments WHERE server IS NOT NULL; then again.';
    END IF;
    PERFORM siglip.remove_server(s.name) FROM siglip.segment_servers AS s;
END
$$;
DROP VIEW siglip.servers;
DROP FUNCTION siglip.settle_server(text);
DROP FUNCTION siglip.move_segment(regclass, text);
DROP FUNCTION siglip.index_foreign_segment(regclass, integer, text, bigint);
DROP FUNCTION siglip.create_foreign_segment(integer, text, bigint, bigint);
DROP FUNCTION siglip.catch_up_elsewhere(regclass, regclass);
DROP FUNCTION siglip.delete_vectors(regclass, bigint[]);
DROP FUNCTION siglip.copy_vectors(regclass, regclass, text, integer);
DROP FUNCTION siglip.ask_segment(regclass, text);
DROP TRIGGER tell_servers ON siglip.models;
DROP FUNCTION siglip.tell_servers_ef_search();
DROP FUNCTION siglip.server_state(text);
DROP FUNCTION siglip.locate_segment(regclass);
DROP FUNCTION siglip.remove_server(text);
DROP FUNCTION siglip.add_server(text, text);
DROP FUNCTION siglip.create_search_settings(text, text);
DROP FUNCTION siglip.require_extensions();
DROP FUNCTION siglip.set_server_address(text, text);
DROP FUNCTION siglip.server_options(text);
DROP FUNCTION siglip.server_session_options();
DROP FUNCTION siglip.read_server_url(text);
DROP FUNCTION siglip.decode_percent(text);
DROP FUNCTION siglip.ask_server(text, text);
DROP FUNCTION siglip.run_on_server(text, text);
DROP FUNCTION siglip.connect_server(text);
DROP FUNCTION siglip.disconnect_server(text);
DROP FUNCTION siglip.extension_schema(text);
DROP TABLE siglip.segment_servers;
DROP FUNCTION siglip.find_without_servers(
    integer, text, text, @vector@.halfvec, integer, bigint, double precision, double precision, text, jsonb, bigint[], bigint[],
    siglip.search_position);
DROP FUNCTION siglip.report_away_servers(integer, text, boolean);
DROP FUNCTION siglip.tell_servers(integer);
DROP FUNCTION siglip.is_exact_quicker(integer, bigint, text, jsonb, bigint[]);
DROP FUNCTION siglip.exact_rows_elsewhere();
DROP FUNCTION siglip.away_servers(integer);
DROP FUNCTION siglip.has_foreign_segments(integer);

DROP VIEW siglip.index_settings;
DROP FUNCTION siglip.setting_source(text);
DROP FUNCTION siglip.quantised_query(integer, integer, int8multirange);
DROP FUNCTION siglip.content_conditions(int8multirange);
DROP FUNCTION siglip.quantised_contents(integer);
DROP FUNCTION siglip.rerank_candidates(integer);
DROP FUNCTION siglip.measure_in_passing(siglip.models);
DROP FUNCTION siglip.needs_measuring(siglip.models);
DROP FUNCTION siglip.create_index(text, integer);
DROP FUNCTION siglip.tune_search(double precision, integer, integer);
DROP FUNCTION siglip.index_recall(integer, integer, text, jsonb, integer);
DROP FUNCTION siglip.check_measuring(integer, integer, jsonb);
DROP FUNCTION siglip.keep_measurement(siglip.models, siglip.recall_measurement, integer, text, jsonb, double precision, boolean);
DROP FUNCTION siglip.can_write_recall();
DROP VIEW siglip.recall_drift;
DROP FUNCTION siglip.earlier_recall(siglip.recall_history);
DROP FUNCTION siglip.measure_recall(siglip.models, integer, integer, text, jsonb, integer[], double precision);
DROP FUNCTION siglip.exact_answers(siglip.models, @vector@.halfvec[], bigint[], siglip.measured_search[], integer, text, jsonb);
DROP FUNCTION siglip.exact_answers_query(integer, integer, boolean, text);
DROP FUNCTION siglip.measure_searches(siglip.models, @vector@.halfvec[], bigint[], integer, text, jsonb);
DROP TYPE siglip.measured_search;
DROP FUNCTION siglip.sample_queries(integer, text, integer);
DROP FUNCTION siglip.recall_interval(double precision[]);
DROP TABLE siglip.recall_history;
DROP TYPE siglip.recall_measurement;
DROP FUNCTION siglip.add_external_model(text, integer, double precision, double precision);
DROP FUNCTION siglip.embed_text(text, integer, double precision);  -- sql/0004/040 makes these three again
DROP FUNCTION siglip.has_text_listener(integer);
DROP FUNCTION siglip.ask_text(text, integer, boolean);
DROP VIEW siglip.label_scores;
DROP FUNCTION siglip.label_histogram(text, integer, text, jsonb, integer);
DROP FUNCTION siglip.count_labels(text, double precision, text, jsonb, integer);
DROP FUNCTION siglip.images_with_label(text, text, double precision, integer, text, jsonb, integer);
DROP FUNCTION siglip.check_label_set(text, double precision, siglip.models);
DROP FUNCTION siglip.least_similarity(double precision, double precision, double precision);
DROP FUNCTION siglip.search_embedded_text(
    text, @vector@.halfvec, integer, text, text, text, integer, integer, text, jsonb, double precision, bigint[], integer,
    siglip.search_position);
DROP FUNCTION siglip.search_cached_text(text, integer, text, jsonb, double precision, bigint[], integer, siglip.search_position);
DROP FUNCTION siglip.similar_images(
    bigint, integer, text, jsonb, double precision, integer, bigint[], integer, siglip.search_position);
DROP FUNCTION siglip.search_images(
    text, integer, text, jsonb, double precision, integer, double precision, bigint[], integer, siglip.search_position);
DROP FUNCTION siglip.search_images(
    @vector@.halfvec, integer, text, jsonb, double precision, integer, bigint[], integer, siglip.search_position);
DROP FUNCTION siglip.nearest_images(
    siglip.models, @vector@.halfvec, integer, text, jsonb, double precision, bigint, bigint[], integer, siglip.search_position);
DROP FUNCTION siglip.check_search(
    siglip.models, @vector@.halfvec, integer, jsonb, double precision, integer, siglip.search_position);
DROP FUNCTION siglip.exact_images(
    siglip.models, @vector@.halfvec, integer, bigint, text, jsonb, bigint[], siglip.search_position);
DO $$
DECLARE
    name regproc;
BEGIN
    FOR name IN
        SELECT p.oid::regproc FROM pg_proc AS p
        WHERE p.pronamespace = 'siglip'::regnamespace AND p.proname ~ '^nearest_images_[0-9]+$'
    LOOP
        EXECUTE format('DROP FUNCTION %s', name);
    END LOOP;
END
$$;
DROP FUNCTION siglip.create_nearest_images(integer, integer);
DROP FUNCTION siglip.matches_query(text);
DROP FUNCTION siglip.exact_query(integer, text, boolean, boolean);
DROP FUNCTION siglip.second_graph_query(integer, integer);
DROP FUNCTION siglip.second_start(integer, @vector@.halfvec);
DROP FUNCTION siglip.graph_query(integer, integer);
DROP FUNCTION siglip.image_conditions(boolean, boolean, boolean);
DROP FUNCTION siglip.similarity(double precision);
DROP FUNCTION siglip.default_ef_search();
DROP TYPE siglip.search_position;

DROP FUNCTION siglip.score_labels(@vector@.halfvec, text, integer);  -- sql/0004/070 makes it again
DROP VIEW siglip.index_status;
DROP FUNCTION siglip.maintain(integer, boolean);
DROP FUNCTION siglip.is_loading(integer);
DROP FUNCTION siglip.segments_to_rebuild(integer, boolean, boolean);
DROP FUNCTION siglip.remove_released_contents(integer);
DROP FUNCTION siglip.rebuild_segments(regclass[]);
DROP FUNCTION siglip.replace_segments(text, regclass[], regclass, text);
DROP FUNCTION siglip.draw_landmarks(regclass, bigint, integer, bigint, bigint);
DROP FUNCTION siglip.rows_per_landmark();
DROP FUNCTION siglip.catch_up(regclass, regclass[]);
DROP TABLE siglip.landmarks;
DROP FUNCTION siglip.create_segment_index(regclass, integer, text, bigint);
DROP FUNCTION siglip.seal_rows();
DROP FUNCTION siglip.build_memory();
DROP FUNCTION siglip.check_isolation();
DROP FUNCTION siglip.graph_bytes(integer, text);
DROP FUNCTION siglip.index_definition(integer, text, bigint);
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
DROP FUNCTION siglip.truncate_vectors();
DROP SEQUENCE siglip.segment_numbers;
