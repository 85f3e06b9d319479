-- Purpose: maintain the segments while searches and workers go on: close the open one, build indexes, merge neighbours.
-- Parameters: model_id; segments, neighbours of one model.
-- A row means: nothing here has rows.

-- Bytes of vectors below which an exact scan is as fast as an index.
CREATE FUNCTION siglip.exact_below_bytes() RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN 8 * 1024 * 1024;

COMMENT ON FUNCTION siglip.exact_below_bytes() IS 'A segment of fewer bytes than this needs no index.';

CREATE FUNCTION siglip.check_isolation() RETURNS void
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, siglip, pg_temp
AS $$
BEGIN
    IF current_setting('transaction_isolation') NOT IN ('read committed', 'read uncommitted') THEN
        RAISE EXCEPTION 'This transaction is %, in which it doesn''t see the rows that others write while it copies a segment.',
            upper(current_setting('transaction_isolation'))
            USING ERRCODE = 'invalid_transaction_state', HINT = 'Maintain segments in a transaction that is READ COMMITTED.';
    END IF;
END
$$;

COMMENT ON FUNCTION siglip.check_isolation() IS 'An error in a transaction that doesn''t see what others commit meanwhile.';

-- A segment's rows change places when no statement reads or writes its model, for some milliseconds: its locks are asked for with a
-- short patience, so that nobody queues behind a statement that takes long.
CREATE FUNCTION siglip.close_segment(model_id integer) RETURNS bigint
LANGUAGE plpgsql
SET search_path = pg_catalog, siglip, pg_temp
AS $$
DECLARE
    parent   constant text := format('siglip.image_embeddings_%s', model_id);
    tail     siglip.segments;
    next     regclass;
    boundary bigint;
    patience constant text := current_setting('lock_timeout');
BEGIN
    PERFORM siglip.check_isolation();
    SELECT s.* INTO tail FROM siglip.segments AS s WHERE s.model_id = close_segment.model_id AND s.is_open AND s.server IS NULL;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    -- Autovacuum, for which the loop would have too little patience, makes room for this lock.
    EXECUTE format('LOCK TABLE ONLY %s IN SHARE UPDATE EXCLUSIVE MODE', tail.segment);
    next := siglip.create_segment(model_id);
    EXECUTE format('ALTER TABLE %s ADD PRIMARY KEY (content_id)', next);
    FOR attempt IN 1 .. 100 LOOP
        BEGIN
            PERFORM set_config('lock_timeout', '25ms', true);
            EXECUTE format('LOCK TABLE ONLY %s IN ACCESS EXCLUSIVE MODE', parent);
            EXECUTE format('LOCK TABLE ONLY %s IN ACCESS EXCLUSIVE MODE', tail.segment);
            EXECUTE format('SELECT max(content_id) + 1 FROM %s', tail.segment) INTO boundary;
            IF boundary IS NULL THEN  -- emptied meanwhile
                EXECUTE format('DROP TABLE %s', next);
                RETURN NULL;
            END IF;
            EXECUTE format('ALTER TABLE %s DETACH PARTITION %s', parent, tail.segment);
            EXECUTE format('ALTER TABLE %s ATTACH PARTITION %s FOR VALUES FROM (%s) TO (%L)',
                           parent, tail.segment, coalesce(quote_literal(tail.from_content_id), 'MINVALUE'), boundary);
            EXECUTE format('ALTER TABLE %s ATTACH PARTITION %s FOR VALUES FROM (%L) TO (MAXVALUE)', parent, next, boundary);
            PERFORM set_config('lock_timeout', patience, true);
            RETURN boundary;
        EXCEPTION WHEN lock_not_available OR deadlock_detected THEN
            PERFORM pg_sleep(0.02 + 0.1 * random());
        END;
    END LOOP;
    RAISE EXCEPTION 'The open segment of model % is in use by a statement that takes long; it stays open for now.', model_id
        USING ERRCODE = 'lock_not_available', HINT = 'Call siglip.maintain() again when that statement has ended.';
END
$$;

COMMENT ON FUNCTION siglip.close_segment(integer)
    IS 'Close a model''s open segment after its last content, and open another; returns the first content_id of that. NULL where it has no rows.';

