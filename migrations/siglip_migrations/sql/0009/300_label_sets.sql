-- Purpose: label sets that are made, extended and changed in SQL; new prompts get their vectors from the workers of every kept model.
-- Parameters: label sets and labels by name; prompts, the texts whose mean stands for a label; template, which makes the prompt of a label without any.
-- A row means: nothing here has rows.

CREATE FUNCTION siglip.find_label(label_set text, label text) RETURNS siglip.labels
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, siglip, pg_temp
AS $$
DECLARE
    found_label siglip.labels;
BEGIN
    SELECT l.* INTO found_label
    FROM siglip.label_sets AS s JOIN siglip.labels AS l USING (label_set_id)
    WHERE s.name = find_label.label_set AND l.label = find_label.label;
    IF FOUND THEN
        RETURN found_label;
    ELSIF EXISTS (SELECT FROM siglip.label_sets AS s WHERE s.name = find_label.label_set) THEN
        RAISE EXCEPTION 'The label set % has no label %.', quote_literal(label_set), coalesce(quote_literal(label), 'NULL')
            USING ERRCODE = 'no_data_found', HINT = 'SELECT label FROM siglip.labels shows what there is.';
    END IF;
    RAISE EXCEPTION 'There is no label set %.', coalesce(quote_literal(label_set), 'NULL')
        USING ERRCODE = 'no_data_found', HINT = 'SELECT name FROM siglip.label_sets shows what there is.';
END
$$;

COMMENT ON FUNCTION siglip.find_label(text, text) IS 'The row of a label by the names of its set and its own; an error where there is none.
Example: SELECT label_id, prompts FROM siglip.find_label(''scenes'', ''sunset'');';

CREATE FUNCTION siglip.check_label_name(what text, name text) RETURNS void
LANGUAGE plpgsql IMMUTABLE
SET search_path = pg_catalog, siglip, pg_temp
AS $$
BEGIN
    IF name IS NULL OR btrim(name, E' \t\r\n') = '' THEN
        RAISE EXCEPTION '% is empty.', what USING ERRCODE = 'invalid_parameter_value', HINT = 'Give it a name, or a text that says something.';
    END IF;
END
$$;

COMMENT ON FUNCTION siglip.check_label_name(text, text) IS 'An error where a name or a text is NULL or empty.
Example: SELECT siglip.check_label_name(''A label'', ''sunset'');';

CREATE FUNCTION siglip.check_template(template text) RETURNS void
LANGUAGE plpgsql IMMUTABLE
SET search_path = pg_catalog, siglip, pg_temp
AS $$
BEGIN
    IF template IS NULL OR strpos(template, '{label}') = 0 THEN
        RAISE EXCEPTION 'The template % doesn''t contain {label}, where each label goes.', coalesce(quote_literal(template), 'NULL')
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Write for instance ''This is a photo of {label}.''.';
    END IF;
END
$$;

COMMENT ON FUNCTION siglip.check_template(text) IS 'An error where a template has no place for the label.
Example: SELECT siglip.check_template(''a photo of {label}'');';

CREATE FUNCTION siglip.make_prompts(label text, prompts text[], template text) RETURNS text[]
LANGUAGE plpgsql IMMUTABLE
SET search_path = pg_catalog, siglip, pg_temp
AS $$
DECLARE
    prompt text;
BEGIN
    PERFORM siglip.check_label_name('A label', label);
    IF coalesce(cardinality(prompts), 0) = 0 THEN
        RETURN ARRAY[replace(template, '{label}', label)];
    END IF;
    FOREACH prompt IN ARRAY prompts LOOP
        PERFORM siglip.check_label_name(format('A prompt of the label %s', quote_literal(label)), prompt);
    END LOOP;
    RETURN prompts;
END
$$;

COMMENT ON FUNCTION siglip.make_prompts(text, text[], text) IS 'The prompts of a label: its own, or the one that the template makes.
Example: SELECT siglip.make_prompts(''sunset'', NULL, ''This is a photo of {label}.'');';

-- Whoever changes a set holds its row, so that two changes of one set come one after the other; and its labels in the order in which workers
-- hold those that they embed.
CREATE FUNCTION siglip.hold_label_set(label_set text) RETURNS siglip.label_sets
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, siglip, pg_temp
AS $$
DECLARE
    found_set siglip.label_sets;
