-- Purpose: nothing: the rights go with the tables.
-- Parameters: none.
-- A row means: as before.

SELECT 1;
