-- Purpose: searches where a server is away: an error that names it and its segments, or, with siglip.partial_results = on, the rest.
-- Parameters: model_id; query, what siglip.matches_query made, and its parameters $1 to $10 in their order.
-- A row means: one server that doesn't answer (away_servers).

CREATE FUNCTION siglip.has_foreign_segments(model_id integer) RETURNS boolean
LANGUAGE sql STABLE
SET search_path = pg_catalog, siglip, pg_temp
AS $$
    SELECT EXISTS (
        SELECT FROM pg_foreign_table AS f JOIN pg_inherits AS h ON h.inhrelid = f.ftrelid
        WHERE h.inhparent = to_regclass('siglip.image_embeddings_' || model_id))
$$;

COMMENT ON FUNCTION siglip.has_foreign_segments(integer) IS 'Whether segments of a model lie on other servers.';

-- A server is asked for a vector that isn't there, through the parent, to which everybody who searches has a right.
CREATE FUNCTION siglip.away_servers(model_id integer) RETURNS TABLE (server text, segments regclass[], conditions text)
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, siglip, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    held record;
BEGIN
    FOR held IN
        SELECT s.server, array_agg(s.segment ORDER BY s.from_content_id NULLS FIRST) AS segments, min(s.to_content_id) - 1 AS content_id,
               string_agg(format(' AND (%se.content_id >= %s)', 'e.content_id < ' || s.from_content_id || ' OR ', s.to_content_id), '')
               AS conditions
        FROM siglip.segments AS s
        WHERE s.model_id = away_servers.model_id AND s.server IS NOT NULL
        GROUP BY s.server ORDER BY s.server
    LOOP
        BEGIN
            EXECUTE format('SELECT FROM siglip.image_embeddings AS e WHERE e.model_id = %s AND e.content_id = %s', model_id, held.content_id);
        EXCEPTION WHEN connection_exception OR admin_shutdown OR crash_shutdown THEN
            server := held.server;
            segments := held.segments;
            conditions := held.conditions;
            RETURN NEXT;
        END;
    END LOOP;
END
$$;

COMMENT ON FUNCTION siglip.away_servers(integer)
    IS 'The servers with segments of a model that don''t answer; conditions leaves those out of a query of siglip.image_embeddings AS e.';

-- What a round of a graph elsewhere finds comes here as text, some hundred vectors, before a filter is looked at. To compare this many
-- vectors over there, and to get the best of them, takes no longer.
CREATE FUNCTION siglip.exact_rows_elsewhere() RETURNS integer
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN 20000;

COMMENT ON FUNCTION siglip.exact_rows_elsewhere()
    IS 'For so many rows that pass a filter, for each segment on another server, the exact search is the quicker one.';

CREATE FUNCTION siglip.is_exact_quicker(
    model_id integer, excluded_image_id bigint, collection text, filter jsonb, image_ids bigint[]
) RETURNS boolean
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, siglip, pg_temp
AS $$
DECLARE
    most_rows constant bigint := siglip.exact_rows_elsewhere() * (
        SELECT count(*) FROM pg_foreign_table AS f JOIN pg_inherits AS h ON h.inhrelid = f.ftrelid
        WHERE h.inhparent = to_regclass('siglip.image_embeddings_' || model_id));
    is_quicker boolean;
BEGIN
    IF num_nonnulls(collection, filter, image_ids) = 0 THEN
        RETURN false;
    END IF;
    EXECUTE format('SELECT count(*) <= %s FROM (SELECT FROM siglip.images AS i WHERE %s LIMIT %s) AS n', most_rows,
                   siglip.image_conditions(collection IS NOT NULL, filter IS NOT NULL, image_ids IS NOT NULL), most_rows + 1)
        INTO is_quicker
        USING NULL::text, NULL::integer, excluded_image_id, NULL::integer, NULL::integer, collection, filter, image_ids;
    RETURN is_quicker;
END
$$;

COMMENT ON FUNCTION siglip.is_exact_quicker(integer, bigint, text, jsonb, bigint[])
    IS 'Whether a filter passes so few rows that a model with segments elsewhere is searched exactly at once.';

CREATE FUNCTION siglip.tell_servers(model_id integer) RETURNS void
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, siglip, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    iterative_scan constant text := current_setting('hnsw.iterative_scan');
    ef_search      constant text := current_setting('hnsw.ef_search');
    servers        text[];
    server         text;
