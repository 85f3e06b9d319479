-- Purpose: where COPY puts the rows of insert_images. It ends with the transaction: behind a pooler nothing else is ours.
-- Parameters: none.
-- A row means: one image that was handed over; is_changed is NULL for those that are new.
CREATE TEMPORARY TABLE IF NOT EXISTS siglip_new_images (
    position       integer,
    collection     text,
    uri            text,
    key            text,
    source_version text,
    metadata       jsonb,
    content        bytea,
    is_changed     boolean
) ON COMMIT DROP
