-- Purpose: a model beside the active one: new images are embedded under both, the others behind them.
-- Parameters: add_model(name, of a checkpoint).
-- A row means: how much of all images, or of a collection, a model has (model_coverage, collection_coverage).

-- The lock comes late: those who enqueue go on while the images are queued that are there already, and what they wrote meanwhile, without
-- knowing of the model, is queued under it. Whoever locks a row of siglip.models has that lock before. Under a model that is kept already they
-- write the same items: then the lock comes first, so that nobody waits for a row of this one while holding it.
CREATE FUNCTION siglip.add_model(name text) RETURNS integer
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, siglip, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    model siglip.models;
BEGIN
    SELECT m.* INTO model FROM siglip.models AS m
    WHERE m.name = add_model.name
    ORDER BY m.is_active DESC, m.described_at DESC NULLS LAST, m.model_id
    LIMIT 1;
    IF model.is_external THEN
        RAISE EXCEPTION 'The model % is external: its vectors are imported, and no worker can embed an image with it.', quote_literal(name)
            USING ERRCODE = 'invalid_parameter_value', HINT = 'siglip.switch_model switches to it as it is.';
    ELSIF EXISTS (SELECT FROM siglip.model_drops AS d JOIN siglip.models AS m USING (model_id) WHERE m.name = add_model.name) THEN
        RAISE EXCEPTION 'The model % is being dropped.', quote_literal(name)
            USING ERRCODE = 'object_in_use', HINT = 'Add it once that has ended: CALL siglip.finish_drops() waits for it.';
    ELSIF model.model_id IS NULL THEN
        IF coalesce(name, '') !~ '^(demo|/.+|[A-Za-z0-9][A-Za-z0-9_.-]*/[A-Za-z0-9][A-Za-z0-9_.-]*(@[A-Za-z0-9_][A-Za-z0-9_./-]*)?)$'
           OR (name !~ '^/' AND name ~ '\.\.|/$') THEN
            RAISE EXCEPTION '% names no checkpoint.', coalesce(quote_literal(name), 'NULL')
                USING ERRCODE = 'invalid_parameter_value',
                      HINT = 'Give a hub name such as google/siglip2-base-patch16-384, the absolute path of a folder, or demo.';
        END IF;
        INSERT INTO siglip.models AS m (name) VALUES (add_model.name) ON CONFLICT DO NOTHING;  -- another caller's, perhaps
        SELECT m.* INTO STRICT model FROM siglip.models AS m WHERE m.name = add_model.name ORDER BY m.model_id DESC LIMIT 1;
    END IF;
    IF NOT (model.is_kept OR model.is_active) THEN
        PERFORM siglip.queue_missing_images(model.model_id);
    END IF;
    PERFORM pg_advisory_xact_lock('siglip.models'::regclass::oid::bigint);
    IF EXISTS (SELECT FROM siglip.model_drops AS d WHERE d.model_id = model.model_id)
       OR NOT EXISTS (SELECT FROM siglip.models AS m WHERE m.model_id = model.model_id) THEN
        RAISE EXCEPTION 'The model % was dropped meanwhile.', quote_literal(name)
            USING ERRCODE = 'object_in_use', HINT = 'Add it once that has ended: CALL siglip.finish_drops() waits for it.';
    END IF;
    UPDATE siglip.models AS m SET is_kept = true WHERE m.model_id = model.model_id AND NOT m.is_kept;
    PERFORM siglip.queue_missing_images(model.model_id);
    RETURN model.model_id;
END
$$;

COMMENT ON FUNCTION siglip.add_model(text) IS 'Have all images embedded under another checkpoint too, and new ones under both; searches go on with the active model. Called again, it queues what is missing. Returns the model_id.
Example: SELECT siglip.add_model(''google/siglip2-base-patch16-384'');';

CREATE FUNCTION siglip.queue_missing_images(model_id integer) RETURNS bigint
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, siglip, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    attempts constant integer := 10;
    queued   bigint;
BEGIN
    FOR attempt IN 1 .. attempts LOOP
        BEGIN
            INSERT INTO siglip.ingest_items AS t (image_id, model_id)
            SELECT i.image_id, queue_missing_images.model_id
            FROM siglip.images AS i
            WHERE NOT EXISTS (
                SELECT FROM siglip.ingest_items AS o WHERE o.image_id = i.image_id AND o.model_id = queue_missing_images.model_id
            )
              AND NOT EXISTS (SELECT FROM siglip.models AS m WHERE m.model_id = queue_missing_images.model_id AND m.is_external)
              AND NOT EXISTS (SELECT FROM siglip.model_drops AS d WHERE d.model_id = queue_missing_images.model_id)
            ORDER BY i.image_id
            ON CONFLICT (image_id, model_id) DO NOTHING;
            GET DIAGNOSTICS queued = ROW_COUNT;
            EXIT;
        EXCEPTION WHEN foreign_key_violation THEN  -- some of them have been deleted meanwhile
            IF attempt = attempts THEN
                RAISE;
            END IF;
        END;
    END LOOP;
    IF queued > 0 THEN
        PERFORM pg_notify('siglip_ingest_items', queue_missing_images.model_id::text);
    END IF;
    RETURN queued;
