-- Purpose: queue what must be embedded again because its source has changed, under every model that had it.
-- Parameters: none.
-- A row means: no rows. A worker that still has such an item loses its claim: what it read is out of date.
UPDATE siglip.ingest_items AS t
SET state = 'queued', attempts = 0, is_suspect = false, not_before = now(), lease_token = NULL, worker_id = NULL,
    error_code = NULL, error_message = NULL, updated_at = now()
FROM siglip.images AS i
JOIN pg_temp.siglip_new_images AS n USING (collection, uri)
WHERE t.image_id = i.image_id AND n.is_changed
