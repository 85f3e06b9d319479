-- Purpose: take away what 100_enqueue.sql made.
-- Parameters: none.
-- A row means: as before.

DROP FUNCTION siglip.retry_failed(text);
DROP FUNCTION siglip.enqueue_image(bytea, text, text, jsonb, boolean);
DROP FUNCTION siglip.enqueue_images(text[], text, text[], jsonb, jsonb[], text[], boolean);
DROP FUNCTION siglip.models_to_queue();
DROP FUNCTION siglip.store_images(text, text[], text[], jsonb[], text[], boolean, boolean, integer[]);