BEGIN
    SELECT s.* INTO found_set FROM siglip.label_sets AS s WHERE s.name = hold_label_set.label_set FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'There is no label set %.', coalesce(quote_literal(label_set), 'NULL')
            USING ERRCODE = 'no_data_found', HINT = 'SELECT name FROM siglip.label_sets shows what there is.';
    END IF;
    PERFORM FROM siglip.labels AS l WHERE l.label_set_id = found_set.label_set_id ORDER BY l.label_id FOR NO KEY UPDATE;
    RETURN found_set;
END
$$;

COMMENT ON FUNCTION siglip.hold_label_set(text) IS 'The row of a label set, which nobody else changes until the transaction ends, nor its labels; an error where there is none.
Example: SELECT template FROM siglip.hold_label_set(''scenes'');';

-- A label whose words have changed has no vector until a worker has embedded the new ones: no score is of words that are gone. The calibrations of
-- a label by example are of the similarities of images: words begin with the model's own scores again.
CREATE FUNCTION siglip.forget_label_vectors() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, siglip, pg_temp
AS $$
BEGIN
    DELETE FROM siglip.label_embeddings AS v WHERE v.label_id = NEW.label_id;
    DELETE FROM siglip.label_refusals AS r WHERE r.label_id = NEW.label_id;
    IF OLD.is_by_example AND NOT NEW.is_by_example THEN
        UPDATE siglip.label_calibrations AS c SET is_current = false WHERE c.label_id = NEW.label_id AND c.is_current;
    END IF;
    RETURN NULL;
END
$$;

COMMENT ON FUNCTION siglip.forget_label_vectors() IS 'Trigger: a label with other prompts loses its vectors, and its workers make new ones.
Example: UPDATE siglip.labels SET prompts = ''{"a red evening sky"}'' WHERE label = ''sunset'';';

CREATE TRIGGER labels_prompts_trigger AFTER UPDATE OF prompts ON siglip.labels
FOR EACH ROW WHEN (OLD.prompts IS DISTINCT FROM NEW.prompts) EXECUTE FUNCTION siglip.forget_label_vectors();

-- A set that is replaced keeps its labels of the same names, with thresholds, marks and calibrations; vectors too where the prompts stay.
CREATE FUNCTION siglip.create_label_set(
    name     text,
    labels   text[] DEFAULT '{}',
    template text DEFAULT 'This is a photo of {label}.',
    keep     boolean DEFAULT NULL,
    prompts  json DEFAULT NULL,
    replace  boolean DEFAULT false
) RETURNS integer
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, siglip, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    new_labels  text[] := ARRAY(SELECT n.label FROM unnest(create_label_set.labels) WITH ORDINALITY AS n (label, position) ORDER BY n.position);
    new_prompts jsonb := '{}';
    entry       record;
    twice       text;
    set_id      integer;
