-- Purpose: let the server notice within half a minute that this connection's other end is gone; on a Unix socket it always does.
-- Parameters: none.
-- A row means: nothing.
SELECT pg_catalog.set_config('tcp_keepalives_idle', '10', false), pg_catalog.set_config('tcp_keepalives_interval', '5', false),
       pg_catalog.set_config('tcp_keepalives_count', '4', false)
