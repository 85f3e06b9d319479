-- Purpose: leave a claim whose work doesn't move to whoever looks for lost ones.
-- Parameters: lease_token.
-- A row means: no rows; the number of rows changed is the number of items left.
UPDATE siglip.ingest_items SET worker_id = gen_random_uuid() WHERE state = 'claimed' AND lease_token = %(lease_token)s
