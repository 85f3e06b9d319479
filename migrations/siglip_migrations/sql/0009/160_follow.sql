-- Purpose: turn what the triggers noted into images: workers call siglip.follow_attached as soon as they hear of it, and each second.
-- Parameters: max_rows is about how many rows one call, a transaction, looks at.
-- A row means: nothing here has rows.

-- Takes about max_rows keys of an attachment out of the notes. A note of many keys, as a bulk load makes it, becomes many notes first; and so
-- does one of NULL, for all rows that have images.
CREATE FUNCTION siglip.take_changes(attachment_id integer, max_rows integer) RETURNS text[]
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, siglip, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    is_split boolean;
    keys     text[];
BEGIN
    WITH large AS (
        DELETE FROM siglip.attached_changes AS c
        WHERE c.attachment_id = take_changes.attachment_id AND c.change_id IN (
            SELECT o.change_id FROM siglip.attached_changes AS o
            WHERE o.attachment_id = take_changes.attachment_id AND (o.row_keys IS NULL OR cardinality(o.row_keys) > max_rows)
            ORDER BY o.change_id LIMIT 1)
        RETURNING c.row_keys
    ), split AS (
        INSERT INTO siglip.attached_changes (attachment_id, row_keys)
        SELECT take_changes.attachment_id, array_agg(k.row_key ORDER BY k.place) FROM (
            SELECT u.row_key, u.place, (u.place - 1) / max_rows AS part FROM large AS l CROSS JOIN unnest(l.row_keys) WITH ORDINALITY AS u (row_key, place)
            UNION ALL
            SELECT m.row_key, row_number() OVER (), (row_number() OVER () - 1) / max_rows
            FROM (SELECT DISTINCT a.row_key FROM siglip.attached_images AS a
                  WHERE a.attachment_id = take_changes.attachment_id AND EXISTS (SELECT FROM large AS l WHERE l.row_keys IS NULL)) AS m
        ) AS k WHERE k.row_key IS NOT NULL GROUP BY k.part ORDER BY k.part
    )
    SELECT EXISTS (SELECT FROM large) INTO is_split;
    IF is_split THEN
        RETURN '{}';
    END IF;

    WITH counted AS MATERIALIZED (
        SELECT c.change_id, sum(cardinality(c.row_keys)) OVER (ORDER BY c.change_id) AS total
        FROM (SELECT c.change_id, c.row_keys FROM siglip.attached_changes AS c
              WHERE c.attachment_id = take_changes.attachment_id ORDER BY c.change_id LIMIT least(max_rows, 500)) AS c
    ), taken AS (
        DELETE FROM siglip.attached_changes AS c
        WHERE c.attachment_id = take_changes.attachment_id AND c.change_id IN (SELECT n.change_id FROM counted AS n WHERE n.total <= max_rows)
        RETURNING c.change_id, c.row_keys
    )
    SELECT ARRAY(SELECT u.row_key FROM taken AS o CROSS JOIN unnest(o.row_keys) WITH ORDINALITY AS u (row_key, place)
                 WHERE u.row_key IS NOT NULL GROUP BY u.row_key ORDER BY min(o.change_id), min(u.place))
    INTO keys;
    RETURN keys;
END
$$;

COMMENT ON FUNCTION siglip.take_changes(integer, integer)
    IS 'Take keys of rows to look at out of siglip.attached_changes; none where only large notes were split.
Example: SELECT siglip.take_changes(1, 100);';

CREATE FUNCTION siglip.follow_rows(attachment siglip.attachments, row_keys text[]) RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, siglip, pg_temp
SET timezone = 'UTC'
SET datestyle = 'ISO, YMD'
SET intervalstyle = 'postgres'
AS $$
#variable_conflict use_variable
DECLARE
    plan      siglip.attachment_plan;
    model_ids constant integer[] := siglip.models_to_queue();
    rows_from text;
    keys      text[];
    places    integer[];
    uris      text[];
    metadata  jsonb[];
    image_ids bigint[];
    released  bigint[];
