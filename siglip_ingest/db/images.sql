-- name: create_new_images
-- Makes the table that COPY fills; is_changed is NULL for an image that is new. It ends with the transaction, so that it works behind
-- a pooler too.
CREATE TEMPORARY TABLE IF NOT EXISTS siglip_new_images (
    position       integer,
    collection     text,
    uri            text,
    key            text,
    source_version text,
    metadata       jsonb,
    content        bytea,
    reads_exif     boolean,
    is_changed     boolean
) ON COMMIT DROP;

-- name: empty_new_images
-- Empties that table, for a second call in the same transaction.
TRUNCATE pg_temp.siglip_new_images;

-- name: copy_new_images
-- Sends the images, one a row, in the caller's order.
COPY pg_temp.siglip_new_images (position, collection, uri, key, source_version, metadata, content, reads_exif)
FROM STDIN;

-- name: mark_changed_images
-- Locks the images that are stored already, in the order of (collection, uri), and marks those whose source has changed, or whose
-- EXIF data are asked for now.
WITH existing AS (
    SELECT i.collection, i.uri, i.source_version, i.reads_exif
    FROM siglip.images AS i
    WHERE (i.collection, i.uri) IN (SELECT n.collection, n.uri FROM pg_temp.siglip_new_images AS n)
    ORDER BY i.collection, i.uri
    FOR NO KEY UPDATE
)
UPDATE pg_temp.siglip_new_images AS n
SET is_changed = n.source_version IS DISTINCT FROM e.source_version OR (n.reads_exif AND NOT e.reads_exif)
FROM existing AS e
WHERE n.collection = e.collection AND n.uri = e.uri;

-- name: upsert_images
-- Stores the images. Of a URI that was given twice the last one counts; an image that didn't change isn't written.
INSERT INTO siglip.images AS i (collection, uri, key, source_version, metadata, reads_exif)
SELECT DISTINCT ON (n.collection, n.uri) n.collection, n.uri, n.key, n.source_version, n.metadata, n.reads_exif
FROM pg_temp.siglip_new_images AS n
ORDER BY n.collection, n.uri, n.position DESC
ON CONFLICT (collection, uri) DO UPDATE
SET key = coalesce(excluded.key, i.key),
    source_version = excluded.source_version,
    metadata = i.metadata || excluded.metadata,
    reads_exif = i.reads_exif OR excluded.reads_exif,
    updated_at = now()
WHERE (i.key, i.source_version, i.metadata, i.reads_exif)
    IS DISTINCT FROM (
        coalesce(excluded.key, i.key), excluded.source_version, i.metadata || excluded.metadata, i.reads_exif OR excluded.reads_exif
    );

-- name: lock_new_items
-- Locks the items of those of these images that were stored already, under all models, in the order in which items are always locked.
SELECT t.item_id
FROM siglip.ingest_items AS t
WHERE t.image_id IN (
    SELECT i.image_id FROM siglip.images AS i JOIN pg_temp.siglip_new_images AS n USING (collection, uri) WHERE n.is_changed IS NOT NULL
)
ORDER BY t.image_id, t.model_id
FOR NO KEY UPDATE;

-- name: upsert_image_bytes
-- Stores the bytes of the images that were given as bytes.
INSERT INTO siglip.image_bytes AS b (image_id, content)
SELECT DISTINCT ON (i.image_id) i.image_id, n.content
FROM pg_temp.siglip_new_images AS n
JOIN siglip.images AS i USING (collection, uri)
WHERE n.content IS NOT NULL
ORDER BY i.image_id, n.position DESC
ON CONFLICT (image_id) DO UPDATE SET content = excluded.content WHERE b.content <> excluded.content;

-- name: requeue_changed_images
-- Queues the images whose source has changed, under every model that had them. A worker that is embedding one loses its claim: what
-- it read is out of date.
UPDATE siglip.ingest_items AS t
SET state = 'queued', attempts = 0, is_suspect = false, not_before = now(), lease_token = NULL, worker_id = NULL,
    error_code = NULL, error_message = NULL, updated_at = now()