BEGIN
    PERFORM siglip.check_label_name('The name of a label set', create_label_set.name);
    PERFORM siglip.check_template(create_label_set.template);
    IF json_typeof(create_label_set.prompts) <> 'object' THEN
        RAISE EXCEPTION 'prompts is a JSON %, not an object.', json_typeof(create_label_set.prompts)
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Write for instance prompts => ''{"cat": ["a cat", "a kitten"]}''.';
    END IF;
    FOR entry IN SELECT p.key, p.value, p.position FROM json_each(create_label_set.prompts) WITH ORDINALITY AS p (key, value, position)
                 ORDER BY p.position LOOP
        IF json_typeof(entry.value) NOT IN ('array', 'string') THEN
            RAISE EXCEPTION 'The prompts of the label % are a JSON %, not an array of texts.', quote_literal(entry.key), json_typeof(entry.value)
                USING ERRCODE = 'invalid_parameter_value', HINT = 'Write for instance prompts => ''{"cat": ["a cat", "a kitten"]}''.';
        ELSIF json_typeof(entry.value) = 'array' AND EXISTS (
            SELECT FROM json_array_elements(entry.value) AS e WHERE json_typeof(e) <> 'string') THEN
            RAISE EXCEPTION 'A prompt of the label % is no text: %.', quote_literal(entry.key), entry.value
                USING ERRCODE = 'invalid_parameter_value', HINT = 'Write for instance prompts => ''{"cat": ["a cat", "a kitten"]}''.';
        ELSIF new_prompts ? entry.key THEN
            twice := entry.key;
        ELSIF entry.key <> ALL (new_labels) THEN
            new_labels := new_labels || entry.key;
        END IF;
        new_prompts := new_prompts || jsonb_build_object(entry.key, CASE json_typeof(entry.value)
            WHEN 'string' THEN jsonb_build_array(entry.value) ELSE entry.value::jsonb END);
    END LOOP;
    twice := coalesce(twice, (SELECT l FROM unnest(new_labels) AS l GROUP BY l HAVING count(*) > 1 LIMIT 1));
    IF twice IS NOT NULL THEN
        RAISE EXCEPTION 'The label % is there twice.', quote_literal(twice)
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Leave one out.';
    END IF;

    INSERT INTO siglip.label_sets AS s (name, template, is_kept)
    VALUES (create_label_set.name, create_label_set.template, coalesce(create_label_set.keep, false))
    ON CONFLICT (name) DO UPDATE SET template = excluded.template, is_kept = coalesce(create_label_set.keep, s.is_kept)
    WHERE create_label_set.replace
    RETURNING s.label_set_id INTO set_id;
    IF set_id IS NULL THEN
        RAISE EXCEPTION 'There is a label set % already.', quote_literal(create_label_set.name)
            USING ERRCODE = 'unique_violation', HINT = 'Choose another name, or replace it (replace => true).';
    END IF;
    PERFORM FROM siglip.labels AS l WHERE l.label_set_id = set_id ORDER BY l.label_id FOR NO KEY UPDATE;
    DELETE FROM siglip.labels AS l WHERE l.label_set_id = set_id AND l.label <> ALL (new_labels);
    INSERT INTO siglip.labels AS l (label_set_id, position, label, prompts)
    SELECT set_id, n.position - 1, n.label,
           siglip.make_prompts(n.label, ARRAY(SELECT jsonb_array_elements_text(new_prompts -> n.label)), create_label_set.template)
    FROM unnest(new_labels) WITH ORDINALITY AS n (label, position)
    ORDER BY n.position
    ON CONFLICT (label_set_id, label) DO UPDATE
    SET position = excluded.position, prompts = excluded.prompts, is_by_example = false;
    RETURN set_id;
END
$$;

COMMENT ON FUNCTION siglip.create_label_set(text, text[], text, boolean, json, boolean)
    IS 'Make a label set of labels, or of labels with prompts of their own. With keep, siglip.image_labels has a row for each image that has one of them. With replace, labels of the same names keep their thresholds, marks and calibrations, and the set is kept as before unless keep says otherwise. Returns its label_set_id.
Example: SELECT siglip.create_label_set(''weather'', ''{rain,"clear sky"}'', prompts => ''{"snow": ["snow", "a snowy day"]}'');';

CREATE FUNCTION siglip.add_label(
    label_set text, label text, prompts text[] DEFAULT NULL, threshold double precision DEFAULT NULL
) RETURNS integer
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, siglip, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    held         siglip.label_sets := siglip.hold_label_set(add_label.label_set);
    new_label_id integer;
BEGIN
    PERFORM siglip.check_threshold(add_label.threshold);
    INSERT INTO siglip.labels AS l (label_set_id, position, label, prompts, threshold)
    VALUES (held.label_set_id,
            (SELECT coalesce(max(o.position) + 1, 0) FROM siglip.labels AS o WHERE o.label_set_id = held.label_set_id),
            add_label.label, siglip.make_prompts(add_label.label, add_label.prompts, held.template), add_label.threshold)
    ON CONFLICT (label_set_id, label) DO NOTHING
    RETURNING l.label_id INTO new_label_id;
    IF new_label_id IS NULL THEN
        RAISE EXCEPTION 'The label set % has a label % already.', quote_literal(add_label.label_set), quote_literal(add_label.label)
            USING ERRCODE = 'unique_violation', HINT = 'siglip.change_label changes it.';
    END IF;
    RETURN new_label_id;
END
$$;

COMMENT ON FUNCTION siglip.add_label(text, text, text[], double precision)
    IS 'Add a label to a label set, at its end; without prompts the set''s template makes one. Returns its label_id.
Example: SELECT siglip.add_label(''scenes'', ''beach'', prompts => ''{"a beach", "sand by the sea"}'');';

