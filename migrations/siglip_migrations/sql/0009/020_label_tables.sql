-- Purpose: labels that are kept as rows, marked by people and calibrated.
-- Parameters: none.
-- A row means: one label of one image, the model's or a person's (image_labels); one fit of a label's scores (label_calibrations); how a label decides under a model (label_rules).

ALTER TABLE siglip.label_sets ADD COLUMN is_kept boolean NOT NULL DEFAULT false;

COMMENT ON COLUMN siglip.label_sets.is_kept IS 'Whether siglip.image_labels has a row for each image that has one of its labels.';

ALTER TABLE siglip.labels ADD COLUMN is_by_example boolean NOT NULL DEFAULT false;
ALTER TABLE siglip.labels DROP CONSTRAINT labels_prompts_check;
ALTER TABLE siglip.labels ADD CONSTRAINT labels_prompts_check CHECK (is_by_example OR cardinality(prompts) > 0);

COMMENT ON COLUMN siglip.labels.is_by_example IS 'Whether its vector comes from the images that are marked with it, and not from prompts.';
COMMENT ON COLUMN siglip.labels.threshold
    IS 'Calibrated score from which an image has the label, in [0, 1]; NULL means 0.5. Until the label is calibrated, that is the score.';

CREATE TABLE siglip.image_labels (
    label_id    integer NOT NULL REFERENCES siglip.labels ON DELETE CASCADE,
    image_id    bigint NOT NULL REFERENCES siglip.images ON DELETE CASCADE,
    is_accepted boolean NOT NULL,
    score       real CHECK (score BETWEEN 0 AND 1),
    model_id    integer,
    marked_by   text CHECK (marked_by <> ''),
    updated_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (label_id, image_id),
    CONSTRAINT image_labels_refused_check CHECK (is_accepted OR marked_by IS NOT NULL)
);

CREATE INDEX image_labels_image_id_btree_idx ON siglip.image_labels (image_id);
CREATE INDEX image_labels_marked_btree_idx ON siglip.image_labels (label_id) WHERE marked_by IS NOT NULL;

COMMENT ON TABLE siglip.image_labels
    IS 'One row is a label that an image has, by the model where its set is kept; or has or has not, by the mark of a person, which wins.';
COMMENT ON COLUMN siglip.image_labels.is_accepted IS 'Whether the image has the label; false only by a person''s mark.';
COMMENT ON COLUMN siglip.image_labels.score IS 'Calibrated score under model_id when the row was last computed; NULL where only a person has looked.';
COMMENT ON COLUMN siglip.image_labels.model_id
    IS 'The model of the score; without a foreign key, which would cost more than the row. A model that was dropped may be named until it is computed again.';
COMMENT ON COLUMN siglip.image_labels.marked_by IS 'Who marked it, by default the role; NULL where the model decided.';

CREATE TABLE siglip.label_calibrations (
    label_id   integer NOT NULL REFERENCES siglip.labels ON DELETE CASCADE,
    model_id   integer NOT NULL REFERENCES siglip.models ON DELETE CASCADE,
    version    integer NOT NULL CHECK (version >= 1),
    scale      double precision NOT NULL CHECK (scale > 0),
    bias       double precision NOT NULL,
    threshold  real CHECK (threshold BETWEEN 0 AND 1),
    is_current boolean NOT NULL DEFAULT true,
    figures    jsonb NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL DEFAULT now(),
    created_by text NOT NULL DEFAULT current_user,
    PRIMARY KEY (label_id, model_id, version)
);

CREATE UNIQUE INDEX label_calibrations_current_btree_idx ON siglip.label_calibrations (label_id, model_id) WHERE is_current;

COMMENT ON TABLE siglip.label_calibrations
    IS 'One row is one fit of a label''s scores under a model: calibrated score = sigmoid(scale * logit + bias). The current one counts.';
COMMENT ON COLUMN siglip.label_calibrations.threshold IS 'Calibrated score from which an image has the label; NULL means that of the label.';
COMMENT ON COLUMN siglip.label_calibrations.figures IS 'What it was fitted to, and how well: marks, precision, recall.';

-- The score grows with the similarity, and so does the calibrated one: each rule is a least similarity.
CREATE VIEW siglip.label_rules WITH (security_invoker = true) AS
SELECT l.label_id, l.label_set_id, m.model_id, coalesce(c.scale, 1) AS scale, coalesce(c.bias, 0) AS bias,
       coalesce(c.threshold, l.threshold, 0.5)::double precision AS threshold, c.version AS calibration_version
FROM siglip.labels AS l
CROSS JOIN siglip.models AS m
LEFT JOIN siglip.label_calibrations AS c ON c.label_id = l.label_id AND c.model_id = m.model_id AND c.is_current
WHERE m.logit_scale IS NOT NULL;

COMMENT ON VIEW siglip.label_rules
    IS 'How each label decides under each model: an image has it where sigmoid(scale * logit + bias) reaches the threshold.';
