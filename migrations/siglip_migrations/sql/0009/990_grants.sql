-- Purpose: rights on what is new, for who has them on what was there.
-- Parameters: none.
-- A row means: nothing here has rows.

-- Who might read labels, images or models may read what this revision adds to them; who might write labels or their vectors, as
-- workers do, may write what goes with these.
DO $$
DECLARE
    granted record;
BEGIN
    FOR granted IN
        SELECT n.name, a.privilege_type, CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END AS role
        FROM (VALUES
            ('label_embeddings', '{label_refusals,image_labels,label_progress}'::text[], true),
            ('labels', '{label_calibrations,image_labels}', true),
            ('labels', '{label_rules,label_status,labeled_images,wanted_labels,label_coverage}', false),
            ('images', '{attachments,attached_images,attached_tables}', false),
            ('models', '{model_coverage,collection_coverage}', false)
        ) AS l (old_table, names, is_table)
        CROSS JOIN LATERAL unnest(l.names) AS n (name)
        JOIN pg_class AS c ON c.relnamespace = 'siglip'::regnamespace AND c.relname = l.old_table
        CROSS JOIN LATERAL aclexplode(c.relacl) AS a
        WHERE a.grantee <> c.relowner
          AND (a.privilege_type = 'SELECT' OR (l.is_table AND a.privilege_type IN ('INSERT', 'UPDATE', 'DELETE')))
    LOOP
        EXECUTE format('GRANT %s ON siglip.%I TO %s', granted.privilege_type, granted.name, granted.role);
    END LOOP;
END
$$;
