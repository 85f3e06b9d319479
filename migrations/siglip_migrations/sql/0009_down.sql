-- Purpose: take away what revision 0009 made: measurements of recall and indexes of bits.
-- Parameters: none.
-- A row means: nothing; segments with an index of bits are searched exactly until siglip.maintain() has built them again.
DROP VIEW siglip.index_settings;
DROP FUNCTION siglip.setting_source(text);
UPDATE siglip.models SET index_kind = 'halfvec', ef_search = NULL WHERE index_kind = 'bit_rerank';

-- As in 0006.
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
            RETURN CASE cardinality(chosen)
                WHEN 1 THEN format('Built the segment %s of %s: %s rows.', name, model.name, row_count)
                ELSE format('Merged %s segments of %s: %s rows.', cardinality(chosen), model.name, row_count)
            END;
        END IF;
    END LOOP;
    RETURN NULL;
END
$$;

COMMENT ON FUNCTION siglip.maintain(integer, boolean)
    IS 'Do the next step that the segments need, and return a sentence; NULL where there is nothing to do. With is_full one segment remains.';

-- As in 0007, whose last statement makes the searches of all models by the vectors again.
CREATE OR REPLACE FUNCTION siglip.create_nearest_images(model_id integer, dimension integer) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, siglip, pg_temp
AS $$
DECLARE
    name constant text := format('siglip.nearest_images_%s', model_id);
BEGIN
    EXECUTE format(
        'CREATE OR REPLACE FUNCTION %s('
        '@vector@.halfvec, integer, bigint, double precision, double precision, text, jsonb, bigint[])'
        ' RETURNS siglip.image_match[] LANGUAGE plpgsql STABLE SET search_path = pg_catalog, siglip, pg_temp'
        ' SET plan_cache_mode = force_generic_plan'
        ' SET enable_sort = off SET enable_hashjoin = off SET enable_mergejoin = off SET enable_seqscan = off AS %L',
        name, format('BEGIN RETURN (%s); END', siglip.matches_query(siglip.graph_query(model_id, dimension)))
    );
    EXECUTE format('COMMENT ON FUNCTION %s IS %L', name, format('The search by HNSW under the model %s.', model_id));
END
$$;

COMMENT ON FUNCTION siglip.create_nearest_images(integer, integer) IS 'Make the function that searches a model''s graphs.';

SELECT siglip.create_nearest_images(m.model_id, m.dimension) FROM siglip.models AS m WHERE m.dimension IS NOT NULL;

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
