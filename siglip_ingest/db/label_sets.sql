-- name: create_label_set
-- Makes a label set of labels with their prompts, a JSON object; returns its key.
SELECT siglip.create_label_set(
    %(name)s, template => %(template)s, keep => %(keep)s::boolean, prompts => %(prompts)s::json, replace => %(replace)s
);

-- name: list_label_ids
-- Lists the keys of a set's labels, in order.
SELECT l.label_id FROM siglip.labels AS l WHERE l.label_set_id = %(label_set_id)s ORDER BY l.position;

-- name: get_template
-- Returns what makes the prompts of a set's labels; no row where there is no such set.
SELECT s.template FROM siglip.label_sets AS s WHERE s.name = %(label_set)s;

-- name: add_label
-- Adds a label to a set; returns its key.
SELECT siglip.add_label(%(label_set)s, %(label)s, %(prompts)s::text[], %(threshold)s::double precision);

-- name: change_label
-- Gives a label another name, other prompts or another place.
SELECT siglip.change_label(%(label_set)s, %(label)s, %(new_label)s::text, %(prompts)s::text[], %(place)s::integer);

-- name: set_template
-- Changes what makes the prompts of a set's labels; returns how many follow.
SELECT siglip.set_template(%(label_set)s, %(template)s);

-- name: set_threshold
-- Sets the score from which images have a label.
SELECT siglip.set_threshold(%(label_set)s, %(label)s, %(threshold)s::double precision);

-- name: remove_label
-- Takes a label out of its set.
SELECT siglip.remove_label(%(label_set)s, %(label)s);

-- name: rename_label_set
-- Gives a label set another name.
SELECT siglip.rename_label_set(%(label_set)s, %(new_name)s);

-- name: keep_labels
-- Says whether siglip.image_labels has rows of a set's labels.
SELECT siglip.keep_labels(%(label_set)s, %(keep)s::boolean);

-- name: drop_label_set
-- Deletes a label set, with all that is known of its labels.
SELECT siglip.drop_label_set(%(label_set)s);

-- name: mark_images
-- Marks images with a label, or as without; returns how many changed.
SELECT siglip.mark_images(
    %(label_set)s, %(label)s, %(positives)s::bigint[], %(negatives)s::bigint[], %(unmark)s::bigint[],
    coalesce(%(marked_by)s::text, current_user::text)
);

-- name: list_label_status
-- Lists the labels of a set, or of all where label_set is NULL: the models under which each has a vector, or none yet, why others have none, and
-- how far its kept rows are.
SELECT t.label_set, t.label, t.prompts, t.threshold, t.is_by_example, t.is_kept,
       coalesce(pg_catalog.array_agg(t.model ORDER BY t.model_id) FILTER (WHERE t.has_vector), '{}'),
       coalesce(pg_catalog.array_agg(t.model ORDER BY t.model_id) FILTER (
           WHERE NOT t.has_vector AND t.refusal IS NULL AND t.model_id IS NOT NULL), '{}'),
       coalesce(pg_catalog.jsonb_object_agg(t.model, t.refusal) FILTER (WHERE t.refusal IS NOT NULL), '{}'),
       pg_catalog.min(c.state), pg_catalog.min(c.share)
FROM siglip.label_status AS t
LEFT JOIN siglip.label_coverage AS c ON c.label_set = t.label_set AND c.label = t.label
WHERE %(label_set)s::text IS NULL OR t.label_set = %(label_set)s::text
GROUP BY t.label_id, t.label_set, t.position, t.label, t.prompts, t.threshold, t.is_by_example, t.is_kept
ORDER BY t.label_set, t.position;

-- name: list_labeled_images
-- Lists the images that have a label, or that a person says have it not, best first; those that only a person has looked at come first.
SELECT i.image_id, i.uri, i.is_accepted, i.score, i.marked_by, i.updated_at, i.metadata
FROM siglip.labeled_images AS i
WHERE i.label_set = %(label_set)s AND i.label = %(label)s AND i.is_accepted = %(is_accepted)s
  AND (NOT %(only_marked)s OR i.marked_by IS NOT NULL)
ORDER BY i.score DESC NULLS FIRST, i.image_id
LIMIT %(limit)s;

-- name: check_label
-- Returns a label's key; an error where there is no such set or label.
SELECT l.label_id FROM siglip.find_label(%(label_set)s, %(label)s) AS l;

-- name: count_marks
-- Counts the marks of people that the labels of a set have.
SELECT pg_catalog.count(*)
FROM siglip.label_sets AS s
JOIN siglip.labels AS l ON l.label_set_id = s.label_set_id
JOIN siglip.image_labels AS r ON r.label_id = l.label_id
WHERE s.name = %(name)s AND r.marked_by IS NOT NULL;
