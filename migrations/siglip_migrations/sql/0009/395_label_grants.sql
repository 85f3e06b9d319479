-- Purpose: rights on what is new of labels, for who has them on what was there.
-- Parameters: none.
-- A row means: as before.

-- Who might read labels may read what is kept of them; who might write their vectors, as workers do, may write what goes with these.
DO $$
DECLARE
    granted record;
BEGIN
    FOR granted IN
        SELECT a.privilege_type, CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END AS role
        FROM pg_class AS c CROSS JOIN LATERAL aclexplode(c.relacl) AS a
        WHERE c.oid = 'siglip.label_embeddings'::regclass AND a.grantee <> c.relowner
          AND a.privilege_type IN ('SELECT', 'INSERT', 'UPDATE', 'DELETE')
    LOOP
        EXECUTE format(
            'GRANT %s ON siglip.label_refusals, siglip.label_calibrations, siglip.image_labels, siglip.label_progress TO %s',
            granted.privilege_type, granted.role);
        IF granted.privilege_type = 'SELECT' THEN
            EXECUTE format(
                'GRANT SELECT ON siglip.label_rules, siglip.label_status, siglip.labeled_images, siglip.wanted_labels, siglip.label_coverage TO %s',
                granted.role);
        END IF;
    END LOOP;
END
$$;
