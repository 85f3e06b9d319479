-- Purpose: the ledger of work. Redis and Celery only carry it; what this table says is true.
-- Parameters: none.
-- A row means: one image to embed under one model, and how far that is.

CREATE TABLE siglip.ingest_items (
    item_id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    image_id         bigint NOT NULL REFERENCES siglip.images ON DELETE CASCADE,
    model_id         integer NOT NULL REFERENCES siglip.models ON DELETE CASCADE,
    state            text NOT NULL DEFAULT 'queued' CHECK (state IN ('queued', 'claimed', 'done', 'failed')),
    attempts         integer NOT NULL DEFAULT 0 CHECK (attempts >= 0),
    is_suspect       boolean NOT NULL DEFAULT false,
    not_before       timestamptz NOT NULL DEFAULT now(),
    lease_token      uuid,
    lease_expires_at timestamptz,
    error_code       text,
    error_message    text,
    created_at       timestamptz NOT NULL DEFAULT now(),
    updated_at       timestamptz NOT NULL DEFAULT now(),
    UNIQUE (image_id, model_id),
    CONSTRAINT ingest_items_lease_check
        CHECK (num_nonnulls(lease_token, lease_expires_at) = CASE state WHEN 'claimed' THEN 2 ELSE 0 END),
    CONSTRAINT ingest_items_error_check
        CHECK (state <> 'failed' OR num_nulls(error_code, error_message) = 0)
);

CREATE INDEX ingest_items_queued_btree_idx ON siglip.ingest_items (model_id, item_id) WHERE state = 'queued';
CREATE INDEX ingest_items_claimed_btree_idx ON siglip.ingest_items (lease_expires_at) WHERE state = 'claimed';
CREATE INDEX ingest_items_lease_token_btree_idx ON siglip.ingest_items (lease_token) WHERE state = 'claimed';
CREATE INDEX ingest_items_failed_btree_idx ON siglip.ingest_items (model_id, item_id) WHERE state = 'failed';

COMMENT ON TABLE siglip.ingest_items IS 'One row is one image to embed under one model: queued, claimed, done or failed.';
COMMENT ON COLUMN siglip.ingest_items.attempts IS 'How often the item was claimed since it was last queued by a person.';
COMMENT ON COLUMN siglip.ingest_items.is_suspect IS 'Its last worker was lost with it: it is claimed alone from then on.';
COMMENT ON COLUMN siglip.ingest_items.not_before IS 'A retry waits until then.';
