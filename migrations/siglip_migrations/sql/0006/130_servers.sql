-- Purpose: other PostgreSQL servers that hold segments, reached by postgres_fdw for rows and by dblink for everything else.
-- Parameters: server, a name of siglip.servers; url, as libpq reads it: postgresql://user:password@host:port/database?sslmode=require.
-- A row means: one other server (segment_servers, servers); its address and password stand in PostgreSQL's own catalogues alone.

CREATE TABLE siglip.segment_servers (
    name        text PRIMARY KEY CHECK (name ~ '^[A-Za-z0-9_][A-Za-z0-9_.-]{0,30}$'),
    schema_name text NOT NULL,
    added_at    timestamptz NOT NULL DEFAULT now()
);

COMMENT ON TABLE siglip.segment_servers IS 'One row is a server that siglip.add_server prepared; the foreign server of that name has its address.';
COMMENT ON COLUMN siglip.segment_servers.schema_name IS 'Where this database''s segments lie there; no other database has the same.';

CREATE FUNCTION siglip.extension_schema(extension text) RETURNS text
LANGUAGE sql STABLE
SET search_path = pg_catalog, siglip, pg_temp
AS $$
    SELECT quote_ident(n.nspname) FROM pg_extension AS e JOIN pg_namespace AS n ON n.oid = e.extnamespace WHERE e.extname = extension
$$;

COMMENT ON FUNCTION siglip.extension_schema(text) IS 'The schema of an extension, quoted; NULL where it isn''t installed.';

-- dblink finds the address and the password by the foreign server's name. Its connections outlive a failed transaction.
CREATE FUNCTION siglip.disconnect_server(server text) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, siglip, pg_temp
AS $$
DECLARE
    dblink constant text := siglip.extension_schema('dblink');
    is_open boolean;
BEGIN
    EXECUTE format('SELECT coalesce($1 = ANY (%s.dblink_get_connections()), false)', dblink) INTO is_open USING 'siglip_' || server;
    IF is_open THEN
        EXECUTE format('SELECT %s.dblink_disconnect($1)', dblink) USING 'siglip_' || server;
    END IF;
END
$$;

COMMENT ON FUNCTION siglip.disconnect_server(text) IS 'Close this session''s connection to a server, if there is one.';

CREATE FUNCTION siglip.connect_server(server text) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, siglip, pg_temp
AS $$
DECLARE
    reason text;
BEGIN
    PERFORM siglip.disconnect_server(server);
    EXECUTE format('SELECT %s.dblink_connect($1, $2)', siglip.extension_schema('dblink')) USING 'siglip_' || server, server;
EXCEPTION WHEN sqlclient_unable_to_establish_sqlconnection THEN
    GET STACKED DIAGNOSTICS reason = PG_EXCEPTION_DETAIL;
    RAISE EXCEPTION 'The server % doesn''t answer: %', server, regexp_replace(reason, '\s+', ' ', 'g')
        USING ERRCODE = 'sqlclient_unable_to_establish_sqlconnection',
              HINT = format('Start it, or tell its new address: SELECT siglip.add_server(%L, ''postgresql://...'').', server);
END
$$;

COMMENT ON FUNCTION siglip.connect_server(text) IS 'Connect this session to a server, anew.';

CREATE FUNCTION siglip.run_on_server(server text, statement text) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, siglip, pg_temp
AS $$
BEGIN
    EXECUTE format('SELECT %s.dblink_exec($1, $2)', siglip.extension_schema('dblink')) USING 'siglip_' || server, statement;
END
$$;

COMMENT ON FUNCTION siglip.run_on_server(text, text) IS 'Run a statement without rows on a connected server; it is committed there at once.';

CREATE FUNCTION siglip.ask_server(server text, query text) RETURNS SETOF jsonb
LANGUAGE plpgsql
SET search_path = pg_catalog, siglip, pg_temp
AS $$
BEGIN
    RETURN QUERY EXECUTE format('SELECT t.found FROM %s.dblink($1, $2) AS t (found jsonb)', siglip.extension_schema('dblink'))
        USING 'siglip_' || server, format('SELECT pg_catalog.to_jsonb(q) FROM (%s) AS q', query);
END
$$;

COMMENT ON FUNCTION siglip.ask_server(text, text) IS 'Return what a query finds on a connected server, each row as JSON.';

