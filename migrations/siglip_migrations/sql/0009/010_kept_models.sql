-- Purpose: models that new images and new label prompts are embedded under, beside the active one.
-- Parameters: none.
-- A row means: as before.

ALTER TABLE siglip.models ADD COLUMN is_kept boolean NOT NULL DEFAULT false;

COMMENT ON COLUMN siglip.models.is_kept
    IS 'Whether new images are embedded under it beside the active one: it is being prepared, or can be gone back to.';

CREATE FUNCTION siglip.kept_models() RETURNS SETOF integer
LANGUAGE sql STABLE ROWS 2
SET search_path = pg_catalog, siglip, pg_temp
AS $$
    SELECT m.model_id FROM siglip.models AS m WHERE (m.is_active OR m.is_kept) AND NOT m.is_external ORDER BY m.model_id
$$;

COMMENT ON FUNCTION siglip.kept_models() IS 'The models that a new image is queued for: the active one, and those that are kept beside it.
Example: SELECT * FROM siglip.kept_models();';
