-- Purpose: attach a table, so that a collection follows its rows from then on; detach it; look at all of its rows again.
-- Parameters: the table, the columns that tell rows apart, the one with the image, those that become metadata; a collection.
-- A row means: of siglip.attached_tables, one attached table, and how far its images are.

-- All keys of a table, and all that have images, are noted: existing rows come in, rows that are gone go.
CREATE FUNCTION siglip.refresh_attached(attached_table regclass) RETURNS bigint
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, siglip, pg_temp
SET datestyle = 'ISO, YMD'
SET intervalstyle = 'postgres'
SET timezone = 'UTC'
SET bytea_output = 'hex'
SET extra_float_digits = 1
AS $$
DECLARE
    attachment siglip.attachments;
    plan       siglip.attachment_plan;
    noted      bigint;
BEGIN
    SELECT a.* INTO attachment FROM siglip.attachments AS a WHERE a.attached_table = refresh_attached.attached_table;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'The table % is not attached.', coalesce(attached_table::text, 'NULL')
            USING ERRCODE = 'no_data_found', HINT = 'SELECT * FROM siglip.attached_tables shows which are; siglip.attach attaches one.';
    END IF;
    PERFORM siglip.hold_attached(attached_table);
    plan := siglip.plan_attachment(attachment);
    IF plan.problem IS NOT NULL THEN
        RAISE EXCEPTION '%', plan.problem USING ERRCODE = 'object_not_in_prerequisite_state';
    ELSIF row_security_active(attached_table::oid) THEN
        RAISE EXCEPTION 'Row-level security hides rows of % from the role %.', attached_table, current_user
            USING ERRCODE = 'insufficient_privilege', HINT = 'Let the table''s owner do it, or a role with BYPASSRLS.';
    END IF;
    INSERT INTO siglip.attached_changes (attachment_id)
    SELECT attachment.attachment_id WHERE EXISTS (SELECT FROM siglip.attached_images AS m WHERE m.attachment_id = attachment.attachment_id);
    EXECUTE format(
        'WITH noted AS (INSERT INTO siglip.attached_changes (attachment_id, row_keys)'
        ' SELECT $1, array_agg(c.row_key) FROM (SELECT %s AS row_key, row_number() OVER () / 1000 AS part FROM %s AS r WHERE %s) AS c'
        ' GROUP BY c.part ORDER BY c.part RETURNING row_keys) SELECT coalesce(sum(cardinality(n.row_keys)), 0) FROM noted AS n',
        plan.row_key, attached_table, plan.has_image) INTO noted USING attachment.attachment_id;
    PERFORM pg_notify('siglip_ingest_items', 'attached');
    RETURN noted;
END
$$;

COMMENT ON FUNCTION siglip.refresh_attached(regclass)
    IS 'Have all rows of an attached table looked at again, after changes that fire no triggers (replication, partitions); returns how many have something in the image''s column.
Example: SELECT siglip.refresh_attached(a.attached_table) FROM siglip.attachments AS a;';

CREATE FUNCTION siglip.check_attachable(attached_table regclass, columns text[]) RETURNS void
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, siglip, pg_temp
AS $$
DECLARE
    class  pg_class;
    wrong  text;
