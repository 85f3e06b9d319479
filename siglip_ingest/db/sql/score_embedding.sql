-- Purpose: the label scores of an image vector that isn't stored.
-- Parameters: embedding; name of the label set; model_id.
-- A row means: a label and its score, best first.
SELECT r.label, r.score
FROM siglip.score_labels(query_embedding => %(embedding)b, label_set => %(name)s::text, model_id => %(model_id)s::integer) AS r
