-- Purpose: the texts that sessions of this database ask for right now; siglip.ask_text says how they lie in the locks.
-- Parameters: bell, the first key of the lock that is taken last; model_id, the second.
-- A row means: one lock of a session that asks: its process, and the two halves of its key.
SELECT l.pid, l.classid::bigint, l.objid::bigint
FROM pg_catalog.pg_locks AS l
WHERE l.locktype = 'advisory' AND l.objsubid = 1 AND l.granted AND l.mode = 'ShareLock'
  AND l.classid >= 1509949440::oid AND l.classid < 1526726656::oid  -- whose first byte is the letter Z
  AND l.database = (SELECT d.oid FROM pg_catalog.pg_database AS d WHERE d.datname = current_database())
  AND l.pid IN (
      SELECT b.pid FROM pg_catalog.pg_locks AS b
      WHERE b.locktype = 'advisory' AND b.objsubid = 2 AND b.classid = %(bell)s::oid AND b.objid = %(model_id)s::oid
        AND b.database = l.database
  )
