-- name: renew_worker
-- Registers a worker, or notes that it is alive; after lease_s seconds without this it counts as lost.
INSERT INTO siglip.workers AS w (worker_id, model_id, node, lease_s, holds_lock)
VALUES (%(worker_id)s, %(model_id)s, %(node)s, %(lease_s)s, %(holds_lock)s)
ON CONFLICT (worker_id) DO UPDATE SET seen_at = clock_timestamp(), holds_lock = excluded.holds_lock;

-- name: hold_worker_lock
-- Takes the lock that shows that a worker's process lives, until the connection ends.
SELECT pg_catalog.pg_advisory_lock(1399416684, pg_catalog.hashtext(%(worker_id)s::text));

-- name: requeue_lost
-- Queues the items of lost workers again, or marks them as failed after max_attempts; returns how many of each. After a restart of
-- the server every worker has its lease once more. own_id, who asks, is not lost, however long it couldn't be heard; it may be NULL.
WITH lost AS (
    SELECT t.item_id
    FROM siglip.ingest_items AS t
    WHERE t.state = 'claimed' AND NOT EXISTS (
        SELECT FROM siglip.workers AS w
        WHERE w.worker_id = t.worker_id AND (siglip.is_alive(worker => w) OR w.worker_id = %(own_id)s::uuid)
    )
    ORDER BY t.image_id, t.model_id
    FOR NO KEY UPDATE OF t SKIP LOCKED
), taken AS (
    UPDATE siglip.ingest_items AS t
    SET state = CASE WHEN t.attempts >= %(max_attempts)s THEN 'failed' ELSE 'queued' END,
        is_suspect = true, not_before = now(), lease_token = NULL, worker_id = NULL, updated_at = now(),
        error_code = CASE WHEN t.attempts >= %(max_attempts)s THEN 'worker_lost' END,
        error_message = CASE WHEN t.attempts >= %(max_attempts)s
            THEN pg_catalog.format('Each of %%s workers that took this image ended before it was done.', t.attempts) END
    FROM lost AS l
    WHERE t.item_id = l.item_id
    RETURNING t.state, t.model_id
), woken AS (
    SELECT pg_catalog.pg_notify('siglip_ingest_items', m.model_id::text)
    FROM (SELECT DISTINCT model_id FROM taken WHERE state = 'queued') AS m
)
SELECT count(*) FILTER (WHERE state = 'queued'), count(*) FILTER (WHERE state = 'failed'), (SELECT count(*) FROM woken)
FROM taken;

-- name: delete_lost_workers
-- Deletes the lost workers whose items were taken back; returns the Celery name of each.
DELETE FROM siglip.workers AS w
WHERE NOT siglip.is_alive(worker => w)
  AND NOT EXISTS (SELECT FROM siglip.ingest_items AS t WHERE t.state = 'claimed' AND t.worker_id = w.worker_id)
RETURNING w.node;

-- name: delete_worker
-- Deletes a worker that has ended.
DELETE FROM siglip.workers WHERE worker_id = %(worker_id)s;

-- name: count_workers
-- Counts the workers that are alive, of a model, or of all where model_id is NULL.
SELECT count(*)
FROM siglip.workers AS w
WHERE (%(model_id)s::integer IS NULL OR w.model_id = %(model_id)s::integer)
  AND w.seen_at > clock_timestamp() - pg_catalog.make_interval(secs => w.lease_s);
