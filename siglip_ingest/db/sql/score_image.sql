-- Purpose: the label scores of one indexed image.
-- Parameters: image_id; name of the label set.
-- A row means: a label and its score, best first.
SELECT v.label, v.score
FROM siglip.label_scores AS v
WHERE v.image_id = %(image_id)s AND v.label_set = %(name)s
ORDER BY v.similarity DESC, v.label
