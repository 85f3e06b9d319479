-- Purpose: a model is taken away, with its vectors, while searches and workers go on.
-- Parameters: model_id, or the model's name.
-- A row means: nothing here has rows.

-- A model without a dimension is none that anything searches or maintains, and no worker serves one that isn't kept.
CREATE FUNCTION siglip.drop_model(model_id integer) RETURNS text
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, siglip, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    model siglip.models;
BEGIN
    PERFORM pg_advisory_xact_lock('siglip.models'::regclass::oid::bigint);
    SELECT m.* INTO model FROM siglip.models AS m WHERE m.model_id = drop_model.model_id FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'There is no model %.', coalesce(drop_model.model_id::text, 'NULL')
            USING ERRCODE = 'no_data_found', HINT = 'SELECT model_id, name FROM siglip.models shows what there is.';
    ELSIF model.is_active THEN
        RAISE EXCEPTION 'The model % is the active one.', quote_literal(model.name)
            USING ERRCODE = 'object_in_use', HINT = 'Switch to another one first: SELECT siglip.switch_model(name).';
    END IF;
    INSERT INTO siglip.model_drops AS d (model_id) VALUES (drop_model.model_id) ON CONFLICT DO NOTHING;
    IF NOT FOUND THEN
        RETURN format('The model %s is being dropped already.', model.name);
    END IF;
    UPDATE siglip.models AS m
    SET is_kept = false, dimension = NULL, logit_scale = NULL, logit_bias = NULL, described_at = NULL
    WHERE m.model_id = drop_model.model_id;
    RETURN format('The model %s is dropped. The workers free its space; CALL siglip.finish_drops() does so at once.', model.name);
END
$$;

COMMENT ON FUNCTION siglip.drop_model(integer) IS 'Take a model away that isn''t active. From the commit on nothing uses it; its space is freed step by step, by the workers or by CALL siglip.finish_drops(), while searches go on.
Example: SELECT siglip.drop_model(2);';

CREATE FUNCTION siglip.drop_model(model text) RETURNS text
LANGUAGE sql VOLATILE
SET search_path = pg_catalog, siglip, pg_temp
AS $$
    SELECT siglip.drop_model(siglip.find_model(model))
$$;

COMMENT ON FUNCTION siglip.drop_model(text) IS 'Take a model away that isn''t active, by its name.
Example: SELECT siglip.drop_model(''other'');';

-- A search that had read which model is active before it was changed may have yet to lock what it reads. Statements are short: who hasn't
-- ended within some seconds is at something else.
CREATE FUNCTION siglip.await_transactions(timeout_s double precision) RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, siglip, pg_temp
AS $$
DECLARE
    others     text[];
    give_up_at constant timestamptz := clock_timestamp() + make_interval(secs => timeout_s);
BEGIN
    SELECT array_agg(l.virtualxid) INTO others
    FROM pg_locks AS l JOIN pg_stat_activity AS a USING (pid)
    WHERE l.locktype = 'virtualxid' AND l.granted AND l.pid <> pg_backend_pid()
      AND a.datid = (SELECT d.oid FROM pg_database AS d WHERE d.datname = current_database());
    WHILE clock_timestamp() < give_up_at AND EXISTS (
        SELECT FROM pg_locks AS l WHERE l.locktype = 'virtualxid' AND l.virtualxid = ANY (others)
    ) LOOP
        PERFORM pg_sleep(0.02);
    END LOOP;
END
$$;

COMMENT ON FUNCTION siglip.await_transactions(double precision) IS 'Wait until the transactions of this database have ended that are open now, at most so many seconds.
Example: SELECT siglip.await_transactions(0.1);';

CREATE FUNCTION siglip.drop_segment(segment regclass) RETURNS bigint
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, siglip, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    place record;
    bytes bigint := 0;
