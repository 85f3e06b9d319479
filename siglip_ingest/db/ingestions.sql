-- name: create_ingestion
-- Makes an ingestion of images under model_id, in one collection, or in several where it is NULL; returns its id.
INSERT INTO siglip.ingestions (model_id, collection) VALUES (%(model_id)s, %(collection)s) RETURNING ingestion_id;

-- name: delete_old_ingestions
-- Deletes a few of the ingestions that began more than days ago; their images stay.
DELETE FROM siglip.ingestions
WHERE ingestion_id IN (
    SELECT i.ingestion_id FROM siglip.ingestions AS i
    WHERE i.created_at < now() - pg_catalog.make_interval(days => %(days)s)
    ORDER BY i.created_at
    LIMIT 10
    FOR UPDATE SKIP LOCKED
);

-- name: add_images
-- Adds images to an ingestion, as its next part.
INSERT INTO siglip.ingestion_images (ingestion_id, part, image_ids)
SELECT %(ingestion_id)s, coalesce(pg_catalog.max(p.part) + 1, 0), %(image_ids)s::bigint[]
FROM siglip.ingestion_images AS p
WHERE p.ingestion_id = %(ingestion_id)s;

-- name: add_images_of_model
-- Adds all images that have an item under the ingestion's model, in its collection, or in all where that is NULL.
INSERT INTO siglip.ingestion_images (ingestion_id, part, image_ids)
SELECT %(ingestion_id)s, n.part, pg_catalog.array_agg(n.image_id ORDER BY n.image_id)
FROM (
    SELECT t.image_id, (pg_catalog.row_number() OVER (ORDER BY t.image_id) - 1) / 5000 AS part
    FROM siglip.ingest_items AS t
    JOIN siglip.images AS i USING (image_id)
    JOIN siglip.ingestions AS g ON g.ingestion_id = %(ingestion_id)s AND t.model_id = g.model_id
    WHERE g.collection IS NULL OR i.collection = g.collection
) AS n
GROUP BY n.part;

-- name: note_growth
-- Notes that an ingestion has grown; is_complete says whether that was all.
UPDATE siglip.ingestions SET grown_at = clock_timestamp(), is_complete = %(is_complete)s WHERE ingestion_id = %(ingestion_id)s;

-- name: hold_ingestion
-- Locks an ingestion against others that join it; returns a row where it is of the same model and collection as other_id.
SELECT g.ingestion_id
FROM siglip.ingestions AS g
JOIN siglip.ingestions AS o ON o.ingestion_id = %(other_id)s AND o.model_id = g.model_id AND o.collection = g.collection
WHERE g.ingestion_id = %(ingestion_id)s
FOR UPDATE OF g;

-- name: move_images
-- Moves the images of the ingestion other_id to the end of another one.
UPDATE siglip.ingestion_images AS p
SET ingestion_id = %(ingestion_id)s,
    part = p.part + (SELECT coalesce(pg_catalog.max(l.part) + 1, 0) FROM siglip.ingestion_images AS l WHERE l.ingestion_id = %(ingestion_id)s)
WHERE p.ingestion_id = %(other_id)s;

-- name: delete_ingestion
-- Deletes an ingestion; its images stay.
DELETE FROM siglip.ingestions WHERE ingestion_id = %(ingestion_id)s;

-- name: get_ingestion
-- Returns an ingestion: its model, whether all of its images are queued, and the seconds since it last grew.
SELECT g.model_id, g.is_complete, pg_catalog.date_part('epoch', clock_timestamp() - g.grown_at)
FROM siglip.ingestions AS g
WHERE g.ingestion_id = %(ingestion_id)s;

-- name: count_items
-- Counts the items of an ingestion; a state and its count a row. An image that was given twice counts once.
SELECT t.state, count(*)
FROM siglip.ingestions AS g
JOIN siglip.ingest_items AS t ON t.model_id = g.model_id
WHERE g.ingestion_id = %(ingestion_id)s
  AND t.image_id IN (SELECT pg_catalog.unnest(p.image_ids) FROM siglip.ingestion_images AS p WHERE p.ingestion_id = %(ingestion_id)s)
GROUP BY t.state;

-- name: list_failures
-- Lists the images of an ingestion that failed, and why.
SELECT t.image_id, i.uri, t.error_code, t.error_message
FROM siglip.ingestions AS g
JOIN siglip.ingest_items AS t ON t.model_id = g.model_id
JOIN siglip.images AS i USING (image_id)
WHERE g.ingestion_id = %(ingestion_id)s AND t.state = 'failed'
  AND t.image_id IN (SELECT pg_catalog.unnest(p.image_ids) FROM siglip.ingestion_images AS p WHERE p.ingestion_id = %(ingestion_id)s)
ORDER BY t.image_id;

-- name: list_image_ids
-- Lists the images of an ingestion in the order in which they were given, each once.
SELECT n.image_id
FROM (
    SELECT u.image_id, pg_catalog.min((p.part::bigint << 32) + u.position) AS position
    FROM siglip.ingestion_images AS p CROSS JOIN LATERAL pg_catalog.unnest(p.image_ids) WITH ORDINALITY AS u (image_id, position)
    WHERE p.ingestion_id = %(ingestion_id)s
    GROUP BY u.image_id
) AS n
ORDER BY n.position;

-- name: list_ingestions
-- Lists the newest ingestions, the newest first; or the one of ingestion_id, where that isn't NULL.
SELECT g.ingestion_id, m.name, g.collection, g.is_complete, g.created_at
FROM siglip.ingestions AS g JOIN siglip.models AS m USING (model_id)
WHERE %(ingestion_id)s::bigint IS NULL OR g.ingestion_id = %(ingestion_id)s::bigint
ORDER BY g.ingestion_id DESC
LIMIT %(limit)s;
