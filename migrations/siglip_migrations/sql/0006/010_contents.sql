-- Purpose: contents as rows of their own, so that what is joined and stored per vector is a number of 8 bytes, not a hash of 32.
-- Parameters: none.
-- A row means: one file content, however many images have it; a content without images is taken out by siglip.maintain.

-- What reads images.content_hash; the files that follow make them anew.
DROP VIEW siglip.label_scores;
DROP FUNCTION siglip.images_with_label(text, text, double precision, integer, text, jsonb, integer);
DROP FUNCTION siglip.search_embedded_text(
    text, @vector@.halfvec, integer, text, text, text, integer, integer, text, jsonb, double precision);
DROP FUNCTION siglip.search_cached_text(text, integer, text, jsonb, double precision);
DROP FUNCTION siglip.similar_images(bigint, integer, text, jsonb, double precision, integer);
DROP FUNCTION siglip.search_images(text, integer, text, jsonb, double precision, integer, double precision);
DROP FUNCTION siglip.search_images(@vector@.halfvec, integer, text, jsonb, double precision, integer);
DROP FUNCTION siglip.nearest_images(siglip.models, @vector@.halfvec, integer, text, jsonb, double precision, bigint);
DO $$
DECLARE
    name regproc;
BEGIN
    FOR name IN
        SELECT p.oid::regproc FROM pg_proc AS p
        WHERE p.pronamespace = 'siglip'::regnamespace AND p.proname ~ '^nearest_images_[0-9]+$'
    LOOP
        EXECUTE format('DROP FUNCTION %s', name);
    END LOOP;
END
$$;
DROP FUNCTION siglip.create_nearest_images(integer, integer);
DROP FUNCTION siglip.nearest_matches_query(text);
DROP FUNCTION siglip.nearest_images_query(integer, integer, boolean, boolean, boolean);

CREATE TABLE siglip.contents (
    content_id   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    content_hash bytea UNIQUE CHECK (octet_length(content_hash) = 32),
    width        integer CHECK (width > 0),
    height       integer CHECK (height > 0),
    format       text,
    created_at   timestamptz NOT NULL DEFAULT now()
);

COMMENT ON TABLE siglip.contents IS 'One row is one file content, however many images have it.';
COMMENT ON COLUMN siglip.contents.content_hash IS 'SHA-256 of the bytes; NULL where vectors were imported without it.';

-- In the order of the images, so that neighbours in the table are what was indexed together. A vector may outlive its images.
INSERT INTO siglip.contents (content_hash, width, height, format)
SELECT f.content_hash, f.width, f.height, f.format
FROM (
    SELECT DISTINCT ON (i.content_hash) i.content_hash, i.width, i.height, i.format, i.image_id
    FROM siglip.images AS i
    WHERE i.content_hash IS NOT NULL
    ORDER BY i.content_hash, i.image_id
) AS f
ORDER BY f.image_id;
INSERT INTO siglip.contents (content_hash)
SELECT DISTINCT e.content_hash FROM siglip.image_embeddings AS e
ON CONFLICT DO NOTHING;

ALTER TABLE siglip.images ADD COLUMN content_id bigint;
UPDATE siglip.images AS i SET content_id = c.content_id FROM siglip.contents AS c WHERE c.content_hash = i.content_hash;
ALTER TABLE siglip.images
    ADD FOREIGN KEY (content_id) REFERENCES siglip.contents,
    DROP COLUMN content_hash, DROP COLUMN width, DROP COLUMN height, DROP COLUMN format;
CREATE INDEX images_content_id_btree_idx ON siglip.images (content_id);
COMMENT ON COLUMN siglip.images.content_id IS 'What was embedded last at this URI; NULL before the first time.';

-- The contents that lost an image: siglip.maintain looks whether that was their last one.
CREATE TABLE siglip.released_contents (
    content_id bigint NOT NULL
);

COMMENT ON TABLE siglip.released_contents IS 'One row is a content that lost an image; siglip.maintain takes it out if that was its last.';

CREATE FUNCTION siglip.release_contents() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, siglip, pg_temp
AS $$
BEGIN
    IF TG_OP = 'UPDATE' THEN
        INSERT INTO siglip.released_contents (content_id) VALUES (OLD.content_id);
    ELSIF TG_OP = 'DELETE' THEN
        INSERT INTO siglip.released_contents (content_id)
        SELECT DISTINCT d.content_id FROM deleted_images AS d WHERE d.content_id IS NOT NULL;
    ELSE
        INSERT INTO siglip.released_contents (content_id) SELECT c.content_id FROM siglip.contents AS c;
    END IF;
    RETURN NULL;
END
$$;

COMMENT ON FUNCTION siglip.release_contents() IS 'Note which contents lost an image.';

CREATE TRIGGER release_deleted AFTER DELETE ON siglip.images
REFERENCING OLD TABLE AS deleted_images
FOR EACH STATEMENT EXECUTE FUNCTION siglip.release_contents();

CREATE TRIGGER release_changed AFTER UPDATE OF content_id ON siglip.images
FOR EACH ROW WHEN (OLD.content_id IS NOT NULL AND OLD.content_id IS DISTINCT FROM NEW.content_id)
EXECUTE FUNCTION siglip.release_contents();

CREATE TRIGGER release_truncated AFTER TRUNCATE ON siglip.images
FOR EACH STATEMENT EXECUTE FUNCTION siglip.release_contents();

INSERT INTO siglip.released_contents (content_id)
SELECT c.content_id FROM siglip.contents AS c
WHERE NOT EXISTS (SELECT FROM siglip.images AS i WHERE i.content_id = c.content_id);

ALTER TABLE siglip.models
    ADD COLUMN is_external boolean NOT NULL DEFAULT false,
    ADD COLUMN index_kind text NOT NULL DEFAULT 'halfvec' CHECK (index_kind IN ('halfvec', 'bit_rerank')),
    ADD COLUMN ef_search integer CHECK (ef_search BETWEEN 1 AND 1000),
    DROP CONSTRAINT models_described_check,
    ADD CONSTRAINT models_described_check
        CHECK (num_nonnulls(dimension, described_at) IN (0, 2) AND num_nonnulls(logit_scale, logit_bias) IN (0, 2)
               AND (is_external OR num_nonnulls(dimension, logit_scale) IN (0, 2)));

COMMENT ON COLUMN siglip.models.is_external
    IS 'Its vectors come from elsewhere: no worker can load it, and it may have no logit_scale and logit_bias.';
COMMENT ON COLUMN siglip.models.index_kind IS 'The kind of index that siglip.maintain builds; siglip.create_index changes it.';
COMMENT ON COLUMN siglip.models.ef_search IS 'hnsw.ef_search of its searches, as siglip.tune_search found it; NULL means the default.';