BEGIN
    PERFORM siglip.hold_attached(attachment.attached_table, waits => false);
    plan := siglip.plan_attachment(attachment);
    IF plan.problem IS NOT NULL THEN
        RAISE EXCEPTION '%', plan.problem USING ERRCODE = 'object_not_in_prerequisite_state';
    ELSIF row_security_active(attachment.attached_table::oid) THEN
        RAISE EXCEPTION 'Row-level security hides rows of % from the worker''s role %. Give it BYPASSRLS, or membership in the table''s owner.',
            attachment.attached_table, current_user USING ERRCODE = 'insufficient_privilege';
    ELSIF NOT EXISTS (
        SELECT FROM pg_trigger AS t
        WHERE t.tgrelid = attachment.attached_table AND t.tgfoid = 'siglip.note_attached_changes()'::regprocedure
    ) THEN
        RAISE EXCEPTION 'The triggers of % are gone: nothing is followed. siglip.detach, and attach it again.', attachment.attached_table
            USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    IF (plan.id_names, plan.uri_name, attachment.table_oid) IS DISTINCT FROM (attachment.id_columns, attachment.uri_column, attachment.attached_table::oid)
       OR EXISTS (SELECT FROM unnest(plan.metadata_names, attachment.metadata_columns) AS n (now, before) WHERE n.now <> n.before) THEN
        PERFORM siglip.note_names(attachment, plan);
    END IF;
    rows_from := format(
        'unnest($1) WITH ORDINALITY AS g (row_key, turn) CROSS JOIN LATERAL (SELECT g.row_key, %s AS parts) AS k JOIN %s AS r ON %s'
        ' CROSS JOIN LATERAL (%s) AS v',
        CASE WHEN cardinality(plan.id_names) = 1 THEN 'ARRAY[g.row_key]'
             ELSE 'CASE WHEN pg_input_is_valid(g.row_key, ''text[]'') THEN g.row_key::text[] END' END,
        attachment.attached_table, plan.matches, plan.images);
    EXECUTE format(
        'SELECT array_agg(s.row_key), array_agg(s.place), array_agg(s.uri), array_agg(s.metadata) FROM ('
        'SELECT g.row_key, v.place::integer, v.uri, %s AS metadata FROM %s ORDER BY g.turn, v.place) AS s', plan.metadata, rows_from)
        INTO keys, places, uris, metadata USING row_keys;
    image_ids := siglip.store_images(attachment.collection, coalesce(uris, '{}'), NULL, metadata, NULL, false, false, model_ids);
    IF plan.is_content THEN
        EXECUTE format(
            'INSERT INTO siglip.image_bytes (image_id, content) SELECT DISTINCT ON (n.image_id) n.image_id, v.content'
            ' FROM %s JOIN unnest($2, $3) AS n (image_id, uri) ON n.uri = v.uri'
            ' WHERE NOT EXISTS (SELECT FROM siglip.image_bytes AS b WHERE b.image_id = n.image_id) ORDER BY n.image_id ON CONFLICT DO NOTHING',
            rows_from) USING row_keys, image_ids, uris;
    END IF;

    WITH gone AS (
        DELETE FROM siglip.attached_images AS m
        USING (
            SELECT o.row_key, o.place, o.image_id FROM siglip.attached_images AS o
            WHERE o.attachment_id = attachment.attachment_id AND o.row_key = ANY (row_keys)
            EXCEPT SELECT n.row_key, n.place, n.image_id FROM unnest(keys, places, image_ids) AS n (row_key, place, image_id)
        ) AS e
        WHERE m.attachment_id = attachment.attachment_id AND m.row_key = e.row_key AND m.place = e.place
        RETURNING m.image_id
    )
    SELECT array_agg(DISTINCT g.image_id) INTO released FROM gone AS g;
    INSERT INTO siglip.attached_images (attachment_id, row_key, place, image_id)
    SELECT attachment.attachment_id, n.row_key, n.place, n.image_id
    FROM unnest(keys, places, image_ids) AS n (row_key, place, image_id)
    ON CONFLICT DO NOTHING;
    IF released IS NOT NULL THEN
        -- A row whose key has changed may have the image again, by a key that waits.
        INSERT INTO siglip.released_images (image_id, after_change)
        SELECT u.image_id, coalesce((SELECT max(c.change_id) FROM siglip.attached_changes AS c
                                     WHERE c.attachment_id = attachment.attachment_id), 0)
        FROM unnest(released) AS u (image_id);
        -- Where another row has the image, its metadata are that row's now.
        INSERT INTO siglip.attached_changes (attachment_id, row_keys)
        SELECT o.attachment_id, array_agg(o.row_key) FROM (
            SELECT DISTINCT ON (m.image_id) m.attachment_id, m.row_key
            FROM siglip.attached_images AS m WHERE m.image_id = ANY (released) ORDER BY m.image_id, m.attachment_id, m.row_key
        ) AS o GROUP BY o.attachment_id;
    END IF;
END
$$;

COMMENT ON FUNCTION siglip.follow_rows(siglip.attachments, text[])
    IS 'Make images what some rows of an attached table are now, whether they are new, changed or gone.
Example: SELECT siglip.follow_rows(a, ''{1,2}'') FROM siglip.attachments AS a;';

CREATE FUNCTION siglip.note_names(attachment siglip.attachments, plan siglip.attachment_plan) RETURNS void
LANGUAGE sql VOLATILE
SET search_path = pg_catalog, siglip, pg_temp
AS $$
    UPDATE siglip.attachments AS a
    SET table_oid = a.attached_table::oid, id_columns = plan.id_names, uri_column = plan.uri_name,
        metadata_columns = ARRAY(
            SELECT coalesce(n.now, n.before) FROM unnest(plan.metadata_names, a.metadata_columns) WITH ORDINALITY AS n (now, before, place) ORDER BY n.place),
        id_numbers = ARRAY(SELECT c.attnum FROM unnest(plan.id_names) WITH ORDINALITY AS n (name, place)
                           JOIN pg_attribute AS c ON c.attrelid = a.attached_table AND c.attname = n.name ORDER BY n.place),
        uri_number = (SELECT c.attnum FROM pg_attribute AS c WHERE c.attrelid = a.attached_table AND c.attname = plan.uri_name),
        metadata_numbers = ARRAY(SELECT coalesce(c.attnum, 0) FROM unnest(plan.metadata_names) WITH ORDINALITY AS n (name, place)
                                 LEFT JOIN pg_attribute AS c ON c.attrelid = a.attached_table AND c.attname = n.name ORDER BY n.place)
    WHERE a.attachment_id = attachment.attachment_id