CREATE FUNCTION siglip.decode_percent(word text) RETURNS text
LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, siglip, pg_temp
AS $$
    SELECT coalesce(convert_from(string_agg(
               CASE WHEN m.part[1] ~ '^%..' THEN decode(substr(m.part[1], 2), 'hex') ELSE convert_to(m.part[1], 'UTF8') END,
               ''::bytea ORDER BY m.place), 'UTF8'), '')
    FROM regexp_matches(word, '%[0-9A-Fa-f]{2}|[^%]+|%', 'g') WITH ORDINALITY AS m (part, place)
$$;

COMMENT ON FUNCTION siglip.decode_percent(text) IS 'Put characters for the %XX of a URL.';

-- No message quotes the URL: it has a password.
CREATE FUNCTION siglip.read_server_url(url text) RETURNS TABLE (keyword text, value text)
LANGUAGE plpgsql IMMUTABLE
SET search_path = pg_catalog, siglip, pg_temp
AS $$
DECLARE
    parts constant text[] := regexp_match(
        url, '^postgres(?:ql)?://(?:([^:@/?#]*)(?::([^@/?#]*))?@)?([^/?#]*)(?:/([^?#]*))?(?:\?([^#]*))?$');
    hosts constant text[] := string_to_array(parts[3], ',');
BEGIN
    IF parts IS NULL OR coalesce(parts[1], '') = '' OR coalesce(parts[4], '') = '' THEN
        RAISE EXCEPTION 'The server''s URL can''t be read, or lacks the user or the database.'
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'It looks like postgresql://user:password@host:5432/database?sslmode=require, with special characters in the'
                         ' password written as %40 and the like.';
    END IF;
    RETURN QUERY
    WITH named AS (
        SELECT 'user' AS keyword, siglip.decode_percent(parts[1]) AS value
        UNION ALL SELECT 'password', siglip.decode_percent(parts[2])
        UNION ALL SELECT 'dbname', siglip.decode_percent(parts[4])
        UNION ALL
        SELECT 'host', string_agg(siglip.decode_percent(
                   coalesce(substring(h.host FROM '^\[([^\]]*)\]'), regexp_replace(h.host, ':\d*$', ''))), ',' ORDER BY h.place)
        FROM unnest(hosts) WITH ORDINALITY AS h (host, place)
        UNION ALL
        SELECT 'port', string_agg(coalesce(nullif(substring(h.host FROM ':(\d*)$'), ''), '5432'), ',' ORDER BY h.place)
        FROM unnest(hosts) WITH ORDINALITY AS h (host, place)
    ), asked AS (
        SELECT siglip.decode_percent(split_part(q.pair, '=', 1)) AS keyword,
               siglip.decode_percent(substr(q.pair, strpos(q.pair, '=') + 1)) AS value
        FROM regexp_split_to_table(coalesce(parts[5], ''), '&') AS q (pair) WHERE q.pair LIKE '%=%'
    )
    SELECT a.keyword, a.value FROM asked AS a
    UNION ALL
    SELECT n.keyword, n.value FROM named AS n
    WHERE n.value <> '' AND NOT EXISTS (SELECT FROM asked AS a WHERE a.keyword = n.keyword);
END
$$;

COMMENT ON FUNCTION siglip.read_server_url(text) IS 'The parameters of a libpq URL, by libpq''s keywords.';

-- Sent when a session connects: they hold before the library that knows hnsw.* is loaded there. cursor_tuple_fraction: a search reads
-- some rows of a cursor and leaves it, so that the remote plan must be quick to begin. enable_sort: there, too, to sort a whole segment
-- is never right where a graph can serve; an exact search sorts all the same, there being no other way.
CREATE FUNCTION siglip.server_session_options() RETURNS text
LANGUAGE sql STABLE
SET search_path = pg_catalog, siglip, pg_temp
AS $$
    SELECT format('-c hnsw.ef_search=%s -c hnsw.iterative_scan=relaxed_order -c hnsw.max_scan_tuples=100000 -c cursor_tuple_fraction=0.0001'
                  ' -c enable_sort=off -c jit=off',
                  (SELECT coalesce(max(coalesce(m.ef_search, siglip.default_ef_search())), siglip.default_ef_search()) FROM siglip.models AS m))
$$;

COMMENT ON FUNCTION siglip.server_session_options() IS 'What a search''s session on another server is started with.';

