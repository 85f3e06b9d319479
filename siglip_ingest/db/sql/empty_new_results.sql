-- Purpose: empty the table for a second call in one transaction.
-- Parameters: none.
-- A row means: no rows.
TRUNCATE pg_temp.siglip_new_results
