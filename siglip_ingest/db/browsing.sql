-- name: list_collections
-- Lists the collections and how many images each has, by name.
SELECT i.collection, count(*) FROM siglip.images AS i GROUP BY i.collection ORDER BY i.collection;

-- name: describe_images
-- Describes images by their ids, in the order of image_ids; its ledger is that of the active model, NULL where it isn't queued there.
SELECT i.image_id, i.uri, i.collection, i.key, i.metadata, c.width, c.height, c.format, i.created_at, i.source_version, i.content_id,
       m.model_id IS NOT NULL AND EXISTS (
           SELECT FROM siglip.image_embeddings AS e WHERE e.model_id = m.model_id AND e.content_id = i.content_id),
       t.state, t.error_code, t.error_message
FROM pg_catalog.unnest(%(image_ids)s::bigint[]) WITH ORDINALITY AS wanted (image_id, place)
JOIN siglip.images AS i USING (image_id)
LEFT JOIN siglip.contents AS c USING (content_id)
LEFT JOIN siglip.models AS m ON m.is_active
LEFT JOIN siglip.ingest_items AS t ON t.image_id = i.image_id AND t.model_id = m.model_id
ORDER BY wanted.place;

-- name: list_image_ids
-- Lists the ids of images, the last added first, behind after_id; narrowed to a collection, to metadata, to some ids and to a state
-- under the active model, where these aren't NULL; without those that failed there, where exclude_failed is true.
SELECT i.image_id
FROM siglip.images AS i
WHERE (%(after_id)s::bigint IS NULL OR i.image_id < %(after_id)s::bigint)
  AND (%(collection)s::text IS NULL OR i.collection = %(collection)s::text)
  AND (%(filter)s::jsonb IS NULL OR i.metadata @> %(filter)s::jsonb)
  AND (%(image_ids)s::bigint[] IS NULL OR i.image_id = ANY (%(image_ids)s::bigint[]))
  AND (%(state)s::text IS NULL OR EXISTS (
      SELECT FROM siglip.ingest_items AS t
      WHERE t.image_id = i.image_id AND t.state = %(state)s::text
        AND t.model_id = (SELECT m.model_id FROM siglip.models AS m WHERE m.is_active)))
  AND (NOT %(exclude_failed)s::boolean OR NOT EXISTS (
      SELECT FROM siglip.ingest_items AS t
      WHERE t.image_id = i.image_id AND t.state = 'failed'
        AND t.model_id = (SELECT m.model_id FROM siglip.models AS m WHERE m.is_active)))
ORDER BY i.image_id DESC
LIMIT %(limit)s::integer;

-- name: count_listed_images
-- Counts the images that list_image_ids lists from the beginning.
SELECT count(*)
FROM siglip.images AS i
WHERE (%(collection)s::text IS NULL OR i.collection = %(collection)s::text)
  AND (%(filter)s::jsonb IS NULL OR i.metadata @> %(filter)s::jsonb)
  AND (%(image_ids)s::bigint[] IS NULL OR i.image_id = ANY (%(image_ids)s::bigint[]))
  AND (%(state)s::text IS NULL OR EXISTS (
      SELECT FROM siglip.ingest_items AS t
      WHERE t.image_id = i.image_id AND t.state = %(state)s::text
        AND t.model_id = (SELECT m.model_id FROM siglip.models AS m WHERE m.is_active)))
  AND (NOT %(exclude_failed)s::boolean OR NOT EXISTS (
      SELECT FROM siglip.ingest_items AS t
      WHERE t.image_id = i.image_id AND t.state = 'failed'
        AND t.model_id = (SELECT m.model_id FROM siglip.models AS m WHERE m.is_active)));

-- name: date_images
-- Dates images: ISO 8601 in UTC, to be compared as text: when they were taken where their metadata say so, else when they were added.
-- Rows of image_id and date.
SELECT i.image_id,
       pg_catalog.to_char(
           CASE WHEN i.metadata ->> 'taken_at' ~ '^[0-9]{4}-[0-9]{2}-[0-9]{2}'
                     AND pg_catalog.pg_input_is_valid(i.metadata ->> 'taken_at', 'timestamptz')
                THEN (i.metadata ->> 'taken_at')::timestamptz ELSE i.created_at END AT TIME ZONE 'UTC',
           'YYYY-MM-DD"T"HH24:MI:SS.US')
FROM siglip.images AS i
WHERE i.image_id = ANY (%(image_ids)s::bigint[]);

-- name: get_vectors
-- Returns the vectors of images under the active model, as rows of image_id and vector; none for what isn't embedded.
SELECT i.image_id, e.embedding
FROM siglip.images AS i
JOIN siglip.image_embeddings AS e
    ON e.content_id = i.content_id AND e.model_id = (SELECT m.model_id FROM siglip.models AS m WHERE m.is_active)
WHERE i.image_id = ANY (%(image_ids)s::bigint[]);

-- name: change_metadata
-- Merges metadata into those of images, and takes keys out; returns how many images changed.
WITH wanted AS MATERIALIZED (
    SELECT i.image_id, (i.metadata || %(metadata)s::jsonb) - %(removed)s::text[] AS metadata
    FROM siglip.images AS i
    WHERE i.image_id = ANY (%(image_ids)s::bigint[])
    ORDER BY i.collection, i.uri
    FOR NO KEY UPDATE
)
UPDATE siglip.images AS i
SET metadata = w.metadata, updated_at = now()
FROM wanted AS w
WHERE i.image_id = w.image_id AND i.metadata <> w.metadata;

-- name: find_source
-- Returns where an image is: uri, source_version, and whether the database holds its bytes.
SELECT i.uri, i.source_version, EXISTS (SELECT FROM siglip.image_bytes AS b WHERE b.image_id = i.image_id)
FROM siglip.images AS i
WHERE i.image_id = %(image_id)s::bigint;

-- name: has_collection
-- Returns whether a collection has images.
SELECT EXISTS (SELECT FROM siglip.images AS i WHERE i.collection = %(collection)s);

-- name: list_collection_names
-- Lists some collections by name, from one entry of the index to the next: all images aren't read.
WITH RECURSIVE names AS (
    (SELECT i.collection, 1 AS place FROM siglip.images AS i ORDER BY i.collection LIMIT 1)
    UNION ALL
    SELECT l.collection, n.place + 1
    FROM names AS n
    CROSS JOIN LATERAL (
        SELECT i.collection FROM siglip.images AS i WHERE i.collection > n.collection ORDER BY i.collection LIMIT 1
    ) AS l
    WHERE n.place < %(max_results)s
)
SELECT n.collection FROM names AS n ORDER BY n.place;
