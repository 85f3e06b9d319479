-- Purpose: claim the next queued items of a model; rows that another claim is at are skipped.
-- Parameters: worker_id, of a worker that is registered; model_id; limit; lease_token; takes_suspects.
-- A row means: one claimed item. A suspect is claimed alone, when its turn comes, by a worker that takes them.
WITH candidates AS MATERIALIZED (
    SELECT t.item_id, t.is_suspect
    FROM siglip.ingest_items AS t
    WHERE t.model_id = %(model_id)s AND t.state = 'queued' AND t.not_before <= now()
      AND (%(takes_suspects)s OR NOT t.is_suspect)
      AND EXISTS (SELECT FROM siglip.workers AS w WHERE w.worker_id = %(worker_id)s)
    ORDER BY t.item_id
    LIMIT %(limit)s
    FOR NO KEY UPDATE OF t SKIP LOCKED
), first AS (
    SELECT c.item_id, c.is_suspect FROM candidates AS c ORDER BY c.item_id LIMIT 1
), claimed AS (
    UPDATE siglip.ingest_items AS t
    SET state = 'claimed', attempts = t.attempts + 1, lease_token = %(lease_token)s, worker_id = %(worker_id)s,
        updated_at = now()
    FROM candidates AS c, first AS f
    WHERE t.item_id = c.item_id AND CASE WHEN f.is_suspect THEN c.item_id = f.item_id ELSE NOT c.is_suspect END
    RETURNING t.item_id, t.image_id, t.attempts, t.is_suspect
)
SELECT c.item_id, c.image_id, i.uri,
       EXISTS (SELECT FROM siglip.image_bytes AS b WHERE b.image_id = c.image_id) AS has_content, c.attempts, c.is_suspect
FROM claimed AS c
JOIN siglip.images AS i USING (image_id)
ORDER BY c.item_id
