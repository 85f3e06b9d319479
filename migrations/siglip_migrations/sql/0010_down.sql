-- Purpose: take away what revision 0010 made. Segments on other servers must have come back before: nothing here drops vectors.
-- Parameters: none.
-- A row means: nothing here has rows.
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

-- As revision 0006 made them.
CREATE OR REPLACE FUNCTION siglip.catch_up(target regclass, sources regclass[]) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, siglip, pg_temp
AS $$
DECLARE
    source regclass;
    kept   text := '';
BEGIN
    FOREACH source IN ARRAY sources LOOP
        EXECUTE format(
            'INSERT INTO %1$s SELECT s.* FROM %2$s AS s WHERE NOT EXISTS (SELECT FROM %1$s AS t WHERE t.content_id = s.content_id)',
            target, source);
        kept := kept || format(' AND NOT EXISTS (SELECT FROM %s AS s WHERE s.content_id = t.content_id)', source);
    END LOOP;
    EXECUTE format('DELETE FROM %s AS t WHERE true%s', target, kept);
END
$$;

CREATE OR REPLACE FUNCTION siglip.replace_segments(parent text, sources regclass[], target regclass, bounds text) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, siglip, pg_temp
AS $$
DECLARE
    source   regclass;
    patience constant text := current_setting('lock_timeout');
    gave_up  constant timestamptz := clock_timestamp() + interval '10 minutes';
BEGIN
    LOOP
        BEGIN
            PERFORM set_config('lock_timeout', '25ms', true);
            -- Writers to these ranges wait from here on; readers only from the next lock on.
            FOREACH source IN ARRAY sources LOOP
                EXECUTE format('LOCK TABLE ONLY %s IN SHARE ROW EXCLUSIVE MODE', source);
            END LOOP;
            PERFORM siglip.catch_up(target, sources);
            EXECUTE format('LOCK TABLE ONLY %s IN ACCESS EXCLUSIVE MODE', parent);
            FOREACH source IN ARRAY sources LOOP
                EXECUTE format('ALTER TABLE %s DETACH PARTITION %s', parent, source);
                DELETE FROM siglip.segment_builds AS b WHERE b.segment_number = siglip.segment_number(source);
                EXECUTE format('DROP TABLE %s', source);
            END LOOP;
            EXECUTE format('ALTER TABLE %s ATTACH PARTITION %s FOR VALUES %s', parent, target, bounds);
            EXECUTE format('ALTER TABLE %s DROP CONSTRAINT segment_bounds', target);
            PERFORM set_config('lock_timeout', patience, true);
            RETURN;
        EXCEPTION WHEN lock_not_available OR deadlock_detected THEN
            IF clock_timestamp() > gave_up THEN
                RAISE EXCEPTION 'A statement has been reading % for ten minutes: its segments can''t be replaced.', parent
                    USING ERRCODE = 'lock_not_available', HINT = 'pg_stat_activity shows it. Nothing was changed.';
            END IF;
            PERFORM pg_sleep(0.02 + 0.2 * random());
        END;
    END LOOP;
END
$$;

CREATE OR REPLACE FUNCTION siglip.maintain(model_id integer DEFAULT NULL, is_full boolean DEFAULT false) RETURNS text
LANGUAGE plpgsql
SET search_path = pg_catalog, siglip, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    seal_rows  constant bigint := coalesce(nullif(current_setting('siglip.seal_rows', true), ''), '10000')::bigint;
    model      siglip.models;
    removed    bigint;
    tail       siglip.segments;
    is_at_rest boolean;
    boundary   bigint;
    chosen     regclass[];
    name       text;
    row_count  bigint;
BEGIN
    IF NOT pg_try_advisory_xact_lock(1397311311, 0) THEN
        RAISE NOTICE 'Another session maintains the segments just now.';
        RETURN NULL;
    END IF;
    removed := siglip.remove_released_contents(5000);
    IF removed > 0 THEN
        RETURN format('Removed %s contents without an image.', removed);
    END IF;
    FOR model IN
        SELECT m.* FROM siglip.models AS m
        WHERE m.dimension IS NOT NULL AND (maintain.model_id IS NULL OR m.model_id = maintain.model_id)
        ORDER BY m.is_active DESC, m.model_id
    LOOP
        PERFORM siglip.create_nearest_images(model.model_id, model.dimension);
        is_at_rest := is_full OR NOT siglip.is_loading(model.model_id);
        SELECT s.* INTO tail FROM siglip.segments AS s WHERE s.model_id = model.model_id AND s.is_open AND s.server IS NULL;
        IF FOUND AND (tail.bytes >= seal_rows * (64 + 2 * model.dimension)
                      OR (is_at_rest AND tail.bytes >= siglip.exact_below_bytes())
                      OR (is_full AND tail.bytes > 0)) THEN
            boundary := siglip.close_segment(model.model_id);
            IF boundary IS NOT NULL THEN
                RETURN format('Closed the segment %s of %s at content %s.', tail.segment, model.name, boundary);
            END IF;
        END IF;
        chosen := siglip.segments_to_rebuild(model.model_id, is_at_rest, is_full);
        IF chosen IS NOT NULL THEN
            name := chosen[1]::text;
            row_count := siglip.rebuild_segments(chosen);
            PERFORM siglip.create_nearest_images(model.model_id, model.dimension);
            RETURN CASE cardinality(chosen)
                WHEN 1 THEN format('Built the segment %s of %s: %s rows.', name, model.name, row_count)
                ELSE format('Merged %s segments of %s: %s rows.', cardinality(chosen), model.name, row_count)
            END;
        END IF;
        IF is_at_rest AND siglip.needs_measuring(model) THEN
            RETURN siglip.measure_in_passing(model);
        END IF;
    END LOOP;
    RETURN NULL;
