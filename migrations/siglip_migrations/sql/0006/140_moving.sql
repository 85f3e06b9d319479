-- Purpose: move segments between servers while searches and workers go on; what a killed move left is taken away by the next step.
-- Parameters: segment, a closed one; server, a name of siglip.servers, NULL for this one.
-- A row means: nothing here has rows.

-- is_settled is false from before a table is made there until it is known to be in use, and again from before it is to be given up:
-- whatever a killed session left, siglip.settle_server finds it, and this database's catalogues say whether the table is in use.
CREATE FUNCTION siglip.locate_segment(segment regclass, OUT server text, OUT table_name text)
LANGUAGE sql STABLE
SET search_path = pg_catalog, siglip, pg_temp
AS $$
    SELECT s.srvname::text,
           CASE WHEN f.ftrelid IS NULL THEN segment::text ELSE (
               SELECT format('%I.%I', max(substr(o.pair, 13)) FILTER (WHERE o.pair LIKE 'schema\_name=%'),
                                      max(substr(o.pair, 12)) FILTER (WHERE o.pair LIKE 'table\_name=%'))
               FROM unnest(f.ftoptions) AS o (pair)) END
    FROM (SELECT) AS one
    LEFT JOIN pg_foreign_table AS f ON f.ftrelid = segment
    LEFT JOIN pg_foreign_server AS s ON s.oid = f.ftserver
$$;

COMMENT ON FUNCTION siglip.locate_segment(regclass)
    IS 'The server that has a segment''s rows, NULL for this one, and the name of their table there. Here: connect_server must have been called.';

CREATE FUNCTION siglip.ask_segment(segment regclass, query text) RETURNS SETOF jsonb
LANGUAGE plpgsql
SET search_path = pg_catalog, siglip, pg_temp
AS $$
DECLARE
    place record;
BEGIN
    SELECT l.* INTO place FROM siglip.locate_segment(segment) AS l;
    IF place.server IS NULL THEN
        RETURN QUERY EXECUTE format('SELECT to_jsonb(q) FROM (%s) AS q', format(query, place.table_name));
    ELSE
        RETURN QUERY SELECT a.* FROM siglip.ask_server(place.server, format(query, place.table_name)) AS a;
    END IF;
END
$$;

COMMENT ON FUNCTION siglip.ask_segment(regclass, text)
    IS 'Return what a query finds, each row as JSON, where the segment lies; the query has %s for its table.';

-- Vectors travel as text, in batches; a vector is replaced only while nothing is copied.
CREATE FUNCTION siglip.copy_vectors(source regclass, target regclass, condition text, max_rows integer) RETURNS bigint
LANGUAGE plpgsql
SET search_path = pg_catalog, siglip, pg_temp
AS $$
DECLARE
    origin      record;
    destination record;
    batch       constant text := format(
        'SELECT max(s.model_id) AS model_id, array_agg(s.content_id ORDER BY s.content_id) AS ids,'
        ' array_agg(s.embedding ORDER BY s.content_id)::text AS embeddings'
        ' FROM (SELECT t.* FROM %%s AS t WHERE %s ORDER BY t.content_id LIMIT %s) AS s', condition, max_rows);
    insertion   constant text :=
        'INSERT INTO %s SELECT %L::integer, v.* FROM unnest(%L::bigint[], %L::@vector@.halfvec[]) AS v ON CONFLICT DO NOTHING';
    model_id    integer;
    ids         bigint[];
    embeddings  text;
BEGIN
    SELECT l.* INTO origin FROM siglip.locate_segment(source) AS l;
    SELECT l.* INTO destination FROM siglip.locate_segment(target) AS l;
    IF origin.server IS NULL THEN
        EXECUTE format(batch, origin.table_name) INTO model_id, ids, embeddings;
    ELSE
        EXECUTE format('SELECT t.* FROM %s.dblink($1, $2) AS t (model_id integer, ids bigint[], embeddings text)',
                       siglip.extension_schema('dblink'))
            INTO model_id, ids, embeddings USING 'siglip_' || origin.server, format(batch, origin.table_name);
    END IF;
    IF ids IS NULL THEN
        RETURN NULL;
    ELSIF destination.server IS NULL THEN
        EXECUTE format(insertion, destination.table_name, model_id, ids, embeddings);
    ELSE
        PERFORM siglip.run_on_server(destination.server, format(insertion, destination.table_name, model_id, ids, embeddings));
    END IF;
    RETURN ids[cardinality(ids)];
