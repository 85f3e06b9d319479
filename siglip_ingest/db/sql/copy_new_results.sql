-- Purpose: send the results.
-- Parameters: the rows of the COPY, binary.
-- A row means: one item that was embedded.
COPY pg_temp.siglip_new_results FROM STDIN (FORMAT binary)
