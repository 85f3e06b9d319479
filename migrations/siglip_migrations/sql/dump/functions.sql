-- Purpose: the functions, without those that belong to one model.
-- Parameters: none.
-- A row means: a function as SQL, and its comment.
SELECT pg_get_functiondef(p.oid), obj_description(p.oid)
FROM pg_proc AS p
WHERE p.pronamespace = 'siglip'::regnamespace AND p.proname !~ '^nearest_images_[0-9]+$'
ORDER BY p.proname, pg_get_function_identity_arguments(p.oid)
