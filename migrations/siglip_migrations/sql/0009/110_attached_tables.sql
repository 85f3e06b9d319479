-- Purpose: tables of the user whose rows have images, which images, and what has changed in them since a worker looked last.
-- Parameters: none.
-- A row means: one attached table (attachments); one image of one row (attached_images); keys of rows to look at (attached_changes); an image to delete if no row has it (released_images).

CREATE TABLE siglip.attachments (
    attachment_id    integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    attached_table   regclass NOT NULL UNIQUE,
    table_oid        oid NOT NULL,
    id_columns       text[] NOT NULL CHECK (cardinality(id_columns) > 0),
    id_numbers       smallint[] NOT NULL,
    uri_column       text NOT NULL,
    uri_number       smallint NOT NULL,
    metadata_columns text[] NOT NULL DEFAULT '{}',
    metadata_numbers smallint[] NOT NULL DEFAULT '{}',
    metadata_keys    text[] NOT NULL DEFAULT '{}',
    collection       text NOT NULL CHECK (collection <> ''),
    problem          text,
    problem_at       timestamptz,
    created_at       timestamptz NOT NULL DEFAULT now()
);

COMMENT ON TABLE siglip.attachments IS 'One row is one table that siglip.attach keeps in step with a collection.';
COMMENT ON COLUMN siglip.attachments.table_oid
    IS 'The table''s oid as a number: where attached_table has another one, the database was restored, and columns are found by name.';
COMMENT ON COLUMN siglip.attachments.id_columns IS 'Names of the columns that tell rows apart, as they were when a worker looked last.';
COMMENT ON COLUMN siglip.attachments.id_numbers IS 'Numbers of these columns in pg_attribute, which a renaming leaves as they are.';
COMMENT ON COLUMN siglip.attachments.metadata_keys IS 'What the metadata columns were called when the table was attached, and are called in the metadata.';
COMMENT ON COLUMN siglip.attachments.problem IS 'Why its changes can''t be followed, a sentence; NULL where they are.';

CREATE TABLE siglip.attached_images (
    attachment_id integer NOT NULL REFERENCES siglip.attachments ON DELETE CASCADE,
    row_key       text NOT NULL,
    place         integer NOT NULL CHECK (place > 0),
    image_id      bigint NOT NULL REFERENCES siglip.images ON DELETE CASCADE,
    PRIMARY KEY (attachment_id, row_key, place)
);

CREATE INDEX attached_images_image_id_btree_idx ON siglip.attached_images (image_id);

COMMENT ON TABLE siglip.attached_images IS 'One row is one image of one row of an attached table; several rows may share an image.';
COMMENT ON COLUMN siglip.attached_images.row_key IS 'The row''s key as text; of several columns, an array of them: {7,front}.';
COMMENT ON COLUMN siglip.attached_images.place IS 'Which of the row''s images it is, from 1.';

-- Writers of attached tables add to it in their own transaction, many keys a row. Only keys: what the rows hold is read when a worker
-- looks, so that the order of changes doesn't matter, and a forged key has nothing done but a row looked at.
CREATE TABLE siglip.attached_changes (
    change_id     bigint GENERATED ALWAYS AS IDENTITY,
    attachment_id integer NOT NULL,
    row_keys      text[],
    PRIMARY KEY (attachment_id, change_id)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);

-- To compress them costs a bulk load more than to write them.
ALTER TABLE siglip.attached_changes ALTER COLUMN row_keys SET STORAGE EXTERNAL;

COMMENT ON TABLE siglip.attached_changes IS 'One row is a list of keys whose rows have changed since a worker looked last; NULL means all that have images.';

CREATE TABLE siglip.released_images (
    image_id     bigint NOT NULL,
    after_change bigint NOT NULL DEFAULT 0
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);

COMMENT ON TABLE siglip.released_images IS 'One row is an image that a row of an attached table no longer has; it is deleted if no other row has it.';
COMMENT ON COLUMN siglip.released_images.after_change IS 'The change that is to be followed first: a row that has the image may be among those until it.';
