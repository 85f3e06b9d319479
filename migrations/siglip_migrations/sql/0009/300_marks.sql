-- Purpose: what people say of images: that they have a label, or that they have it not.
-- Parameters: label_set and label by name; positives, negatives and unmark: image_ids, NULL or empty for none; marked_by: who says it.
-- A row means: as before.

CREATE FUNCTION siglip.find_label(label_set text, label text) RETURNS siglip.labels
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, siglip, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    found_label siglip.labels;
BEGIN
    SELECT l.* INTO found_label
    FROM siglip.labels AS l
    JOIN siglip.label_sets AS s USING (label_set_id)
    WHERE s.name = find_label.label_set AND l.label = find_label.label;
    IF NOT FOUND THEN
        IF NOT EXISTS (SELECT FROM siglip.label_sets AS s WHERE s.name = find_label.label_set) THEN
            RAISE EXCEPTION 'There is no label set %.', coalesce(quote_literal(find_label.label_set), 'NULL')
                USING ERRCODE = 'no_data_found', HINT = 'SELECT name FROM siglip.label_sets shows what there is.';
        END IF;
        RAISE EXCEPTION 'There is no label % in the label set %.', coalesce(quote_literal(find_label.label), 'NULL'),
            quote_literal(find_label.label_set)
            USING ERRCODE = 'no_data_found', HINT = 'SELECT label_set, label FROM siglip.label_status shows what there is.';
    END IF;
    RETURN found_label;
END
$$;

COMMENT ON FUNCTION siglip.find_label(text, text) IS 'The row of a label, by the names of its set and its own; an error where there is none.
Example: SELECT * FROM siglip.find_label(''scenes'', ''sunset'');';

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
    found_label siglip.labels := siglip.find_label(label_set, label);
    image_ids   bigint[] := coalesce(positives, '{}') || coalesce(negatives, '{}') || coalesce(unmark, '{}');
    wrong_id    bigint;
    changed     integer;
    removed     integer;
BEGIN
    IF coalesce(btrim(mark_images.marked_by), '') = '' THEN
        RAISE EXCEPTION 'marked_by is empty.'
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Leave it out for the name of the role, or say who marks.';
    ELSIF array_position(image_ids, NULL) IS NOT NULL THEN
        RAISE EXCEPTION 'An image_id is NULL.'
            USING ERRCODE = 'invalid_parameter_value', HINT = 'positives, negatives and unmark are arrays of image_ids.';
    END IF;
    SELECT u.image_id INTO wrong_id
    FROM (SELECT DISTINCT p.kind, p.image_id
          FROM (SELECT 1 AS kind, unnest(positives) AS image_id UNION ALL SELECT 2, unnest(negatives) UNION ALL SELECT 3, unnest(unmark)) AS p) AS u
    GROUP BY u.image_id HAVING count(*) > 1
    ORDER BY u.image_id LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'Image % is in more than one of positives, negatives and unmark.', wrong_id
            USING ERRCODE = 'invalid_parameter_value', HINT = 'An image has a label, or has it not, or nobody has said.';
    END IF;
    -- A label that is changed now keeps its key: nobody waits for that. One that is being removed is waited for.
    PERFORM FROM siglip.labels AS l WHERE l.label_id = found_label.label_id FOR KEY SHARE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'The label % was removed meanwhile.', quote_literal(mark_images.label) USING ERRCODE = 'no_data_found';
    END IF;
    -- The images before their labels, in the order in which images are always locked.
    PERFORM FROM siglip.images AS i WHERE i.image_id = ANY (image_ids) ORDER BY i.collection, i.uri FOR KEY SHARE;
    SELECT u.image_id INTO wrong_id
    FROM unnest(image_ids) AS u (image_id)
    WHERE NOT EXISTS (SELECT FROM siglip.images AS i WHERE i.image_id = u.image_id)
    ORDER BY u.image_id LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'There is no image %.', wrong_id
            USING ERRCODE = 'no_data_found', HINT = 'Give image_ids as siglip.images and the searches show them.';
    END IF;
    PERFORM FROM siglip.image_labels AS r
    WHERE r.label_id = found_label.label_id AND r.image_id = ANY (image_ids)
    ORDER BY r.image_id FOR NO KEY UPDATE;
    INSERT INTO siglip.image_labels AS r (label_id, image_id, is_accepted, marked_by)
    SELECT DISTINCT found_label.label_id, u.image_id, u.is_accepted, mark_images.marked_by
    FROM (SELECT unnest(positives) AS image_id, true AS is_accepted UNION ALL SELECT unnest(negatives), false) AS u
    ORDER BY u.image_id
    ON CONFLICT (label_id, image_id) DO UPDATE
    SET is_accepted = excluded.is_accepted, marked_by = excluded.marked_by, updated_at = now()
    WHERE (r.is_accepted, r.marked_by) IS DISTINCT FROM (excluded.is_accepted, excluded.marked_by);
    GET DIAGNOSTICS changed = ROW_COUNT;
    DELETE FROM siglip.image_labels AS r
    WHERE r.label_id = found_label.label_id AND r.image_id = ANY (unmark) AND r.marked_by IS NOT NULL;
    GET DIAGNOSTICS removed = ROW_COUNT;
    RETURN changed + removed;
END
$$;

COMMENT ON FUNCTION siglip.mark_images(text, text, bigint[], bigint[], bigint[], text)
    IS 'Say of images that they have a label (positives), have it not (negatives), or that it is the model''s to decide again (unmark); returns how many marks that changed. A mark wins over the model.
Example: SELECT siglip.mark_images(''scenes'', ''sunset'', positives => ''{6,7}'', negatives => ''{8}'');';
