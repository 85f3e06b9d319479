-- Purpose: how the rows of an attached table are read, in SQL text that is made from its columns as they are called now.
-- Parameters: a row of siglip.attachments.
-- A row means: nothing here has rows.

CREATE TYPE siglip.attachment_plan AS (
    row_key       text,
    has_image     text,
    matches       text,
    images        text,
    metadata      text,
    is_content    boolean,
    id_names      text[],
    uri_name      text,
    metadata_names text[],
    problem       text
);

COMMENT ON TYPE siglip.attachment_plan IS 'How rows AS r of an attached table are read: SQL expressions of their key, images and metadata, and names of the columns.';

CREATE FUNCTION siglip.base_type(type oid) RETURNS oid
LANGUAGE sql STABLE
SET search_path = pg_catalog, siglip, pg_temp
AS $$
    WITH RECURSIVE bases (type, base, depth) AS (
        SELECT t.oid, t.typbasetype, 0 FROM pg_type AS t WHERE t.oid = base_type.type
        UNION ALL
        SELECT t.oid, t.typbasetype, b.depth + 1 FROM bases AS b JOIN pg_type AS t ON t.oid = b.base WHERE b.base <> 0
    )
    SELECT b.type FROM bases AS b ORDER BY b.depth DESC LIMIT 1
$$;

COMMENT ON FUNCTION siglip.base_type(oid) IS 'The type that a domain is made of; another type is its own.
Example: SELECT siglip.base_type(''integer''::regtype)::regtype;';

-- The table, not only its name, stays what it is until the transaction ends: else its owner could have put a view, or columns of other
-- types, in its place by the time that a plan runs. Names are looked up again after each wait for a lock, and so it is checked.
CREATE FUNCTION siglip.hold_attached(attached_table regclass, waits boolean DEFAULT true) RETURNS void
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, siglip, pg_temp
AS $$
DECLARE
    called text;
BEGIN
    LOOP
        called := attached_table::text;
        EXECUTE format('LOCK TABLE %s IN ACCESS SHARE MODE%s', called, CASE WHEN NOT waits THEN ' NOWAIT' END);
        EXIT WHEN to_regclass(called) = attached_table;
    END LOOP;
END
$$;

COMMENT ON FUNCTION siglip.hold_attached(regclass, boolean)
    IS 'Keep an attached table from being renamed, altered or replaced until the transaction ends; before its rows are read by a plan.
Example: SELECT siglip.hold_attached(a.attached_table) FROM siglip.attachments AS a;';

