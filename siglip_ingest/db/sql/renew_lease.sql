-- Purpose: let a claim count for longer.
-- Parameters: lease_token; lease_s in seconds from now.
-- A row means: no rows; the number of rows changed is the number of items still under the claim.
UPDATE siglip.ingest_items
SET lease_expires_at = clock_timestamp() + make_interval(secs => %(lease_s)s)
WHERE state = 'claimed' AND lease_token = %(lease_token)s
