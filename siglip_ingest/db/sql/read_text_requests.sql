-- Purpose: the texts that sessions of this database ask for right now; siglip.ask_text says how they lie in the locks.
-- Parameters: bell, the first key of the lock that is taken last; model_id, the second.
-- A row means: one lock of a session that asks: its process, and the two halves of its key.

-- The locks are read once, so that who has the doorbell has the text. This query's own lock on the view tells the database's oid:
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
  AND l.pid IN (SELECT a.pid FROM askers AS a)
