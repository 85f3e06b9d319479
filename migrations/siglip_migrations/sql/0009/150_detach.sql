-- Purpose: what an attached table's writers need, its end, and how far its images are.
-- Parameters: the table.
-- A row means: of siglip.attached_tables, one attached table, and how far its images are.

CREATE FUNCTION siglip.warn_of_rights(attached_table regclass) RETURNS void
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, siglip, pg_temp
AS $$
DECLARE
    class   pg_class;
    writers text;
BEGIN
    SELECT c.* INTO class FROM pg_class AS c WHERE c.oid = attached_table;
    SELECT string_agg(DISTINCT CASE w.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(w.grantee)) END, ', ') INTO writers
    FROM (
        SELECT x.grantee, x.privilege_type FROM aclexplode(class.relacl) AS x
        UNION ALL SELECT class.relowner, 'INSERT'
    ) AS w
    WHERE w.privilege_type IN ('INSERT', 'UPDATE', 'DELETE', 'TRUNCATE')
      AND CASE w.grantee WHEN 0 THEN true
          ELSE NOT (has_schema_privilege(w.grantee, 'siglip', 'USAGE') AND has_table_privilege(w.grantee, 'siglip.attachments', 'SELECT')
                    AND has_table_privilege(w.grantee, 'siglip.attached_changes', 'INSERT')) END;
    IF writers IS NOT NULL THEN
        RAISE WARNING 'Some roles may write to % but not note for siglip what changes: their writes will fail: %.', attached_table, writers
            USING HINT = format('GRANT USAGE ON SCHEMA siglip TO %1$s; GRANT SELECT ON siglip.attachments TO %1$s; '
                                'GRANT INSERT ON siglip.attached_changes TO %1$s', writers);
    END IF;
    IF class.relrowsecurity THEN
        RAISE WARNING '% has row-level security, siglip.images doesn''t follow it: who may read siglip.images sees addresses and metadata of all rows.',
            attached_table USING HINT = 'siglip.search and siglip.search_rows give a role only the rows that it may see.';
    END IF;
END
$$;

COMMENT ON FUNCTION siglip.warn_of_rights(regclass)
    IS 'Warn of roles whose writes to an attached table would fail, with the GRANTs that help, and of row-level security on it.
Example: SELECT siglip.warn_of_rights(''public.product'');';

CREATE FUNCTION siglip.forget_attachment(attachment_id integer, delete_images boolean) RETURNS bigint
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, siglip, pg_temp
AS $$
DECLARE
    released bigint := 0;
BEGIN
    IF delete_images THEN
        INSERT INTO siglip.released_images (image_id)
        SELECT DISTINCT m.image_id FROM siglip.attached_images AS m WHERE m.attachment_id = forget_attachment.attachment_id;
        GET DIAGNOSTICS released = ROW_COUNT;
    END IF;
    DELETE FROM siglip.attached_changes AS c WHERE c.attachment_id = forget_attachment.attachment_id;
    DELETE FROM siglip.attachments AS a WHERE a.attachment_id = forget_attachment.attachment_id;
    PERFORM pg_notify('siglip_ingest_items', 'attached');
    RETURN released;
END
$$;

COMMENT ON FUNCTION siglip.forget_attachment(integer, boolean)
    IS 'Take out an attachment with all that is known of its rows; with delete_images its images go, where no other attached row has them. Returns how many.
Example: SELECT siglip.forget_attachment(a.attachment_id, false) FROM siglip.attachments AS a;';

CREATE FUNCTION siglip.detach(attached_table regclass, delete_images boolean DEFAULT false) RETURNS bigint
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, siglip, pg_temp
AS $$
DECLARE
    attachment siglip.attachments;
    trigger_name text;
BEGIN
    SELECT a.* INTO attachment FROM siglip.attachments AS a WHERE a.attached_table = detach.attached_table;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'The table % is not attached.', coalesce(attached_table::text, 'NULL')
            USING ERRCODE = 'no_data_found', HINT = 'SELECT * FROM siglip.attached_tables shows which are.';
    END IF;
    FOR trigger_name IN
        SELECT t.tgname FROM pg_trigger AS t
        WHERE t.tgrelid = detach.attached_table AND t.tgfoid = 'siglip.note_attached_changes()'::regprocedure
    LOOP
        EXECUTE format('DROP TRIGGER %I ON %s', trigger_name, attached_table);
    END LOOP;
    RETURN siglip.forget_attachment(attachment.attachment_id, coalesce(delete_images, false));
END
$$;

COMMENT ON FUNCTION siglip.detach(regclass, boolean)
    IS 'Stop following a table. Its images stay, or with delete_images are deleted by a worker, where no other attached row has them; returns how many.
Example: SELECT siglip.detach(a.attached_table) FROM siglip.attachments AS a;';

CREATE VIEW siglip.attached_tables WITH (security_invoker = true) AS
SELECT a.attachment_id, a.attached_table, a.id_columns, a.uri_column, a.metadata_columns, a.collection,
       coalesce(c.waiting, 0) AS rows_waiting, coalesce(i.rows, 0) AS rows, coalesce(i.images, 0) AS images,
       coalesce(i.embedded, 0) AS embedded, coalesce(i.failed, 0) AS failed,
       coalesce(a.problem, (siglip.plan_attachment(a)).problem) AS problem
FROM siglip.attachments AS a
LEFT JOIN (
    SELECT c.attachment_id, sum(coalesce(cardinality(c.row_keys), 1)) AS waiting FROM siglip.attached_changes AS c GROUP BY c.attachment_id
) AS c USING (attachment_id)
LEFT JOIN (
    SELECT m.attachment_id, count(DISTINCT m.row_key) AS rows, count(DISTINCT m.image_id) AS images,
           count(DISTINCT m.image_id) FILTER (WHERE t.state = 'done') AS embedded,
           count(DISTINCT m.image_id) FILTER (WHERE t.state = 'failed') AS failed
    FROM siglip.attached_images AS m
    LEFT JOIN siglip.ingest_items AS t ON t.image_id = m.image_id AND t.model_id = (SELECT o.model_id FROM siglip.models AS o WHERE o.is_active)
    GROUP BY m.attachment_id
) AS i USING (attachment_id);

COMMENT ON VIEW siglip.attached_tables
    IS 'One row is one attached table: keys that wait to be looked at, rows with images, and how many images the active model has embedded.';