BEGIN
    SELECT l.* INTO place FROM siglip.locate_segment(segment) AS l;
    DELETE FROM siglip.segment_builds AS b WHERE b.segment_number = siglip.segment_number(segment);
    IF place.server IS NULL THEN
        bytes := pg_total_relation_size(segment);
        EXECUTE format('DROP TABLE %s', segment);
        RETURN bytes;
    END IF;
    -- What isn't settled there and isn't known here is removed by siglip.settle_server, which siglip.maintain calls.
    PERFORM siglip.connect_server(place.server);
    BEGIN
        PERFORM siglip.run_on_server(place.server, format(
            'UPDATE %I.tables SET is_settled = false WHERE table_name = %L',
            (SELECT s.schema_name FROM siglip.segment_servers AS s WHERE s.name = place.server), split_part(place.table_name, '.', 2)));
        EXECUTE format('DROP FOREIGN TABLE %s', segment);
    EXCEPTION WHEN OTHERS OR query_canceled THEN
        PERFORM siglip.disconnect_server(place.server);
        RAISE;
    END;
    PERFORM siglip.disconnect_server(place.server);
    RETURN 0;
END
$$;

COMMENT ON FUNCTION siglip.drop_segment(regclass) IS 'Drop a segment that is no part of siglip.image_embeddings any more; returns the bytes that are free here. One on another server is removed there by the next siglip.maintain().
Example: SELECT siglip.drop_segment(segment) FROM siglip.segments WHERE model_id IN (SELECT model_id FROM siglip.model_drops);';

-- Each step is a transaction of its own, and short. The ledger comes first: what workers have claimed is not theirs any more, and what they
-- hand in of it is left out. No lock that a search could wait for is asked for longer than 25 ms at a time.
CREATE FUNCTION siglip.free_dropped() RETURNS text
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, siglip, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    chosen    siglip.model_drops;
    name      text;
    vectors   text;
    segment   regclass;
    beyond    bigint;
    bytes     bigint;
    deleted   bigint;
    patience  constant text := current_setting('lock_timeout');
    gave_up   timestamptz;
