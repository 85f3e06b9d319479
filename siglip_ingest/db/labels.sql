-- name: list_missing_labels
-- Lists the labels that have no vector under a model and weren't refused by it, each with its prompts, and with what a model must be able to
-- read: the prompts, and the label where its set's template made the prompt.
SELECT l.label_id, l.prompts,
       CASE WHEN l.prompts = ARRAY[pg_catalog.replace(s.template, '{label}', l.label)] THEN l.prompts || l.label ELSE l.prompts END
FROM siglip.labels AS l
JOIN siglip.label_sets AS s USING (label_set_id)
WHERE NOT l.is_by_example
  AND NOT EXISTS (SELECT FROM siglip.label_embeddings AS v WHERE v.label_id = l.label_id AND v.model_id = %(model_id)s)
  AND NOT EXISTS (SELECT FROM siglip.label_refusals AS r WHERE r.label_id = l.label_id AND r.model_id = %(model_id)s)
ORDER BY l.label_id;

-- name: embed_example_labels
-- Makes the vectors that labels by example lack under a model, out of their marked images; returns how many.
SELECT siglip.embed_example_labels(%(model_id)s::integer);

-- name: hold_labels
-- Keeps labels from being deleted or changed until the transaction ends; returns those of label_ids that still exist, with their prompts.
SELECT l.label_id, l.prompts FROM siglip.labels AS l WHERE l.label_id = ANY (%(label_ids)s::integer[]) ORDER BY l.label_id FOR SHARE;

-- name: upsert_label_embedding
-- Stores a label's vector under a model, in place of an earlier one.
INSERT INTO siglip.label_embeddings (model_id, label_id, embedding)
VALUES (%(model_id)s, %(label_id)s, %(embedding)b)
ON CONFLICT (model_id, label_id) DO UPDATE SET embedding = excluded.embedding;

-- name: insert_label_refusal
-- Says why a model can't embed a label.
INSERT INTO siglip.label_refusals (model_id, label_id, refusal) VALUES (%(model_id)s, %(label_id)s, %(refusal)s)
ON CONFLICT (model_id, label_id) DO NOTHING;

-- name: list_label_refusals
-- Lists the labels of a set that a model can't embed, in order, and why.
SELECT l.label, r.refusal
FROM siglip.label_sets AS s
JOIN siglip.labels AS l USING (label_set_id)
JOIN siglip.label_refusals AS r USING (label_id)
WHERE s.name = %(name)s AND r.model_id = %(model_id)s
ORDER BY l.position;

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

-- name: refresh_labels
-- Does one step of bringing kept labels up to date; returns 0 where nothing is left, or somebody else does it.
SELECT siglip.refresh_labels();
