-- Purpose: the vector of a text under a model: from the cache, or from a worker that listens to this database's WAL.
-- Parameters: query as typed; model_id, NULL for the active model. siglip.embed_timeout_s: seconds to wait, 10 by default.
-- A row means: one unit vector.

-- A message that is not part of the transaction goes to the WAL at once, and is flushed at once; a worker reads it there,
-- writes the text's row into siglip.texts and commits. Before PostgreSQL 17 nothing would flush it.
CREATE FUNCTION siglip.request_text(query text, model_id integer) RETURNS void
LANGUAGE plpgsql
SET search_path FROM CURRENT
AS $$
BEGIN
    PERFORM pg_logical_emit_message(
        false, 'siglip', json_build_object('model_id', model_id, 'query', query)::text, true);
END
$$;

COMMENT ON FUNCTION siglip.request_text(text, integer) IS 'Ask the workers that listen for a text''s vector, without waiting.';

CREATE FUNCTION siglip.embed_text(query text, model_id integer DEFAULT NULL) RETURNS halfvec
LANGUAGE plpgsql VOLATILE
SET search_path FROM CURRENT
AS $$
#variable_conflict use_column
DECLARE
    model         siglip.models;
    found_text    siglip.texts;
    timeout_s     double precision;
    started_at    timestamptz := clock_timestamp();
    requested_at  timestamptz;
    has_listener  boolean;
    elapsed_s     double precision;
    advice        text := 'Start a worker (siglip-ingest worker), or search by text from Python, which embeds the text itself.';
BEGIN
    IF query IS NULL OR btrim(query, E' \t\n\r') = '' THEN
        RAISE EXCEPTION 'The query is empty.'
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Say in a few words what the image shows.';
    END IF;
    IF length(query) > 100000 THEN
        RAISE EXCEPTION 'The query has % characters.', length(query)
            USING ERRCODE = 'invalid_parameter_value', HINT = 'A model reads some dozens of words; 100000 characters are the most.';
    END IF;
    IF embed_text.model_id IS NULL THEN
        model := siglip.active_model();
    ELSE
        SELECT m.* INTO model FROM siglip.models AS m WHERE m.model_id = embed_text.model_id AND m.described_at IS NOT NULL;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'There is no model % that a worker has loaded.', embed_text.model_id
                USING ERRCODE = 'no_data_found', HINT = 'SELECT model_id, name FROM siglip.models shows what there is.';
        END IF;
    END IF;

    LOOP
        SELECT t.* INTO found_text FROM siglip.texts AS t
        WHERE t.model_id = model.model_id AND t.text_hash = md5(embed_text.query)::uuid AND t.query = embed_text.query;
        EXIT WHEN FOUND;

        IF timeout_s IS NULL THEN
            -- What can't succeed is said at once.
            IF pg_is_in_recovery() THEN
                RAISE EXCEPTION 'The text is not in the cache, and a standby server can''t ask a worker to embed it.'
                    USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'Search for this text on the primary server once.';
            ELSIF current_setting('transaction_isolation') NOT IN ('read committed', 'read uncommitted') THEN
                RAISE EXCEPTION 'The text is not in the cache, and a transaction in % never sees the row that a worker would add.',
                    upper(current_setting('transaction_isolation'))
                    USING ERRCODE = 'object_not_in_prerequisite_state',
                          HINT = 'Search in READ COMMITTED, or call siglip.embed_text once before the transaction starts.';
            ELSIF current_setting('wal_level') <> 'logical' THEN
                RAISE EXCEPTION 'The text is not in the cache, and wal_level is %: SQL can''t reach a worker.', current_setting('wal_level')
                    USING ERRCODE = 'object_not_in_prerequisite_state',
                          HINT = 'ALTER SYSTEM SET wal_level = logical and restart PostgreSQL; or search by text from Python.';
            ELSIF current_setting('server_version_num')::integer < 170000 THEN
                RAISE EXCEPTION 'The text is not in the cache, and SQL reaches a worker only from PostgreSQL 17 on; this is %.',
                    current_setting('server_version')
                    USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'Search by text from Python, or upgrade PostgreSQL.';
            END IF;
            timeout_s := coalesce(nullif(current_setting('siglip.embed_timeout_s', true), ''), '10')::double precision;
        END IF;

        elapsed_s := extract(epoch FROM clock_timestamp() - started_at);
        -- Asked again every two seconds: a listener may have started after the first time.
        IF requested_at IS NULL OR clock_timestamp() > requested_at + interval '2 seconds' THEN
            has_listener := EXISTS (
                SELECT FROM pg_replication_slots AS s
                WHERE s.slot_name LIKE 'siglip\_texts\_%' AND s.database = current_database() AND s.active
            );
            IF has_listener THEN
                PERFORM siglip.request_text(embed_text.query, model.model_id);
                requested_at := clock_timestamp();
            ELSIF elapsed_s >= least(timeout_s, 2) THEN
                RAISE EXCEPTION 'The text is not in the cache, and no worker listens to this database.'
                    USING ERRCODE = 'SIG01', HINT = advice;
            END IF;
        END IF;
        IF elapsed_s >= timeout_s THEN
            RAISE EXCEPTION 'No worker embedded the text within % s.', timeout_s
                USING ERRCODE = 'SIG01',
                      HINT = format('Is a worker of the model %s running? SET siglip.embed_timeout_s = ''60'' waits longer.', model.name);
        END IF;
        PERFORM pg_sleep(0.002);
    END LOOP;

    -- Once a day is enough to know which texts are in use; a search must not wait for a lock or fail for it.
    IF found_text.last_used_at < now() - interval '1 day'
        AND current_setting('transaction_read_only') = 'off'
        AND current_setting('transaction_isolation') = 'read committed'
        AND has_table_privilege('siglip.texts', 'UPDATE')
    THEN
        UPDATE siglip.texts AS t SET last_used_at = now()
        WHERE (t.model_id, t.text_hash) IN (
            SELECT u.model_id, u.text_hash FROM siglip.texts AS u
            WHERE u.model_id = found_text.model_id AND u.text_hash = found_text.text_hash
            FOR NO KEY UPDATE SKIP LOCKED
        );
    END IF;
    RETURN found_text.embedding;
END
$$;

COMMENT ON FUNCTION siglip.embed_text(text, integer)
    IS 'The unit vector of a text under the active model (or another): from the cache, or from a worker.';