BEGIN
    IF NOT pg_try_advisory_xact_lock(1397311311, 1) THEN
        RAISE NOTICE 'Another session frees the space of dropped models just now.';
        RETURN NULL;
    END IF;
    SELECT d.* INTO chosen FROM siglip.model_drops AS d ORDER BY d.dropped_at, d.model_id LIMIT 1;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    SELECT m.name INTO name FROM siglip.models AS m WHERE m.model_id = chosen.model_id;
    vectors := format('siglip.image_embeddings_%s', chosen.model_id);

    SELECT min(s.image_id) + 20000 INTO beyond
    FROM (SELECT t.image_id FROM siglip.ingest_items AS t
          WHERE t.image_id >= chosen.next_image_id ORDER BY t.image_id LIMIT 1) AS s;
    IF beyond IS NOT NULL THEN
        PERFORM FROM siglip.ingest_items AS t
        WHERE t.model_id = chosen.model_id AND t.image_id >= chosen.next_image_id AND t.image_id < beyond
        ORDER BY t.image_id, t.model_id FOR UPDATE;
        DELETE FROM siglip.ingest_items AS t
        WHERE t.model_id = chosen.model_id AND t.image_id >= chosen.next_image_id AND t.image_id < beyond;
        GET DIAGNOSTICS deleted = ROW_COUNT;
        UPDATE siglip.model_drops AS d SET next_image_id = beyond WHERE d.model_id = chosen.model_id;
        RETURN format('Took %s images out of the ledger of %s.', deleted, name);
    END IF;

    IF EXISTS (SELECT FROM pg_inherits AS h WHERE h.inhrelid = to_regclass(vectors)) THEN
        PERFORM siglip.await_transactions(10);
        gave_up := clock_timestamp() + interval '1 minute';
        LOOP
            BEGIN
                PERFORM set_config('lock_timeout', '25ms', true);
                EXECUTE format('LOCK TABLE ONLY %s IN ACCESS EXCLUSIVE MODE', vectors);
                LOCK TABLE ONLY siglip.image_embeddings IN ACCESS EXCLUSIVE MODE;
                EXECUTE format('ALTER TABLE siglip.image_embeddings DETACH PARTITION %s', vectors);
                PERFORM set_config('lock_timeout', patience, true);
                RETURN format('Took the vectors of %s out of siglip.image_embeddings.', name);
            EXCEPTION WHEN lock_not_available OR deadlock_detected THEN
                IF clock_timestamp() > gave_up THEN
                    RAISE NOTICE 'A statement has been reading the vectors for a minute; those of % stay for now.', name;
                    RETURN NULL;
                END IF;
                PERFORM pg_sleep(0.02 + 0.2 * random());
            END;
        END LOOP;
    END IF;

    SELECT h.inhrelid::regclass INTO segment FROM pg_inherits AS h WHERE h.inhparent = to_regclass(vectors) ORDER BY h.inhrelid LIMIT 1;
    IF segment IS NOT NULL THEN
        PERFORM set_config('lock_timeout', '1s', true);
        bytes := siglip.drop_segment(segment);
        PERFORM set_config('lock_timeout', patience, true);
        UPDATE siglip.model_drops AS d SET freed_bytes = d.freed_bytes + bytes WHERE d.model_id = chosen.model_id;
        RETURN format('Dropped a segment of %s: %s are free.', name, pg_size_pretty(bytes));
    END IF;
    EXECUTE format('DROP TABLE IF EXISTS %s', vectors);
    EXECUTE format('DROP FUNCTION IF EXISTS siglip.nearest_images_%s', chosen.model_id);

    DELETE FROM siglip.texts AS t
    WHERE t.model_id = chosen.model_id
      AND t.text_hash IN (SELECT o.text_hash FROM siglip.texts AS o WHERE o.model_id = chosen.model_id LIMIT 10000);
    GET DIAGNOSTICS deleted = ROW_COUNT;
    IF deleted > 0 THEN
        RETURN format('Deleted %s cached texts of %s.', deleted, name);
    END IF;
    DELETE FROM siglip.ingestions AS g
    WHERE g.ingestion_id IN (SELECT o.ingestion_id FROM siglip.ingestions AS o WHERE o.model_id = chosen.model_id LIMIT 1000);
    GET DIAGNOSTICS deleted = ROW_COUNT;
    IF deleted > 0 THEN
        RETURN format('Deleted %s ingestions of %s.', deleted, name);
    END IF;
    DELETE FROM siglip.models AS m WHERE m.model_id = chosen.model_id;
    RETURN format('The model %s is gone; %s are free.', name, pg_size_pretty(chosen.freed_bytes));
EXCEPTION
    WHEN lock_not_available THEN
        RAISE NOTICE 'The vectors of % are in use just now, by a build of an index perhaps; they stay for now.', name;
        RETURN NULL;
    WHEN connection_exception OR admin_shutdown OR crash_shutdown THEN
        RAISE NOTICE 'Segments of % stay until their server answers: %', name, SQLERRM;
        RETURN NULL;
END
$$;

COMMENT ON FUNCTION siglip.free_dropped() IS 'Do the next step of freeing the space of dropped models, and return a sentence; NULL where nothing is left, or the rest has to wait. Each call is to be a transaction of its own.
Example: SELECT siglip.free_dropped();';

CREATE PROCEDURE siglip.finish_drops()
LANGUAGE plpgsql
AS $$
DECLARE
    step text;
BEGIN
    LOOP
        step := siglip.free_dropped();
        EXIT WHEN step IS NULL;
        RAISE INFO '%', step;
        COMMIT;
    END LOOP;
END
$$;

COMMENT ON PROCEDURE siglip.finish_drops() IS 'Free the space of dropped models, a transaction for each step; it can''t be called inside another transaction where there is something to free.
Example: CALL siglip.finish_drops();';