BEGIN
    SELECT array_agg(DISTINCT s.srvname::text ORDER BY s.srvname::text) INTO servers
    FROM pg_inherits AS h
    JOIN pg_foreign_table AS f ON f.ftrelid = h.inhrelid
    JOIN pg_foreign_server AS s ON s.oid = f.ftserver
    WHERE h.inhparent = to_regclass('siglip.image_embeddings_' || tell_servers.model_id)
      -- What their sessions were started with need not be said, unless something else was said in this transaction.
      AND (coalesce(current_setting('siglip.told_servers', true), '') <> ''
           OR NOT EXISTS (SELECT FROM unnest(s.srvoptions) AS o (pair)
                          WHERE o.pair LIKE format('options=%%hnsw.ef_search=%s -c hnsw.iterative_scan=%s %%', ef_search, iterative_scan)));
    IF servers IS NULL OR current_setting('siglip.told_servers', true) = concat_ws(' ', iterative_scan, ef_search, servers::text) THEN
        RETURN;
    END IF;
    FOREACH server IN ARRAY servers LOOP
        EXECUTE format('SELECT s.is_set FROM siglip.%I AS s WHERE s.iterative_scan = %L AND s.ef_search = %s',
                       'search_settings_' || server, iterative_scan, ef_search);
    END LOOP;
    PERFORM set_config('siglip.told_servers', concat_ws(' ', iterative_scan, ef_search, servers::text), true);
END
$$;

COMMENT ON FUNCTION siglip.tell_servers(integer)
    IS 'Let hnsw.iterative_scan and hnsw.ef_search, as they are now, hold on the servers with segments of a model until the transaction ends.';

CREATE FUNCTION siglip.report_away_servers(model_id integer, reason text, is_partial boolean) RETURNS text
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, siglip, pg_temp
AS $$
DECLARE
    servers    text;
    segments   text;
    conditions text;
BEGIN
    SELECT string_agg(a.server, ', '), string_agg(array_to_string(a.segments, ', '), ', '), coalesce(string_agg(a.conditions, ''), '')
    INTO servers, segments, conditions
    FROM siglip.away_servers(model_id) AS a;
    IF NOT is_partial THEN
        RAISE EXCEPTION 'The server % doesn''t answer, which has the segments %: %.',
                coalesce(servers, 'of a segment'), coalesce(segments, 'of this search'), rtrim(reason, '.')
            USING ERRCODE = 'connection_failure',
                  HINT = 'Start it, or tell its new address with siglip.add_server. With siglip.partial_results = on a search leaves it out.';
    ELSIF servers IS NOT NULL THEN
        RAISE NOTICE 'The server % doesn''t answer: its images are not in the result.', servers;
    END IF;
    RETURN conditions;
END
$$;

COMMENT ON FUNCTION siglip.report_away_servers(integer, text, boolean)
    IS 'Say which servers don''t answer, as an error or as a notice; returns the conditions that leave their segments out.';

CREATE FUNCTION siglip.find_without_servers(
    model_id integer, query text, reason text, query_embedding @vector@.halfvec, wanted integer, excluded_image_id bigint,
    logit_scale double precision, logit_bias double precision, collection text, filter jsonb, image_ids bigint[],
    content_ids bigint[], after siglip.search_position
) RETURNS siglip.image_match[]
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, siglip, pg_temp
AS $$
DECLARE
    conditions text;
    matches    siglip.image_match[];
BEGIN
    conditions := siglip.report_away_servers(model_id, reason, coalesce(nullif(current_setting('siglip.partial_results', true), ''), 'off')::boolean);
    EXECUTE replace(query, format('e.model_id = %s ', model_id), format('e.model_id = %s%s ', model_id, conditions))
        INTO matches
        USING query_embedding, wanted, excluded_image_id, logit_scale, logit_bias, collection, filter, image_ids, content_ids, after;
    RETURN matches;
END
$$;

COMMENT ON FUNCTION siglip.find_without_servers(
    integer, text, text, @vector@.halfvec, integer, bigint, double precision, double precision, text, jsonb, bigint[], bigint[],
    siglip.search_position)
    IS 'After a search that failed for a server that is away: its result without that server where siglip.partial_results is on, else an error.';
