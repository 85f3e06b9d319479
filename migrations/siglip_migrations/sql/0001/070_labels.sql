-- Purpose: vocabularies for zero-shot labels, and their vectors.
-- Parameters: none.
-- A row means: a vocabulary (label_sets), a label with its prompts (labels), the label's vector under a model (label_embeddings).

CREATE TABLE siglip.label_sets (
    label_set_id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name         text NOT NULL UNIQUE CHECK (name <> ''),
    template     text NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE siglip.labels (
    label_id     integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    label_set_id integer NOT NULL REFERENCES siglip.label_sets ON DELETE CASCADE,
    position     integer NOT NULL,
    label        text NOT NULL CHECK (label <> ''),
    prompts      text[] NOT NULL CHECK (cardinality(prompts) > 0),
    threshold    real CHECK (threshold BETWEEN 0 AND 1),
    UNIQUE (label_set_id, label)
);

CREATE TABLE siglip.label_embeddings (
    model_id  integer NOT NULL REFERENCES siglip.models ON DELETE CASCADE,
    label_id  integer NOT NULL REFERENCES siglip.labels ON DELETE CASCADE,
    embedding halfvec NOT NULL,
    PRIMARY KEY (model_id, label_id)
);

CREATE INDEX label_embeddings_label_id_btree_idx ON siglip.label_embeddings (label_id);

COMMENT ON TABLE siglip.label_sets IS 'One row is a named vocabulary.';
COMMENT ON TABLE siglip.labels IS 'One row is a label of a vocabulary, with the prompts whose mean stands for it.';
COMMENT ON COLUMN siglip.labels.threshold IS 'Score from which an image has the label, in [0, 1]; NULL means 0.5.';
COMMENT ON TABLE siglip.label_embeddings IS 'One row is the unit vector of one label under one model.';
