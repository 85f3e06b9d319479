-- Purpose: wake the dispatchers, once the transaction is committed.
-- Parameters: model_id, the payload.
-- A row means: nothing.
SELECT pg_catalog.pg_notify('siglip_ingest_items', %(model_id)s::text)