CREATE FUNCTION siglip.build_memory() RETURNS bigint
LANGUAGE sql STABLE
SET search_path = pg_catalog, siglip, pg_temp
AS $$
    SELECT greatest(pg_size_bytes(coalesce(nullif(current_setting('siglip.maintenance_work_mem', true), ''), '2GB')),
                    pg_size_bytes(current_setting('maintenance_work_mem')))
$$;

COMMENT ON FUNCTION siglip.build_memory()
    IS 'Bytes that the build of one index may take: siglip.maintenance_work_mem (2GB by default), or PostgreSQL''s own where that is more.';

CREATE FUNCTION siglip.graph_bytes(dimension integer, index_kind text) RETURNS bigint
LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, siglip, pg_temp
AS $$
    SELECT 600 + CASE index_kind WHEN 'bit_rerank' THEN dimension / 8 ELSE 2 * dimension END
$$;

COMMENT ON FUNCTION siglip.graph_bytes(integer, text) IS 'Bytes of memory that one row takes while its index is built, about.';

-- To build the graph of an index in memory takes that memory once; beyond it a build takes many times as long.
CREATE FUNCTION siglip.create_segment_index(segment regclass, dimension integer, index_kind text, row_count bigint) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, siglip, pg_temp
AS $$
DECLARE
    own_memory constant text := current_setting('maintenance_work_mem');
    processes constant text := current_setting('max_parallel_maintenance_workers');
    name      constant text := format('%s_hnsw_idx', (SELECT c.relname FROM pg_class AS c WHERE c.oid = segment));
    statement constant text := CASE index_kind
        WHEN 'bit_rerank' THEN format(
            'CREATE INDEX %I ON %s USING hnsw ((@vector@.binary_quantize(embedding)::bit(%s)) @vector@.bit_hamming_ops)',
            name, segment, dimension)
        ELSE format(
            'CREATE INDEX %I ON %s USING hnsw ((embedding::@vector@.halfvec(%s)) @vector@.halfvec_ip_ops)',
            name, segment, dimension)
    END;
BEGIN
    PERFORM set_config('maintenance_work_mem',
                       greatest(pg_size_bytes(own_memory) / 1024,
                                least(siglip.build_memory(), 67108864 + row_count * siglip.graph_bytes(dimension, index_kind))
                                / 1024)::text || 'kB', true);
    BEGIN
        EXECUTE statement;
    EXCEPTION WHEN insufficient_resources OR system_error THEN
        -- Several processes share the graph in shared memory, of which a container may have little.
        PERFORM set_config('max_parallel_maintenance_workers', '0', true);
        EXECUTE statement;
        PERFORM set_config('max_parallel_maintenance_workers', processes, true);
    END;
    PERFORM set_config('maintenance_work_mem', own_memory, true);
END
$$;

COMMENT ON FUNCTION siglip.create_segment_index(regclass, integer, text, bigint)
    IS 'Build the HNSW index of a segment of row_count rows, with up to siglip.maintenance_work_mem (2GB) of memory.';

-- One transaction: killed at any point it leaves what was there before.
-- enable_sort: the rows lie nearly in the order of the key, which gives it exactly.
CREATE FUNCTION siglip.rebuild_segments(segments regclass[]) RETURNS bigint
LANGUAGE plpgsql
SET search_path = pg_catalog, siglip, pg_temp
SET enable_sort = off
AS $$
DECLARE
    started_at timestamptz := clock_timestamp();
    model      siglip.models;
    parent     text;
    sources    regclass[];
    source     regclass;
    target     regclass;
    bounds     text;
    found      record;
    built_rows bigint := 0;
    moved_rows bigint;
