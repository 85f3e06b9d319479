-- Purpose: cache of the texts' vectors, and the door through which siglip.embed_text gets its answers from workers.
-- Parameters: none.
-- A row means: the unit vector of one text, as typed, under one model.

CREATE TABLE siglip.texts (
    model_id     integer NOT NULL REFERENCES siglip.models ON DELETE CASCADE,
    text_hash    uuid GENERATED ALWAYS AS (md5(query)::uuid) STORED,
    query        text NOT NULL,
    embedding    halfvec NOT NULL,
    created_at   timestamptz NOT NULL DEFAULT now(),
    last_used_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (model_id, text_hash)
);

CREATE INDEX texts_last_used_at_btree_idx ON siglip.texts (model_id, last_used_at);

COMMENT ON TABLE siglip.texts IS 'One row is the unit vector of one text under one model: a bounded cache.';
