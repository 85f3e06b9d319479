-- name: lift_timeout
-- Lets the statements of this transaction take as long as they need: to build an index takes minutes.
SELECT pg_catalog.set_config('statement_timeout', '0', true);

-- name: maintain
-- Does the next step that the segments need; returns a sentence, or NULL where there is nothing to do. With is_full one segment remains
-- of each model.
SELECT siglip.maintain(is_full => %(is_full)s::boolean);

-- name: choose_index_kind
-- Chooses the kind of the active model's indexes: halfvec or bit_rerank. Returns a sentence: what siglip.maintain has to build.
SELECT siglip.create_index(%(kind)s::text);

-- name: is_busy
-- Returns whether another session maintains the segments of this database just now.
SELECT EXISTS (
    SELECT FROM pg_locks AS l
    WHERE l.locktype = 'advisory' AND l.classid = 1397311311::oid AND l.objid = 0::oid AND l.objsubid = 2 AND l.granted
      AND l.mode = 'ExclusiveLock' AND l.pid <> pg_backend_pid()
      AND l.database = (SELECT d.oid FROM pg_database AS d WHERE d.datname = current_database())
);

-- name: list_segments
-- Lists the segments of all models: range of content_id, rows, bytes, state, and progress in percent.
SELECT s.model, s.segment::text, s.from_content_id, s.to_content_id, s.estimated_rows, s.table_bytes, s.index_bytes, s.index_kind,
       s.state, s.is_complete, s.progress_percent::double precision
FROM siglip.index_status AS s;
