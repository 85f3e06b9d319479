-- Purpose: the maintenance as one function that does the next step, its state as a view; and what is there already, in segments.
-- Parameters: model_id, NULL for all models; is_full makes one segment of all.
-- A row means: one segment (index_status).

-- Contents without an image: their vectors go, under every model.
CREATE FUNCTION siglip.remove_released_contents(max_rows integer) RETURNS bigint
LANGUAGE plpgsql
SET search_path = pg_catalog, siglip, pg_temp
AS $$
DECLARE
    places   tid[];
    noted    bigint[];
    released bigint[];
    removed  bigint[];
    is_done  boolean;
BEGIN
    LOOP
        SELECT array_agg(r.ctid), array_agg(r.content_id) INTO places, noted
        FROM (SELECT o.ctid, o.content_id FROM siglip.released_contents AS o LIMIT max_rows FOR UPDATE SKIP LOCKED) AS r;
        -- Locked first, looked at then: no image can come to a content that is locked. One that is in use just now may be unused
        -- later, if that transaction fails: its note stays.
        SELECT array_agg(l.content_id) INTO released
        FROM (SELECT c.content_id FROM siglip.contents AS c WHERE c.content_id = ANY (noted) FOR UPDATE SKIP LOCKED) AS l;
        DELETE FROM siglip.released_contents AS r
        WHERE r.ctid = ANY (places)
          AND (r.content_id = ANY (released) OR NOT EXISTS (SELECT FROM siglip.contents AS c WHERE c.content_id = r.content_id));
        is_done := NOT FOUND;
        SELECT array_agg(r.content_id ORDER BY r.content_id) INTO removed
        FROM unnest(released) AS r (content_id)
        WHERE NOT EXISTS (SELECT FROM siglip.images AS i WHERE i.content_id = r.content_id);
        EXIT WHEN is_done OR removed IS NOT NULL;
    END LOOP;
    DELETE FROM siglip.image_embeddings AS e WHERE e.content_id = ANY (removed);
    DELETE FROM siglip.contents AS c WHERE c.content_id = ANY (removed);
    RETURN coalesce(cardinality(removed), 0);
END
$$;

COMMENT ON FUNCTION siglip.remove_released_contents(integer)
    IS 'Take out up to max_rows contents that have lost their last image, with their vectors; returns how many that were.';

-- Segments grow like the places of a number: what follows a segment is merged with it once it has half its rows, so that each row
-- is indexed O(log n) times. At rest little remains beside the largest.
CREATE FUNCTION siglip.segments_to_rebuild(model_id integer, is_at_rest boolean, is_full boolean) RETURNS regclass[]
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, siglip, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    share     constant double precision := CASE WHEN is_full THEN 1e9 WHEN is_at_rest THEN 10 ELSE 2 END;
    most_rows bigint;
    chosen    regclass[];