END
$$;

COMMENT ON FUNCTION siglip.copy_vectors(regclass, regclass, text, integer)
    IS 'Copy the first max_rows vectors that fulfil a condition on t; returns the last content_id, NULL where there was none.';

CREATE FUNCTION siglip.delete_vectors(segment regclass, content_ids bigint[]) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, siglip, pg_temp
AS $$
DECLARE
    place     record;
    statement text;
BEGIN
    SELECT l.* INTO place FROM siglip.locate_segment(segment) AS l;
    statement := format('DELETE FROM %s WHERE content_id = ANY (%L::bigint[])', place.table_name, content_ids);
    IF place.server IS NULL THEN
        EXECUTE statement;
    ELSE
        PERFORM siglip.run_on_server(place.server, statement);
    END IF;
END
$$;

COMMENT ON FUNCTION siglip.delete_vectors(regclass, bigint[]) IS 'Delete vectors where the segment lies, at once.';

-- Both sides count and hash their keys in blocks, by the index alone; only blocks that differ are looked at.
CREATE FUNCTION siglip.catch_up_elsewhere(target regclass, source regclass) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, siglip, pg_temp
AS $$
DECLARE
    summary constant text :=
        'SELECT content_id / 4096 AS block, count(*) AS rows, bit_xor(hashint8extended(content_id, 0))::text AS hash FROM %s GROUP BY 1';
    block   bigint;
    keys    text;
    wanted  bigint[];
    present bigint[];
    missing bigint[];
    surplus bigint[];
BEGIN
    FOR block IN
        SELECT (coalesce(s.found, t.found) ->> 'block')::bigint
        FROM (SELECT a.found FROM siglip.ask_segment(source, summary) AS a (found)) AS s
        FULL JOIN (SELECT a.found FROM siglip.ask_segment(target, summary) AS a (found)) AS t ON s.found ->> 'block' = t.found ->> 'block'
        WHERE s.found IS DISTINCT FROM t.found
        ORDER BY 1
    LOOP
        -- -1 / 4096 is 0: the block 0 has both signs.
        keys := format('SELECT content_id FROM %%s WHERE content_id BETWEEN %s AND %s AND content_id / 4096 = %s',
                       block * 4096 - 4095, block * 4096 + 4095, block);
        SELECT array_agg((a.found ->> 'content_id')::bigint) INTO wanted FROM siglip.ask_segment(source, keys) AS a (found);
        SELECT array_agg((a.found ->> 'content_id')::bigint) INTO present FROM siglip.ask_segment(target, keys) AS a (found);
        SELECT array_agg(w.id) INTO missing FROM unnest(wanted) AS w (id) WHERE w.id <> ALL (coalesce(present, '{}'));
        SELECT array_agg(p.id) INTO surplus FROM unnest(present) AS p (id) WHERE p.id <> ALL (coalesce(wanted, '{}'));
        IF missing IS NOT NULL THEN
            PERFORM siglip.copy_vectors(source, target, format('t.content_id = ANY (%L::bigint[])', missing), 8192);
        END IF;
        IF surplus IS NOT NULL THEN
            PERFORM siglip.delete_vectors(target, surplus);
        END IF;
    END LOOP;
END
$$;

COMMENT ON FUNCTION siglip.catch_up_elsewhere(regclass, regclass)
    IS 'Bring a copy of a segment up to date with rows that were added and deleted since, where either lies on another server.';

CREATE FUNCTION siglip.create_foreign_segment(model_id integer, server text, first bigint, beyond bigint) RETURNS regclass
LANGUAGE plpgsql
SET search_path = pg_catalog, siglip, pg_temp
AS $$
DECLARE
    parent      constant text := format('image_embeddings_%s', model_id);
    name        constant text := format('%s_%s', parent, nextval('siglip.segment_numbers'));
    there       constant text := (SELECT s.schema_name FROM siglip.segment_servers AS s WHERE s.name = server);
    constraints text;
