-- Purpose: take back the words of revision 0005.
-- Parameters: none.
-- A row means: as before.
COMMENT ON TABLE siglip.images IS 'One row is one picture at one URI in one collection.';
COMMENT ON COLUMN siglip.images.key IS 'The caller''s own key for the picture, if there is one.';
COMMENT ON TABLE siglip.label_sets IS 'One row is a named vocabulary.';
COMMENT ON TABLE siglip.labels IS 'One row is a label of a vocabulary, with the prompts whose mean stands for it.';
