-- name: list_servers
-- Lists the servers that hold segments: address, how many segments and rows, bytes there, tables there that no move left in use, and
-- whether each answers (NULL where this role may not ask).
SELECT s.name, s.address, s.segments, s.estimated_rows, s.bytes, s.unused_tables, s.is_reachable
FROM siglip.servers AS s;

-- name: add_server
-- Prepares the server at a libpq URL for segments; for a name that is there already, changes its address.
SELECT siglip.add_server(%(name)s::text, %(url)s::text);

-- name: remove_server
-- Forgets a server that holds no segments.
SELECT siglip.remove_server(%(name)s::text);

-- name: find_segment
-- Returns a segment of this name, with or without its schema.
SELECT s.segment::text
FROM siglip.segments AS s JOIN pg_class AS c ON c.oid = s.segment
WHERE c.relname = pg_catalog.regexp_replace(%(segment)s::text, '^siglip\.', '');

-- name: move_segment
-- Moves a closed segment, named with or without its schema, to a server, or with NULL to this one; returns how many rows it has.
SELECT siglip.move_segment(
    pg_catalog.format('siglip.%%I', pg_catalog.regexp_replace(%(segment)s::text, '^siglip\.', ''))::regclass, %(server)s::text);
