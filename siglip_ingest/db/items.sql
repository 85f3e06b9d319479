-- name: queue_missing
-- Queues every image that has no item under model_id, and tells its workers; returns how many. None under an external model, whose
-- vectors are imported.
SELECT siglip.queue_missing_images(model_id => %(model_id)s::integer);

-- name: move_queued
-- Moves what is queued or failed under from_model_id to to_model_id, unless the image has an item there.
WITH moved AS MATERIALIZED (
    SELECT t.item_id
    FROM siglip.ingest_items AS t
    WHERE t.model_id = %(from_model_id)s AND t.state IN ('queued', 'failed')
      AND NOT EXISTS (
          SELECT FROM siglip.ingest_items AS o WHERE o.image_id = t.image_id AND o.model_id = %(to_model_id)s
      )
    ORDER BY t.image_id, t.model_id
    FOR NO KEY UPDATE OF t
)
UPDATE siglip.ingest_items AS t
SET model_id = %(to_model_id)s, state = 'queued', attempts = 0, is_suspect = false, not_before = now(),
    error_code = NULL, error_message = NULL, updated_at = now()
FROM moved AS m
WHERE t.item_id = m.item_id;

-- name: move_ingestions
-- Moves the ingestions of from_model_id to to_model_id, with what they queued.
UPDATE siglip.ingestions AS g SET model_id = %(to_model_id)s WHERE g.model_id = %(from_model_id)s;

-- name: retry_failed
-- Queues what failed under model_id once more: in one collection, or in all where it is NULL; of one ingestion, or of all.
WITH failed AS MATERIALIZED (
    SELECT t.item_id
    FROM siglip.ingest_items AS t
    JOIN siglip.images AS i USING (image_id)
    WHERE t.model_id = %(model_id)s AND t.state = 'failed'
      AND (%(collection)s::text IS NULL OR i.collection = %(collection)s::text)
      AND (%(ingestion_id)s::bigint IS NULL OR t.image_id IN (
          SELECT pg_catalog.unnest(p.image_ids) FROM siglip.ingestion_images AS p WHERE p.ingestion_id = %(ingestion_id)s::bigint))
    ORDER BY t.image_id, t.model_id
    FOR NO KEY UPDATE OF t
)
UPDATE siglip.ingest_items AS t
SET state = 'queued', attempts = 0, is_suspect = false, not_before = now(), error_code = NULL, error_message = NULL,
    updated_at = now()
FROM failed AS f
WHERE t.item_id = f.item_id;

-- name: notify_items
-- Tells the workers of model_id that items are queued, once the transaction is committed.
SELECT pg_catalog.pg_notify('siglip_ingest_items', %(model_id)s::text);

-- name: has_suspects
-- Returns whether there are suspects to claim: items whose worker was lost with them.
SELECT EXISTS (
    SELECT FROM siglip.ingest_items AS t
    WHERE t.model_id = %(model_id)s AND t.state = 'queued' AND t.is_suspect AND t.not_before <= now()
);

-- name: claim_items
-- Claims the next queued items for a registered worker, skipping those that another claim has locked, and suspects; one a row.
WITH candidates AS MATERIALIZED (
    SELECT t.item_id
    FROM siglip.ingest_items AS t
    WHERE t.model_id = %(model_id)s AND t.state = 'queued' AND t.not_before <= now() AND NOT t.is_suspect
      AND EXISTS (SELECT FROM siglip.workers AS w WHERE w.worker_id = %(worker_id)s)
    ORDER BY t.item_id
    LIMIT %(limit)s
    FOR NO KEY UPDATE OF t SKIP LOCKED
), claimed AS (
    UPDATE siglip.ingest_items AS t
    SET state = 'claimed', attempts = t.attempts + 1, lease_token = %(lease_token)s, worker_id = %(worker_id)s,
        updated_at = now()
    WHERE t.item_id = ANY (ARRAY(SELECT c.item_id FROM candidates AS c))
    RETURNING t.item_id, t.image_id, t.attempts, t.is_suspect
)
SELECT c.item_id, c.image_id, i.uri,
       EXISTS (SELECT FROM siglip.image_bytes AS b WHERE b.image_id = c.image_id) AS has_content, c.attempts, c.is_suspect,
       i.source_version, i.reads_exif
FROM claimed AS c
JOIN siglip.images AS i USING (image_id)
ORDER BY c.item_id;

