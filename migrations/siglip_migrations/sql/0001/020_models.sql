-- Purpose: the checkpoints whose vectors the database holds.
-- Parameters: none.
-- A row means: one checkpoint revision. Its numbers are NULL until a worker has loaded the checkpoint and described it.

CREATE TABLE siglip.models (
    model_id       integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name           text NOT NULL CHECK (name <> ''),
    revision       text NOT NULL DEFAULT '',
    dimension      integer CHECK (dimension BETWEEN 1 AND 4000),
    logit_scale    double precision,
    logit_bias     double precision,
    image_settings jsonb NOT NULL DEFAULT '{}',
    text_settings  jsonb NOT NULL DEFAULT '{}',
    is_active      boolean NOT NULL DEFAULT false,
    created_at     timestamptz NOT NULL DEFAULT now(),
    described_at   timestamptz,
    UNIQUE (name, revision),
    CONSTRAINT models_described_check
        CHECK (num_nonnulls(dimension, logit_scale, logit_bias, described_at) IN (0, 4))
);

CREATE UNIQUE INDEX models_is_active_btree_idx ON siglip.models (is_active) WHERE is_active;

COMMENT ON TABLE siglip.models IS 'One row is one checkpoint revision; at most one is active.';
COMMENT ON COLUMN siglip.models.logit_scale IS 'A logarithm, as in the checkpoint: the factor is exp(logit_scale).';
COMMENT ON COLUMN siglip.models.described_at IS 'When a worker first loaded the checkpoint; NULL before that.';
