-- Purpose: where COPY puts the results of a chunk. One for a session, emptied with each transaction.
-- Parameters: none.
-- A row means: one item that was embedded; embedding is NULL where the content has a vector already.
CREATE TEMPORARY TABLE IF NOT EXISTS siglip_new_results (
    item_id      bigint,
    image_id     bigint,
    content_hash bytea,
    width        integer,
    height       integer,
    format       text,
    embedding    halfvec
) ON COMMIT DELETE ROWS
