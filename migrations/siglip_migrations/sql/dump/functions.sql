-- Purpose: the functions.
-- Parameters: none.
-- A row means: a function as SQL, and its comment.
SELECT pg_get_functiondef(p.oid), obj_description(p.oid)
FROM pg_proc AS p
WHERE p.pronamespace = 'siglip'::regnamespace
ORDER BY p.proname, pg_get_function_identity_arguments(p.oid)
