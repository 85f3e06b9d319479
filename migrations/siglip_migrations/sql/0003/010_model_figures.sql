-- Purpose: what a checkpoint gave for known inputs when a worker first served it, for the workers after that one to compare with.
-- Parameters: none.
-- A row means: as before; the figures are NULL until a worker has stored them.

ALTER TABLE siglip.models ADD COLUMN figures jsonb;

COMMENT ON COLUMN siglip.models.figures IS
    'What a worker''s quick check gave first: token ids, hashes of pixels, vectors. Later workers must give the same.';
