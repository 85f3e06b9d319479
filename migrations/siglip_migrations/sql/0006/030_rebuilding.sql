-- Purpose: maintain the segments while searches and workers go on: close the open one, build indexes, merge neighbours.
-- Parameters: model_id; segments, neighbours of one model.
-- A row means: nothing here has rows.

-- Bytes of vectors below which an exact scan is as fast as an index.
CREATE FUNCTION siglip.exact_below_bytes() RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN 8 * 1024 * 1024;

COMMENT ON FUNCTION siglip.exact_below_bytes() IS 'A segment of fewer bytes than this needs no index.';

CREATE FUNCTION siglip.seal_rows() RETURNS bigint
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, siglip, pg_temp
AS $$
DECLARE
    value constant text := coalesce(nullif(current_setting('siglip.seal_rows', true), ''), '10000');
BEGIN
    IF value !~ '^[1-9][0-9]{0,8}$' THEN
        RAISE EXCEPTION 'siglip.seal_rows is %, not a whole number from 1 to 999999999.', quote_literal(value)
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'Correct it, for instance: ALTER DATABASE <name> SET siglip.seal_rows = 10000.';
    END IF;
    RETURN value::bigint;
END
$$;

COMMENT ON FUNCTION siglip.seal_rows()
    IS 'Rows from which on the open segment is closed and gets its index: siglip.seal_rows, 10,000 by default.';

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
    SELECT 1200 + CASE index_kind WHEN 'bit_rerank' THEN dimension / 8 ELSE 2 * dimension END
$$;

COMMENT ON FUNCTION siglip.graph_bytes(integer, text) IS 'Bytes of memory that one row takes while its index is built, about.';

-- With pgvector's 16 neighbours and 64 candidates the clusters of a large graph hardly touch: a search, or the search for the place of a new
-- vector, that goes down into the wrong one ends there, whatever ef_search is. A small graph, which is merged soon, does well with them.
CREATE FUNCTION siglip.index_definition(dimension integer, index_kind text, row_count bigint) RETURNS text
LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, siglip, pg_temp
AS $$
    SELECT format(CASE index_kind
        WHEN 'bit_rerank' THEN 'USING hnsw ((@vector@.binary_quantize(embedding)::bit(%s)) @vector@.bit_hamming_ops)'
        ELSE 'USING hnsw ((embedding::@vector@.halfvec(%s)) @vector@.halfvec_ip_ops)' END || ' WITH (m = %s, ef_construction = %s)',
        dimension, CASE WHEN row_count <= 20000 THEN 16 ELSE 24 END, CASE WHEN row_count <= 20000 THEN 64 ELSE 128 END)
$$;

COMMENT ON FUNCTION siglip.index_definition(integer, text, bigint) IS 'How CREATE INDEX goes on after the name of the table.';

-- To build the graph of an index in memory takes that memory once; beyond it a build takes many times as long.
CREATE FUNCTION siglip.create_segment_index(segment regclass, dimension integer, index_kind text, row_count bigint) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, siglip, pg_temp
AS $$
DECLARE
    own_memory constant text := current_setting('maintenance_work_mem');
    processes constant text := current_setting('max_parallel_maintenance_workers');
    name      constant text := format('%s_hnsw_idx', (SELECT c.relname FROM pg_class AS c WHERE c.oid = segment));
    statement constant text := format('CREATE INDEX %I ON %s ', name, segment) || siglip.index_definition(dimension, index_kind, row_count);
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
    PERFORM pg_advisory_xact_lock(1397311311, 0);  -- as siglip.maintain: who replaces vectors waits for its end
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

    -- siglip.index_status finds this session's progress by the first locks, whose key is no other's (db/text_requests.py has those up to 1397311310). The others keep autovacuum away, which the swap, with its
    -- short patience, would wait for in vain: the sources are about to be dropped.
    FOREACH source IN ARRAY sources LOOP
        PERFORM pg_advisory_xact_lock(1397311312, siglip.segment_number(source));
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
    PERFORM siglip.draw_landmarks(target, built_rows, model.model_id, found.first, found.beyond);
    PERFORM siglip.replace_segments(parent, sources, target, bounds);
    RETURN built_rows;
END
$$;

COMMENT ON FUNCTION siglip.rebuild_segments(regclass[])
    IS 'Put one new segment, with a new index, in the place of closed neighbours; returns how many rows it has.';

-- Fewer, and a search that came to the wrong region isn't told from one that came to the right one; more, and some lie between what a
-- search under a filter finds.
CREATE FUNCTION siglip.rows_per_landmark() RETURNS integer
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN 400;