-- name: claim_suspects
-- Claims queued suspects as claim_items does: several that another loss leaves an attempt, else one alone. So of many that were lost
-- together, the one at fault is found soon, and no other one fails with it.
WITH candidates AS MATERIALIZED (
    SELECT t.item_id, t.attempts + 1 >= %(max_attempts)s AS is_last
    FROM siglip.ingest_items AS t
    WHERE t.model_id = %(model_id)s AND t.state = 'queued' AND t.is_suspect AND t.not_before <= now()
      AND EXISTS (SELECT FROM siglip.workers AS w WHERE w.worker_id = %(worker_id)s)
    ORDER BY t.item_id
    LIMIT %(limit)s
    FOR NO KEY UPDATE OF t SKIP LOCKED
), first AS (
    SELECT c.item_id, c.is_last FROM candidates AS c ORDER BY c.item_id LIMIT 1
), claimed AS (
    UPDATE siglip.ingest_items AS t
    SET state = 'claimed', attempts = t.attempts + 1, lease_token = %(lease_token)s, worker_id = %(worker_id)s,
        updated_at = now()
    FROM candidates AS c, first AS f
    WHERE t.item_id = c.item_id AND CASE WHEN f.is_last THEN c.item_id = f.item_id ELSE NOT c.is_last END
    RETURNING t.item_id, t.image_id, t.attempts, t.is_suspect
)
SELECT c.item_id, c.image_id, i.uri,
       EXISTS (SELECT FROM siglip.image_bytes AS b WHERE b.image_id = c.image_id) AS has_content, c.attempts, c.is_suspect,
       i.source_version, i.reads_exif
FROM claimed AS c
JOIN siglip.images AS i USING (image_id)
ORDER BY c.item_id;

-- name: find_embedded
-- Returns those of the SHA-256 content_hashes that have a vector under the model already.
SELECT c.content_hash
FROM siglip.contents AS c
JOIN siglip.image_embeddings AS e USING (content_id)
WHERE e.model_id = %(model_id)s AND c.content_hash = ANY (%(content_hashes)s::bytea[]);

-- name: create_new_results
-- Makes the table that COPY fills; width, height, format and embedding are NULL where the database has them already, metadata where there
-- is nothing to add. It ends with the transaction, so that it works behind a pooler too.
CREATE TEMPORARY TABLE IF NOT EXISTS siglip_new_results ON COMMIT DROP AS
SELECT NULL::bigint AS item_id, NULL::bigint AS image_id, NULL::uuid AS lease_token, NULL::bytea AS content_hash,
       NULL::integer AS width, NULL::integer AS height, NULL::text AS format, e.embedding, NULL::jsonb AS metadata
FROM siglip.image_embeddings AS e
WITH NO DATA;

-- name: empty_new_results
-- Empties that table, for a second call in the same transaction.
TRUNCATE pg_temp.siglip_new_results;

-- name: copy_new_results
-- Sends the results, one embedded item a row.
COPY pg_temp.siglip_new_results FROM STDIN (FORMAT binary);

-- name: lock_completed_images
-- Locks the images before their items, in the order in which insert_images locks them: no deadlock between the two.
SELECT FROM siglip.images AS i
WHERE i.image_id IN (SELECT r.image_id FROM pg_temp.siglip_new_results AS r)
ORDER BY i.collection, i.uri
FOR NO KEY UPDATE;

-- name: lock_claimed_items
-- Locks the named items in the order in which items are always locked.
SELECT FROM siglip.ingest_items AS t
WHERE t.item_id = ANY (%(item_ids)s::bigint[])
ORDER BY t.image_id, t.model_id
FOR NO KEY UPDATE;

-- name: keep_claimed_results
-- Drops the results of items that are no longer under their claim.
DELETE FROM pg_temp.siglip_new_results AS r
WHERE NOT EXISTS (
    SELECT FROM siglip.ingest_items AS t
    WHERE t.item_id = r.item_id AND t.image_id = r.image_id AND t.state = 'claimed' AND t.lease_token = r.lease_token
      AND t.model_id = %(model_id)s
);

-- name: upsert_contents
-- Stores what is new of the contents, with size in pixels and format, and keeps all of them from being removed until the transaction
-- ends. Sorted, so that two workers with the same contents can't deadlock.
INSERT INTO siglip.contents AS c (content_hash, width, height, format)
SELECT DISTINCT ON (r.content_hash) r.content_hash, r.width, r.height, r.format
FROM pg_temp.siglip_new_results AS r
WHERE r.width IS NOT NULL
ORDER BY r.content_hash
ON CONFLICT (content_hash) DO UPDATE
SET width = excluded.width, height = excluded.height, format = excluded.format
WHERE (c.width, c.height, c.format) IS DISTINCT FROM (excluded.width, excluded.height, excluded.format);

-- name: hold_known_contents
-- Keeps the contents that the database had already from being removed until the transaction ends.
SELECT FROM siglip.contents AS c
WHERE c.content_hash IN (SELECT r.content_hash FROM pg_temp.siglip_new_results AS r WHERE r.width IS NULL)
ORDER BY c.content_hash
FOR KEY SHARE;

