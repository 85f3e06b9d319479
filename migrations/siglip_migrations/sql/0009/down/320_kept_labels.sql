-- Purpose: take away what 320_kept_labels.sql made.
-- Parameters: none.
-- A row means: as before.

DROP VIEW siglip.label_coverage;
DROP FUNCTION siglip.refresh_labels(integer);
DROP FUNCTION siglip.changed_labels();
DROP FUNCTION siglip.labels_to_forget();
DROP FUNCTION siglip.keep_arrived(integer, bigint[]);
DROP FUNCTION siglip.keep_contents(integer, bigint[], integer[]);
DROP FUNCTION siglip.score_marks(integer, bigint[], integer[]);
DROP FUNCTION siglip.notify_labels(text, text, bigint[]);
DROP VIEW siglip.wanted_labels;
DROP TRIGGER await_kept_labels ON siglip.labels;
DROP FUNCTION siglip.await_kept_labels();
DROP FUNCTION siglip.kept_labels_lock();
DROP TABLE siglip.label_progress;
