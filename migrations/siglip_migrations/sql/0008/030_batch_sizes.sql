-- Purpose: how many images fit into a device's memory at a time, remembered across restarts.
-- Parameters: none.
-- A row means: the batch that a model was last found to fit in on a kind of device, in one arithmetic.

CREATE TABLE siglip.batch_sizes (
    model_id    integer NOT NULL REFERENCES siglip.models ON DELETE CASCADE,
    device      text NOT NULL,
    dtype       text NOT NULL,
    batch_size  integer NOT NULL CHECK (batch_size >= 1),
    measured_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (model_id, device, dtype)
);

COMMENT ON TABLE siglip.batch_sizes
    IS 'How many images fit into a device''s memory at a time, by model, kind of device and arithmetic; a deleted row is found anew.';
COMMENT ON COLUMN siglip.batch_sizes.device IS 'As its maker calls it: NVIDIA H100 80GB HBM3, or the name of a CPU.';
COMMENT ON COLUMN siglip.batch_sizes.batch_size IS 'Images; halved whenever the memory did not suffice.';
