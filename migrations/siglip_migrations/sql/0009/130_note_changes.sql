-- Purpose: what the triggers of an attached table do: note the keys of rows whose image or metadata changed, and nothing else.
-- Parameters: none.
-- A row means: nothing here has rows.

-- It runs with the rights of whoever writes to the table. Of types in the schema none is declared: for a role without a right to the
-- schema, that would fail before the sentence that helps. The text of keys must not depend on the settings of the session.
CREATE FUNCTION siglip.note_attached_changes() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, siglip, pg_temp
SET datestyle = 'ISO, YMD'
SET intervalstyle = 'postgres'
SET timezone = 'UTC'
SET bytea_output = 'hex'
SET extra_float_digits = 1
AS $$
DECLARE
    keys_at_once constant integer := 250000;  -- an array of the longest keys that an index takes has less than 1 GB
    is_allowed boolean := has_schema_privilege('siglip', 'USAGE');
    table_row  record;
    old_key    text;
    new_key    text;
    same_key   text;
    changed    text;
    row_keys   text[];
    noted      bigint := 1;
BEGIN
    IF is_allowed THEN  -- a statement of its own: without a right to the schema, its tables can't even be asked about
        is_allowed := has_table_privilege('siglip.attachments', 'SELECT') AND has_table_privilege('siglip.attached_changes', 'INSERT');
    END IF;
    IF NOT is_allowed THEN
        RAISE EXCEPTION 'The role % may write to %, but not note for siglip what changes: that table is attached.',
            current_user, TG_RELID::regclass
            USING ERRCODE = 'insufficient_privilege',
                  HINT = format('GRANT USAGE ON SCHEMA siglip TO %1$I; GRANT SELECT ON siglip.attachments TO %1$I; '
                                'GRANT INSERT ON siglip.attached_changes TO %1$I', current_user);
    END IF;
    -- Names of the columns as they are now: those of the key, that of the image, those of the metadata.
    SELECT a.attachment_id, cardinality(a.id_columns) AS ids, c.names, c.are_plain, c.are_by_text INTO table_row
    FROM siglip.attachments AS a
    CROSS JOIN LATERAL (
        SELECT array_agg(quote_ident(c.attname) ORDER BY n.place) AS names,
               -- Types that IS DISTINCT FROM surely works for.
               array_agg(c.atttypid < 16384 AND t.typcategory IN ('N', 'S', 'D', 'B') ORDER BY n.place) AS are_plain,
               -- Types whose values may be equal but for their text, as 1.0 and 1.00 are; or domains, which may be over these.
               array_agg(c.atttypid = 'numeric'::regtype OR c.atttypid >= 16384 ORDER BY n.place) AS are_by_text
        FROM unnest(a.id_columns || a.uri_column || a.metadata_columns, a.id_numbers || a.uri_number || a.metadata_numbers)
             WITH ORDINALITY AS n (name, number, place)
        LEFT JOIN pg_attribute AS c ON c.attrelid = TG_RELID AND c.attnum > 0 AND NOT c.attisdropped
             AND CASE WHEN a.table_oid = TG_RELID THEN c.attnum = n.number ELSE c.attname = n.name END
        LEFT JOIN pg_type AS t ON t.oid = c.atttypid
    ) AS c
    WHERE a.attached_table = TG_RELID;
    IF NOT FOUND AND NOT EXISTS (
        SELECT FROM pg_trigger AS t WHERE t.tgrelid = TG_RELID AND t.tgfoid = 'siglip.note_attached_changes()'::regprocedure
    ) THEN  -- what the transaction sees is older than the trigger that called this
        RAISE EXCEPTION 'could not serialize access: % was attached after this transaction began', TG_RELID::regclass
            USING ERRCODE = 'serialization_failure', HINT = 'Run the transaction again.';
    ELSIF NOT FOUND OR array_position(table_row.names[1 : table_row.ids + 1], NULL) IS NOT NULL THEN
        -- It was restored without the data of siglip, or a column is gone. Whoever writes to it can't help it; siglip.attached_tables shows it.
        RETURN NULL;
    ELSIF TG_OP = 'TRUNCATE' THEN
        INSERT INTO siglip.attached_changes (attachment_id) VALUES (table_row.attachment_id);
    ELSE
        FOR n IN 1 .. table_row.ids LOOP
            old_key := concat_ws(', ', old_key, format('o.%s::text', table_row.names[n]));
            new_key := concat_ws(', ', new_key, format('r.%s::text', table_row.names[n]));
            same_key := concat_ws(' AND ', same_key, format(
                CASE WHEN table_row.are_by_text[n] THEN 'o.%1$s::text = r.%1$s::text' ELSE 'o.%1$s = r.%1$s' END, table_row.names[n]));
        END LOOP;
        IF table_row.ids > 1 THEN
            old_key := format('ARRAY[%s]::text', old_key);
            new_key := format('ARRAY[%s]::text', new_key);
        END IF;
        IF TG_OP = 'INSERT' THEN
            changed := format('SELECT %s FROM new_rows AS r WHERE r.%s IS NOT NULL', new_key, table_row.names[table_row.ids + 1]);
        ELSIF TG_OP = 'DELETE' THEN
            changed := format('SELECT %s FROM old_rows AS o WHERE o.%s IS NOT NULL', old_key, table_row.names[table_row.ids + 1]);
        ELSE
            FOR n IN table_row.ids + 1 .. cardinality(table_row.names) LOOP
                -- By their bytes (*<>), which needs no operator of the type, where it isn't known to have one.
                changed := concat_ws(' OR ', changed, CASE
                    WHEN table_row.are_plain[n] THEN format('o.%1$s IS DISTINCT FROM r.%1$s', table_row.names[n])
                    WHEN table_row.names[n] IS NOT NULL
                    THEN format('ROW(o.%1$s)::record OPERATOR(pg_catalog.*<>) ROW(r.%1$s)::record', table_row.names[n]) END);
            END LOOP;
            -- A key that is gone, or new, stands beside NULLs: it differs where there is anything to see.
            changed := format('SELECT CASE WHEN r.%s IS NULL THEN %s ELSE %s END FROM old_rows AS o FULL JOIN new_rows AS r ON %s WHERE %s',
                              table_row.names[1], old_key, new_key, same_key, changed);
        END IF;
        EXECUTE format('SELECT array_agg(c.row_key) FROM (%s LIMIT %s) AS c (row_key)', changed, keys_at_once) INTO row_keys;
        noted := coalesce(cardinality(row_keys), 0);
        IF noted = keys_at_once THEN
            -- All of them by one query: another one may be planned otherwise, have the keys in another order, and so miss some.
            EXECUTE format(
                'INSERT INTO siglip.attached_changes (attachment_id, row_keys) SELECT $1, array_agg(c.row_key) FROM ('
                'SELECT d.row_key, row_number() OVER () / 1000 AS part FROM (%s) AS d (row_key)) AS c GROUP BY c.part ORDER BY c.part',
                changed) USING table_row.attachment_id;
        ELSIF noted > 0 THEN
            INSERT INTO siglip.attached_changes (attachment_id, row_keys) VALUES (table_row.attachment_id, row_keys);
        END IF;
    END IF;
    IF noted > 0 THEN
        PERFORM pg_notify('siglip_ingest_items', 'attached');
    END IF;
    RETURN NULL;
END
$$;

COMMENT ON FUNCTION siglip.note_attached_changes()
    IS 'Note which rows of an attached table got, lost or changed an image or metadata; siglip.attach makes the triggers that call it.
Example: UPDATE public.product SET photo_url = ''https://example.org/new.jpg'' WHERE id = 1;';