-- extensions: the operators of pgvector run there. fetch_size: a search takes few rows, and a vector has kilobytes as text.
CREATE FUNCTION siglip.server_options(url text) RETURNS TABLE (keyword text, value text)
LANGUAGE sql STABLE
SET search_path = pg_catalog, siglip, pg_temp
AS $$
    WITH given AS (SELECT g.* FROM siglip.read_server_url(url) AS g),
    ours (keyword, value) AS (
        VALUES ('extensions', 'vector'), ('fetch_size', '20'), ('batch_size', '100'), ('async_capable', 'true'),
               ('parallel_commit', 'true'), ('analyze_sampling', 'system'), ('connect_timeout', '5'),
               ('options', siglip.server_session_options()
                           || coalesce((SELECT ' ' || g.value FROM given AS g WHERE g.keyword = 'options'), ''))
    )
    SELECT g.keyword, g.value FROM given AS g WHERE g.keyword NOT IN ('options', 'user', 'password', 'sslcert', 'sslkey', 'sslpassword')
    UNION ALL
    SELECT o.keyword, o.value FROM ours AS o WHERE o.keyword = 'options' OR o.keyword NOT IN (SELECT g.keyword FROM given AS g)
$$;

COMMENT ON FUNCTION siglip.server_options(text) IS 'The options of the foreign server for a URL.';

-- The password goes into the user mapping and nowhere else: an error of the statement that holds it is told without it.
CREATE FUNCTION siglip.set_server_address(server text, url text) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, siglip, pg_temp
AS $$
DECLARE
    options text;
    has_password constant boolean := EXISTS (SELECT FROM siglip.read_server_url(url) AS u WHERE u.keyword = 'password');
BEGIN
    SELECT string_agg(format('%I %L', o.keyword, o.value), ', ') INTO options FROM siglip.server_options(url) AS o;
    IF EXISTS (SELECT FROM pg_foreign_server AS s WHERE s.srvname = server) THEN
        SELECT string_agg(c.change, ', ') INTO options FROM (
            SELECT format('DROP %I', split_part(o.pair, '=', 1)) AS change
            FROM pg_foreign_server AS s, unnest(s.srvoptions) AS o (pair)
            WHERE s.srvname = server AND split_part(o.pair, '=', 1) NOT IN (SELECT n.keyword FROM siglip.server_options(url) AS n)
            UNION ALL
            SELECT format('%s %I %L', CASE WHEN EXISTS (
                              SELECT FROM pg_foreign_server AS s, unnest(s.srvoptions) AS o (pair)
                              WHERE s.srvname = server AND split_part(o.pair, '=', 1) = n.keyword
                          ) THEN 'SET' ELSE 'ADD' END, n.keyword, n.value)
            FROM siglip.server_options(url) AS n
        ) AS c;
        EXECUTE format('ALTER SERVER %I OPTIONS (%s)', server, options);
        EXECUTE format('DROP USER MAPPING FOR PUBLIC SERVER %I', server);
    ELSE
        EXECUTE format('CREATE SERVER %I FOREIGN DATA WRAPPER postgres_fdw OPTIONS (%s)', server, options);
    END IF;
    SELECT string_agg(format('%I %L', u.keyword, u.value), ', ') INTO options
    FROM siglip.read_server_url(url) AS u WHERE u.keyword IN ('user', 'password', 'sslcert', 'sslkey', 'sslpassword');
    -- Without a password only a superuser may let others through, by his own right.
    EXECUTE format('CREATE USER MAPPING FOR PUBLIC SERVER %I OPTIONS (%s%s)', server, options,
                   CASE WHEN has_password THEN '' ELSE ', password_required ''false''' END);
EXCEPTION WHEN fdw_invalid_option_name OR invalid_parameter_value OR syntax_error OR insufficient_privilege THEN
    RAISE EXCEPTION 'The address of the server % isn''t accepted: %.', server, rtrim(SQLERRM, '.') USING ERRCODE = SQLSTATE;
END
$$;

COMMENT ON FUNCTION siglip.set_server_address(text, text) IS 'Make or change the foreign server and the user mapping of a name.';

CREATE FUNCTION siglip.require_extensions() RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, siglip, pg_temp
AS $$
DECLARE
    extension text;
BEGIN
    FOREACH extension IN ARRAY ARRAY['postgres_fdw', 'dblink'] LOOP
        CONTINUE WHEN siglip.extension_schema(extension) IS NOT NULL;
        IF NOT EXISTS (SELECT FROM pg_available_extensions AS a WHERE a.name = extension) THEN
            RAISE EXCEPTION 'This PostgreSQL lacks the extension %, which comes with its contrib modules.', extension
                USING ERRCODE = 'feature_not_supported',
                      HINT = 'Install those (Debian''s postgresql has them; Red Hat''s package is postgresql-contrib). The embedded'
                             ' PostgreSQL of siglip-ingest has none: segments on other servers need one of your own.';
        END IF;
        EXECUTE format('CREATE EXTENSION %I SCHEMA %s', extension, siglip.extension_schema('vector'));
    END LOOP;
