-- Purpose: the vector of a text under a model: from the cache, or from a worker that reads the question out of pg_locks.
-- Parameters: query as typed; model_id, NULL for the active model; timeout_s, NULL for the setting siglip.embed_timeout_s, else 10.
-- A row means: one unit vector.

-- A function can't commit, so a row that it wrote stays unseen while it waits. Advisory locks are seen by every session at
-- once, in pg_locks, and carry 64 bits each: the text travels in the keys of shared, transaction-level locks. They need no
-- right, no setting and no write, are there on a standby too, and end with the subtransaction or with the session.
--
-- A key is 01011010 (the letter Z), an index (8 bits), a payload (48 bits). Of index 0 the payload is the model_id (32 bits),
-- a bit that says that the text was cut, and its size in bytes (15 bits); the others hold six bytes of the text each. The
-- doorbell, whose two keys are 1397311308 (the letters SIGL) and the model_id, is taken last: who sees it sees the text.
-- Each listening worker holds (1397311309, model_id), shared, as a session's lock; siglip_ingest.db.text_requests reads all that.
CREATE FUNCTION siglip.ask_text(query text, model_id integer, is_cut boolean) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, siglip, pg_temp
AS $$
DECLARE
    letter  constant bigint := 90::bigint << 56;
    content constant bytea := convert_to(query, 'UTF8');
    size    constant integer := octet_length(content);
    padded  constant bytea := content || '\x0000000000'::bytea;
    payload bigint := (model_id::bigint << 16) | size | CASE WHEN is_cut THEN 32768 ELSE 0 END;
    is_free boolean := pg_try_advisory_xact_lock_shared(letter | payload);
BEGIN
    FOR chunk IN 0 .. (size - 1) / 6 LOOP
        payload := 0;
        FOR position IN 6 * chunk .. 6 * chunk + 5 LOOP
            payload := (payload << 8) | get_byte(padded, position);
        END LOOP;
        is_free := is_free AND pg_try_advisory_xact_lock_shared(letter | ((chunk + 1)::bigint << 48) | payload);
    END LOOP;
    IF NOT (is_free AND pg_try_advisory_xact_lock_shared(1397311308, model_id)) THEN
        RAISE EXCEPTION 'The text can''t be sent to a worker: another program holds an advisory lock that it needs.'
            USING ERRCODE = 'object_in_use', HINT = 'pg_locks shows it, with the mode ExclusiveLock.';
    END IF;
END
$$;

COMMENT ON FUNCTION siglip.ask_text(text, integer, boolean)
    IS 'Lay a text of at most 1,200 bytes out as shared advisory locks, where a worker sees it at once.';

CREATE FUNCTION siglip.has_text_listener(model_id integer) RETURNS boolean
LANGUAGE sql VOLATILE
SET search_path = pg_catalog, siglip, pg_temp
AS $$
    -- This query's own lock on the view tells the database's oid: reading pg_database would take a lock out of the shared
    -- table, which may be full.
    WITH locks AS MATERIALIZED (
        SELECT l.locktype, l.database, l.relation, l.classid, l.objid, l.objsubid, l.granted, l.pid
        FROM pg_locks AS l
        WHERE l.locktype IN ('advisory', 'relation')
    )
    SELECT EXISTS (
        SELECT FROM locks AS l
        WHERE l.locktype = 'advisory' AND l.objsubid = 2 AND l.granted
          AND l.classid = 1397311309::oid AND l.objid = model_id::oid
          AND l.database = (
              SELECT own.database FROM locks AS own
              WHERE own.pid = pg_backend_pid() AND own.relation = 'pg_catalog.pg_locks'::regclass
              LIMIT 1
          )
    )
$$;

COMMENT ON FUNCTION siglip.has_text_listener(integer) IS 'Whether a worker of a model answers texts on this server.';

CREATE FUNCTION siglip.embed_text(
    query text, model_id integer DEFAULT NULL, timeout_s double precision DEFAULT NULL
) RETURNS @vector@.halfvec
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, siglip, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    model         siglip.models;
    found_text    siglip.texts;
    cut_query     text;
    query_hash    uuid;
    started_at    timestamptz;
    seen_at       timestamptz;
    elapsed_s     double precision := 0;
    checked_s     double precision := 0;
    advice        constant text := 'Start a worker (siglip-ingest worker), or search from a Python with torch, which embeds the text itself.';