BEGIN
    SELECT string_agg(format(', CONSTRAINT %I %s', c.conname, pg_get_constraintdef(c.oid)), '') INTO constraints
    FROM pg_constraint AS c WHERE c.conrelid = format('siglip.%I', parent)::regclass AND c.contype = 'c';
    PERFORM siglip.run_on_server(server, format('INSERT INTO %I.tables (table_name, is_settled) VALUES (%L, false)', there, name));
    PERFORM siglip.run_on_server(server, format(
        'CREATE TABLE %I.%I (model_id integer NOT NULL, content_id bigint NOT NULL, embedding @vector@.halfvec NOT NULL%s)',
        there, name, constraints));
    PERFORM siglip.run_on_server(server, format(
        'ALTER TABLE %I.%I ALTER COLUMN embedding SET STORAGE PLAIN, ALTER COLUMN embedding SET STATISTICS 0,'
        ' ADD PRIMARY KEY (content_id)', there, name));
    EXECUTE format(
        'CREATE FOREIGN TABLE siglip.%I (model_id integer NOT NULL, content_id bigint NOT NULL, embedding @vector@.halfvec NOT NULL%s,'
        ' CONSTRAINT segment_bounds CHECK (model_id = %L AND content_id < %L AND %s))'
        ' SERVER %I OPTIONS (schema_name %L, table_name %L)',
        name, constraints, model_id, beyond, CASE WHEN first IS NULL THEN 'true' ELSE format('content_id >= %L', first) END,
        server, there, name);
    EXECUTE format('ALTER FOREIGN TABLE siglip.%I ALTER COLUMN embedding SET STATISTICS 0, ALTER COLUMN model_id SET STATISTICS 1,'
                   ' ALTER COLUMN content_id SET STATISTICS 1', name);
    RETURN format('siglip.%I', name)::regclass;
END
$$;

COMMENT ON FUNCTION siglip.create_foreign_segment(integer, text, bigint, bigint)
    IS 'Make an empty table for a segment on a connected server, and the foreign table for it here, yet to be attached.';

CREATE FUNCTION siglip.index_foreign_segment(segment regclass, dimension integer, index_kind text, row_count bigint) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, siglip, pg_temp
AS $$
DECLARE
    place     record;
    statement text;
BEGIN
    SELECT l.* INTO place FROM siglip.locate_segment(segment) AS l;
    IF row_count * (64 + 2 * dimension) >= siglip.exact_below_bytes() THEN
        statement := format('CREATE INDEX ON %s ', place.table_name) || siglip.index_definition(dimension, index_kind, row_count);
        PERFORM siglip.run_on_server(place.server, format(
            'DO $do$ BEGIN'
            '  PERFORM set_config(''maintenance_work_mem'', greatest(pg_size_bytes(current_setting(''maintenance_work_mem'')), %s) / 1024 || ''kB'', true);'
            '  BEGIN %s;'
            '  EXCEPTION WHEN insufficient_resources OR system_error THEN'
            '    SET LOCAL max_parallel_maintenance_workers = 0; %s;'
            '  END; END $do$',
            least(siglip.build_memory(), 67108864 + row_count * siglip.graph_bytes(dimension, index_kind)), statement, statement));
    END IF;
    PERFORM siglip.run_on_server(place.server, format('ANALYZE %s', place.table_name));
END
$$;

COMMENT ON FUNCTION siglip.index_foreign_segment(regclass, integer, text, bigint) IS 'Build the index of a segment of row_count rows on its server.';

CREATE FUNCTION siglip.move_segment(segment regclass, server text) RETURNS bigint
LANGUAGE plpgsql
SET search_path = pg_catalog, siglip, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    started_at constant timestamptz := clock_timestamp();
    source     siglip.segments;
    model      siglip.models;
    place      record;
    target     regclass;
    last       bigint;
    row_count  bigint;
