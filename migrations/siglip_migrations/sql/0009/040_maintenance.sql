-- Purpose: what siglip.maintain does besides: searches that follow the kind of index, and a measurement after the indexes have changed.
-- Parameters: model_id, NULL for all models; is_full makes one segment of all.
-- A row means: nothing here has rows.

CREATE FUNCTION siglip.needs_measuring(model siglip.models) RETURNS boolean
LANGUAGE sql STABLE
SET search_path = pg_catalog, siglip, pg_temp
AS $$
    SELECT siglip.can_write_recall()
       AND coalesce(nullif(current_setting('siglip.measure_recall', true), ''), 'on')::boolean
       AND coalesce(max(b.built_at) > l.measured_at OR l.measured_at < now() - interval '30 days', true)
       AND coalesce(l.measured_at < now() - interval '1 day', true)
    FROM siglip.segments AS s
    JOIN siglip.segment_builds AS b ON b.segment_number = siglip.segment_number(s.segment)
    CROSS JOIN LATERAL (
        SELECT max(h.measured_at) AS measured_at FROM siglip.recall_history AS h
        WHERE h.model_id = model.model_id AND h.collection IS NULL AND h.filter IS NULL
    ) AS l
    WHERE s.model_id = model.model_id AND s.is_index_valid
    GROUP BY l.measured_at
$$;

COMMENT ON FUNCTION siglip.needs_measuring(siglip.models)
    IS 'Whether a model''s indexes were built since recall was measured, or a month has passed; at most once a day. siglip.measure_recall = off: never.';

CREATE FUNCTION siglip.measure_in_passing(model siglip.models) RETURNS text
LANGUAGE sql VOLATILE
SET search_path = pg_catalog, siglip, pg_temp
AS $$
    SELECT format('Measured the recall of %s: %s.', model.name,
                  string_agg(format('%s %s', r.kind, round(r.recall::numeric, 3)), ', ' ORDER BY r.kind))
    FROM siglip.index_recall(
        sample => CASE WHEN (SELECT sum(s.estimated_rows) FROM siglip.segments AS s WHERE s.model_id = model.model_id) > 1000000
                       THEN 20 ELSE 50 END,
        model_id => model.model_id) AS r
$$;

COMMENT ON FUNCTION siglip.measure_in_passing(siglip.models) IS 'Measure recall with a small sample; returns a sentence.';

-- As in 0006, and two things more: the search of a model follows its indexes, and recall is measured where they have changed.
-- One step a call, since PostgreSQL lets go of locks at the end of a transaction: call it until it returns NULL.
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

COMMENT ON FUNCTION siglip.maintain(integer, boolean)
    IS 'Do the next step that the segments need, and return a sentence; NULL where there is nothing to do. With is_full one segment remains.';
