-- Purpose: models whose vectors are imported.
-- Parameters: name; dimension, 1 to 4,000; logit_scale (a logarithm) and logit_bias, both NULL where similarities have no scores.
-- A row means: nothing here has rows.

CREATE FUNCTION siglip.add_external_model(
    name text, dimension integer, logit_scale double precision DEFAULT NULL, logit_bias double precision DEFAULT NULL
) RETURNS integer
LANGUAGE plpgsql
SET search_path = pg_catalog, siglip, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    new_id integer;
BEGIN
    IF coalesce(name, '') = '' THEN
        RAISE EXCEPTION 'The model has no name.'
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Any name does that no other model has.';
    ELSIF dimension IS NULL OR dimension NOT BETWEEN 1 AND 4000 THEN
        RAISE EXCEPTION 'dimension is %, not a number from 1 to 4000.', coalesce(dimension::text, 'NULL')
            USING ERRCODE = 'invalid_parameter_value', HINT = 'It is the number of elements of the model''s vectors.';
    ELSIF num_nonnulls(logit_scale, logit_bias) = 1 THEN
        RAISE EXCEPTION 'logit_scale and logit_bias go together.'
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Give both, or neither: then similarities have no scores.';
    ELSIF logit_scale NOT BETWEEN -100 AND 100 OR logit_bias NOT BETWEEN -1e6 AND 1e6 THEN
        RAISE EXCEPTION 'logit_scale is %, and logit_bias %: no logarithm of a factor, or no number.', logit_scale, logit_bias
            USING ERRCODE = 'invalid_parameter_value', HINT = 'A score is 1 / (1 + exp(-(exp(logit_scale) * similarity + logit_bias))).';
    END IF;
    -- As siglip_ingest.db.models.lock_models does it: one transaction at a time adds or activates models.
    PERFORM pg_advisory_xact_lock('siglip.models'::regclass::oid::bigint);
    IF EXISTS (SELECT FROM siglip.models AS m WHERE m.name = add_external_model.name) THEN
        RAISE EXCEPTION 'There is a model % already.', quote_literal(add_external_model.name)
            USING ERRCODE = 'unique_violation', HINT = 'SELECT model_id, name, dimension FROM siglip.models shows it.';
    END IF;
    -- The revision is a word that no checkpoint's can be.
    INSERT INTO siglip.models (name, revision, is_external, dimension, logit_scale, logit_bias, described_at)
    VALUES (add_external_model.name, 'external', true, add_external_model.dimension, add_external_model.logit_scale,
            add_external_model.logit_bias, now())
    RETURNING model_id INTO new_id;
    PERFORM siglip.create_embedding_partition(new_id, add_external_model.dimension);
    PERFORM siglip.create_nearest_images(new_id, add_external_model.dimension);
    UPDATE siglip.models AS m SET is_active = true
    WHERE m.model_id = new_id AND NOT EXISTS (SELECT FROM siglip.models AS a WHERE a.is_active);
    RETURN new_id;
END
$$;

COMMENT ON FUNCTION siglip.add_external_model(text, integer, double precision, double precision)
    IS 'Add a model whose vectors are imported, and return its model_id; it becomes the active one where none is.';

-- As in revision 0004, and an external model embeds no text: nothing is waited for.
CREATE OR REPLACE FUNCTION siglip.embed_text(
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
        IF model.is_external THEN
            RAISE EXCEPTION 'The model % is external: its vectors are imported, and no worker can embed a text with it.', model.name
                USING ERRCODE = 'invalid_parameter_value',
                      HINT = 'Search by a vector, siglip.search_images(vector), or by an image, siglip.similar_images(image_id).';
        END IF;
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