END
$$;

COMMENT ON FUNCTION siglip.queue_missing_images(integer) IS 'Queue every image that the ledger doesn''t have under a model, and wake its workers; returns how many. None under an external model.
Example: SELECT siglip.queue_missing_images(2);';

-- The ledger says what is embedded; an external model's vectors are counted, since many an import has no ledger.
CREATE VIEW siglip.model_coverage WITH (security_invoker = true) AS
SELECT m.model_id, m.name AS model, m.is_active, m.is_kept, m.is_external,
       CASE WHEN d.model_id IS NOT NULL THEN 'dropped' WHEN m.is_active THEN 'active' WHEN m.is_kept THEN 'kept' ELSE 'unused' END AS state,
       n.images, e.embedded, c.queued, c.failed,
       greatest(0, n.images - e.embedded - c.queued - c.failed) AS not_queued,
       e.embedded::double precision / nullif(n.images, 0) AS share,
       p.per_s,
       CASE WHEN p.per_s > 0 AND c.queued > 0 THEN make_interval(secs => c.queued / p.per_s) END AS remaining,
       l.labels_missing, t.texts,
       (SELECT count(*) FROM siglip.workers AS w WHERE w.model_id = m.model_id AND siglip.is_alive(w)) AS workers
FROM siglip.models AS m
LEFT JOIN siglip.model_drops AS d ON d.model_id = m.model_id
CROSS JOIN (SELECT count(*) AS images FROM siglip.images) AS n
CROSS JOIN LATERAL (
    SELECT count(*) FILTER (WHERE t.state = 'done') AS done,
           count(*) FILTER (WHERE t.state IN ('queued', 'claimed')) AS queued,
           count(*) FILTER (WHERE t.state = 'failed') AS failed,
           count(*) FILTER (WHERE t.state = 'done' AND t.updated_at > now() - interval '1 minute') AS last_minute,
           min(t.updated_at) FILTER (WHERE t.state = 'done' AND t.updated_at > now() - interval '1 minute') AS since
    FROM siglip.ingest_items AS t JOIN siglip.images AS i USING (image_id)
    WHERE t.model_id = m.model_id
) AS c
CROSS JOIN LATERAL (
    SELECT CASE WHEN m.is_external
                THEN (SELECT count(*) FROM siglip.image_embeddings AS v JOIN siglip.images AS i USING (content_id) WHERE v.model_id = m.model_id)
                ELSE c.done END AS embedded
) AS e
CROSS JOIN LATERAL (
    SELECT c.last_minute / greatest(1, extract(epoch FROM clock_timestamp() - c.since))::double precision AS per_s
) AS p
CROSS JOIN LATERAL (
    SELECT count(*) AS labels_missing FROM siglip.labels AS l
    WHERE NOT m.is_external AND NOT EXISTS (
        SELECT FROM siglip.label_embeddings AS v WHERE v.model_id = m.model_id AND v.label_id = l.label_id)
) AS l
CROSS JOIN LATERAL (SELECT count(*) AS texts FROM siglip.texts AS x WHERE x.model_id = m.model_id) AS t;

COMMENT ON VIEW siglip.model_coverage
    IS 'One row is one model: how many of the images it has, how many come, per second of the last minute, and what labels lack a vector.';

CREATE VIEW siglip.collection_coverage WITH (security_invoker = true) AS
SELECT m.model_id, m.name AS model, n.collection, n.images, n.embedded, n.queued, n.failed,
       n.images - n.embedded - n.queued - n.failed AS not_queued,
       n.embedded::double precision / n.images AS share
FROM siglip.models AS m
CROSS JOIN LATERAL (
    SELECT i.collection, count(*) AS images,
           count(*) FILTER (WHERE t.state = 'done') AS embedded,
           count(*) FILTER (WHERE t.state IN ('queued', 'claimed')) AS queued,
           count(*) FILTER (WHERE t.state = 'failed') AS failed
    FROM siglip.images AS i
    LEFT JOIN siglip.ingest_items AS t ON t.image_id = i.image_id AND t.model_id = m.model_id
    GROUP BY i.collection
) AS n
WHERE NOT m.is_external;

COMMENT ON VIEW siglip.collection_coverage IS 'One row is one collection under one model: how many of its images are embedded, queued and failed.';