BEGIN
    -- A segment whose graph fits no memory takes hours to build, and is searched no faster than two halves of it.
    SELECT CASE WHEN is_full THEN 9223372036854775807 ELSE siglip.build_memory() / siglip.graph_bytes(m.dimension, m.index_kind) END
    INTO most_rows FROM siglip.models AS m WHERE m.model_id = segments_to_rebuild.model_id;
    -- A run is a row of neighbours on this server; rows are those of the build, or as the table's size tells.
    WITH closed AS (
        SELECT s.segment, s.from_content_id, s.to_content_id, s.bytes, s.index_kind, s.is_index_valid, m.index_kind AS wanted_kind,
               coalesce(b.built_rows, s.bytes / (64 + 2 * m.dimension)) AS row_count, b.built_rows,
               greatest(pg_stat_get_tuples_deleted(s.segment), b.built_rows - s.estimated_rows) AS deleted_rows,
               s.server IS NOT NULL AS is_remote,
               count(*) FILTER (WHERE s.server IS NOT NULL) OVER (ORDER BY s.from_content_id NULLS FIRST) AS run
        FROM siglip.segments AS s
        JOIN siglip.models AS m ON m.model_id = s.model_id
        LEFT JOIN siglip.segment_builds AS b ON b.segment_number = siglip.segment_number(s.segment)
        WHERE s.model_id = segments_to_rebuild.model_id AND NOT s.is_open
    ), followed AS (
        SELECT c.*,
               coalesce(sum(c.row_count) OVER (PARTITION BY c.run ORDER BY c.from_content_id DESC NULLS LAST
                                               ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS rows_after,
               row_number() OVER (PARTITION BY c.run ORDER BY c.from_content_id DESC NULLS LAST) AS place
        FROM closed AS c WHERE NOT c.is_remote
    ), starts AS (
        -- The first segment that is to be merged with all that follow in its run.
        SELECT f.run, min(coalesce(f.from_content_id, -9223372036854775808)) AS first
        FROM followed AS f
        WHERE f.place > 1 AND f.row_count <= share * greatest(f.rows_after, 1) AND f.row_count + f.rows_after <= most_rows
        GROUP BY f.run
    )
    -- Before a merge of which they are a small part, the new ones at its end get an index of their own: the merge takes long, and until
    -- its end they would be searched exactly.
    SELECT CASE WHEN NOT is_full AND max(f.place) FILTER (WHERE f.built_rows IS NULL) < min(f.place) FILTER (WHERE f.built_rows IS NOT NULL)
                     AND sum(f.bytes) FILTER (WHERE f.built_rows IS NULL) >= siglip.exact_below_bytes()
                     AND 4 * sum(f.row_count) FILTER (WHERE f.built_rows IS NULL) < sum(f.row_count)
                THEN array_agg(f.segment ORDER BY f.from_content_id NULLS FIRST) FILTER (WHERE f.built_rows IS NULL)
                ELSE array_agg(f.segment ORDER BY f.from_content_id NULLS FIRST) END
    INTO chosen
    FROM followed AS f JOIN starts AS s ON s.run = f.run AND coalesce(f.from_content_id, -9223372036854775808) >= s.first
    GROUP BY f.run ORDER BY f.run LIMIT 1;
    IF chosen IS NULL THEN
        SELECT ARRAY[s.segment] INTO chosen
        FROM siglip.segments AS s
        JOIN siglip.models AS m ON m.model_id = s.model_id
        LEFT JOIN siglip.segment_builds AS b ON b.segment_number = siglip.segment_number(s.segment)
        WHERE s.model_id = segments_to_rebuild.model_id AND NOT s.is_open AND s.server IS NULL
          AND (b.segment_number IS NULL
               OR (s.index IS NOT NULL AND s.index_kind <> m.index_kind)
               OR greatest(pg_stat_get_tuples_deleted(s.segment), b.built_rows - s.estimated_rows) > 0.2 * b.built_rows
               OR (s.index IS NULL AND s.bytes >= 2 * siglip.exact_below_bytes()))
        ORDER BY s.from_content_id NULLS FIRST
        LIMIT 1;
    END IF;
    RETURN chosen;
END
$$;

COMMENT ON FUNCTION siglip.segments_to_rebuild(integer, boolean, boolean)
    IS 'The closed segments of a model that are next to be built as one; NULL where none need it.';

CREATE FUNCTION siglip.is_loading(model_id integer) RETURNS boolean
LANGUAGE sql STABLE
SET search_path = pg_catalog, siglip, pg_temp
AS $$
    SELECT EXISTS (
            SELECT FROM siglip.ingest_items AS t WHERE t.model_id = is_loading.model_id AND t.state = 'queued' AND t.not_before <= now())
        OR EXISTS (SELECT FROM siglip.ingest_items AS t WHERE t.model_id = is_loading.model_id AND t.state = 'claimed')
        OR (SELECT c.created_at FROM siglip.contents AS c ORDER BY c.content_id DESC LIMIT 1)
            > now() - coalesce(nullif(current_setting('siglip.rest_after', true), ''), '30 s')::interval
$$;

COMMENT ON FUNCTION siglip.is_loading(integer)
    IS 'Whether work is queued under a model, or new contents arrived in the last 30 seconds (siglip.rest_after).';

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

-- A server that is away holds up what needs it and nothing else, and last of all the others are looked after.
CREATE FUNCTION siglip.maintain(model_id integer DEFAULT NULL, is_full boolean DEFAULT false) RETURNS text
LANGUAGE plpgsql
SET search_path = pg_catalog, siglip, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    seal_rows  constant bigint := siglip.seal_rows();
    model      siglip.models;
    removed    bigint;
    tail       siglip.segments;
    is_at_rest boolean;
    boundary   bigint;
    chosen     regclass[];
    name       text;
    row_count  bigint;
    server     text;
    done       text;
BEGIN
    IF NOT pg_try_advisory_xact_lock(1397311311, 0) THEN
        RAISE NOTICE 'Another session maintains the segments just now.';
        RETURN NULL;
    END IF;
    BEGIN
        removed := siglip.remove_released_contents(5000);
    EXCEPTION WHEN connection_exception OR admin_shutdown OR crash_shutdown THEN
        RAISE NOTICE 'Contents without an image stay until every server answers: %', SQLERRM;
    END;
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
            BEGIN
                RETURN siglip.measure_in_passing(model);
            EXCEPTION WHEN no_data_found OR connection_exception OR admin_shutdown OR crash_shutdown THEN
                RAISE NOTICE 'Recall is not measured: %', SQLERRM;
            END;
        END IF;
    END LOOP;
    FOR server IN SELECT s.name FROM siglip.segment_servers AS s ORDER BY s.name LOOP
        BEGIN
            done := siglip.settle_server(server);
        EXCEPTION WHEN connection_exception OR admin_shutdown OR crash_shutdown THEN
            RAISE NOTICE '%', SQLERRM;
        END;
        IF done IS NOT NULL THEN
            RETURN done;
        END IF;
    END LOOP;
    RETURN NULL;
END
$$;

COMMENT ON FUNCTION siglip.maintain(integer, boolean)
    IS 'Do the next step that the segments need, and return a sentence; NULL where there is nothing to do. With is_full one segment remains.';

CREATE VIEW siglip.index_status AS
SELECT m.model_id, m.name AS model, s.segment, s.from_content_id, s.to_content_id,
       CASE WHEN b.built_rows IS NULL OR s.is_open THEN NULL ELSE b.built_rows END AS built_rows,
       CASE WHEN s.estimated_rows > 0 THEN s.estimated_rows ELSE s.bytes / (64 + 2 * m.dimension) END AS estimated_rows,
       s.bytes AS table_bytes,
       pg_relation_size(s.index) AS index_bytes,
       s.index_kind,
       CASE
           WHEN s.server IS NOT NULL THEN 'on ' || s.server
           WHEN p.pid IS NOT NULL THEN 'building'
           WHEN s.is_open THEN 'open'
           WHEN s.index IS NOT NULL AND s.is_index_valid THEN 'sealed'
           WHEN b.segment_number IS NOT NULL THEN 'sealed without index'
           ELSE 'closed'
       END AS state,
       s.server IS NOT NULL OR coalesce(s.is_index_valid, false) OR s.bytes < siglip.exact_below_bytes() AS is_complete,
       CASE WHEN p.pid IS NOT NULL THEN round(100.0 * coalesce(p.blocks_done, 0) / greatest(p.blocks_total, 1), 1) END AS progress_percent,
       p.phase,
       b.built_at, b.build_s
FROM siglip.segments AS s
JOIN siglip.models AS m USING (model_id)
LEFT JOIN siglip.segment_builds AS b ON b.segment_number = siglip.segment_number(s.segment)
LEFT JOIN LATERAL (
    SELECT l.pid, i.blocks_done, i.blocks_total, i.phase
    FROM pg_locks AS l
    LEFT JOIN pg_stat_progress_create_index AS i  -- of HNSW, not of the primary key, which takes no time
        ON i.pid = l.pid AND i.phase = 'building index: loading tuples'
    WHERE l.locktype = 'advisory' AND l.objsubid = 2 AND l.granted
      AND l.database = (SELECT d.oid FROM pg_database AS d WHERE d.datname = current_database())
      AND l.classid = 1397311312::oid AND l.objid = siglip.segment_number(s.segment)::oid
    LIMIT 1
) AS p ON true
ORDER BY m.model_id, s.from_content_id NULLS FIRST;

COMMENT ON VIEW siglip.index_status
    IS 'One row is one segment: its range, rows, bytes, state (open, closed, building, sealed), and whether searches of it are as fast as they can be.';

-- What is there already becomes one segment a model, with its index, and an empty one after it.
DO $$
DECLARE
    model  record;
    source regclass;
BEGIN
    FOR model IN SELECT m.model_id, m.dimension FROM siglip.models AS m WHERE m.dimension IS NOT NULL ORDER BY m.model_id LOOP
        EXECUTE format('ALTER TABLE IF EXISTS siglip.%I RENAME TO %I',
                       'image_embeddings_' || model.model_id, 'image_embeddings_before_' || model.model_id);
        PERFORM siglip.create_embedding_partition(model.model_id, model.dimension);
        INSERT INTO siglip.image_embeddings (model_id, content_id, embedding)
        SELECT e.model_id, c.content_id, e.embedding
        FROM siglip.image_embeddings_before AS e JOIN siglip.contents AS c USING (content_hash)
        WHERE e.model_id = model.model_id
        ORDER BY c.content_id;
        IF (SELECT s.bytes FROM siglip.segments AS s WHERE s.model_id = model.model_id) >= siglip.exact_below_bytes() THEN
            PERFORM siglip.close_segment(model.model_id);
            SELECT s.segment INTO source FROM siglip.segments AS s WHERE s.model_id = model.model_id AND NOT s.is_open;
            PERFORM siglip.rebuild_segments(ARRAY[source]);
        END IF;
    END LOOP;
END
$$;

DROP TABLE siglip.image_embeddings_before;

SELECT siglip.create_nearest_images(m.model_id, m.dimension) FROM siglip.models AS m WHERE m.dimension IS NOT NULL;

-- Who might read or write the images before may do the same with what was made anew or came out of them.
DO $$
DECLARE
    granted record;
BEGIN
    FOR granted IN
        SELECT a.privilege_type, CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END AS role
        FROM pg_class AS c CROSS JOIN LATERAL aclexplode(c.relacl) AS a
        WHERE c.oid = 'siglip.images'::regclass AND a.grantee <> c.relowner
          AND a.privilege_type IN ('SELECT', 'INSERT', 'UPDATE', 'DELETE')
    LOOP
        EXECUTE format('GRANT %s ON siglip.contents, siglip.image_embeddings TO %s', granted.privilege_type, granted.role);
        IF granted.privilege_type IN ('UPDATE', 'DELETE') THEN
            EXECUTE format('GRANT INSERT ON siglip.released_contents TO %s', granted.role);
        END IF;
        IF granted.privilege_type = 'SELECT' THEN
            EXECUTE format(
                'GRANT SELECT ON siglip.landmarks, siglip.segment_builds, siglip.segments, siglip.index_status, siglip.index_settings,'
                ' siglip.recall_history, siglip.recall_drift, siglip.segment_servers, siglip.servers, siglip.label_scores TO %s', granted.role);
        END IF;
    END LOOP;
END
$$;
