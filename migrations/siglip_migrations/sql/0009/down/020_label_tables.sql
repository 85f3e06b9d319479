-- Purpose: take away what 020_label_tables.sql made.
-- Parameters: none.
-- A row means: as before.

DROP VIEW siglip.label_rules;
DROP TABLE siglip.label_calibrations;
DROP TABLE siglip.image_labels;
DELETE FROM siglip.labels WHERE is_by_example;  -- the older schema has no labels without prompts
ALTER TABLE siglip.labels DROP CONSTRAINT labels_prompts_check;
ALTER TABLE siglip.labels ADD CONSTRAINT labels_prompts_check CHECK (cardinality(prompts) > 0);
ALTER TABLE siglip.labels DROP COLUMN is_by_example;
COMMENT ON COLUMN siglip.labels.threshold IS 'Score from which an image has the label, in [0, 1]; NULL means 0.5.';
ALTER TABLE siglip.label_sets DROP COLUMN is_kept;
