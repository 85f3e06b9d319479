-- Purpose: who might search, label or index before may use what this revision adds in the same way.
-- Parameters: none.
-- A row means: nothing here has rows.

-- As on siglip.images and siglip.labels, which the new tables stand beside.
DO $$
DECLARE
    granted record;
BEGIN
    FOR granted IN
        SELECT DISTINCT n.name, a.privilege_type,
               CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END AS role
        FROM (VALUES
            ('labels', 'image_labels', '{SELECT,INSERT,UPDATE,DELETE}'::text[]), ('labels', 'label_calibrations', '{SELECT,INSERT,UPDATE,DELETE}'),
            ('labels', 'label_progress', '{SELECT,INSERT,UPDATE,DELETE}'), ('labels', 'label_rules', '{SELECT}'),
            ('labels', 'label_refusals', '{SELECT,INSERT,UPDATE,DELETE}'), ('labels', 'label_status', '{SELECT}'), ('labels', 'wanted_labels', '{SELECT}'), ('labels', 'label_coverage', '{SELECT}'), ('images', 'labeled_images', '{SELECT}'),
            ('images', 'attachments', '{SELECT}'), ('images', 'attached_images', '{SELECT}'), ('images', 'attached_tables', '{SELECT}'),
            ('models', 'model_coverage', '{SELECT}'), ('models', 'collection_coverage', '{SELECT}')
        ) AS n (like_table, name, privileges)
        JOIN pg_class AS c ON c.relnamespace = 'siglip'::regnamespace AND c.relname = n.like_table
        CROSS JOIN LATERAL aclexplode(c.relacl) AS a
        WHERE a.privilege_type = ANY (n.privileges) AND a.grantee <> c.relowner
    LOOP
        EXECUTE format('GRANT %s ON siglip.%I TO %s', granted.privilege_type, granted.name, granted.role);
    END LOOP;
END
$$;