BEGIN
    IF server IS NOT NULL AND NOT EXISTS (SELECT FROM siglip.segment_servers AS s WHERE s.name = server) THEN
        RAISE EXCEPTION 'There is no server %.', server
            USING ERRCODE = 'no_data_found', HINT = 'SELECT siglip.add_server(name, url) adds one.';
    END IF;
    PERFORM siglip.check_isolation();
    PERFORM pg_advisory_xact_lock(1397311311, 0);
    SELECT s.* INTO source FROM siglip.segments AS s WHERE s.segment = move_segment.segment;
    IF NOT FOUND OR source.is_open THEN
        RAISE EXCEPTION '% is not a closed segment.', segment
            USING ERRCODE = 'invalid_parameter_value', HINT = 'SELECT * FROM siglip.index_status shows what there is.';
    ELSIF source.server IS NOT DISTINCT FROM server THEN
        RAISE EXCEPTION 'The segment % is % already.', segment, coalesce('on ' || server, 'on this server')
            USING ERRCODE = 'invalid_parameter_value', HINT = 'SELECT * FROM siglip.index_status shows what there is.';
    END IF;
    SELECT m.* INTO model FROM siglip.models AS m WHERE m.model_id = source.model_id;
    SELECT l.* INTO place FROM siglip.locate_segment(segment) AS l;
    PERFORM pg_advisory_xact_lock(1397311312, siglip.segment_number(segment));
    IF source.server IS NULL THEN  -- see siglip.rebuild_segments
        EXECUTE format('LOCK TABLE ONLY %s IN SHARE UPDATE EXCLUSIVE MODE', segment);
    END IF;

    BEGIN
        IF source.server IS NOT NULL THEN
            PERFORM siglip.connect_server(source.server);
        END IF;
        IF server IS NULL THEN
            target := siglip.create_segment(model.model_id);
            EXECUTE format('ALTER TABLE %s ADD PRIMARY KEY (content_id), ADD CONSTRAINT segment_bounds'
                           ' CHECK (model_id = %L AND content_id < %L AND %s)', target, model.model_id, source.to_content_id,
                           CASE WHEN source.from_content_id IS NULL THEN 'true' ELSE format('content_id >= %L', source.from_content_id) END);
        ELSE
            PERFORM siglip.settle_server(server);
            PERFORM siglip.connect_server(server);
            PERFORM siglip.run_on_server(server, 'SET client_connection_check_interval = ''5s''');
            target := siglip.create_foreign_segment(model.model_id, server, source.from_content_id, source.to_content_id);
        END IF;

        last := siglip.copy_vectors(segment, target, 'true', 1000);
        WHILE last IS NOT NULL LOOP
            last := siglip.copy_vectors(segment, target, format('t.content_id > %L', last), 1000);
        END LOOP;
        SELECT (a.found ->> 'rows')::bigint INTO row_count FROM siglip.ask_segment(target, 'SELECT count(*) AS rows FROM %s') AS a (found);
        IF server IS NOT NULL THEN
            PERFORM siglip.index_foreign_segment(target, model.dimension, 'halfvec', row_count);  -- no search asks for bits there
        ELSIF pg_relation_size(target) >= siglip.exact_below_bytes() THEN
            PERFORM siglip.create_segment_index(target, model.dimension, model.index_kind, row_count);
        END IF;
        PERFORM siglip.catch_up_elsewhere(target, segment);
        EXECUTE format('ANALYZE %s', target);
        INSERT INTO siglip.segment_builds (segment_number, built_rows, build_s)
        VALUES (siglip.segment_number(target), row_count, extract(epoch FROM clock_timestamp() - started_at));

        IF source.server IS NOT NULL THEN
            PERFORM siglip.run_on_server(source.server, format(
                'UPDATE %I.tables SET is_settled = false WHERE table_name = %L',
                (SELECT s.schema_name FROM siglip.segment_servers AS s WHERE s.name = source.server), split_part(place.table_name, '.', 2)));
        END IF;
        PERFORM siglip.replace_segments(
            format('siglip.image_embeddings_%s', model.model_id), ARRAY[segment], target,
            format('FROM (%s) TO (%L)', coalesce(quote_literal(source.from_content_id), 'MINVALUE'), source.to_content_id));
        PERFORM siglip.create_nearest_images(model.model_id, model.dimension);
    EXCEPTION WHEN OTHERS OR query_canceled THEN
        PERFORM siglip.disconnect_server(s.name) FROM siglip.segment_servers AS s WHERE s.name IN (server, source.server);
        RAISE;
    END;
    PERFORM siglip.disconnect_server(s.name) FROM siglip.segment_servers AS s WHERE s.name IN (server, source.server);
    RETURN row_count;
