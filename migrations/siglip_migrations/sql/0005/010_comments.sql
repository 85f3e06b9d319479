-- Purpose: the words of the comments on tables, one a thing: image, label set.
-- Parameters: none.
-- A row means: as before.
COMMENT ON TABLE siglip.images IS 'One row is one image at one URI in one collection.';
COMMENT ON COLUMN siglip.images.key IS 'The caller''s own key for the image, if there is one.';
COMMENT ON TABLE siglip.label_sets IS 'One row is a label set: a named list of labels.';
COMMENT ON TABLE siglip.labels IS 'One row is a label of a label set, with the prompts whose mean stands for it.';