BEGIN
    SELECT c.* INTO class FROM pg_class AS c WHERE c.oid = attached_table;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'There is no table %.', coalesce(attached_table::text, 'NULL') USING ERRCODE = 'undefined_table';
    -- A role called siglip has its own tables in the schema siglip, too; those that following writes to are ours.
    ELSIF class.relkind NOT IN ('r', 'p') OR class.relpersistence = 't' OR class.oid < 16384 OR (
       class.relnamespace = 'siglip'::regnamespace
       AND class.relname ~ '^(images|image_bytes|image_embeddings.*|ingest_items|contents|attach\w+|released_\w+)$') THEN
        RAISE EXCEPTION '% can''t be attached: it is not a table of yours that all sessions see.', attached_table
            USING ERRCODE = 'wrong_object_type', HINT = 'Tables and partitioned tables can be; views, foreign and temporary tables can''t.';
    ELSIF class.relispartition OR (EXISTS (SELECT FROM pg_inherits AS i WHERE attached_table IN (i.inhrelid, i.inhparent)) AND class.relkind = 'r') THEN
        RAISE EXCEPTION '% can''t be attached: writes to %.', attached_table,
            CASE WHEN class.relispartition THEN 'the table that it is a partition of don''t fire its triggers'
                 ELSE 'tables that inherit from each other don''t fire each other''s triggers' END
            USING ERRCODE = 'wrong_object_type', HINT = 'A partitioned table itself can be attached.';
    ELSIF NOT pg_has_role(class.relowner, 'USAGE') THEN
        RAISE EXCEPTION 'The role % can''t attach %: it is not the table''s owner.', current_user, attached_table
            USING ERRCODE = 'insufficient_privilege', HINT = format('Do it as %s.', pg_get_userbyid(class.relowner));
    END IF;
    SELECT quote_ident(n.name) INTO wrong
    FROM unnest(columns) AS n (name)
    WHERE NOT EXISTS (SELECT FROM pg_attribute AS a WHERE a.attrelid = attached_table AND a.attname = n.name AND a.attnum > 0 AND NOT a.attisdropped)
    LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'The table % has no column %.', attached_table, coalesce(wrong, 'NULL')
            USING ERRCODE = 'undefined_column', HINT = 'Write names as they are stored: photo_url, or Photo URL without quotes of its own.';
    END IF;
    SELECT quote_ident(a.attname) INTO wrong
    FROM pg_attribute AS a WHERE a.attrelid = attached_table AND a.attname = ANY (columns) AND a.attgenerated = 'v' LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'The column % of % is generated when it is read: triggers don''t see it.', wrong, attached_table
            USING ERRCODE = 'wrong_object_type', HINT = 'Columns that are GENERATED ALWAYS AS (...) STORED can be attached.';
    END IF;
    SELECT quote_ident(n.name) INTO wrong
    FROM unnest(columns) AS n (name) WHERE NOT has_column_privilege(attached_table, n.name, 'SELECT') LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'The role % may not read the column % of %, so that it can''t attach it.', current_user, wrong, attached_table
            USING ERRCODE = 'insufficient_privilege', HINT = format('GRANT SELECT ON %s TO %I', attached_table, current_user);
    END IF;
END
$$;

COMMENT ON FUNCTION siglip.check_attachable(regclass, text[])
    IS 'An error where a table can''t be attached: it is of a kind that can''t, or has no such columns, or the role may not.
Example: SELECT siglip.check_attachable(''public.product'', ''{id,photo_url}'');';

CREATE FUNCTION siglip.attach(
    attached_table   regclass,
    uri_column       text,
    id_column        text DEFAULT NULL,
    collection       text DEFAULT NULL,
    metadata_columns text[] DEFAULT '{}',
    id_columns       text[] DEFAULT NULL
) RETURNS bigint
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, siglip, pg_temp
AS $$
DECLARE
    attachment siglip.attachments;
    ids        text[] := coalesce(id_columns, ARRAY[id_column]);
    metadata   text[] := coalesce(metadata_columns, '{}');
    wrong      text;
    event      text;