END
$$;

COMMENT ON FUNCTION siglip.move_segment(regclass, text)
    IS 'Move a closed segment to another server, or, with NULL, back to this one, while searches and workers go on; returns how many rows it has.';

CREATE FUNCTION siglip.settle_server(server text) RETURNS text
LANGUAGE plpgsql
SET search_path = pg_catalog, siglip, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    there   constant text := (SELECT s.schema_name FROM siglip.segment_servers AS s WHERE s.name = server);
    left_over text;
    dropped text[];
BEGIN
    -- An older snapshot might not show that a table has come into use.
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RETURN NULL;
    END IF;
    PERFORM siglip.connect_server(server);
    FOR left_over IN
        SELECT a.found ->> 'table_name' FROM siglip.ask_server(
            server, format('SELECT table_name FROM %I.tables WHERE NOT is_settled', there)) AS a (found)
    LOOP
        IF EXISTS (SELECT FROM pg_foreign_table AS f JOIN pg_foreign_server AS s ON s.oid = f.ftserver
                   WHERE s.srvname = server AND f.ftoptions @> ARRAY['schema_name=' || there, 'table_name=' || left_over]) THEN
            PERFORM siglip.run_on_server(server, format('UPDATE %I.tables SET is_settled = true WHERE table_name = %L', there, left_over));
        ELSE
            BEGIN
                PERFORM siglip.run_on_server(server, 'SET lock_timeout = ''1s''');
                PERFORM siglip.run_on_server(server, format('DROP TABLE IF EXISTS %I.%I', there, left_over));
                PERFORM siglip.run_on_server(server, format('DELETE FROM %I.tables WHERE table_name = %L', there, left_over));
                dropped := dropped || left_over;
            EXCEPTION WHEN lock_not_available THEN
                NULL;  -- its index is still being built: next time
            END;
        END IF;
    END LOOP;
    PERFORM siglip.disconnect_server(server);
    RETURN CASE WHEN dropped IS NOT NULL
                THEN format('Removed from %s what is no longer used there: %s.', server, array_to_string(dropped, ', ')) END;
EXCEPTION WHEN OTHERS OR query_canceled THEN
    PERFORM siglip.disconnect_server(server);
    RAISE;
END
$$;

COMMENT ON FUNCTION siglip.settle_server(text)
    IS 'Remove from a server the tables that a move gave up, or left when it was killed; returns a sentence, NULL where there are none.';

CREATE VIEW siglip.servers AS
SELECT s.name,
       concat((SELECT substr(o.pair, 6) FROM unnest(f.srvoptions) AS o (pair) WHERE o.pair LIKE 'host=%'), ':',
              (SELECT substr(o.pair, 6) FROM unnest(f.srvoptions) AS o (pair) WHERE o.pair LIKE 'port=%'), '/',
              (SELECT substr(o.pair, 8) FROM unnest(f.srvoptions) AS o (pair) WHERE o.pair LIKE 'dbname=%')) AS address,
       coalesce(n.segments, 0) AS segments,
       coalesce(n.estimated_rows, 0) AS estimated_rows,
       t.bytes, t.unused_tables, t.is_reachable
FROM siglip.segment_servers AS s
JOIN pg_foreign_server AS f ON f.srvname = s.name
LEFT JOIN (
    SELECT g.server, count(*) AS segments, sum(coalesce(b.built_rows, g.estimated_rows))::bigint AS estimated_rows
    FROM siglip.segments AS g LEFT JOIN siglip.segment_builds AS b ON b.segment_number = siglip.segment_number(g.segment)
    WHERE g.server IS NOT NULL GROUP BY g.server
) AS n ON n.server = s.name
LEFT JOIN LATERAL siglip.server_state(s.name) AS t ON true
ORDER BY s.name;

COMMENT ON VIEW siglip.servers
    IS 'One row is another server that holds segments: how many, and, from itself, whether it answers (NULL: you may not ask) and its bytes.';
