-- name: calibrate_label
-- Marks images for a label and fits its scores to all marks, under the active model.
SELECT c.scale, c.bias, c.threshold, c.positives, c.negatives, c.precision, c.recall, c.log_loss_before, c.log_loss_after,
       c.guaranteed_precision, c.version, c.note
FROM siglip.calibrate(
    %(label_set)s::text, %(label)s::text, %(positives)s::bigint[], %(negatives)s::bigint[], %(min_precision)s::double precision,
    %(confidence)s::double precision) AS c;

-- name: make_label_from_images
-- Makes a label out of images, without words, or teaches it more.
SELECT c.scale, c.bias, c.threshold, c.positives, c.negatives, c.precision, c.recall, c.log_loss_before, c.log_loss_after,
       c.guaranteed_precision, c.version, c.note
FROM siglip.label_from_images(%(label_set)s::text, %(label)s::text, %(positives)s::bigint[], %(negatives)s::bigint[]) AS c;

-- name: suggest_examples
-- Names unmarked images whose marks would teach a label most.
SELECT s.image_id, s.uri, s.score, s.calibrated_score, s.is_accepted, s.reason
FROM siglip.suggest_examples(%(label_set)s::text, %(label)s::text, %(limit)s::integer, %(only_accepted)s::boolean) AS s;

-- name: explain_score
-- Says why an image has a label or not.
SELECT x.similarity, x.logit, x.score, x.calibrated_score, x.threshold, x.is_accepted, x.mark, x.percentile, x.is_percentile_exact,
       x.label_rank, x.label_count, x.nearest_marked, x.explanation
FROM siglip.explain_score(%(image_id)s::bigint, %(label_set)s::text, %(label)s::text) AS x;

-- name: list_calibrations
-- Lists the calibrations of a label under the active model, the newest first.
SELECT c.version, c.is_current, c.scale, c.bias, c.threshold, c.positives, c.negatives, c.precision, c.recall, c.guaranteed_precision,
       c.note, c.created_at, c.created_by
FROM siglip.calibrations(%(label_set)s::text, %(label)s::text) AS c;

-- name: use_calibration
-- Makes an earlier or later calibration of a label the current one; 0 is the model's own scores.
SELECT siglip.use_calibration(%(label_set)s::text, %(label)s::text, %(version)s::integer);