END
$$;

-- As revision 0007 made them.
CREATE OR REPLACE FUNCTION siglip.create_nearest_images(model_id integer, dimension integer) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, siglip, pg_temp
AS $$
DECLARE
    name     constant text := format('siglip.nearest_images_%s', model_id);
    contents constant int8multirange := siglip.quantised_contents(model_id);
    body     constant text := format('BEGIN RETURN (%s); END', siglip.matches_query(
        CASE WHEN isempty(contents) THEN siglip.graph_query(model_id, dimension)
             ELSE siglip.quantised_query(model_id, dimension, contents) END));
BEGIN
    IF EXISTS (SELECT FROM pg_proc AS p WHERE p.oid = to_regproc(name) AND p.prosrc = body) THEN
        RETURN;
    END IF;
    EXECUTE format(
        'CREATE OR REPLACE FUNCTION %s('
        '@vector@.halfvec, integer, bigint, double precision, double precision, text, jsonb, bigint[])'
        ' RETURNS siglip.image_match[] LANGUAGE plpgsql STABLE SET search_path = pg_catalog, siglip, pg_temp'
        ' SET plan_cache_mode = force_generic_plan'
        ' SET enable_sort = off SET enable_hashjoin = off SET enable_mergejoin = off SET enable_seqscan = off%s AS %L',
        name, CASE WHEN isempty(contents) THEN '' ELSE ' SET hnsw.max_scan_tuples = 20000' END, body
    );
    EXECUTE format('COMMENT ON FUNCTION %s IS %L', name, format('The search by HNSW under the model %s.', model_id));
END
$$;

SELECT siglip.create_nearest_images(m.model_id, m.dimension) FROM siglip.models AS m WHERE m.dimension IS NOT NULL;

CREATE OR REPLACE FUNCTION siglip.exact_images(
    model siglip.models, query_embedding @vector@.halfvec, wanted integer, excluded_image_id bigint,
    collection text, filter jsonb, image_ids bigint[], after siglip.search_position
) RETURNS siglip.image_match[]
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, siglip, pg_temp
SET jit = off
SET enable_indexscan = on
SET parallel_setup_cost = 1000
SET parallel_tuple_cost = 0.1
SET min_parallel_table_scan_size = '8MB'
SET min_parallel_index_scan_size = '512kB'
AS $$
DECLARE
    conditions constant text := siglip.image_conditions(collection IS NOT NULL, filter IS NOT NULL, image_ids IS NOT NULL);
    is_narrowed constant boolean := collection IS NOT NULL OR filter IS NOT NULL OR image_ids IS NOT NULL;
    content_ids bigint[];
    matches     siglip.image_match[];
BEGIN
    IF is_narrowed OR row_security_active('siglip.images') THEN
        -- The rows that pass, then their vectors in the order of their places: half as long as a join.
        EXECUTE 'SELECT array_agg(i.content_id) FROM siglip.images AS i WHERE i.content_id IS NOT NULL AND ' || conditions
            INTO content_ids
            USING query_embedding, wanted, excluded_image_id, model.logit_scale, model.logit_bias, collection, filter, image_ids;
        IF content_ids IS NULL THEN
            RETURN '{}';
        END IF;
    END IF;
    IF content_ids IS NOT NULL THEN
        PERFORM set_config('enable_indexscan', 'off', true);  -- a bitmap reads the table in order, and several processes share it
    END IF;
    IF content_ids IS NULL OR cardinality(content_ids) > 15000 THEN
        PERFORM set_config('parallel_setup_cost', '0', true), set_config('parallel_tuple_cost', '0', true),
                set_config('min_parallel_table_scan_size', '0', true), set_config('min_parallel_index_scan_size', '0', true);
    END IF;
    EXECUTE siglip.matches_query(siglip.exact_query(model.model_id, conditions, content_ids IS NOT NULL, after IS NOT NULL))
        INTO matches
        USING query_embedding, wanted, excluded_image_id, model.logit_scale, model.logit_bias, collection, filter, image_ids,
              content_ids, after;
    RETURN matches;
END
$$;

ALTER FUNCTION siglip.images_with_label(text, text, double precision, integer, text, jsonb, integer) STABLE;
ALTER FUNCTION siglip.count_labels(text, double precision, text, jsonb, integer) STABLE;
ALTER FUNCTION siglip.label_histogram(text, integer, text, jsonb, integer) STABLE;

-- As revision 0008 made it.
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
