-- name: has_images
-- Returns whether there are images in any of the collections.
SELECT EXISTS (SELECT FROM siglip.images AS i WHERE i.collection = ANY (%(collections)s::text[]));

-- name: prefer_lookups
-- Has the transaction look rows up by index: to read a table for each few thousand rows would cost more with every row in it.
SELECT pg_catalog.set_config('enable_hashjoin', 'off', true), pg_catalog.set_config('enable_mergejoin', 'off', true),
       pg_catalog.set_config('jit', 'off', true);

-- name: lock_images
-- Locks those of the images that are there already, in the order in which images are always locked. Returns the position of each in
-- collections and uris, from 0, its image_id and its content_id, NULL where nothing was embedded yet.
SELECT (n.position - 1)::integer, i.image_id, i.content_id
FROM unnest(%(collections)s::text[], %(uris)s::text[]) WITH ORDINALITY AS n (collection, uri, position)
JOIN siglip.images AS i ON i.collection = n.collection AND i.uri = n.uri
ORDER BY i.collection, i.uri
FOR NO KEY UPDATE OF i;

-- name: find_vectors
-- Returns those of the contents that have a vector under the model.
SELECT e.content_id
FROM siglip.image_embeddings AS e
WHERE e.model_id = %(model_id)s AND e.content_id = ANY (%(content_ids)s::bigint[]);

-- name: insert_hashed_contents
-- Stores contents that are known by their SHA-256, unless they are there; returns the content_id and the hash of the new ones. The
-- arrays have one length; in the order of the hashes, so that two that store the same ones can't deadlock.
INSERT INTO siglip.contents (content_hash, width, height, format)
SELECT n.content_hash, n.width, n.height, n.format
FROM unnest(%(hashes)s::bytea[], %(widths)s::integer[], %(heights)s::integer[], %(formats)s::text[])
    AS n (content_hash, width, height, format)
ORDER BY n.content_hash
ON CONFLICT (content_hash) DO NOTHING
RETURNING content_id, content_hash;

-- name: hold_contents
-- Returns the content_id and the hash of contents, which stay until the transaction ends, though they may have no image yet.
SELECT c.content_id, c.content_hash
FROM siglip.contents AS c
WHERE c.content_hash = ANY (%(hashes)s::bytea[])
ORDER BY c.content_hash
FOR KEY SHARE;

-- name: insert_contents
-- Stores contents whose hash isn't known. Their content_ids, in order, are those of the arrays' elements.
INSERT INTO siglip.contents (width, height, format)
SELECT n.width, n.height, n.format
FROM unnest(%(widths)s::integer[], %(heights)s::integer[], %(formats)s::text[]) WITH ORDINALITY AS n (width, height, format, position)
ORDER BY n.position
RETURNING content_id;

-- name: copy_images
-- Sends images that aren't there yet.
COPY siglip.images (collection, uri, key, metadata, content_id) FROM STDIN;

-- name: update_images
-- Gives images that are there a content, and merges what is said of them; metadata are JSON texts.
UPDATE siglip.images AS i
SET content_id = n.content_id, key = coalesce(n.key, i.key), metadata = i.metadata || n.metadata::jsonb, updated_at = now()
FROM unnest(%(image_ids)s::bigint[], %(content_ids)s::bigint[], %(keys)s::text[], %(metadata)s::text[])
    AS n (image_id, content_id, key, metadata)
WHERE i.image_id = n.image_id
  AND (i.content_id, i.key, i.metadata) IS DISTINCT FROM (n.content_id, coalesce(n.key, i.key), i.metadata || n.metadata::jsonb);

-- name: await_maintenance
-- Waits until no segment is being copied, and keeps it so until the transaction ends: a copy would keep the vectors that are replaced.
SELECT pg_catalog.pg_advisory_xact_lock_shared(1397311311, 0);

-- name: delete_vectors
-- Deletes the vectors of contents under a model, to make room for others.
DELETE FROM siglip.image_embeddings AS e
WHERE e.model_id = %(model_id)s AND e.content_id = ANY (%(content_ids)s::bigint[]);

-- name: copy_vectors
-- Sends vectors of contents that have none under the model.
COPY siglip.image_embeddings (model_id, content_id, embedding) FROM STDIN (FORMAT binary);

-- name: close_items
-- Marks these images as done under the model, where a worker was to embed them.
WITH waiting AS MATERIALIZED (
    SELECT t.item_id
    FROM siglip.ingest_items AS t
    WHERE t.model_id = %(model_id)s AND t.image_id = ANY (%(image_ids)s::bigint[]) AND t.state <> 'done'
    ORDER BY t.image_id, t.model_id
    FOR NO KEY UPDATE
)
UPDATE siglip.ingest_items AS t
SET state = 'done', is_suspect = false, lease_token = NULL, worker_id = NULL, error_code = NULL, error_message = NULL,
    updated_at = now()
FROM waiting AS w
WHERE t.item_id = w.item_id;

-- name: insert_done_items
-- Marks all images of the contents as done under the model, but those that have an item there.
INSERT INTO siglip.ingest_items (image_id, model_id, state)
SELECT i.image_id, %(model_id)s, 'done'
FROM siglip.images AS i
WHERE i.content_id = ANY (%(content_ids)s::bigint[])
ORDER BY i.image_id
ON CONFLICT (image_id, model_id) DO NOTHING;

-- name: keep_labels
-- Writes the kept labels of the images of these contents, in the transaction that brings their vectors.
SELECT siglip.keep_arrived(model_id => %(model_id)s::integer, content_ids => %(content_ids)s::bigint[]);

-- name: requeue_other_models
-- Queues images whose content has changed under the other models that had them, unless they have a vector of the new
-- content; returns the model of each.
WITH outdated AS MATERIALIZED (
    SELECT t.item_id
    FROM siglip.ingest_items AS t
    JOIN siglip.images AS i ON i.image_id = t.image_id
    WHERE t.image_id = ANY (%(image_ids)s::bigint[]) AND t.model_id <> %(model_id)s AND t.state = 'done'
      AND NOT EXISTS (
          SELECT FROM siglip.image_embeddings AS e WHERE e.model_id = t.model_id AND e.content_id = i.content_id
      )
    ORDER BY t.image_id, t.model_id
    FOR NO KEY UPDATE OF t
)
UPDATE siglip.ingest_items AS t
SET state = 'queued', attempts = 0, is_suspect = false, not_before = now(), updated_at = now()
FROM outdated AS o
WHERE t.item_id = o.item_id
RETURNING t.model_id;

-- name: count_vectors
-- Counts the vectors of a model.
SELECT count(*) FROM siglip.image_embeddings AS e WHERE e.model_id = %(model_id)s;

-- name: list_images
-- Lists the next images after after_image_id that have a content, in the order of image_id; of one collection, or of all where it is
-- NULL. The hash is in hexadecimal.
SELECT i.image_id, i.content_id, i.uri, i.collection, i.key, i.metadata, pg_catalog.encode(c.content_hash, 'hex'), c.width, c.height,
       c.format
FROM siglip.images AS i
JOIN siglip.contents AS c ON c.content_id = i.content_id
WHERE i.image_id > %(after_image_id)s AND (%(collection)s::text IS NULL OR i.collection = %(collection)s)
ORDER BY i.image_id
LIMIT %(limit)s;

-- name: get_vectors
-- Returns the vectors of contents under a model.
SELECT e.content_id, e.embedding
FROM siglip.image_embeddings AS e
WHERE e.model_id = %(model_id)s AND e.content_id = ANY (%(content_ids)s::bigint[]);
