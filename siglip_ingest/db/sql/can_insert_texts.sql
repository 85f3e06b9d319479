-- Purpose: whether the cache can be written to: a role that only searches may have no right to, and a standby can't.
-- Parameters: none.
-- A row means: true where it can.
SELECT has_table_privilege('siglip.texts', 'INSERT') AND current_setting('transaction_read_only') = 'off'