BEGIN
    PERFORM siglip.check_attachable(attached_table, '{}');
    IF num_nonnulls(id_column, id_columns) = 0 THEN
        ids := ARRAY(
            SELECT a.attname::text FROM pg_index AS x CROSS JOIN unnest(x.indkey::smallint[]) WITH ORDINALITY AS n (number, place)
            JOIN pg_attribute AS a ON a.attrelid = x.indrelid AND a.attnum = n.number
            WHERE x.indrelid = attach.attached_table AND x.indisprimary AND n.place <= x.indnkeyatts ORDER BY n.place);
    END IF;
    IF num_nonnulls(id_column, id_columns) = 2 OR cardinality(ids) = 0 THEN
        RAISE EXCEPTION 'Nothing says which columns tell the rows of % apart%.', attached_table,
            CASE WHEN cardinality(ids) = 0 THEN ': it has no primary key' ELSE '; id_column and id_columns are both given' END
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Give id_column => ''id'', or id_columns => ''{shop,number}'' where it takes several.';
    ELSIF uri_column IS NULL OR attach.collection = '' OR cardinality(metadata) > 45 THEN
        RAISE EXCEPTION '%', CASE WHEN uri_column IS NULL THEN 'uri_column is NULL, not the name of a column.'
                                  WHEN attach.collection = '' THEN 'A collection needs a name.' ELSE 'At most 45 columns become metadata.' END
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    PERFORM siglip.check_attachable(attached_table, ids || uri_column || metadata);
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'A table is attached in a transaction that is READ COMMITTED, not %.', upper(current_setting('transaction_isolation'))
            USING ERRCODE = 'active_sql_transaction', HINT = 'It must see the rows that were written until then.';
    END IF;
    EXECUTE format('LOCK TABLE %s IN SHARE ROW EXCLUSIVE MODE', attached_table);
    IF EXISTS (SELECT FROM siglip.attachments AS a WHERE a.attached_table = attach.attached_table) THEN
        RAISE EXCEPTION 'The table % is attached already.', attached_table
            USING ERRCODE = 'duplicate_object', HINT = 'siglip.detach first, to attach it in another way; its images may stay meanwhile.';
    END IF;
    SELECT attached_table, attached_table::oid, ids, uri_column, metadata, metadata,
           coalesce(attach.collection, (SELECT c.relname::text FROM pg_class AS c WHERE c.oid = attach.attached_table)),
           ARRAY(SELECT a.attnum FROM unnest(ids) WITH ORDINALITY AS n (name, place) JOIN pg_attribute AS a ON a.attname = n.name
                 WHERE a.attrelid = attach.attached_table ORDER BY n.place),
           (SELECT a.attnum FROM pg_attribute AS a WHERE a.attrelid = attach.attached_table AND a.attname = uri_column),
           ARRAY(SELECT a.attnum FROM unnest(metadata) WITH ORDINALITY AS n (name, place) JOIN pg_attribute AS a ON a.attname = n.name
                 WHERE a.attrelid = attach.attached_table ORDER BY n.place)
    INTO attachment.attached_table, attachment.table_oid, attachment.id_columns, attachment.uri_column, attachment.metadata_columns,
         attachment.metadata_keys, attachment.collection, attachment.id_numbers, attachment.uri_number, attachment.metadata_numbers;
    IF NOT EXISTS (
        SELECT FROM pg_index AS x
        WHERE x.indrelid = attach.attached_table AND x.indisunique AND x.indisvalid AND x.indimmediate AND x.indpred IS NULL
          AND x.indexprs IS NULL AND x.indnkeyatts = cardinality(ids)
          AND ARRAY(SELECT n FROM unnest((x.indkey::smallint[])[0 : x.indnkeyatts - 1]) AS n ORDER BY n)
              = ARRAY(SELECT n FROM unnest(attachment.id_numbers) AS n ORDER BY n)
    ) OR EXISTS (SELECT FROM pg_attribute AS a WHERE a.attrelid = attach.attached_table AND a.attnum = ANY (attachment.id_numbers) AND NOT a.attnotnull) THEN
        RAISE EXCEPTION 'The columns (%) of % don''t tell its rows apart: they need a unique index, and NOT NULL.',
            array_to_string(ARRAY(SELECT quote_ident(n) FROM unnest(ids) AS n), ', '), attached_table
            USING ERRCODE = 'invalid_parameter_value', HINT = 'A primary key has both.';
    END IF;
    wrong := (siglip.plan_attachment(attachment)).problem;
    IF wrong IS NOT NULL THEN
        RAISE EXCEPTION '%', wrong USING ERRCODE = 'datatype_mismatch';
    END IF;
    INSERT INTO siglip.attachments (attached_table, table_oid, id_columns, id_numbers, uri_column, uri_number, metadata_columns, metadata_numbers,
                                    metadata_keys, collection)
    VALUES (attachment.attached_table, attachment.table_oid, attachment.id_columns, attachment.id_numbers, attachment.uri_column,
            attachment.uri_number, attachment.metadata_columns, attachment.metadata_numbers, attachment.metadata_keys, attachment.collection);
    FOREACH event IN ARRAY '{INSERT,UPDATE,DELETE,TRUNCATE}'::text[] LOOP
        EXECUTE format(
            'CREATE TRIGGER siglip_note_%s AFTER %s ON %s %s FOR EACH STATEMENT EXECUTE FUNCTION siglip.note_attached_changes()',
            lower(event), event, attached_table,
            CASE event WHEN 'INSERT' THEN 'REFERENCING NEW TABLE AS new_rows' WHEN 'DELETE' THEN 'REFERENCING OLD TABLE AS old_rows'
                       WHEN 'UPDATE' THEN 'REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows' ELSE '' END);
    END LOOP;
    PERFORM siglip.warn_of_rights(attached_table);
    RETURN siglip.refresh_attached(attached_table);
END
$$;

COMMENT ON FUNCTION siglip.attach(regclass, text, text, text, text[], text[])
    IS 'Have a collection follow a column of your table: its rows are queued, and inserts, updates and deletes follow by themselves. Returns how many rows have something in that column.
Example: SELECT siglip.attach(''public.product'', id_column => ''id'', uri_column => ''photo_url'', collection => ''shop'', metadata_columns => ''{category,price}'');';
