-- name: add_model
-- Keeps a checkpoint beside the active model and queues all images for it; returns its model_id.
SELECT siglip.add_model(name => %(name)s::text);

-- name: keep_model
-- Says whether new images are embedded under model_id beside the active model.
UPDATE siglip.models SET is_kept = %(is_kept)s WHERE model_id = %(model_id)s AND is_kept <> %(is_kept)s;

-- name: list_kept_models
-- Returns the models that a new image is queued for.
SELECT k.model_id FROM siglip.kept_models() AS k (model_id);

-- name: limit_statements
-- Ends each statement after timeout_ms, until the transaction ends.
SELECT pg_catalog.set_config('statement_timeout', %(timeout_ms)s::text, true);

-- name: list_served_models
-- Lists the models that need a worker, the active one first: those that new images are queued for, and those that have images which are
-- queued or in progress.
SELECT m.model_id, m.name
FROM siglip.models AS m
WHERE m.model_id IN (SELECT k.model_id FROM siglip.kept_models() AS k (model_id))
   OR (NOT m.is_external AND NOT EXISTS (SELECT FROM siglip.model_drops AS d WHERE d.model_id = m.model_id)
       AND (EXISTS (SELECT FROM siglip.ingest_items AS t WHERE t.model_id = m.model_id AND t.state = 'queued')
            OR EXISTS (SELECT FROM siglip.ingest_items AS t WHERE t.model_id = m.model_id AND t.state = 'claimed')))
ORDER BY m.is_active DESC, m.model_id;

-- name: find_model_id
-- Returns the model_id of a name or a number; an error where there is none.
SELECT siglip.find_model(model => %(model)s::text);

-- name: list_coverage
-- Lists how much of all images each model has, oldest first; seconds for what is queued.
SELECT c.model_id, c.model, c.state, c.images, c.embedded, c.queued, c.failed, c.not_queued, c.share, c.per_s,
       pg_catalog.date_part('epoch', c.remaining), c.labels_missing, c.texts, c.workers
FROM siglip.model_coverage AS c
ORDER BY c.model_id;

-- name: list_collection_coverage
-- Lists how much of each collection each model has.
SELECT c.model_id, c.model, c.collection, c.images, c.embedded, c.queued, c.failed, c.not_queued, c.share
FROM siglip.collection_coverage AS c
ORDER BY c.model_id, c.collection;

-- name: lift_timeout
-- Lets a comparison take as long as it takes, until the transaction ends.
SELECT pg_catalog.set_config('statement_timeout', '0', true);

-- name: compare_models
-- Compares two models by what people asked and marked; timeout_s, NULL for the default, is that of one query.
SELECT c.measure, c.value_a, c.value_b, c.n, c.note
FROM siglip.compare_models(
    a => %(model_a)s::integer, b => %(model_b)s::integer, k => %(k)s::integer, max_queries => %(max_queries)s::integer,
    max_labels => %(max_labels)s::integer, max_images => %(max_images)s::integer, timeout_s => %(timeout_s)s::double precision) AS c;

-- name: switch_model
-- Makes model_id the active model and queues what it has no item of; keep_old NULL leaves it as it is whether the one before is kept.
SELECT siglip.switch_model(
    model_id => %(model_id)s::integer, force => %(force)s::boolean, keep_old => %(keep_old)s::boolean,
    timeout_s => %(timeout_s)s::double precision);

-- name: drop_model
-- Takes a model away; returns a sentence.
SELECT siglip.drop_model(model_id => %(model_id)s::integer);

-- name: free_dropped
-- Does the next step of freeing the space of dropped models; returns a sentence, NULL where there is none to do now.
SELECT siglip.free_dropped();

-- name: is_dropped
-- Returns whether a model is being dropped, or gone.
SELECT NOT EXISTS (SELECT FROM siglip.models AS m WHERE m.model_id = %(model_id)s)
    OR EXISTS (SELECT FROM siglip.model_drops AS d WHERE d.model_id = %(model_id)s);
