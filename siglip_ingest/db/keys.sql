-- name: create_key
-- Adds a key of the web API by its hash; days is its life, NULL for ever. Returns key_id, name, scope, created_at, expires_at,
-- revoked_at and last_used_at; nothing where a key that wasn't revoked has the name.
INSERT INTO siglip.api_keys AS k (name, key_hash, scope, expires_at)
VALUES (%(name)s::text, %(key_hash)s::bytea, %(scope)s::text, now() + pg_catalog.make_interval(days => %(days)s::integer))
ON CONFLICT (name) WHERE revoked_at IS NULL DO NOTHING
RETURNING k.key_id, k.name, k.scope, k.created_at, k.expires_at, k.revoked_at, k.last_used_at;

-- name: list_keys
-- Lists all keys, without their hashes, in the order in which they were made.
SELECT k.key_id, k.name, k.scope, k.created_at, k.expires_at, k.revoked_at, k.last_used_at
FROM siglip.api_keys AS k
ORDER BY k.key_id;

-- name: revoke_key
-- Takes back the key of a name, and ends the sessions that were opened with it; returns its key_id, nothing where there is none.
WITH revoked AS (
    UPDATE siglip.api_keys AS k SET revoked_at = now() WHERE k.name = %(name)s::text AND k.revoked_at IS NULL RETURNING k.key_id
), ended AS (
    DELETE FROM siglip.api_sessions AS s USING revoked AS r WHERE s.key_id = r.key_id
)
SELECT r.key_id FROM revoked AS r;

-- name: find_key
-- Finds the valid key of a hash: key_id, name, scope, seconds that it is still valid (NULL for ever), and whether its last use was
-- noted more than a minute ago.
SELECT k.key_id, k.name, k.scope, pg_catalog.date_part('epoch', k.expires_at - clock_timestamp()),
       coalesce(k.last_used_at < clock_timestamp() - interval '1 minute', true)
FROM siglip.api_keys AS k
WHERE k.key_hash = %(key_hash)s::bytea AND k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > clock_timestamp());

-- name: find_session
-- Finds the valid key with which a session that isn't over was opened: as find_key, and no longer than the session.
SELECT k.key_id, k.name, k.scope, pg_catalog.date_part('epoch', least(k.expires_at, s.expires_at) - clock_timestamp()),
       coalesce(k.last_used_at < clock_timestamp() - interval '1 minute', true)
FROM siglip.api_sessions AS s JOIN siglip.api_keys AS k USING (key_id)
WHERE s.session_hash = %(session_hash)s::bytea AND s.expires_at > clock_timestamp() AND k.revoked_at IS NULL
  AND (k.expires_at IS NULL OR k.expires_at > clock_timestamp());

-- name: note_use
-- Notes that a key is used, unless that was done within the last minute.
UPDATE siglip.api_keys AS k
SET last_used_at = clock_timestamp()
WHERE k.key_id = %(key_id)s::integer
  AND (k.last_used_at IS NULL OR k.last_used_at < clock_timestamp() - interval '1 minute');

-- name: open_session
-- Adds a session of a key by its hash, for so many seconds, and removes all that are over.
WITH removed AS (
    DELETE FROM siglip.api_sessions AS s WHERE s.expires_at < now()
)
INSERT INTO siglip.api_sessions (session_hash, key_id, expires_at)
VALUES (%(session_hash)s::bytea, %(key_id)s::integer, now() + pg_catalog.make_interval(secs => %(seconds)s::float8));

-- name: close_session
-- Ends a session.
DELETE FROM siglip.api_sessions AS s WHERE s.session_hash = %(session_hash)s::bytea;