CREATE FUNCTION siglip.check_threshold(threshold double precision) RETURNS void
LANGUAGE plpgsql IMMUTABLE
SET search_path = pg_catalog, siglip, pg_temp
AS $$
BEGIN
    IF threshold NOT BETWEEN 0 AND 1 THEN
        RAISE EXCEPTION 'threshold is %, not a number from 0 to 1.', threshold
            USING ERRCODE = 'invalid_parameter_value', HINT = 'A score is a probability; NULL stands for 0.5.';
    END IF;
END
$$;

COMMENT ON FUNCTION siglip.check_threshold(double precision) IS 'An error where a threshold is no score.
Example: SELECT siglip.check_threshold(0.7);';

CREATE FUNCTION siglip.change_label(
    label_set text, label text, new_label text DEFAULT NULL, prompts text[] DEFAULT NULL, place integer DEFAULT NULL
) RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, siglip, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    held       siglip.label_sets := siglip.hold_label_set(change_label.label_set);
    old        siglip.labels := siglip.find_label(change_label.label_set, change_label.label);
    is_made    constant boolean := old.prompts = ARRAY[replace(held.template, '{label}', old.label)];
    name       constant text := coalesce(change_label.new_label, old.label);
BEGIN
    PERFORM siglip.check_label_name('A label', name);
    IF name <> old.label AND EXISTS (
        SELECT FROM siglip.labels AS l WHERE l.label_set_id = held.label_set_id AND l.label = name) THEN
        RAISE EXCEPTION 'The label set % has a label % already.', quote_literal(change_label.label_set), quote_literal(name)
            USING ERRCODE = 'unique_violation', HINT = 'Choose another name, or take that label out first (siglip.remove_label).';
    END IF;
    -- A prompt that the template made follows the name.
    UPDATE siglip.labels AS l
    SET label = name,
        is_by_example = l.is_by_example AND change_label.prompts IS NULL,
        prompts = CASE WHEN change_label.prompts IS NOT NULL OR (is_made AND NOT l.is_by_example)
                       THEN siglip.make_prompts(name, change_label.prompts, held.template) ELSE l.prompts END
    WHERE l.label_id = old.label_id;
    IF change_label.place IS NOT NULL THEN
        UPDATE siglip.labels AS l
        SET position = n.position
        FROM (SELECT o.label_id, CASE WHEN o.place < change_label.place THEN o.place ELSE o.place + 1 END AS position
              FROM (SELECT r.label_id, row_number() OVER (ORDER BY r.position, r.label_id) - 1 AS place
                    FROM siglip.labels AS r WHERE r.label_set_id = held.label_set_id AND r.label_id <> old.label_id) AS o
              UNION ALL
              SELECT old.label_id, least(greatest(change_label.place, 0), (
                  SELECT count(*) - 1 FROM siglip.labels AS r WHERE r.label_set_id = held.label_set_id))) AS n
        WHERE l.label_id = n.label_id AND l.position <> n.position;
    END IF;
END
$$;

COMMENT ON FUNCTION siglip.change_label(text, text, text, text[], integer)
    IS 'Give a label another name, other prompts ({} for the template''s) or another place in its set, from 0; what isn''t given stays, marks and calibrations too.
Example: SELECT siglip.change_label(''scenes'', ''forest'', new_label => ''wood'', prompts => ''{"a forest", "many trees"}'');';

CREATE FUNCTION siglip.set_threshold(label_set text, label text, threshold double precision) RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, siglip, pg_temp
AS $$
DECLARE
    held    siglip.label_sets := siglip.hold_label_set(label_set);
    changed siglip.labels := siglip.find_label(label_set, label);
    old     siglip.label_calibrations;
BEGIN
    PERFORM siglip.check_threshold(set_threshold.threshold);
    UPDATE siglip.labels AS l SET threshold = set_threshold.threshold WHERE l.label_id = changed.label_id;
    -- A calibration may have a threshold of its own, which would win over this one. What was promised and estimated holds for that threshold:
    -- the fit goes on without it as a version of its own, and the old one can be used again.
    FOR old IN
        UPDATE siglip.label_calibrations AS c SET is_current = false
        WHERE c.label_id = changed.label_id AND c.is_current AND c.threshold IS NOT NULL
        RETURNING c.*
    LOOP
        INSERT INTO siglip.label_calibrations (label_id, model_id, version, scale, bias, figures)
        SELECT old.label_id, old.model_id, max(c.version) + 1, old.scale, old.bias,
               old.figures - '{precision,recall,errors_after,accepted,right_accepted,guaranteed_precision,min_precision,confidence}'::text[]
               || jsonb_build_object('note', format('The fit of calibration %s; the threshold was set by hand.', old.version))
        FROM siglip.label_calibrations AS c WHERE c.label_id = old.label_id AND c.model_id = old.model_id;
    END LOOP;
