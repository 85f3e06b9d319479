-- name: hold_models
-- Keeps the active model what it is until the transaction ends; several transactions may do that at once.
SELECT pg_catalog.pg_advisory_xact_lock_shared('siglip.models'::regclass::oid::bigint);

-- name: lock_models
-- Lets one transaction at a time add, describe or activate models; reading them goes on.
SELECT pg_catalog.pg_advisory_xact_lock('siglip.models'::regclass::oid::bigint);

-- name: find_model
-- Returns the row of a checkpoint name. With a revision: that revision's, else the one that no worker has loaded yet. Without one (''):
-- the active one, else the one loaded last, else the one that no worker has loaded yet.
SELECT m.model_id, m.name, m.revision, m.is_active, m.is_external, m.is_kept, m.dimension, m.logit_scale, m.logit_bias, m.image_settings, m.text_settings,
    m.arithmetics
FROM siglip.models AS m
WHERE m.name = %(name)s AND (%(revision)s = '' OR m.revision IN (%(revision)s, ''))
    AND NOT EXISTS (SELECT FROM siglip.model_drops AS d WHERE d.model_id = m.model_id)
ORDER BY
    m.revision = %(revision)s AND m.revision <> '' DESC, m.is_active DESC, m.described_at DESC NULLS LAST, m.model_id
LIMIT 1;

-- name: list_kept_revisions
-- Lists the revisions that new images are embedded under by that name, as far as they are known: the active model's, else those of the
-- models that are kept beside it.
SELECT m.revision
FROM siglip.models AS m
WHERE m.name = %(name)s AND m.revision <> '' AND (m.is_active OR m.is_kept)
    AND (m.is_active OR NOT EXISTS (SELECT FROM siglip.models AS o WHERE o.name = m.name AND o.is_active))
ORDER BY m.model_id;

-- name: is_being_dropped
-- Returns whether a model of that name is being dropped.
SELECT EXISTS (SELECT FROM siglip.models AS m JOIN siglip.model_drops AS d USING (model_id) WHERE m.name = %(name)s);

-- name: insert_model
-- Adds a checkpoint that a worker has yet to load; revision is '' where it isn't known.
INSERT INTO siglip.models (name, revision) VALUES (%(name)s, %(revision)s) RETURNING model_id;

-- name: add_external_model
-- Adds a model whose vectors are imported, with what is needed to store and search them; the active one where none is.
SELECT siglip.add_external_model(
    %(name)s::text, %(dimension)s::integer, %(logit_scale)s::double precision, %(logit_bias)s::double precision);

-- name: get_model
-- Returns the row of model_id, or of the active model where model_id is NULL.
SELECT m.model_id, m.name, m.revision, m.is_active, m.is_external, m.is_kept, m.dimension, m.logit_scale, m.logit_bias, m.image_settings, m.text_settings,
    m.arithmetics
FROM siglip.models AS m
WHERE CASE WHEN %(model_id)s::integer IS NULL THEN m.is_active ELSE m.model_id = %(model_id)s::integer END;

-- name: describe_model
-- Stores what a worker read from the checkpoint: the fields of ModelInfo.
UPDATE siglip.models
SET revision = %(revision)s, dimension = %(dimension)s, logit_scale = %(logit_scale)s, logit_bias = %(logit_bias)s,
    image_settings = %(image_settings)s, text_settings = %(text_settings)s, described_at = now()
WHERE model_id = %(model_id)s;

-- name: create_embedding_partition
-- Creates the partition for vectors of dimension elements, its HNSW index, and the function that searches it, unless they exist.
SELECT siglip.create_embedding_partition(%(model_id)s::integer, %(dimension)s::integer),
       siglip.create_nearest_images(%(model_id)s::integer, %(dimension)s::integer);

-- name: get_model_figures
-- Returns what the checkpoint gave for known inputs, as JSON; NULL where no worker has stored it yet.
SELECT m.figures FROM siglip.models AS m WHERE m.model_id = %(model_id)s;

-- name: store_model_figures
-- Stores these figures where there are none yet, or in any case with replace; returns those that are stored now.
UPDATE siglip.models AS m
SET figures = CASE WHEN %(replace)s OR m.figures IS NULL THEN %(figures)s ELSE m.figures END
WHERE m.model_id = %(model_id)s
RETURNING m.figures;

-- name: add_arithmetic
-- Notes that vectors of model_id are made in this arithmetic from now on, if that isn't noted yet.
UPDATE siglip.models SET arithmetics = arithmetics || %(arithmetic)s::text
WHERE model_id = %(model_id)s AND %(arithmetic)s::text <> ALL (arithmetics);

-- name: get_batch_size
-- Returns how many images were last found to fit into the memory of such a device at a time; no row where nothing was.
SELECT b.batch_size FROM siglip.batch_sizes AS b
WHERE b.model_id = %(model_id)s AND b.device = %(device)s AND b.dtype = %(dtype)s;

-- name: store_batch_size
-- Stores that so many images (batch_size) fit into the memory of such a device at a time.
INSERT INTO siglip.batch_sizes (model_id, device, dtype, batch_size)
VALUES (%(model_id)s, %(device)s, %(dtype)s, %(batch_size)s)
ON CONFLICT (model_id, device, dtype) DO UPDATE SET batch_size = excluded.batch_size, measured_at = now();

-- name: list_models
-- Lists all models, oldest first, each with the number of its image vectors.
SELECT m.model_id, m.name, m.revision, m.is_active, m.is_external, m.is_kept, m.dimension, m.logit_scale, m.logit_bias, m.image_settings, m.text_settings,
    m.arithmetics,
    (SELECT count(*) FROM siglip.image_embeddings AS e WHERE e.model_id = m.model_id) AS embedding_count
FROM siglip.models AS m
ORDER BY m.model_id;

-- name: lock_model_items
-- Locks a model's items, in the order in which items are always locked, before its vectors are locked.
SELECT t.item_id FROM siglip.ingest_items AS t WHERE t.model_id = %(model_id)s ORDER BY t.image_id, t.model_id FOR UPDATE;

-- name: lock_vectors
-- Keeps all others from reading or adding vectors, of any model, until the transaction ends.
LOCK TABLE siglip.image_embeddings IN ACCESS EXCLUSIVE MODE;

-- name: delete_unused_model
-- Deletes a model that isn't active and has no image vectors, with its items, texts and label vectors; no row where it stays.
DELETE FROM siglip.models AS m
WHERE
    m.model_id = %(model_id)s
    AND NOT m.is_active
    AND NOT EXISTS (SELECT FROM siglip.image_embeddings AS e WHERE e.model_id = m.model_id)
RETURNING m.model_id;
