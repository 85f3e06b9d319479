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
    is_allowed boolean := has_schema_privilege('siglip', 'USAGE');
    plan       record;
    changed    text;
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
    SELECT a.attachment_id, p.* INTO plan
    FROM siglip.attachments AS a CROSS JOIN LATERAL siglip.plan_attachment(a) AS p WHERE a.attached_table = TG_RELID;
    IF NOT FOUND THEN
        RETURN NULL;  -- restored without the data of siglip, or detached by hand
    END IF;
    IF TG_OP = 'TRUNCATE' THEN
        INSERT INTO siglip.attached_changes (attachment_id) VALUES (plan.attachment_id);
    ELSE
        IF plan.problem IS NOT NULL THEN
            RETURN NULL;  -- a column is gone: whoever writes to the table can't help it; siglip.attached_tables shows it
        END IF;
        changed := CASE TG_OP
            WHEN 'INSERT' THEN format('SELECT %s AS row_key FROM new_rows AS r WHERE %s', plan.row_key, plan.has_image)
            WHEN 'DELETE' THEN format('SELECT %s AS row_key FROM old_rows AS r WHERE %s', plan.row_key, plan.has_image)
            -- Compared by their bytes (*<>): that needs no operator of the columns' types.
            ELSE format(
                'SELECT u.row_key FROM (SELECT %1$s AS row_key, %2$s AS watched FROM old_rows AS r) AS o'
                ' FULL JOIN (SELECT %1$s AS row_key, %2$s AS watched FROM new_rows AS r) AS n ON n.row_key = o.row_key'
                ' CROSS JOIN LATERAL (SELECT coalesce(n.row_key, o.row_key)) AS u (row_key)'
                ' WHERE o.row_key IS NULL OR n.row_key IS NULL OR o.watched OPERATOR(pg_catalog.*<>) n.watched',
                plan.row_key, plan.watched)
        END;
        EXECUTE format(
            'INSERT INTO siglip.attached_changes (attachment_id, row_keys)'
            ' SELECT $1, array_agg(c.row_key) FROM (SELECT d.row_key, row_number() OVER () / 1000 AS part FROM (%s) AS d) AS c'
            ' GROUP BY c.part ORDER BY c.part', changed)
            USING plan.attachment_id;
        GET DIAGNOSTICS noted = ROW_COUNT;
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
