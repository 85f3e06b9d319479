-- Purpose: another model becomes the active one, in one transaction.
-- Parameters: model_id or a name; force switches though something is missing; keep_old, NULL for as it is; timeout_s, to wait for what is missing.
-- A row means: nothing here has rows.

-- What the active model has and the other one lacks, in words; NULL where it lacks nothing.
CREATE FUNCTION siglip.missing_under_model(model_id integer) RETURNS text
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, siglip, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    active siglip.models;
    other  siglip.models;
    counts record;
    absent record;
BEGIN
    SELECT m.* INTO active FROM siglip.models AS m WHERE m.is_active;
    SELECT m.* INTO other FROM siglip.models AS m WHERE m.model_id = missing_under_model.model_id;
    IF other.model_id = active.model_id THEN
        RETURN NULL;
    END IF;
    -- Images that the active model hasn't either are no reason to stay with it. The ledger knows nothing of vectors that are imported.
    IF other.is_external THEN
        SELECT count(*) AS images, 0 AS queued, 0 AS failed, count(*) - count(e.content_id) AS absent, count(e.content_id) AS embedded
        INTO counts
        FROM siglip.ingest_items AS t
        JOIN siglip.images AS i ON i.image_id = t.image_id
        LEFT JOIN siglip.image_embeddings AS e ON e.model_id = missing_under_model.model_id AND e.content_id = i.content_id
        WHERE t.model_id = active.model_id AND t.state = 'done';
    ELSE
        SELECT count(*) AS images,
               count(*) FILTER (WHERE o.state IN ('queued', 'claimed')) AS queued,
               count(*) FILTER (WHERE o.state = 'failed') AS failed,
               count(*) FILTER (WHERE o.state IS NULL) AS absent,
               count(*) FILTER (WHERE o.state = 'done') AS embedded
        INTO counts
        FROM siglip.ingest_items AS t
        LEFT JOIN siglip.ingest_items AS o ON o.image_id = t.image_id AND o.model_id = missing_under_model.model_id
        WHERE t.model_id = active.model_id AND t.state = 'done';
    END IF;
    -- A label that the active model has no vector of either (it may read nothing of it) is missing nowhere. An external model has none of any.
    SELECT count(*) FILTER (WHERE NOT l.is_refused) AS labels, min(l.label) FILTER (WHERE NOT l.is_refused) AS label,
           count(*) FILTER (WHERE l.is_refused) AS refused, min(l.label) FILTER (WHERE l.is_refused) AS refused_label INTO absent
    FROM (SELECT o.label_id, o.label, EXISTS (
              SELECT FROM siglip.label_refusals AS r WHERE r.label_id = o.label_id AND r.model_id = missing_under_model.model_id) AS is_refused
          FROM siglip.labels AS o) AS l
    WHERE NOT EXISTS (SELECT FROM siglip.label_embeddings AS v WHERE v.label_id = l.label_id AND v.model_id = missing_under_model.model_id)
      AND EXISTS (SELECT FROM siglip.label_embeddings AS v WHERE v.label_id = l.label_id AND v.model_id = active.model_id)
      AND NOT other.is_external;
    RETURN nullif(concat_ws('; ',
        CASE WHEN counts.embedded < counts.images
             THEN format('%s of the %s images that the active model has are embedded under it (%s)', counts.embedded, counts.images,
                         concat_ws(', ', CASE WHEN counts.queued > 0 THEN counts.queued || ' queued' END,
                                   CASE WHEN counts.failed > 0 THEN counts.failed || ' failed' END,
                                   CASE WHEN counts.absent > 0
                                        THEN counts.absent || CASE WHEN other.is_external THEN ' not imported' ELSE ' not queued' END END)) END,
        CASE WHEN absent.labels > 0
             THEN format('%s labels have no vector under it yet, %s for instance', absent.labels, quote_literal(absent.label)) END,
        CASE WHEN absent.refused > 0
             THEN format('%s labels can''t be embedded under it, %s for instance (siglip.label_status says why)',
                         absent.refused, quote_literal(absent.refused_label)) END), '');
END
$$;

COMMENT ON FUNCTION siglip.missing_under_model(integer) IS 'What the active model has and another one lacks, images and labels, in words; NULL where siglip.switch_model would switch at once.
Example: SELECT siglip.missing_under_model(2);';

