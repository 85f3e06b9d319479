-- Purpose: take away what revision 0004 made. Its functions' predecessors come back by running sql/0002/ again.
-- Parameters: none.
-- A row means: a claimed item is queued; texts that no model can read are forgotten.

-- siglip.create_embedding_partition stays as it is: it does what revision 0001's does.
DROP VIEW siglip.label_scores;
DROP FUNCTION siglip.images_with_label(text, text, double precision, integer, text, jsonb, integer);
DROP FUNCTION siglip.score_labels(@vector@.halfvec, text, integer);
DROP FUNCTION siglip.search_embedded_text(
    text, @vector@.halfvec, integer, text, text, text, integer, integer, text, jsonb, double precision);
DROP FUNCTION siglip.search_cached_text(text, integer, text, jsonb, double precision);
DROP FUNCTION siglip.similar_images(bigint, integer, text, jsonb, double precision, integer);
DROP FUNCTION siglip.search_images(text, integer, text, jsonb, double precision, integer, double precision);
DROP FUNCTION siglip.search_images(@vector@.halfvec, integer, text, jsonb, double precision, integer);
DROP FUNCTION siglip.nearest_images(siglip.models, @vector@.halfvec, integer, text, jsonb, double precision, bigint);
DROP FUNCTION siglip.nearest_images_query(integer, boolean, boolean, boolean, boolean);
DROP FUNCTION siglip.check_max_results(integer);
DROP TYPE siglip.image_match;
DROP FUNCTION siglip.embed_text(text, integer, double precision);
DROP FUNCTION siglip.has_text_listener(integer);
DROP FUNCTION siglip.ask_text(text, integer, boolean);
DROP FUNCTION siglip.score(double precision, integer);
DROP FUNCTION siglip.score(double precision, double precision, double precision);
DROP FUNCTION siglip.active_model();
DROP FUNCTION siglip.described_model(integer);

DROP FUNCTION siglip.store_text(text, @vector@.halfvec, integer, text, text, text, text, integer);
DROP FUNCTION siglip.touch_text(integer, uuid);
DROP FUNCTION siglip.can_write_texts();
DROP FUNCTION siglip.cut_text(text);
DROP TRIGGER trim_texts ON siglip.texts;
DROP FUNCTION siglip.trim_texts();
DELETE FROM siglip.texts WHERE embedding IS NULL;
ALTER TABLE siglip.texts
    DROP CONSTRAINT texts_refusal_check, DROP CONSTRAINT texts_query_check,
    DROP COLUMN refusal, DROP COLUMN warning,
    ALTER COLUMN embedding SET NOT NULL;

DROP INDEX siglip.ingest_items_claimed_btree_idx;
UPDATE siglip.ingest_items
SET state = 'queued', attempts = greatest(0, attempts - 1), lease_token = NULL, worker_id = NULL
WHERE state = 'claimed';
ALTER TABLE siglip.ingest_items DROP CONSTRAINT ingest_items_lease_check;
ALTER TABLE siglip.ingest_items DROP COLUMN worker_id;
ALTER TABLE siglip.ingest_items ADD COLUMN lease_expires_at timestamptz;
ALTER TABLE siglip.ingest_items ADD CONSTRAINT ingest_items_lease_check
    CHECK (num_nonnulls(lease_token, lease_expires_at) = CASE state WHEN 'claimed' THEN 2 ELSE 0 END);
CREATE INDEX ingest_items_claimed_btree_idx ON siglip.ingest_items (lease_expires_at) WHERE state = 'claimed';
DROP TABLE siglip.workers;

CREATE PUBLICATION siglip_messages;