$$;

COMMENT ON FUNCTION siglip.note_names(siglip.attachments, siglip.attachment_plan)
    IS 'Note what the columns of an attached table are called now, and their numbers: a restored dump knows them by name.
Example: SELECT siglip.note_names(a, siglip.plan_attachment(a)) FROM siglip.attachments AS a;';

CREATE FUNCTION siglip.follow_attached(max_rows integer DEFAULT 2000) RETURNS bigint
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, siglip, pg_temp
AS $$
DECLARE
    contents_at_once constant integer := 50;
    retry_s     constant double precision := 10;
    attachment  siglip.attachments;
    row_keys    text[];
    released    bigint[];
    followed    bigint;  -- changes before this one
    at_once     integer;
BEGIN
    IF max_rows IS NULL OR max_rows NOT BETWEEN 1 AND 100000 THEN
        RAISE EXCEPTION 'max_rows is %, not a number from 1 to 100000.', coalesce(max_rows::text, 'NULL') USING ERRCODE = 'invalid_parameter_value';
    ELSIF NOT pg_try_advisory_xact_lock('siglip.attached_changes'::regclass::oid::bigint) THEN
        RETURN 0;  -- another session is at it
    END IF;
    SELECT a.* INTO attachment
    FROM siglip.attachments AS a WHERE NOT EXISTS (SELECT FROM pg_class AS c WHERE c.oid = a.attached_table) LIMIT 1;
    IF FOUND THEN  -- its table was dropped, and with it the rows
        RETURN 1 + siglip.forget_attachment(attachment.attachment_id, true);
    END IF;

    SELECT min(f.change_id) INTO followed
    FROM siglip.attachments AS a
    CROSS JOIN LATERAL (SELECT min(c.change_id) AS change_id FROM siglip.attached_changes AS c WHERE c.attachment_id = a.attachment_id) AS f
    WHERE a.problem IS NULL;
    WITH taken AS (
        DELETE FROM siglip.released_images AS r
        WHERE r.ctid = ANY (ARRAY(SELECT o.ctid FROM siglip.released_images AS o
            WHERE o.after_change < followed OR followed IS NULL LIMIT follow_attached.max_rows)) RETURNING r.image_id
    )
    SELECT array_agg(DISTINCT t.image_id) INTO released FROM taken AS t;
    IF released IS NOT NULL THEN
        released := ARRAY(SELECT u.image_id FROM unnest(released) AS u (image_id)
                          WHERE NOT EXISTS (SELECT FROM siglip.attached_images AS m WHERE m.image_id = u.image_id));
        PERFORM siglip.delete_images(image_ids => released);
        RETURN greatest(1, cardinality(released));
    END IF;

    FOR attachment IN
        SELECT a.* FROM siglip.attachments AS a
        CROSS JOIN LATERAL (SELECT min(c.change_id) AS change_id FROM siglip.attached_changes AS c WHERE c.attachment_id = a.attachment_id) AS f
        WHERE f.change_id IS NOT NULL AND (a.problem IS NULL OR a.problem_at < clock_timestamp() - make_interval(secs => retry_s))
          AND EXISTS (SELECT FROM siglip.kept_models())
        ORDER BY f.change_id
    LOOP
        BEGIN
            at_once := CASE WHEN (siglip.plan_attachment(attachment)).is_content THEN least(max_rows, contents_at_once) ELSE max_rows END;
            row_keys := siglip.take_changes(attachment.attachment_id, at_once);
            PERFORM siglip.follow_rows(attachment, row_keys);
            IF attachment.problem IS NOT NULL THEN
                UPDATE siglip.attachments AS a SET problem = NULL, problem_at = NULL WHERE a.attachment_id = attachment.attachment_id;
            END IF;
            RETURN greatest(1, cardinality(row_keys));
        EXCEPTION WHEN lock_not_available THEN
            CONTINUE;  -- the table is locked, and the others don't wait for it
        WHEN OTHERS THEN
            -- A lost connection, a deadlock or a full disk is no trait of the table.
            IF left(SQLSTATE, 2) IN ('08', '40', '53', '55', '57', '58', 'XX') AND SQLSTATE <> '55000' THEN
                RAISE;
            END IF;
            UPDATE siglip.attachments AS a SET problem = SQLERRM, problem_at = clock_timestamp() WHERE a.attachment_id = attachment.attachment_id;
        END;
    END LOOP;
    RETURN 0;
END
$$;

COMMENT ON FUNCTION siglip.follow_attached(integer)
    IS 'Turn some changes of attached tables into images that are queued or deleted; returns about how many rows that were, 0 where nothing is left. Workers call it.
Example: SELECT siglip.follow_attached();';