END
$$;

COMMENT ON FUNCTION siglip.set_threshold(text, text, double precision)
    IS 'The calibrated score from which images have a label, in [0, 1]; NULL for 0.5. Where a calibration has a threshold of its own, its fit goes on without it as a new version.
Example: SELECT siglip.set_threshold(''scenes'', ''sunset'', 0.7);';

CREATE FUNCTION siglip.remove_label(label_set text, label text) RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, siglip, pg_temp
AS $$
DECLARE
    held    siglip.label_sets := siglip.hold_label_set(label_set);
    removed siglip.labels := siglip.find_label(label_set, label);
BEGIN
    DELETE FROM siglip.labels AS l WHERE l.label_id = removed.label_id;
END
$$;

COMMENT ON FUNCTION siglip.remove_label(text, text) IS 'Take a label out of a label set, with its vectors, marks and calibrations.
Example: SELECT siglip.remove_label(''scenes'', ''forest'');';

CREATE FUNCTION siglip.drop_label_set(label_set text) RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, siglip, pg_temp
AS $$
DECLARE
    held siglip.label_sets := siglip.hold_label_set(label_set);
BEGIN
    DELETE FROM siglip.label_sets AS s WHERE s.label_set_id = held.label_set_id;
END
$$;

COMMENT ON FUNCTION siglip.drop_label_set(text) IS 'Delete a label set with its labels, their vectors, marks and calibrations.
Example: SELECT siglip.drop_label_set(''scenes'');';

CREATE FUNCTION siglip.rename_label_set(label_set text, new_name text) RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, siglip, pg_temp
AS $$
DECLARE
    held siglip.label_sets := siglip.hold_label_set(label_set);
BEGIN
    PERFORM siglip.check_label_name('The name of a label set', new_name);
    UPDATE siglip.label_sets AS s SET name = new_name WHERE s.label_set_id = held.label_set_id;
EXCEPTION WHEN unique_violation THEN
    RAISE EXCEPTION 'There is a label set % already.', quote_literal(new_name)
        USING ERRCODE = 'unique_violation', HINT = 'Choose another name.';
END
$$;

COMMENT ON FUNCTION siglip.rename_label_set(text, text) IS 'Give a label set another name.
Example: SELECT siglip.rename_label_set(''scenes'', ''places'');';

CREATE FUNCTION siglip.set_template(label_set text, template text) RETURNS integer
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, siglip, pg_temp
AS $$
DECLARE
    held    siglip.label_sets := siglip.hold_label_set(label_set);
    changed integer;
BEGIN
    PERFORM siglip.check_template(set_template.template);
    UPDATE siglip.label_sets AS s SET template = set_template.template WHERE s.label_set_id = held.label_set_id;
    UPDATE siglip.labels AS l
    SET prompts = ARRAY[replace(set_template.template, '{label}', l.label)]
    WHERE l.label_set_id = held.label_set_id AND l.prompts = ARRAY[replace(held.template, '{label}', l.label)];
    GET DIAGNOSTICS changed = ROW_COUNT;
    RETURN changed;
END
$$;

COMMENT ON FUNCTION siglip.set_template(text, text)
    IS 'Change what makes the prompts of a set''s labels; those with prompts of their own stay. Returns how many labels follow.
Example: SELECT siglip.set_template(''scenes'', ''a painting of {label}'');';

CREATE FUNCTION siglip.keep_labels(label_set text, keep boolean DEFAULT true) RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, siglip, pg_temp
AS $$
DECLARE
    held siglip.label_sets := siglip.hold_label_set(label_set);
BEGIN
    UPDATE siglip.label_sets AS s SET is_kept = coalesce(keep, false) WHERE s.label_set_id = held.label_set_id;
END
$$;

COMMENT ON FUNCTION siglip.keep_labels(text, boolean)
    IS 'Whether siglip.image_labels keeps a row for each image that has a label of this set; workers fill it, and siglip.label_coverage says how far that is.
Example: SELECT siglip.keep_labels(''scenes'');';