FROM siglip.images AS i
JOIN pg_temp.siglip_new_images AS n USING (collection, uri)
WHERE t.image_id = i.image_id AND n.is_changed;

-- name: queue_new_images
-- Queues the images under model_id: those that have no item there, and those that had failed. Returns the image_id of each row of the
-- COPY, in the caller's order, and with each how many were queued.
WITH stored AS MATERIALIZED (
    SELECT n.position, i.image_id
    FROM pg_temp.siglip_new_images AS n
    JOIN siglip.images AS i USING (collection, uri)
), queued AS (
    INSERT INTO siglip.ingest_items AS t (image_id, model_id)
    SELECT DISTINCT s.image_id, %(model_id)s::integer
    FROM stored AS s
    ORDER BY s.image_id
    ON CONFLICT (image_id, model_id) DO UPDATE
    SET state = 'queued', attempts = 0, is_suspect = false, not_before = now(), error_code = NULL, error_message = NULL,
        updated_at = now()
    WHERE t.state = 'failed'
    RETURNING t.item_id
)
SELECT s.image_id, (SELECT count(*) FROM queued)
FROM stored AS s
ORDER BY s.position;

-- name: get_content
-- Returns the size in bytes of an image that was given as bytes, and its content: NULL where that is more than max_image_bytes.
SELECT pg_catalog.octet_length(content), CASE WHEN pg_catalog.octet_length(content) <= %(max_image_bytes)s THEN content END
FROM siglip.image_bytes
WHERE image_id = %(image_id)s;

-- name: get_origin
-- Returns where the bytes of an image are: its uri and source_version, and whether the database has them.
SELECT i.uri, i.source_version, EXISTS (SELECT FROM siglip.image_bytes AS b WHERE b.image_id = i.image_id)
FROM siglip.images AS i
WHERE i.image_id = %(image_id)s;

-- name: get_source_versions
-- Returns the source_version of some images; image_id and version a row.
SELECT i.image_id, i.source_version FROM siglip.images AS i WHERE i.image_id = ANY (%(image_ids)s::bigint[]);

-- name: delete_images
-- Deletes up to max_images of the images that all given conditions fit, with all that was made of them; returns how many.
SELECT siglip.delete_images(
    image_ids => %(image_ids)s::bigint[], uris => %(uris)s::text[], keys => %(keys)s::text[],
    collection => %(collection)s::text, filter => %(filter)s::jsonb, max_images => %(max_images)s::integer);

-- name: count_images
-- Returns how many images all given conditions fit.
SELECT siglip.count_images(
    image_ids => %(image_ids)s::bigint[], uris => %(uris)s::text[], keys => %(keys)s::text[],
    collection => %(collection)s::text, filter => %(filter)s::jsonb);

-- name: list_sources
-- Lists where the images of a collection are, or of all where it is NULL: image_id, uri, source_version, SHA-256 of the content; in the
-- order of their ids.
SELECT i.image_id, i.uri, i.source_version, c.content_hash
FROM siglip.images AS i LEFT JOIN siglip.contents AS c USING (content_id)
WHERE %(collection)s::text IS NULL OR i.collection = %(collection)s::text
ORDER BY i.image_id;

-- name: move_images
-- Gives images of a collection new places: image_ids, uris and source_versions have one length.
WITH moved AS MATERIALIZED (
    SELECT m.image_id, m.uri, m.source_version
    FROM unnest(%(image_ids)s::bigint[], %(uris)s::text[], %(source_versions)s::text[]) AS m (image_id, uri, source_version)
    JOIN siglip.images AS i USING (image_id)
    ORDER BY i.collection, i.uri
    FOR NO KEY UPDATE OF i
)
UPDATE siglip.images AS i
SET uri = m.uri, source_version = m.source_version, updated_at = now()
FROM moved AS m
WHERE i.image_id = m.image_id;
