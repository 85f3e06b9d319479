-- Purpose: marks, by which people say which images have a label and which don't.
-- Parameters: a label by name; ids of images that have it, that don't, and that are no longer marked; who says so.
-- A row means: an image with a label, or marked as without (siglip.labeled_images).

-- Images are locked before their labels, in the order in which they are always locked; a role that may not lock them goes without, and one of
-- two that would wait for each other begins again.
CREATE FUNCTION siglip.mark_images(
    label_set text,
    label     text,
    positives bigint[] DEFAULT NULL,
    negatives bigint[] DEFAULT NULL,
    unmark    bigint[] DEFAULT NULL,
    marked_by text DEFAULT current_user
) RETURNS integer
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, siglip, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    of_label  siglip.labels := siglip.find_label(mark_images.label_set, mark_images.label);
    named     constant bigint[] := coalesce(mark_images.positives, '{}') || coalesce(mark_images.negatives, '{}') || coalesce(mark_images.unmark, '{}');
    wrong     bigint;
    new_ids   bigint[];
    marked    integer;
    unmarked  bigint[];
BEGIN
    PERFORM siglip.check_label_name('marked_by', mark_images.marked_by);
    IF cardinality(mark_images.unmark) > 0 THEN
        PERFORM pg_advisory_xact_lock_shared(siglip.kept_labels_lock());  -- before any row: siglip.refresh_labels takes it first, too
    END IF;
    SELECT n INTO wrong FROM (SELECT DISTINCT unnest(a) AS n FROM (VALUES (mark_images.positives), (mark_images.negatives), (mark_images.unmark)) AS v (a)
                              WHERE a IS NOT NULL) AS u
    WHERE (SELECT count(*) FROM (VALUES (mark_images.positives), (mark_images.negatives), (mark_images.unmark)) AS v (a) WHERE u.n = ANY (v.a)) > 1 LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'The image % is in two of positives, negatives and unmark.', wrong
            USING ERRCODE = 'invalid_parameter_value', HINT = 'An image has the label or has it not.';
    END IF;
    IF has_table_privilege('siglip.images', 'UPDATE') THEN
        PERFORM FROM siglip.images AS i WHERE i.image_id = ANY (named) ORDER BY i.collection, i.uri FOR KEY SHARE;
    END IF;
    SELECT n INTO wrong FROM unnest(named) AS n
    WHERE n IS NULL OR NOT EXISTS (SELECT FROM siglip.images AS i WHERE i.image_id = n) LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'There is no image %.', coalesce(wrong::text, 'NULL')
            USING ERRCODE = 'no_data_found', HINT = 'SELECT image_id, uri FROM siglip.images shows what there is.';
    END IF;

    -- All rows in one order, so that two who mark the same images can't wait for each other.
    PERFORM FROM siglip.image_labels AS r WHERE r.label_id = of_label.label_id AND r.image_id = ANY (named) ORDER BY r.image_id FOR NO KEY UPDATE;
    new_ids := ARRAY(SELECT DISTINCT n FROM unnest(mark_images.positives) AS n WHERE NOT EXISTS (
        SELECT FROM siglip.image_labels AS r WHERE r.label_id = of_label.label_id AND r.image_id = n AND r.is_accepted) ORDER BY n);
    INSERT INTO siglip.image_labels AS r (label_id, image_id, is_accepted, marked_by)
    SELECT DISTINCT ON (n.image_id) of_label.label_id, n.image_id, n.is_accepted, mark_images.marked_by
    FROM (SELECT unnest(mark_images.positives), true UNION ALL SELECT unnest(mark_images.negatives), false) AS n (image_id, is_accepted)
    ORDER BY n.image_id
    ON CONFLICT (label_id, image_id) DO UPDATE
    SET is_accepted = excluded.is_accepted, marked_by = excluded.marked_by, updated_at = now()
    WHERE r.marked_by IS NULL OR r.is_accepted <> excluded.is_accepted;
    GET DIAGNOSTICS marked = ROW_COUNT;
    IF cardinality(new_ids) > 0 AND EXISTS (SELECT FROM siglip.label_sets AS s WHERE s.label_set_id = of_label.label_set_id AND s.is_kept) THEN
        PERFORM siglip.notify_labels(mark_images.label_set, of_label.label, new_ids);
    END IF;
    WITH gone AS (
        DELETE FROM siglip.image_labels AS r
        WHERE r.label_id = of_label.label_id AND r.image_id = ANY (mark_images.unmark) AND r.marked_by IS NOT NULL
        RETURNING r.image_id
    )
    SELECT array_agg(g.image_id) INTO unmarked FROM gone AS g;
    IF unmarked IS NOT NULL THEN  -- now the model decides: of this label alone, and its rows are locked
        PERFORM siglip.keep_contents(p.model_id, ARRAY(
            SELECT i.content_id FROM siglip.images AS i WHERE i.image_id = ANY (unmarked) AND i.content_id IS NOT NULL), ARRAY[p.label_id])
        FROM siglip.label_progress AS p WHERE p.label_id = of_label.label_id;
    END IF;
    RETURN marked + coalesce(cardinality(unmarked), 0);
END
$$;

COMMENT ON FUNCTION siglip.mark_images(text, text, bigint[], bigint[], bigint[], text)
    IS 'Say which images have a label and which don''t, or take that back (unmark); a mark wins over the model. Returns how many changed: one that says what an earlier one said stays that one''s.
Example: SELECT siglip.mark_images(''scenes'', ''sunset'', positives => ''{6}'', negatives => ''{7,8}'');';

CREATE VIEW siglip.labeled_images WITH (security_invoker = true) AS
SELECT i.image_id, i.uri, i.collection, s.name AS label_set, l.label, r.is_accepted, r.score, r.marked_by, r.model_id, r.updated_at, i.metadata
FROM siglip.image_labels AS r
JOIN siglip.labels AS l USING (label_id)
JOIN siglip.label_sets AS s USING (label_set_id)
JOIN siglip.images AS i USING (image_id);

COMMENT ON VIEW siglip.labeled_images
    IS 'One row is a label that an image has, kept by the model or marked by a person, or a mark that it hasn''t: siglip.image_labels with names.';