COMMENT ON FUNCTION siglip.rows_per_landmark() IS 'Of so many rows of a segment one is a landmark, up to 500 of them.';

-- Some pages are read, and a quarter of their rows are kept. Contents that somebody is deleting are left out.
CREATE FUNCTION siglip.draw_landmarks(segment regclass, row_count bigint, model_id integer, first bigint, beyond bigint) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, siglip, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    wanted constant bigint := least(500, row_count / siglip.rows_per_landmark());
BEGIN
    DELETE FROM siglip.landmarks AS l
    WHERE l.model_id = draw_landmarks.model_id AND l.content_id < beyond AND (first IS NULL OR l.content_id >= first);
    IF pg_relation_size(segment) >= siglip.exact_below_bytes() THEN
        EXECUTE format(
            'WITH drawn AS MATERIALIZED ('
            'SELECT k.content_id, k.model_id, k.embedding, row_number() OVER () AS rank FROM ('
            'SELECT s.content_id, s.model_id, s.embedding'
            ' FROM (SELECT e.* FROM %s AS e TABLESAMPLE SYSTEM (%s) ORDER BY random() LIMIT %s) AS s'
            ' JOIN siglip.contents AS c USING (content_id) FOR KEY SHARE OF c SKIP LOCKED) AS k'
            '), usual AS MATERIALIZED ('
            'SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY -(a.embedding OPERATOR(@vector@.<#>) o.embedding)) AS similarity'
            ' FROM drawn AS a JOIN drawn AS o ON o.content_id > a.content_id'
            ') INSERT INTO siglip.landmarks (content_id, model_id, embedding, rank, usual_similarity)'
            ' SELECT d.content_id, d.model_id, d.embedding, d.rank, u.similarity FROM drawn AS d CROSS JOIN usual AS u',
            segment, least(100, 400.0 * wanted / greatest(1, row_count)), wanted);
    END IF;
END
$$;

COMMENT ON FUNCTION siglip.draw_landmarks(regclass, bigint, integer, bigint, bigint) IS 'Draw the landmarks of a segment anew.';

-- Here and elsewhere only keys are read.
CREATE FUNCTION siglip.catch_up(target regclass, sources regclass[]) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, siglip, pg_temp
AS $$
DECLARE
    source regclass;
    kept   text := '';
BEGIN
    IF EXISTS (SELECT FROM pg_foreign_table AS f WHERE f.ftrelid = target OR f.ftrelid = ANY (sources)) THEN
        PERFORM siglip.catch_up_elsewhere(target, sources[1]);
        RETURN;
    END IF;
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
    IS 'Bring a copy of segments up to date with rows that were added and deleted since; a vector is replaced only while nothing is copied.';

-- A foreign table takes no LOCK TABLE: its parent is locked, where every writer of the model passes.
CREATE FUNCTION siglip.replace_segments(parent text, sources regclass[], target regclass, bounds text) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, siglip, pg_temp
AS $$
DECLARE
    source   regclass;
    has_foreign constant boolean := EXISTS (SELECT FROM pg_foreign_table AS f WHERE f.ftrelid = ANY (sources));
    patience constant text := current_setting('lock_timeout');
    gave_up  constant timestamptz := clock_timestamp() + interval '10 minutes';
BEGIN
    LOOP
        BEGIN
            PERFORM set_config('lock_timeout', '25ms', true);
            -- Writers to these ranges wait from here on; readers only from the next lock on.
            IF has_foreign THEN
                EXECUTE format('LOCK TABLE ONLY %s IN SHARE ROW EXCLUSIVE MODE', parent);
            ELSE
                FOREACH source IN ARRAY sources LOOP
                    EXECUTE format('LOCK TABLE ONLY %s IN SHARE ROW EXCLUSIVE MODE', source);
                END LOOP;
            END IF;
            PERFORM siglip.catch_up(target, sources);
            EXECUTE format('LOCK TABLE ONLY %s IN ACCESS EXCLUSIVE MODE', parent);
            FOREACH source IN ARRAY sources LOOP
                EXECUTE format('ALTER TABLE %s DETACH PARTITION %s', parent, source);
                DELETE FROM siglip.segment_builds AS b WHERE b.segment_number = siglip.segment_number(source);
                EXECUTE format('DROP %s %s', CASE WHEN has_foreign THEN 'FOREIGN TABLE' ELSE 'TABLE' END, source);
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
