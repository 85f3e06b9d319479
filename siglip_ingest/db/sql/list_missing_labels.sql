-- Purpose: the labels that a model has no vector of.
-- Parameters: model_id.
-- A row means: a label and its prompts.
SELECT l.label_id, l.prompts
FROM siglip.labels AS l
WHERE NOT EXISTS (
    SELECT FROM siglip.label_embeddings AS v WHERE v.label_id = l.label_id AND v.model_id = %(model_id)s
)
ORDER BY l.label_id