BEGIN
    PERFORM siglip.check_isolation();
    SELECT array_agg(s.segment ORDER BY s.from_content_id NULLS FIRST) AS sources,
           min(s.model_id) AS model_id, count(DISTINCT s.model_id) AS model_count,
           bool_or(s.is_open OR s.server IS NOT NULL) AS is_fixed,
           CASE WHEN bool_or(s.from_content_id IS NULL) THEN NULL ELSE min(s.from_content_id) END AS first,
           max(s.to_content_id) AS beyond,
           count(*) FILTER (WHERE s.from_content_id IS NOT NULL
                            AND NOT EXISTS (SELECT FROM siglip.segments AS p
                                            WHERE p.model_id = s.model_id AND p.to_content_id = s.from_content_id
                                              AND p.segment = ANY (rebuild_segments.segments))) AS gaps,
           bool_or(s.from_content_id IS NULL) AS has_first
    INTO found
    FROM siglip.segments AS s
    WHERE s.segment = ANY (rebuild_segments.segments);
    sources := found.sources;
    IF sources IS NULL OR cardinality(sources) <> cardinality(segments) OR found.model_count <> 1 OR found.is_fixed
        OR found.gaps + found.has_first::integer <> 1 THEN
        RAISE EXCEPTION 'These are not closed, neighbouring segments of one model on this server: %.', segments
            USING ERRCODE = 'invalid_parameter_value', HINT = 'SELECT * FROM siglip.index_status shows what there is.';
    END IF;
    SELECT m.* INTO model FROM siglip.models AS m WHERE m.model_id = found.model_id;
    parent := format('siglip.image_embeddings_%s', model.model_id);
    bounds := format('FROM (%s) TO (%L)', coalesce(quote_literal(found.first), 'MINVALUE'), found.beyond);

    -- siglip.index_status finds this session's progress by the first locks. The others keep autovacuum away, which the swap, with its
    -- short patience, would wait for in vain: the sources are about to be dropped.
    FOREACH source IN ARRAY sources LOOP
        PERFORM pg_advisory_xact_lock(1397311310, siglip.segment_number(source));
        EXECUTE format('LOCK TABLE ONLY %s IN SHARE UPDATE EXCLUSIVE MODE', source);
    END LOOP;

    -- The constraint proves what ATTACH would otherwise read the whole table for.
    target := siglip.create_segment(model.model_id);
    EXECUTE format(
        'ALTER TABLE %s ADD CONSTRAINT segment_bounds CHECK (model_id = %L AND content_id < %L AND %s)',
        target, model.model_id, found.beyond,
        CASE WHEN found.first IS NULL THEN 'true' ELSE format('content_id >= %L', found.first) END
    );
    FOREACH source IN ARRAY sources LOOP
        EXECUTE format('INSERT INTO %s SELECT * FROM %s ORDER BY content_id', target, source);
        GET DIAGNOSTICS moved_rows = ROW_COUNT;
        built_rows := built_rows + moved_rows;
    END LOOP;
    EXECUTE format('ALTER TABLE %s ADD PRIMARY KEY (content_id)', target);
    IF pg_relation_size(target) >= siglip.exact_below_bytes() THEN
        PERFORM siglip.create_segment_index(target, model.dimension, model.index_kind, built_rows);
    END IF;
    INSERT INTO siglip.segment_builds (segment_number, built_rows, build_s)
    VALUES (siglip.segment_number(target), built_rows, extract(epoch FROM clock_timestamp() - started_at));
    EXECUTE format('ANALYZE %s', target);

    PERFORM siglip.catch_up(target, sources);
    PERFORM siglip.replace_segments(parent, sources, target, bounds);
    RETURN built_rows;
END
$$;

COMMENT ON FUNCTION siglip.rebuild_segments(regclass[])
    IS 'Put one new segment, with a new index, in the place of closed neighbours; returns how many rows it has.';

-- Both read keys only.
CREATE FUNCTION siglip.catch_up(target regclass, sources regclass[]) RETURNS void
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

COMMENT ON FUNCTION siglip.catch_up(regclass, regclass[])
    IS 'Bring a copy of segments up to date with rows that were added and deleted since; a stored vector never changes.';

CREATE FUNCTION siglip.replace_segments(parent text, sources regclass[], target regclass, bounds text) RETURNS void
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

COMMENT ON FUNCTION siglip.replace_segments(text, regclass[], regclass, text)
    IS 'Put a built segment in the place of its sources, between two statements of the others.';

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
    SELECT array_agg(f.segment ORDER BY f.from_content_id NULLS FIRST) INTO chosen
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

-- One step a call, since PostgreSQL lets go of locks at the end of a transaction: call it until it returns NULL.
CREATE FUNCTION siglip.maintain(model_id integer DEFAULT NULL, is_full boolean DEFAULT false) RETURNS text
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
        ON i.pid = l.pid AND i.phase IN ('building index: initializing', 'building index: loading tuples')
    WHERE l.locktype = 'advisory' AND l.objsubid = 2 AND l.granted
      AND l.database = (SELECT d.oid FROM pg_database AS d WHERE d.datname = current_database())
      AND l.classid = 1397311310::oid AND l.objid = siglip.segment_number(s.segment)::oid
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
