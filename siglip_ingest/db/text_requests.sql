-- name: set_keepalives
-- Has the server notice within half a minute that this connection's client is gone; on a Unix socket it always does.
SELECT pg_catalog.set_config('tcp_keepalives_idle', '10', false), pg_catalog.set_config('tcp_keepalives_interval', '5', false),
       pg_catalog.set_config('tcp_keepalives_count', '4', false);

-- name: announce_listener
-- Takes the lock that all listening workers of a model share, until the connection ends.
SELECT pg_catalog.pg_advisory_lock_shared(%(listener)s::integer, %(model_id)s::integer);

-- name: try_to_be_elected
-- Takes the lock of the one worker that answers for a model, until the connection ends; returns whether it was free.
SELECT pg_catalog.pg_try_advisory_lock(%(elected)s::integer, %(model_id)s::integer);

-- name: read_text_requests
-- Reads the locks of the sessions that ask for a text of model_id, each with its process and the two halves of its key; bell is the first
-- key of the lock that an asker takes last. siglip.ask_text says how a text lies in locks.
--
-- The locks are read once, so that a session with the bell has its whole text. This query's own lock on the view tells the database's oid:
-- reading pg_database would take a lock out of the shared table, which may be full.
WITH locks AS MATERIALIZED (
    SELECT l.locktype, l.database, l.relation, l.classid, l.objid, l.objsubid, l.mode, l.granted, l.pid
    FROM pg_catalog.pg_locks AS l
    WHERE l.locktype IN ('advisory', 'relation')
), askers AS (
    SELECT b.pid
    FROM locks AS b
    WHERE b.locktype = 'advisory' AND b.objsubid = 2 AND b.classid = %(bell)s::oid AND b.objid = %(model_id)s::oid
      AND b.database = (
          SELECT own.database FROM locks AS own
          WHERE own.pid = pg_catalog.pg_backend_pid() AND own.relation = 'pg_catalog.pg_locks'::pg_catalog.regclass
          LIMIT 1
      )
)
SELECT l.pid, l.classid::bigint, l.objid::bigint
FROM locks AS l
WHERE l.locktype = 'advisory' AND l.objsubid = 1 AND l.granted AND l.mode = 'ShareLock'
  AND l.classid >= 1509949440::oid AND l.classid < 1526726656::oid  -- whose first byte is the letter Z
  AND l.pid IN (SELECT a.pid FROM askers AS a);
