-- name: attach_table
-- Has a collection follow a table: its name as in SQL, the columns that tell rows apart (NULL: the primary key), the one with the images,
-- those that become metadata, and the collection (NULL: the table's name). Returns how many rows have something in the image's column.
SELECT siglip.attach(
    %(table)s::text::regclass, %(uri_column)s::text, id_columns => %(id_columns)s::text[], collection => %(collection)s::text,
    metadata_columns => %(metadata_columns)s::text[]);

-- name: refresh_attached
-- Has all rows of an attached table looked at again; returns how many have something in the image's column.
SELECT siglip.refresh_attached(%(table)s::text::regclass);

-- name: detach_table
-- Stops following a table; with delete_images its images are deleted. Returns how many those are.
SELECT siglip.detach(%(table)s::text::regclass, %(delete_images)s::boolean);

-- name: list_attached
-- Lists the attached tables, and how far their images are under the active model.
SELECT t.attached_table::text, t.id_columns, t.uri_column, t.metadata_columns, t.collection, t.rows_waiting::bigint, t.rows, t.images,
       t.embedded, t.failed, t.problem
FROM siglip.attached_tables AS t
ORDER BY t.attachment_id;

-- name: follow_attached
-- Turns some changes of attached tables into images that are queued or deleted; returns about how many rows that were, 0 where nothing is left.
SELECT siglip.follow_attached();