END
$$;

COMMENT ON FUNCTION siglip.require_extensions() IS 'Create postgres_fdw and dblink where they are missing.';

-- A search sets hnsw.* for its transaction, which ends there as it ends here. postgres_fdw runs nothing there but SELECTs, of which one
-- that finds the row of a setting sets it.
CREATE FUNCTION siglip.create_search_settings(server text, there text) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, siglip, pg_temp
AS $$
BEGIN
    PERFORM siglip.run_on_server(server, format(
        'CREATE VIEW %I.search_settings AS'
        ' SELECT i.iterative_scan, e.ef_search, set_config(''hnsw.iterative_scan'', i.iterative_scan, true) IS NOT NULL'
        ' AND set_config(''hnsw.ef_search'', e.ef_search::text, true) IS NOT NULL AS is_set'
        ' FROM generate_series(1, 1000) AS e (ef_search), (VALUES (''off''), (''relaxed_order''), (''strict_order'')) AS i (iterative_scan)',
        there));
    EXECUTE format('CREATE FOREIGN TABLE siglip.%I (iterative_scan text, ef_search integer, is_set boolean) SERVER %I'
                   ' OPTIONS (schema_name %L, table_name ''search_settings'')', 'search_settings_' || server, server, there);
    EXECUTE format('COMMENT ON FOREIGN TABLE siglip.%I IS %L', 'search_settings_' || server,
                   'To read a row sets hnsw.iterative_scan and hnsw.ef_search on ' || server || ' until the transaction ends.');
    EXECUTE format('GRANT SELECT ON siglip.%I TO PUBLIC', 'search_settings_' || server);
END
$$;

COMMENT ON FUNCTION siglip.create_search_settings(text, text) IS 'Make what siglip.tell_servers reads, on a connected server and here.';

-- A name that is there already gets the new address: a password that was changed, a host that moved.
CREATE FUNCTION siglip.add_server(name text, url text) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, siglip, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    known constant text := (SELECT s.schema_name FROM siglip.segment_servers AS s WHERE s.name = add_server.name);
    there constant text := coalesce(known, 'siglip_segments_' || substr(replace(gen_random_uuid()::text, '-', ''), 1, 12));
    found jsonb;