BEGIN
    IF query IS NULL OR btrim(query, E' \t\n\r') = '' THEN
        RAISE EXCEPTION 'The query is empty.'
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Say in a few words what the image shows.';
    END IF;
    model := siglip.described_model(embed_text.model_id);
    cut_query := siglip.cut_text(embed_text.query);
    query_hash := md5(cut_query)::uuid;
    SELECT t.* INTO found_text FROM siglip.texts AS t
    WHERE t.model_id = model.model_id AND t.text_hash = query_hash AND t.query = cut_query;

    IF NOT FOUND THEN
        -- What can't succeed is said at once.
        IF current_setting('transaction_isolation') NOT IN ('read committed', 'read uncommitted') THEN
            RAISE EXCEPTION 'The text is not in the cache, and a transaction in % never sees the row that a worker would add.',
                upper(current_setting('transaction_isolation'))
                USING ERRCODE = 'object_not_in_prerequisite_state',
                      HINT = 'Search in READ COMMITTED, or call siglip.embed_text once before the transaction starts.';
        END IF;
        timeout_s := coalesce(timeout_s, nullif(current_setting('siglip.embed_timeout_s', true), '')::double precision, 10);
        started_at := clock_timestamp();
        seen_at := started_at;
        BEGIN
            IF NOT siglip.has_text_listener(model.model_id) THEN
                RAISE EXCEPTION 'The text is not in the cache, and no worker of the model % listens to this server.', model.name
                    USING ERRCODE = 'SIG01', HINT = advice;
            END IF;
            PERFORM siglip.ask_text(cut_query, model.model_id, cut_query <> embed_text.query);
            LOOP
                PERFORM pg_sleep(least(0.02, greatest(0.001, elapsed_s / 20)));
                SELECT t.* INTO found_text FROM siglip.texts AS t
                WHERE t.model_id = model.model_id AND t.text_hash = query_hash AND t.query = cut_query;
                EXIT WHEN FOUND;
                elapsed_s := extract(epoch FROM clock_timestamp() - started_at);
                IF elapsed_s >= timeout_s THEN
                    RAISE EXCEPTION 'No worker embedded the text within % s.', timeout_s
                        USING ERRCODE = 'SIG01',
                              HINT = format('Is a worker of the model %s running? SET siglip.embed_timeout_s = ''60'' waits longer.', model.name);
                END IF;
                -- Another worker takes over from one that dies; the question is still there. Without any there is no hope.
                IF elapsed_s - checked_s > 0.5 THEN
                    checked_s := elapsed_s;
                    IF siglip.has_text_listener(model.model_id) THEN
                        seen_at := clock_timestamp();
                    ELSIF clock_timestamp() - seen_at > interval '2 seconds' THEN
                        RAISE EXCEPTION 'The last worker of the model % ended before it embedded the text.', model.name
                            USING ERRCODE = 'SIG01', HINT = advice;
                    END IF;
                END IF;
            END LOOP;
            RAISE EXCEPTION USING ERRCODE = 'SIG00';  -- the locks go with the subtransaction; variables keep their values
        EXCEPTION
            WHEN SQLSTATE 'SIG00' THEN
                NULL;
            WHEN out_of_memory THEN
                RAISE EXCEPTION 'The text can''t be sent to a worker: PostgreSQL''s lock table is full.'
                    USING ERRCODE = 'configuration_limit_exceeded',
                          HINT = 'Ask fewer new texts at a time, shorten this one, or raise max_locks_per_transaction.';
        END;
    ELSIF found_text.last_used_at < now() - interval '1 day' THEN  -- once a day is enough to know which are in use
        PERFORM siglip.touch_text(found_text.model_id, found_text.text_hash);
    END IF;

    IF found_text.refusal IS NOT NULL THEN
        RAISE EXCEPTION '%', found_text.refusal USING ERRCODE = 'invalid_parameter_value';
    ELSIF found_text.warning IS NOT NULL THEN
        RAISE NOTICE '%', found_text.warning USING ERRCODE = 'SIG10';
    END IF;
    RETURN found_text.embedding;
END
$$;

COMMENT ON FUNCTION siglip.embed_text(text, integer, double precision)
    IS 'The unit vector of a text under the active model (or another): from the cache, or from a worker.';
