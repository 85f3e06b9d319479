-- Purpose: let one transaction at a time add, describe or activate models. Reading goes on.
-- Parameters: none.
-- A row means: nothing; the lock ends with the transaction.
SELECT pg_catalog.pg_advisory_xact_lock('siglip.models'::regclass::oid::bigint)