BEGIN
    PERFORM siglip.require_extensions();
    IF known IS NULL AND EXISTS (SELECT FROM pg_foreign_server AS f WHERE f.srvname = add_server.name) THEN
        RAISE EXCEPTION 'A foreign server % exists already, and is none of siglip''s.', name
            USING ERRCODE = 'duplicate_object', HINT = 'Take another name.';
    END IF;
    IF known IS NULL THEN
        INSERT INTO siglip.segment_servers AS s (name, schema_name) VALUES (add_server.name, there);
    END IF;
    PERFORM siglip.set_server_address(name, url);
    PERFORM siglip.connect_server(name);
    BEGIN
        SELECT a.* INTO found FROM siglip.ask_server(name,
            'SELECT current_setting(''server_version_num'')::integer AS version, current_database() AS database, current_user AS role,'
            ' has_database_privilege(current_database(), ''CREATE'') AS may_create, pg_is_in_recovery() AS is_standby,'
            ' EXISTS (SELECT FROM pg_available_extensions WHERE name = ''vector'') AS is_vector_available,'
            ' (SELECT extversion FROM pg_extension WHERE extname = ''vector'') AS vector,'
            ' (SELECT quote_ident(nspname) FROM pg_extension JOIN pg_namespace AS n ON n.oid = extnamespace WHERE extname = ''vector'')'
            ' AS vector_schema,'
            || format(' to_regclass(%L) IS NOT NULL AS has_ours', there || '.tables')) AS a;
        IF (found ->> 'version')::integer < 160000 OR (found ->> 'is_standby')::boolean OR NOT (found ->> 'may_create')::boolean THEN
            RAISE EXCEPTION 'The server % can''t take segments: %.', name, CASE
                    WHEN (found ->> 'version')::integer < 160000 THEN 'it is older than PostgreSQL 16'
                    WHEN (found ->> 'is_standby')::boolean THEN 'it is a standby, which can''t be written to'
                    ELSE format('the role %s may not create a schema in the database %s there', found ->> 'role', found ->> 'database') END
                USING ERRCODE = 'invalid_parameter_value', HINT = 'Correct the URL, or the server.';
        ELSIF known IS NOT NULL AND NOT (found ->> 'has_ours')::boolean THEN
            RAISE EXCEPTION 'The database at the new address of % doesn''t hold its segments: the schema % is missing there.', name, known
                USING ERRCODE = 'invalid_parameter_value', HINT = 'Give the address of the same database, or another name.';
        ELSIF found ->> 'vector' IS NULL THEN
            IF NOT (found ->> 'is_vector_available')::boolean THEN
                RAISE EXCEPTION 'The server % lacks pgvector.', name
                    USING ERRCODE = 'feature_not_supported', HINT = 'Install it there (on Debian: apt-get install postgresql-18-pgvector).';
            END IF;
            PERFORM siglip.run_on_server(name, 'CREATE EXTENSION vector SCHEMA ' || siglip.extension_schema('vector'));
            found := found || (SELECT a.* FROM siglip.ask_server(
                name, 'SELECT extversion AS vector FROM pg_extension WHERE extname = ''vector''') AS a)
                || jsonb_build_object('vector_schema', siglip.extension_schema('vector'));
        END IF;
        IF string_to_array(regexp_replace(found ->> 'vector', '[^0-9.].*', ''), '.')::integer[] < ARRAY[0, 8] THEN
            RAISE EXCEPTION 'The server % has pgvector %, and 0.8 or newer is needed.', name, found ->> 'vector'
                USING ERRCODE = 'feature_not_supported', HINT = 'Update it there, then ALTER EXTENSION vector UPDATE.';
        ELSIF found ->> 'vector_schema' <> siglip.extension_schema('vector') THEN
            RAISE EXCEPTION 'pgvector lies in the schema % on the server %, and in % here: the names in a statement must be the same.',
                    found ->> 'vector_schema', name, siglip.extension_schema('vector')
                USING ERRCODE = 'invalid_parameter_value',
                      HINT = format('Run there: ALTER EXTENSION vector SET SCHEMA %s.', siglip.extension_schema('vector'));
        ELSIF string_to_array(regexp_replace(found ->> 'vector', '[^0-9.].*', ''), '.')::integer[] < ARRAY[0, 8, 2] THEN
            RAISE WARNING 'The server % has pgvector %, which has CVE-2026-3172.', name, found ->> 'vector'
                USING HINT = 'Update it to 0.8.2 or newer there, then ALTER EXTENSION vector UPDATE.';
        END IF;
        IF known IS NULL THEN
            PERFORM siglip.run_on_server(name, format('CREATE SCHEMA %I', there));
            PERFORM siglip.run_on_server(name, format('COMMENT ON SCHEMA %I IS %L', there,
                'Segments of the database ' || current_database() || '; siglip.remove_server takes it away.'));
            PERFORM siglip.run_on_server(name, format(
                'CREATE TABLE %I.tables (table_name text PRIMARY KEY, is_settled boolean NOT NULL,'
                ' started_at timestamptz NOT NULL DEFAULT now())', there));
            PERFORM siglip.create_search_settings(name, there);
        END IF;
    EXCEPTION WHEN OTHERS OR query_canceled THEN
        PERFORM siglip.disconnect_server(name);
        RAISE;
    END;
    PERFORM siglip.disconnect_server(name);
END
$$;

COMMENT ON FUNCTION siglip.add_server(text, text)
    IS 'Prepare another PostgreSQL server for segments; for a name that is there already, change its address or password.';

CREATE FUNCTION siglip.remove_server(name text) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, siglip, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    there constant text := (SELECT s.schema_name FROM siglip.segment_servers AS s WHERE s.name = remove_server.name);
    held  bigint;
    kept  jsonb;