-- name: insert_image_embeddings
-- Stores the vectors; a content that has one keeps it.
INSERT INTO siglip.image_embeddings (model_id, content_id, embedding)
SELECT DISTINCT ON (c.content_id) %(model_id)s::integer, c.content_id, r.embedding
FROM pg_temp.siglip_new_results AS r
JOIN siglip.contents AS c USING (content_hash)
WHERE r.embedding IS NOT NULL
ORDER BY c.content_id
ON CONFLICT DO NOTHING;

-- name: update_completed_images
-- Stores which content each image has, and what was read of it for its metadata, where that changed.
UPDATE siglip.images AS i
SET content_id = c.content_id, metadata = i.metadata || coalesce(r.metadata, '{}'), updated_at = now()
FROM pg_temp.siglip_new_results AS r
JOIN siglip.contents AS c USING (content_hash)
WHERE i.image_id = r.image_id AND (i.content_id IS DISTINCT FROM c.content_id OR NOT i.metadata @> coalesce(r.metadata, '{}'));

-- name: close_completed_items
-- Marks the items as done whose content has a vector now, and queues the others again; returns the new state of each.
UPDATE siglip.ingest_items AS t
SET state = n.state, attempts = CASE n.state WHEN 'done' THEN t.attempts ELSE greatest(0, t.attempts - 1) END,
    is_suspect = t.is_suspect AND n.state <> 'done', lease_token = NULL, worker_id = NULL, error_code = NULL, error_message = NULL,
    updated_at = now()
FROM (
    SELECT r.item_id, CASE WHEN e.content_id IS NULL THEN 'queued' ELSE 'done' END AS state
    FROM pg_temp.siglip_new_results AS r
    LEFT JOIN siglip.contents AS c USING (content_hash)
    LEFT JOIN siglip.image_embeddings AS e ON e.model_id = %(model_id)s AND e.content_id = c.content_id
) AS n
WHERE t.item_id = n.item_id
RETURNING t.state;

-- name: keep_labels
-- Writes the kept labels of the images that are done, in the transaction that brings their vectors.
SELECT siglip.keep_arrived(model_id => %(model_id)s::integer, content_ids => ARRAY(
    SELECT c.content_id FROM siglip.contents AS c
    WHERE c.content_hash IN (SELECT r.content_hash FROM pg_temp.siglip_new_results AS r)));

-- name: fail_items
-- Marks items of a claim as failed, or queues them again after a pause; returns the new state of each. failed_ids, lease_tokens, codes,
-- messages and pauses_s have one length; pauses_s are seconds, NULL where another attempt can't help.
UPDATE siglip.ingest_items AS t
SET state = CASE WHEN f.pause_s IS NULL OR t.attempts >= %(max_attempts)s THEN 'failed' ELSE 'queued' END,
    is_suspect = false, not_before = clock_timestamp() + pg_catalog.make_interval(secs => coalesce(f.pause_s, 0)),
    lease_token = NULL, worker_id = NULL, error_code = f.code, error_message = f.message, updated_at = now()
FROM unnest(%(failed_ids)s::bigint[], %(lease_tokens)s::uuid[], %(codes)s::text[], %(messages)s::text[],
            %(pauses_s)s::double precision[]) AS f (item_id, lease_token, code, message, pause_s)
WHERE t.item_id = f.item_id AND t.state = 'claimed' AND t.lease_token = f.lease_token AND t.model_id = %(model_id)s
RETURNING t.state;

-- name: release_strays
-- Queues, as if they had not been claimed, the items that a worker has under other tokens than known_tokens. Returns the model of each.
WITH held AS MATERIALIZED (
    SELECT t.item_id FROM siglip.ingest_items AS t
    WHERE t.state = 'claimed' AND t.worker_id = %(worker_id)s AND t.lease_token <> ALL (%(known_tokens)s::uuid[])
    ORDER BY t.image_id, t.model_id
    FOR NO KEY UPDATE
)
UPDATE siglip.ingest_items AS t
SET state = 'queued', attempts = greatest(0, t.attempts - 1), lease_token = NULL, worker_id = NULL, updated_at = now()
FROM held AS h
WHERE t.item_id = h.item_id
RETURNING t.model_id;

-- name: disown_items
-- Gives the items of a worker's claims to a worker that doesn't exist, so that requeue_lost takes them.
WITH held AS MATERIALIZED (
    SELECT t.item_id FROM siglip.ingest_items AS t
    WHERE t.state = 'claimed' AND t.worker_id = %(worker_id)s AND t.lease_token = ANY (%(lease_tokens)s::uuid[])
    ORDER BY t.image_id, t.model_id
    FOR NO KEY UPDATE
)
UPDATE siglip.ingest_items AS t SET worker_id = gen_random_uuid() FROM held AS h WHERE t.item_id = h.item_id;

-- name: count_all_items
-- Counts the items of a model, or of all where model_id is NULL; a state and its count a row.
SELECT t.state, count(*)
FROM siglip.ingest_items AS t
WHERE %(model_id)s::integer IS NULL OR t.model_id = %(model_id)s::integer
GROUP BY t.state;
