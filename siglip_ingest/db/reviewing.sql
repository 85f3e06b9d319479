-- name: list_image_labels
-- Lists the scores of an image for every label under the active model, by set, best first; mark is what a person said, NULL where nobody did.
SELECT v.label_set, v.label, v.similarity, v.score, v.calibrated_score, v.threshold, v.is_accepted, r.is_accepted
FROM siglip.label_scores AS v
JOIN siglip.label_sets AS s ON s.name = v.label_set
JOIN siglip.labels AS l ON l.label_set_id = s.label_set_id AND l.label = v.label
LEFT JOIN siglip.image_labels AS r ON r.label_id = l.label_id AND r.image_id = v.image_id AND r.marked_by IS NOT NULL
WHERE v.image_id = %(image_id)s::bigint
ORDER BY v.label_set, v.calibrated_score DESC, v.label;

-- name: count_by_logit
-- Counts the images of a label by the logit of their calibrated scores, ln(score / (1 - score)): `bins` equal ones from -reach to reach;
-- bin 0 is what lies below, bins + 1 what lies above. Rows of bin, images, how many of these
-- have the label by their score, and how many reach the score `at`; without the empty ones.
SELECT pg_catalog.width_bucket(
           CASE WHEN v.calibrated_score <= 0 THEN '-Infinity' WHEN v.calibrated_score >= 1 THEN 'Infinity'
                ELSE pg_catalog.ln(v.calibrated_score / (1 - v.calibrated_score)) END,
           -%(reach)s::double precision, %(reach)s::double precision, %(bins)s::integer) AS bin,
       count(*), count(*) FILTER (WHERE v.is_accepted),
       count(*) FILTER (WHERE v.calibrated_score >= %(at)s::double precision)
FROM siglip.label_scores AS v
JOIN siglip.images AS i USING (image_id)
WHERE v.label_set = %(label_set)s AND v.label = %(label)s
  AND (%(collection)s::text IS NULL OR i.collection = %(collection)s::text)
GROUP BY bin
ORDER BY bin;

-- name: list_scored_images
-- Lists up to `limit` images of a label whose calibrated score lies in a range, best first, or nearest to `near` where that isn't NULL;
-- with the mark of a person, NULL where nobody has looked.
SELECT v.image_id, v.similarity, v.calibrated_score, v.is_accepted, r.is_accepted
FROM siglip.label_scores AS v
JOIN siglip.images AS i USING (image_id)
JOIN siglip.label_sets AS s ON s.name = v.label_set
JOIN siglip.labels AS l ON l.label_set_id = s.label_set_id AND l.label = v.label
LEFT JOIN siglip.image_labels AS r ON r.label_id = l.label_id AND r.image_id = v.image_id AND r.marked_by IS NOT NULL
WHERE v.label_set = %(label_set)s AND v.label = %(label)s
  AND v.calibrated_score BETWEEN %(min_score)s::double precision AND %(max_score)s::double precision
  AND (%(collection)s::text IS NULL OR i.collection = %(collection)s::text)
  AND (NOT %(only_marked)s::boolean OR r.image_id IS NOT NULL)
  AND (%(image_ids)s::bigint[] IS NULL OR v.image_id = ANY (%(image_ids)s::bigint[]))
ORDER BY pg_catalog.abs(v.calibrated_score - %(near)s::double precision), v.similarity DESC, v.image_id
LIMIT %(limit)s::integer;

-- name: get_threshold
-- Returns the calibrated score from which images have a label under the active model.
SELECT n.threshold
FROM siglip.named_labels(siglip.described_model(NULL), %(label_set)s::text, ARRAY[%(label)s::text], NULL) AS n;
