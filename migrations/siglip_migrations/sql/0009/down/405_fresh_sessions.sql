-- Purpose: put back what 405_fresh_sessions.sql replaced.
-- Parameters: tell_servers(model_id).
-- A row means: nothing here has rows.

CREATE OR REPLACE FUNCTION siglip.tell_servers(model_id integer) RETURNS void
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