-- What is missing is counted before the lock, which keeps those who enqueue waiting; what they wrote since is queued under it.
CREATE FUNCTION siglip.switch_model(
    model_id integer, force boolean DEFAULT false, keep_old boolean DEFAULT true, timeout_s double precision DEFAULT 0
) RETURNS text
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, siglip, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    model   siglip.models;
    before  siglip.models;
    missing text;
    give_up_at timestamptz := clock_timestamp() + make_interval(secs => coalesce(timeout_s, 0));
    queued  bigint;
BEGIN
    SELECT m.* INTO model FROM siglip.models AS m WHERE m.model_id = switch_model.model_id;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'There is no model % in the database.', coalesce(switch_model.model_id::text, 'NULL')
            USING ERRCODE = 'no_data_found', HINT = 'SELECT model_id, name FROM siglip.models shows what there is.';
    ELSIF timeout_s < 0 OR timeout_s = 'NaN' THEN
        RAISE EXCEPTION 'timeout_s is %, not a number of seconds.', timeout_s USING ERRCODE = 'invalid_parameter_value';
    ELSIF NOT force THEN
        PERFORM siglip.described_model(model.model_id);
        LOOP
            missing := siglip.missing_under_model(model.model_id);
            EXIT WHEN missing IS NULL OR clock_timestamp() >= give_up_at;
            PERFORM pg_sleep(least(1, greatest(0.01, extract(epoch FROM give_up_at - clock_timestamp()))));
        END LOOP;
        IF missing IS NOT NULL THEN
            RAISE EXCEPTION 'The model % is not complete: %.', quote_literal(model.name), missing
                USING ERRCODE = 'object_not_in_prerequisite_state',
                      HINT = CASE WHEN model.is_external THEN 'Import what is missing. '
                            ELSE format('SELECT siglip.add_model(%L) queues what is not; siglip.model_coverage shows how far its workers are; ',
                                        model.name) END
                            || format('siglip.switch_model(%L, force => true) switches all the same.', model.name);
        END IF;
    END IF;

    -- As siglip_ingest.db.models.lock_models does it: those who enqueue have ended, or wait and write under the new model.
    PERFORM pg_advisory_xact_lock('siglip.models'::regclass::oid::bigint);
    IF EXISTS (SELECT FROM siglip.model_drops AS d WHERE d.model_id = switch_model.model_id) THEN
        RAISE EXCEPTION 'The model % is dropped.', quote_literal(model.name)
            USING ERRCODE = 'object_in_use', HINT = 'SELECT siglip.add_model(name) begins anew with it, once CALL siglip.finish_drops() has ended.';
    END IF;
    SELECT m.* INTO before FROM siglip.models AS m WHERE m.is_active;
    IF before.model_id IS DISTINCT FROM model.model_id THEN
        -- One after the other: a unique index allows one active model at any time.
        UPDATE siglip.models AS m SET is_active = false, is_kept = (coalesce(keep_old, m.is_kept) AND NOT m.is_external) WHERE m.is_active;
        UPDATE siglip.models AS m SET is_active = true WHERE m.model_id = switch_model.model_id;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'There is no model % in the database.', switch_model.model_id USING ERRCODE = 'no_data_found';
        END IF;
        IF model.logit_scale IS NOT NULL AND EXISTS (SELECT FROM siglip.label_calibrations AS c WHERE c.is_current) THEN
            PERFORM siglip.recalibrate(model.model_id);
        END IF;
    END IF;
    queued := siglip.queue_missing_images(model.model_id);
    RETURN CASE WHEN before.model_id = model.model_id THEN format('%s is the active model already.', model.name)
                ELSE format('The active model is %s now.', model.name) END
        || CASE WHEN queued > 0 THEN format(' %s images are queued under it.', queued) ELSE '' END;
END
$$;

COMMENT ON FUNCTION siglip.switch_model(integer, boolean, boolean, double precision) IS 'Make a model the one that searches, labels and new images use, in one transaction; each query is of the one model or of the other. Refuses where something is missing under it, unless force. The old one is kept, so that it can be switched back.
Example: SELECT siglip.switch_model(2);';

CREATE FUNCTION siglip.switch_model(
    model text, force boolean DEFAULT false, keep_old boolean DEFAULT true, timeout_s double precision DEFAULT 0
) RETURNS text
LANGUAGE sql VOLATILE
SET search_path = pg_catalog, siglip, pg_temp
AS $$
    SELECT siglip.switch_model(siglip.find_model(model), force, keep_old, timeout_s)
$$;

COMMENT ON FUNCTION siglip.switch_model(text, boolean, boolean, double precision) IS 'Make a model the one that searches, labels and new images use, by its name.
Example: SELECT siglip.switch_model(''other'');';