-- No user's function may run here: a worker, and whoever searches, reads the table with its own rights. So keys and addresses are of
-- PostgreSQL's own types, with their own casts and operators, and of other types only the text is taken, as their output functions
-- write it (concat; a cast could be anyone's).
CREATE FUNCTION siglip.plan_attachment(attachment siglip.attachments) RETURNS siglip.attachment_plan
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, siglip, pg_temp
AS $$
DECLARE
    plan         siglip.attachment_plan;
    is_restored  constant boolean := attachment.attached_table::oid <> attachment.table_oid;
    first_of_user constant oid := 16384;
    numbers      smallint[];
    names        text[];
    types        oid[];
    ids          constant integer := cardinality(attachment.id_columns);
    metadata_n   constant integer := cardinality(attachment.metadata_columns);
    uri_type     oid;
    element_type oid;
    item         text;
BEGIN
    IF is_restored THEN
        SELECT array_agg(a.attnum ORDER BY n.place), array_agg(a.attname::text ORDER BY n.place),
               array_agg(CASE WHEN a.atttypid < first_of_user THEN a.atttypid ELSE siglip.base_type(a.atttypid) END ORDER BY n.place)
        INTO numbers, names, types
        FROM unnest(attachment.id_columns || attachment.uri_column || attachment.metadata_columns) WITH ORDINALITY AS n (name, place)
        LEFT JOIN pg_attribute AS a ON a.attrelid = attachment.attached_table AND a.attname = n.name AND NOT a.attisdropped AND a.attnum > 0;
    ELSE
        SELECT array_agg(a.attnum ORDER BY n.place), array_agg(a.attname::text ORDER BY n.place),
               array_agg(CASE WHEN a.atttypid < first_of_user THEN a.atttypid ELSE siglip.base_type(a.atttypid) END ORDER BY n.place)
        INTO numbers, names, types
        FROM unnest(attachment.id_numbers || attachment.uri_number || attachment.metadata_numbers) WITH ORDINALITY AS n (number, place)
        LEFT JOIN pg_attribute AS a ON a.attrelid = attachment.attached_table AND a.attnum = n.number AND NOT a.attisdropped;
    END IF;
    plan.id_names := names[1 : ids];
    plan.uri_name := names[ids + 1];
    plan.metadata_names := names[ids + 2 :];
    IF array_position(plan.id_names, NULL) IS NOT NULL OR plan.uri_name IS NULL THEN
        plan.problem := format(
            'The column %I of %s, which names its rows or images, is gone: nothing is followed. siglip.detach, and attach it again.',
            CASE WHEN plan.uri_name IS NULL THEN attachment.uri_column
                 ELSE attachment.id_columns[array_position(plan.id_names, NULL)] END, attachment.attached_table);
        RETURN plan;
    END IF;
    uri_type := types[ids + 1];
    SELECT CASE WHEN t.typelem <> 0 AND t.typlen = -1 AND t.typcategory = 'A' THEN siglip.base_type(t.typelem) END INTO element_type
    FROM pg_type AS t WHERE t.oid = uri_type;
    plan.is_content := coalesce(element_type, uri_type) = 'bytea'::regtype;
    FOR i IN 1 .. ids LOOP
        IF types[i] >= first_of_user THEN
            plan.problem := format('The column %I of %s has the type %s. Columns that name rows have one of PostgreSQL''s own types.',
                                   names[i], attachment.attached_table, types[i]::regtype);
            RETURN plan;
        END IF;
    END LOOP;
    IF coalesce(element_type, uri_type) NOT IN ('text'::regtype, 'varchar'::regtype, 'bpchar'::regtype, 'bytea'::regtype) THEN
        plan.problem := format('The column %I of %s has the type %s. Images are given as text or bytea, or as an array of one of them.',
                               plan.uri_name, attachment.attached_table, uri_type::regtype);
        RETURN plan;
    END IF;

    SELECT CASE ids WHEN 1 THEN string_agg(format('r.%I::text', names[n]), '')
           ELSE format('ARRAY[%s]::text', string_agg(format('r.%I::text', names[n]), ', ' ORDER BY n)) END,
           string_agg(format('r.%I = CASE WHEN pg_input_is_valid(k.parts[%s], %L) THEN k.parts[%s]::%s END',
                             names[n], n, format_type(types[n], -1), n, format_type(types[n], -1))
                      -- 1.0 and 1.00 are equal, but two keys: a row has the one that it is written with.
                      || CASE WHEN types[n] = 'numeric'::regtype THEN format(' AND r.%I::text = k.parts[%s]', names[n], n) ELSE '' END,
                      ' AND ' ORDER BY n)
    INTO plan.row_key, plan.matches
    FROM generate_series(1, ids) AS n;
    plan.has_image := format('r.%I IS NOT NULL', plan.uri_name);

    item := CASE WHEN plan.is_content THEN 'CASE WHEN octet_length(v.item) > 0 THEN ''sha256:'' || encode(sha256(v.item), ''hex'') END'
                 ELSE 'btrim(v.item::text, E'' \t\r\n'')' END;
    plan.images := format(
        'SELECT v.place, u.uri, %s AS content FROM (SELECT %s) AS v (item, place) CROSS JOIN LATERAL (SELECT %s) AS u (uri)'
        ' WHERE u.uri <> '''' AND octet_length(u.uri) <= 2000',
        CASE WHEN plan.is_content THEN 'v.item' ELSE 'NULL::bytea' END,
        CASE WHEN element_type IS NULL THEN format('r.%I, 1', plan.uri_name)
             ELSE format('w.item, w.place FROM unnest(r.%I) WITH ORDINALITY AS w (item, place)', plan.uri_name) END, item);
    SELECT format('jsonb_build_object(%s)', string_agg(format('%L::text, %s', attachment.metadata_keys[n - ids - 1], CASE
               -- json takes what jsonb doesn't, such as \u0000: that becomes metadata as its text.
               WHEN types[n] IN ('json'::regtype, 'json[]'::regtype) THEN format(
                   'CASE WHEN pg_input_is_valid(to_json(r.%1$I::%2$s)::text, ''jsonb'') THEN to_jsonb(r.%1$I::%2$s) ELSE to_jsonb(r.%1$I::%2$s::text) END',
                   names[n], format_type(types[n], -1))
               WHEN types[n] < first_of_user THEN format('to_jsonb(r.%I::%s)', names[n], format_type(types[n], -1))
               ELSE format('CASE WHEN r.%1$I IS NOT NULL THEN to_jsonb(concat(r.%1$I)) END', names[n]) END), ', ' ORDER BY n))
    INTO plan.metadata
    FROM generate_series(ids + 2, ids + 1 + metadata_n) AS n WHERE names[n] IS NOT NULL;
    plan.metadata := coalesce(plan.metadata, '''{}''::jsonb');
    RETURN plan;
END
$$;

COMMENT ON FUNCTION siglip.plan_attachment(siglip.attachments)
    IS 'How the rows of an attached table are read now, with the names that its columns have; or why they can''t be.
Example: SELECT (siglip.plan_attachment(a)).row_key FROM siglip.attachments AS a;';
