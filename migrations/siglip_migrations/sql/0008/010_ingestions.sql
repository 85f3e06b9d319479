-- Purpose: ingestions, the batches of images that were queued together, so that any process can follow one by its id.
-- Parameters: none.
-- A row means: of siglip.ingestions, one call that queued images; of siglip.ingestion_images, some of its images.

CREATE TABLE siglip.ingestions (
    ingestion_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    model_id     integer NOT NULL REFERENCES siglip.models ON DELETE CASCADE,
    collection   text,
    is_complete  boolean NOT NULL DEFAULT false,
    created_at   timestamptz NOT NULL DEFAULT now(),
    grown_at     timestamptz NOT NULL DEFAULT now()
);

COMMENT ON TABLE siglip.ingestions
    IS 'Batches of images that were queued together; kept for 30 days.';
COMMENT ON COLUMN siglip.ingestions.collection IS 'The set of images that they joined; NULL where they are in several.';
COMMENT ON COLUMN siglip.ingestions.is_complete IS 'Whether all of its images are queued: more may come until then.';
COMMENT ON COLUMN siglip.ingestions.grown_at IS 'When images were last added.';

CREATE INDEX ingestions_created_at_btree_idx ON siglip.ingestions (created_at);
CREATE INDEX ingestions_model_id_btree_idx ON siglip.ingestions (model_id);

CREATE TABLE siglip.ingestion_images (
    ingestion_id bigint NOT NULL REFERENCES siglip.ingestions ON DELETE CASCADE,
    part         integer NOT NULL,
    image_ids    bigint[] NOT NULL,
    PRIMARY KEY (ingestion_id, part)
);

COMMENT ON TABLE siglip.ingestion_images
    IS 'The images of an ingestion, in parts, in the order in which they were given; some may have been deleted since.';
