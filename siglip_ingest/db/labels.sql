-- name: upsert_label_set
-- Adds a label set, or replaces the one of that name with replace; no row where the name is taken. Two callers wait for each other.
INSERT INTO siglip.label_sets AS s (name, template) VALUES (%(name)s, %(template)s)
ON CONFLICT (name) DO UPDATE SET template = excluded.template WHERE %(replace)s
RETURNING s.label_set_id;

-- name: delete_labels
-- Deletes the labels of a label set, with their vectors.
DELETE FROM siglip.labels WHERE label_set_id = %(label_set_id)s;

-- name: insert_label
-- Adds a label to a label set; position counts from 0.
INSERT INTO siglip.labels (label_set_id, position, label, prompts)
VALUES (%(label_set_id)s, %(position)s, %(label)s, %(prompts)s)
RETURNING label_id;

-- name: list_missing_labels
-- Lists the labels that have no vector under a model, each with its prompts.
SELECT l.label_id, l.prompts
FROM siglip.labels AS l
WHERE NOT EXISTS (
    SELECT FROM siglip.label_embeddings AS v WHERE v.label_id = l.label_id AND v.model_id = %(model_id)s
)
ORDER BY l.label_id;

-- name: hold_labels
-- Keeps labels from being deleted until the transaction ends; returns those of label_ids that still exist.
SELECT l.label_id FROM siglip.labels AS l WHERE l.label_id = ANY (%(label_ids)s::integer[]) ORDER BY l.label_id FOR KEY SHARE;

-- name: upsert_label_embedding
-- Stores a label's vector under a model, in place of an earlier one.
INSERT INTO siglip.label_embeddings (model_id, label_id, embedding)
VALUES (%(model_id)s, %(label_id)s, %(embedding)b)
ON CONFLICT (model_id, label_id) DO UPDATE SET embedding = excluded.embedding;

-- name: list_label_sets
-- Lists the label set of that name, or all by name where it is NULL, each with its labels in order.
SELECT s.label_set_id, s.name, s.template,
       ARRAY(SELECT l.label FROM siglip.labels AS l WHERE l.label_set_id = s.label_set_id ORDER BY l.position)
FROM siglip.label_sets AS s
WHERE %(name)s::text IS NULL OR s.name = %(name)s::text
ORDER BY s.name;

-- name: score_image
-- Scores an indexed image against each label of a label set, best first.
SELECT v.label, v.score
FROM siglip.label_scores AS v
WHERE v.image_id = %(image_id)s AND v.label_set = %(name)s
ORDER BY v.similarity DESC, v.label;

-- name: is_image_embedded
-- Returns whether an image has a vector under a model.
SELECT EXISTS (
    SELECT
    FROM siglip.images AS i
    JOIN siglip.image_embeddings AS e USING (content_id)
    WHERE i.image_id = %(image_id)s AND e.model_id = %(model_id)s
);

-- name: score_embedding
-- Scores an image vector that isn't stored against each label of a label set, best first.
SELECT r.label, r.score
FROM siglip.score_labels(query_embedding => %(embedding)b, label_set => %(name)s::text, model_id => %(model_id)s::integer) AS r;

-- name: delete_label_set
-- Deletes a label set, with its labels and their vectors.
DELETE FROM siglip.label_sets WHERE name = %(name)s;
