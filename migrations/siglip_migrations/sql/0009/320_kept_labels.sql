-- Purpose: labels that are kept as rows: written with the vectors of new images, and brought up to date after a change.
-- Parameters: model_id; content_ids, whose images are looked at; max_contents, so many at a time.
-- A row means: with what rule a kept label's rows are made, and how far (label_progress); how far a kept label is (label_coverage).

CREATE TABLE siglip.label_progress (
    label_id         integer PRIMARY KEY REFERENCES siglip.labels ON DELETE CASCADE,
    model_id         integer NOT NULL REFERENCES siglip.models ON DELETE CASCADE,
    embedding        @vector@.halfvec NOT NULL,
    scale            double precision NOT NULL,
    bias             double precision NOT NULL,
    threshold        double precision NOT NULL,
    least_similarity double precision NOT NULL,
    next_content_id  bigint NOT NULL DEFAULT 0,
    last_content_id  bigint NOT NULL,
    began_at         timestamptz NOT NULL DEFAULT now(),
    completed_at     timestamptz
);

CREATE INDEX label_progress_model_id_btree_idx ON siglip.label_progress (model_id);

COMMENT ON TABLE siglip.label_progress
    IS 'One row is the rule by which the rows of a kept label are made: new images at once, older ones step by step.';
COMMENT ON COLUMN siglip.label_progress.next_content_id IS 'Images of the contents before it are done, and those that came since began_at.';
COMMENT ON COLUMN siglip.label_progress.completed_at IS 'When the last of the older images was done; NULL before that.';

-- Transactions that bring vectors hold this lock together; who changes the rule, or goes over older images, holds it alone. So each image is
-- looked at with the new rule: by the one that brings it or by the one that goes over them. Nobody waits for a row while holding it alone but
-- in the order in which images are always locked.
CREATE FUNCTION siglip.kept_labels_lock() RETURNS bigint
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN 6001433177;

COMMENT ON FUNCTION siglip.kept_labels_lock() IS 'The key of the advisory lock around the kept labels.
Example: SELECT siglip.kept_labels_lock();';

-- A label that goes while its rows are being written would fail whoever writes them.
CREATE FUNCTION siglip.await_kept_labels() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, siglip, pg_temp
AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(siglip.kept_labels_lock());
    RETURN NULL;
END
$$;

COMMENT ON FUNCTION siglip.await_kept_labels() IS 'Trigger: whoever deletes labels waits until nobody writes kept labels, and keeps it so until the transaction ends.
Example: DELETE FROM siglip.labels WHERE label = ''sunset'';';

CREATE TRIGGER await_kept_labels BEFORE DELETE ON siglip.labels
FOR EACH STATEMENT EXECUTE FUNCTION siglip.await_kept_labels();

-- What should be: the rule and the vector of each label of a kept set under the active model.
CREATE VIEW siglip.wanted_labels WITH (security_invoker = true) AS
SELECT l.label_id, m.model_id, v.embedding, r.scale, r.bias, r.threshold,
       -- sigmoid(scale * (exp(logit_scale) * similarity + logit_bias) + bias) >= threshold
       siglip.least_similarity(r.threshold, m.logit_scale + ln(r.scale), r.scale * m.logit_bias + r.bias) AS least_similarity
FROM siglip.label_sets AS s
JOIN siglip.labels AS l ON l.label_set_id = s.label_set_id
JOIN siglip.models AS m ON m.is_active
JOIN siglip.label_rules AS r ON r.label_id = l.label_id AND r.model_id = m.model_id
JOIN siglip.label_embeddings AS v ON v.label_id = l.label_id AND v.model_id = m.model_id
WHERE s.is_kept;

COMMENT ON VIEW siglip.wanted_labels IS 'One row is a label of a kept set, with the rule by which images have it now.';

-- Each content once with each label, and only what reaches a label goes on to its images and its score. A mark keeps its answer, and learns
-- the model's score. Rows are looked up by index: a plan that reads a whole table would be as slow as the table is large.
CREATE FUNCTION siglip.keep_contents(model_id integer, content_ids bigint[], label_ids integer[] DEFAULT NULL) RETURNS bigint
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, siglip, pg_temp
SET jit = off
SET enable_seqscan = off
AS $$
#variable_conflict use_column
DECLARE
    model     siglip.models;
    image_ids constant bigint[] := ARRAY(SELECT i.image_id FROM siglip.images AS i WHERE i.content_id = ANY (keep_contents.content_ids));
    news      record;
    changed   bigint := 0;
