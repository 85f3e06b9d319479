-- Purpose: let no model be activated until the transaction ends; several transactions may hold them at once.
-- Parameters: none.
-- A row means: nothing.
SELECT pg_catalog.pg_advisory_xact_lock_shared('siglip.models'::regclass::oid::bigint)