BEGIN
    IF there IS NULL THEN
        RAISE EXCEPTION 'There is no server %.', coalesce(name, 'NULL')
            USING ERRCODE = 'no_data_found', HINT = 'SELECT * FROM siglip.servers shows them.';
    END IF;
    PERFORM pg_advisory_xact_lock(1397311311, 0);
    SELECT count(*) INTO held FROM siglip.segments AS s WHERE s.server = name;
    IF held > 0 THEN
        RAISE EXCEPTION 'The server % holds % segments.', name, held
            USING ERRCODE = 'object_in_use',
                  HINT = format('Move them first: SELECT siglip.move_segment(segment, NULL) FROM siglip.segments WHERE server = %L.', name);
    END IF;
    BEGIN
        PERFORM siglip.settle_server(name);
        PERFORM siglip.connect_server(name);
        SELECT a.* INTO kept FROM siglip.ask_server(name, format('SELECT count(*) AS count FROM %I.tables', there)) AS a;
        IF (kept ->> 'count')::integer = 0 THEN
            PERFORM siglip.run_on_server(name, format('DROP SCHEMA %I CASCADE', there));
        ELSE
            RAISE NOTICE 'The schema % on % stays: it has % tables that this database doesn''t know. A copy of it may use them.',
                there, name, kept ->> 'count';
        END IF;
        PERFORM siglip.disconnect_server(name);
    EXCEPTION WHEN connection_exception OR admin_shutdown OR crash_shutdown THEN
        RAISE NOTICE 'The server % doesn''t answer: its schema % stays.', name, there;
    END;
    EXECUTE format('DROP FOREIGN TABLE siglip.%I', 'search_settings_' || name);
    EXECUTE format('DROP USER MAPPING FOR PUBLIC SERVER %I', name);
    EXECUTE format('DROP SERVER %I', name);
    DELETE FROM siglip.segment_servers AS s WHERE s.name = remove_server.name;
END
$$;

COMMENT ON FUNCTION siglip.remove_server(text) IS 'Forget a server that holds no segments, and take away what was prepared there.';

-- Searches' sessions are started anew with it.
CREATE FUNCTION siglip.tell_servers_ef_search() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, siglip, pg_temp
AS $$
DECLARE
    server record;
BEGIN
    FOR server IN
        SELECT f.srvname, substr(o.pair, length('options=') + 1) AS options
        FROM siglip.segment_servers AS s JOIN pg_foreign_server AS f ON f.srvname = s.name, unnest(f.srvoptions) AS o (pair)
        WHERE o.pair LIKE 'options=%'
    LOOP
        EXECUTE format('ALTER SERVER %I OPTIONS (SET options %L)', server.srvname, regexp_replace(
            server.options, 'hnsw\.ef_search=\d+', substring(siglip.server_session_options() FROM 'hnsw\.ef_search=\d+')));
    END LOOP;
    RETURN NULL;
END
$$;

COMMENT ON FUNCTION siglip.tell_servers_ef_search() IS 'Let the other servers search with the ef_search of the models.';

CREATE TRIGGER tell_servers AFTER UPDATE OF ef_search ON siglip.models
FOR EACH STATEMENT EXECUTE FUNCTION siglip.tell_servers_ef_search();

CREATE FUNCTION siglip.server_state(server text) RETURNS TABLE (is_reachable boolean, bytes bigint, unused_tables bigint)
LANGUAGE plpgsql
SET search_path = pg_catalog, siglip, pg_temp
AS $$
DECLARE
    there constant text := (SELECT s.schema_name FROM siglip.segment_servers AS s WHERE s.name = server);
    used  text[];
    found jsonb;
BEGIN
    SELECT coalesce(array_agg(split_part(l.table_name, '.', 2)), '{}') INTO used
    FROM siglip.segments AS s CROSS JOIN LATERAL siglip.locate_segment(s.segment) AS l WHERE s.server = server_state.server;
    PERFORM siglip.connect_server(server);
    SELECT a.* INTO found FROM siglip.ask_server(server, format(
        'SELECT sum(pg_total_relation_size(c.oid)) AS bytes, count(*) FILTER (WHERE c.relname <> ALL (%L::text[])) AS unused'
        ' FROM pg_class AS c WHERE c.relnamespace = %L::regnamespace AND c.relkind = ''r'' AND c.relname <> ''tables''',
        used, quote_ident(there))) AS a;
    PERFORM siglip.disconnect_server(server);
    RETURN QUERY SELECT true, coalesce((found ->> 'bytes')::bigint, 0), (found ->> 'unused')::bigint;
EXCEPTION
    WHEN insufficient_privilege OR prohibited_sql_statement_attempted THEN
        RETURN QUERY SELECT NULL::boolean, NULL::bigint, NULL::bigint;
    WHEN OTHERS THEN
        PERFORM siglip.disconnect_server(server);
        RETURN QUERY SELECT false, NULL::bigint, NULL::bigint;
END
$$;

COMMENT ON FUNCTION siglip.server_state(text)
    IS 'Whether a server answers, and what it holds; unused_tables: left by a move that was killed, or of a copy of this database.';