BEGIN
    SELECT m.* INTO model FROM siglip.models AS m WHERE m.model_id = keep_contents.model_id;
    FOR news IN
        WITH near AS MATERIALIZED (
            SELECT p.label_id, e.content_id,
                   siglip.sigmoid(p.scale * (exp(model.logit_scale) * siglip.similarity(d.distance) + model.logit_bias) + p.bias) AS score,
                   p.threshold
            FROM siglip.image_embeddings AS e
            CROSS JOIN siglip.label_progress AS p
            CROSS JOIN LATERAL (SELECT e.embedding OPERATOR(@vector@.<#>) p.embedding AS distance OFFSET 0) AS d
            WHERE e.model_id = keep_contents.model_id AND e.content_id = ANY (keep_contents.content_ids)
              AND p.model_id = keep_contents.model_id AND (keep_contents.label_ids IS NULL OR p.label_id = ANY (keep_contents.label_ids))
              AND d.distance <= -p.least_similarity + 1e-9
        ), reached AS MATERIALIZED (
            SELECT n.label_id, i.image_id, n.score
            FROM near AS n JOIN siglip.images AS i ON i.content_id = n.content_id
            WHERE n.score >= n.threshold
        ), outdated AS (
            DELETE FROM siglip.image_labels AS r
            USING siglip.label_progress AS p
            WHERE r.image_id = ANY (image_ids) AND r.label_id = p.label_id
              AND p.model_id = keep_contents.model_id AND (keep_contents.label_ids IS NULL OR p.label_id = ANY (keep_contents.label_ids))
              AND r.marked_by IS NULL
              AND NOT EXISTS (SELECT FROM reached AS n WHERE n.label_id = r.label_id AND n.image_id = r.image_id)
        ), added AS (
            INSERT INTO siglip.image_labels AS r (label_id, image_id, is_accepted, score, model_id)
            SELECT n.label_id, n.image_id, true, n.score, keep_contents.model_id FROM reached AS n ORDER BY n.image_id, n.label_id
            ON CONFLICT (label_id, image_id) DO UPDATE SET score = excluded.score, model_id = excluded.model_id, updated_at = now()
            WHERE (r.score, r.model_id) IS DISTINCT FROM (excluded.score, excluded.model_id)
            RETURNING r.label_id, r.image_id, (r.xmax = 0) AS is_new
        )
        SELECT s.name AS label_set, l.label, array_agg(a.image_id ORDER BY a.image_id) AS image_ids
        FROM added AS a
        JOIN siglip.labels AS l ON l.label_id = a.label_id
        JOIN siglip.label_sets AS s ON s.label_set_id = l.label_set_id
        WHERE a.is_new
        GROUP BY s.name, l.label
    LOOP
        changed := changed + cardinality(news.image_ids);
        PERFORM siglip.notify_labels(news.label_set, news.label, news.image_ids);
    END LOOP;
    RETURN changed;
END
$$;

COMMENT ON FUNCTION siglip.keep_contents(integer, bigint[], integer[])
    IS 'Write which images of these contents have which kept labels, by the rules of siglip.label_progress; returns how many rows are new.
Example: SELECT siglip.keep_contents(1, ''{1,2,3}'');';

-- keep_contents has looked at what reaches a label; a mark stands below the threshold as well.
CREATE FUNCTION siglip.score_marks(model_id integer, content_ids bigint[], label_ids integer[]) RETURNS bigint
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, siglip, pg_temp
SET jit = off
SET enable_seqscan = off
AS $$
#variable_conflict use_column
DECLARE
    scored bigint;
BEGIN
    UPDATE siglip.image_labels AS r SET score = n.score, model_id = n.model_id, updated_at = now()
    FROM (
        SELECT m.label_id, m.image_id, p.model_id,
               siglip.sigmoid(p.scale * (exp(o.logit_scale) * siglip.similarity(e.embedding OPERATOR(@vector@.<#>) p.embedding) + o.logit_bias)
                              + p.bias)::real AS score
        FROM siglip.images AS i
        JOIN siglip.image_labels AS m ON m.image_id = i.image_id AND m.marked_by IS NOT NULL AND m.label_id = ANY (score_marks.label_ids)
        JOIN siglip.label_progress AS p ON p.label_id = m.label_id AND p.model_id = score_marks.model_id
        JOIN siglip.models AS o ON o.model_id = p.model_id
        JOIN siglip.image_embeddings AS e ON e.model_id = p.model_id AND e.content_id = i.content_id
        WHERE i.content_id = ANY (score_marks.content_ids)
    ) AS n
    WHERE r.label_id = n.label_id AND r.image_id = n.image_id AND (r.score, r.model_id) IS DISTINCT FROM (n.score, n.model_id);
    GET DIAGNOSTICS scored = ROW_COUNT;
    RETURN scored;
END
$$;

COMMENT ON FUNCTION siglip.score_marks(integer, bigint[], integer[])
    IS 'Give the marked images of these contents the model''s score for kept labels, whatever it is; returns how many changed.
Example: SELECT siglip.score_marks(1, ''{1,2,3}'', ''{1}'');';

-- A message has room for less than 8,000 bytes, and a longer one is an error. JSON writes some characters of a name in six bytes.
CREATE FUNCTION siglip.notify_labels(label_set text, label text, image_ids bigint[]) RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, siglip, pg_temp
AS $$
DECLARE
    most constant integer := 250;
BEGIN
    IF octet_length(to_json(label_set)::text) + octet_length(to_json(label)::text) > 2000 THEN
        RETURN;  -- no message has room for such names
    END IF;
    FOR part IN 0 .. (cardinality(image_ids) - 1) / most LOOP
        PERFORM pg_notify('siglip_image_labels', json_build_object(
            'label_set', label_set, 'label', label, 'image_ids', image_ids[part * most + 1 : (part + 1) * most])::text);
    END LOOP;
END
$$;

COMMENT ON FUNCTION siglip.notify_labels(text, text, bigint[])
    IS 'Tell who listens to siglip_image_labels which images are new with a label: JSON with label_set, label and up to 250 image_ids a message.
Example: SELECT siglip.notify_labels(''scenes'', ''sunset'', ''{1,2}'');';

-- Whoever brings vectors of another model may have found that an image has another content now, of which the labels' model has a vector.
CREATE FUNCTION siglip.keep_arrived(model_id integer, content_ids bigint[]) RETURNS bigint
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, siglip, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    other_id integer;
    moved    bigint[];
    changed  bigint := 0;
BEGIN
    PERFORM pg_advisory_xact_lock_shared(siglip.kept_labels_lock());
    FOR other_id IN SELECT DISTINCT p.model_id FROM siglip.label_progress AS p ORDER BY p.model_id LOOP
        IF other_id = keep_arrived.model_id THEN
            moved := keep_arrived.content_ids;
        ELSE
            moved := ARRAY(SELECT i.content_id FROM siglip.images AS i
                           JOIN siglip.image_embeddings AS e ON e.model_id = other_id AND e.content_id = i.content_id
                           WHERE i.content_id = ANY (keep_arrived.content_ids) AND i.updated_at = now());
            CONTINUE WHEN moved = '{}';
        END IF;
        changed := changed + siglip.keep_contents(other_id, moved);
    END LOOP;
    RETURN changed;
END
$$;

COMMENT ON FUNCTION siglip.keep_arrived(integer, bigint[])
    IS 'Write the kept labels of images whose vectors this transaction has brought; returns how many rows are new.
Example: SELECT siglip.keep_arrived(1, ''{1,2,3}'');';

-- One step. First what has changed: rules are taken over, and what is no longer kept is forgotten. Then the next contents of the labels that
-- are furthest behind, all in one pass. Nothing is lost where it is killed: a step is a transaction.
-- Those who bring vectors wait behind the one that waits for its lock: so it gives up, where somebody left a transaction open, and comes again.
CREATE FUNCTION siglip.refresh_labels(max_contents integer DEFAULT 2000) RETURNS bigint
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, siglip, pg_temp
SET lock_timeout = '1s'
AS $$
#variable_conflict use_column
DECLARE
    steps     bigint;
    gone      bigint;
    behind    record;
    contents  bigint[];
    next_id   bigint;
BEGIN
    IF max_contents IS NULL OR max_contents NOT BETWEEN 1 AND 100000 THEN
        RAISE EXCEPTION 'max_contents is %, not a number from 1 to 100000.', coalesce(max_contents::text, 'NULL')
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Leave it out for 2000.';
    ELSIF NOT EXISTS (SELECT FROM siglip.label_sets AS s WHERE s.is_kept) AND NOT EXISTS (SELECT FROM siglip.label_progress)
          AND NOT EXISTS (SELECT FROM siglip.image_labels AS r WHERE r.marked_by IS NULL) THEN
        RETURN 0;  -- nobody uses it
    ELSIF NOT pg_try_advisory_xact_lock(siglip.kept_labels_lock() + 1) THEN
        RETURN 0;  -- somebody else does it
    END IF;
    IF EXISTS (SELECT FROM siglip.changed_labels()) THEN
        PERFORM pg_advisory_xact_lock(siglip.kept_labels_lock());
        DELETE FROM siglip.label_progress AS p WHERE p.label_id IN (SELECT siglip.labels_to_forget());
        GET DIAGNOSTICS gone = ROW_COUNT;
        INSERT INTO siglip.label_progress AS p (label_id, model_id, embedding, scale, bias, threshold, least_similarity, last_content_id)
        SELECT w.label_id, w.model_id, w.embedding, w.scale, w.bias, w.threshold, w.least_similarity,
               (SELECT coalesce(max(c.content_id), 0) FROM siglip.contents AS c)
        FROM siglip.wanted_labels AS w JOIN siglip.changed_labels() AS n ON n = w.label_id
        ON CONFLICT (label_id) DO UPDATE
        SET model_id = excluded.model_id, embedding = excluded.embedding, scale = excluded.scale, bias = excluded.bias,
            threshold = excluded.threshold, least_similarity = excluded.least_similarity, next_content_id = 0,
            last_content_id = excluded.last_content_id, began_at = now(), completed_at = NULL;
        GET DIAGNOSTICS steps = ROW_COUNT;
        RETURN greatest(1, steps + gone);
    END IF;
    -- Rows of labels that are no longer kept; so many at a time.
    DELETE FROM siglip.image_labels AS r
    WHERE (r.label_id, r.image_id) IN (
        SELECT o.label_id, o.image_id
        FROM siglip.labels_to_forget() AS n JOIN siglip.image_labels AS o ON o.label_id = n AND o.marked_by IS NULL
        LIMIT 10 * max_contents);
    GET DIAGNOSTICS gone = ROW_COUNT;
    IF gone > 0 THEN
        RETURN gone;
    END IF;
    SELECT p.model_id, p.next_content_id, max(p.last_content_id) AS last_content_id, array_agg(p.label_id) AS label_ids INTO behind
    FROM siglip.label_progress AS p
    WHERE p.completed_at IS NULL
    GROUP BY p.model_id, p.next_content_id ORDER BY p.next_content_id LIMIT 1;
    IF NOT FOUND THEN
        RETURN 0;
    END IF;
    SELECT array_agg(c.content_id), max(c.content_id) + 1 INTO contents, next_id
    FROM (SELECT c.content_id FROM siglip.contents AS c WHERE c.content_id >= behind.next_content_id ORDER BY c.content_id LIMIT max_contents) AS c;
    IF contents IS NOT NULL THEN
        PERFORM pg_advisory_xact_lock(siglip.kept_labels_lock());
        PERFORM FROM siglip.images AS i WHERE i.content_id = ANY (contents) ORDER BY i.collection, i.uri FOR KEY SHARE;
        -- In the order of siglip.mark_images, so that nobody who marks waits for this one while this one waits for them.
        PERFORM FROM siglip.image_labels AS r
        WHERE r.label_id = ANY (behind.label_ids)
          AND r.image_id = ANY (ARRAY(SELECT i.image_id FROM siglip.images AS i WHERE i.content_id = ANY (contents)))
        ORDER BY r.image_id, r.label_id FOR NO KEY UPDATE;
        PERFORM siglip.keep_contents(behind.model_id, contents, behind.label_ids);
        PERFORM siglip.score_marks(behind.model_id, contents, behind.label_ids);
    END IF;
    UPDATE siglip.label_progress AS p
    SET next_content_id = coalesce(next_id, p.next_content_id),
        completed_at = CASE WHEN next_id IS NULL OR next_id > p.last_content_id THEN now() END
    WHERE p.label_id = ANY (behind.label_ids) AND p.completed_at IS NULL;
    RETURN greatest(1, coalesce(cardinality(contents), 0));
EXCEPTION WHEN lock_not_available THEN
    RETURN 0;
END
$$;

COMMENT ON FUNCTION siglip.refresh_labels(integer)
    IS 'One step of bringing kept labels up to date after a change of labels, rules or model; 0 where nothing is left, or somebody else does it. Workers call it.
Example: SELECT siglip.refresh_labels();';

-- While new prompts wait to be embedded, rows of the old ones stay; where the model can't embed the new ones, they go.
CREATE FUNCTION siglip.labels_to_forget() RETURNS SETOF integer
LANGUAGE sql STABLE ROWS 10
SET search_path = pg_catalog, siglip, pg_temp
AS $$
    SELECT l.label_id
    FROM siglip.labels AS l JOIN siglip.label_sets AS s USING (label_set_id)
    WHERE NOT s.is_kept
    UNION
    SELECT f.label_id
    FROM siglip.label_refusals AS f JOIN siglip.models AS m ON m.model_id = f.model_id AND m.is_active
    WHERE NOT EXISTS (SELECT FROM siglip.label_embeddings AS v WHERE v.label_id = f.label_id AND v.model_id = f.model_id)
$$;

COMMENT ON FUNCTION siglip.labels_to_forget()
    IS 'The labels of which only marks are kept: of sets that aren''t, and those that the active model can''t embed.
Example: SELECT count(*) FROM siglip.labels_to_forget();';

CREATE FUNCTION siglip.changed_labels() RETURNS SETOF integer
LANGUAGE sql STABLE ROWS 10
SET search_path = pg_catalog, siglip, pg_temp
AS $$
    SELECT w.label_id
    FROM siglip.wanted_labels AS w LEFT JOIN siglip.label_progress AS p USING (label_id)
    WHERE p.label_id IS NULL OR p.model_id <> w.model_id OR p.scale <> w.scale OR p.bias <> w.bias OR p.threshold <> w.threshold
       OR p.embedding OPERATOR(@vector@.<>) w.embedding
    UNION ALL
    SELECT p.label_id
    FROM siglip.label_progress AS p JOIN siglip.labels_to_forget() AS n ON n = p.label_id
$$;

COMMENT ON FUNCTION siglip.changed_labels()
    IS 'The kept labels whose rows are made by another rule than the one that counts now, or are no longer to be kept.
Example: SELECT * FROM siglip.changed_labels();';

CREATE VIEW siglip.label_coverage WITH (security_invoker = true) AS
SELECT s.name AS label_set, l.label, m.name AS model,
       CASE WHEN m.is_external THEN 'can''t be embedded: the active model is external'
            WHEN v.label_id IS NULL AND f.label_id IS NOT NULL THEN 'can''t be embedded: see siglip.label_status'
            WHEN v.label_id IS NULL THEN 'waits for a worker of the model to embed its prompts'
            WHEN p.label_id IS NULL OR n.label_id IS NOT NULL THEN 'waits for a worker'
            WHEN p.completed_at IS NULL THEN 'in progress' ELSE 'current' END AS state,
       CASE WHEN p.label_id IS NULL OR n.label_id IS NOT NULL OR v.label_id IS NULL THEN 0
            WHEN p.completed_at IS NOT NULL THEN 1
            ELSE least(1, p.next_content_id / greatest(1, p.last_content_id + 1)::double precision) END AS share,
       p.completed_at
FROM siglip.label_sets AS s
JOIN siglip.labels AS l USING (label_set_id)
CROSS JOIN siglip.models AS m
LEFT JOIN siglip.label_embeddings AS v ON v.label_id = l.label_id AND v.model_id = m.model_id
LEFT JOIN siglip.label_refusals AS f ON f.label_id = l.label_id AND f.model_id = m.model_id
LEFT JOIN siglip.label_progress AS p ON p.label_id = l.label_id
LEFT JOIN (SELECT DISTINCT c AS label_id FROM siglip.changed_labels() AS c) AS n ON n.label_id = l.label_id
WHERE s.is_kept AND m.is_active;

COMMENT ON VIEW siglip.label_coverage IS 'One row is a label of a kept set: whether siglip.image_labels has it as it is now, and what share of the images is done.';
COMMENT ON COLUMN siglip.label_coverage.share IS 'Of the images that were there when it began, in [0, 1].';
