-- Purpose: the images that people handed over, and the bytes of those that have no address of their own.
-- Parameters: none.
-- A row means: one picture at one URI in one collection (images); its content, where it came as bytes (image_bytes).

CREATE TABLE siglip.images (
    image_id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    collection     text NOT NULL DEFAULT 'default' CHECK (collection <> ''),
    uri            text NOT NULL CHECK (uri <> ''),
    key            text,
    source_version text,
    content_hash   bytea CHECK (octet_length(content_hash) = 32),
    width          integer CHECK (width > 0),
    height         integer CHECK (height > 0),
    format         text,
    metadata       jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(metadata) = 'object'),
    created_at     timestamptz NOT NULL DEFAULT now(),
    updated_at     timestamptz NOT NULL DEFAULT now(),
    UNIQUE (collection, uri)
);

CREATE INDEX images_content_hash_btree_idx ON siglip.images (content_hash);
CREATE INDEX images_metadata_gin_idx ON siglip.images USING gin (metadata jsonb_path_ops);

CREATE TABLE siglip.image_bytes (
    image_id bigint PRIMARY KEY REFERENCES siglip.images ON DELETE CASCADE,
    content  bytea NOT NULL
);

-- JPEG and PNG don't compress a second time.
ALTER TABLE siglip.image_bytes ALTER COLUMN content SET STORAGE EXTERNAL;

COMMENT ON TABLE siglip.images IS 'One row is one picture at one URI in one collection.';
COMMENT ON COLUMN siglip.images.key IS 'The caller''s own key for the picture, if there is one.';
COMMENT ON COLUMN siglip.images.source_version IS 'What tells that the source has changed, for files <mtime_ns>-<size>.';
COMMENT ON COLUMN siglip.images.content_hash IS 'SHA-256 of the bytes that were embedded last; NULL before the first time.';
COMMENT ON TABLE siglip.image_bytes IS 'One row is the content of an image that was handed over as bytes.';
