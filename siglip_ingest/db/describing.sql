-- name: get_image
-- Returns what is known of an image; its state is that under model_id, NULL where nobody queued it there.
SELECT i.image_id, i.collection, i.uri, i.key, i.metadata, i.source_version, c.width, c.height, c.format,
       EXISTS (SELECT FROM siglip.image_embeddings AS e WHERE e.model_id = %(model_id)s::integer AND e.content_id = i.content_id),
       t.state, t.error_message
FROM siglip.images AS i
LEFT JOIN siglip.contents AS c USING (content_id)
LEFT JOIN siglip.ingest_items AS t ON t.image_id = i.image_id AND t.model_id = %(model_id)s::integer
WHERE i.image_id = %(image_id)s;

-- name: list_best_labels
-- Lists the labels, of all sets, that an image has the highest scores for, best first.
SELECT v.label_set, v.label, v.score
FROM siglip.label_scores AS v
WHERE v.image_id = %(image_id)s
ORDER BY v.score DESC NULLS LAST, v.similarity DESC, v.label_set, v.label
LIMIT %(max_results)s;

-- name: count_collections
-- Lists the collections with their numbers of images, the largest first.
SELECT i.collection, count(*) FROM siglip.images AS i GROUP BY i.collection ORDER BY count(*) DESC, i.collection LIMIT %(max_results)s;

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
