-- Purpose: how far the write-ahead log reaches on the disk, which is as far as slots are read.
-- Parameters: none.
-- A row means: the position, to be compared with another one.
SELECT pg_current_wal_flush_lsn()::text
