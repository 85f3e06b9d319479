-- Purpose: the label scores of an image vector that isn't stored.
-- Parameters: embedding as text; name of the label set.
-- A row means: a label and its score, best first.
SELECT l.label, siglip.score(c.similarity, m.logit_scale, m.logit_bias)
FROM siglip.models AS m
JOIN siglip.label_embeddings AS v USING (model_id)
JOIN siglip.labels AS l USING (label_id)
JOIN siglip.label_sets AS s USING (label_set_id)
CROSS JOIN LATERAL (
    SELECT greatest(-1::double precision, least(1::double precision, -(v.embedding <#> %(embedding)s::text::halfvec))) AS similarity
    OFFSET 0
) AS c
WHERE m.is_active AND s.name = %(name)s
ORDER BY c.similarity DESC, l.label
