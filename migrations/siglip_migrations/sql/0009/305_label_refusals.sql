-- Purpose: why a label has no vector under a model, for whoever made it: the model reads nothing of its prompts, say.
-- Parameters: label_set and label by name; model_id.
-- A row means: a label that a model can't embed (label_refusals); a label under a model that is kept (label_status).

CREATE TABLE siglip.label_refusals (
    model_id   integer NOT NULL REFERENCES siglip.models ON DELETE CASCADE,
    label_id   integer NOT NULL REFERENCES siglip.labels ON DELETE CASCADE,
    refusal    text NOT NULL CHECK (refusal <> ''),
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (model_id, label_id)
);

CREATE INDEX label_refusals_label_id_btree_idx ON siglip.label_refusals (label_id);

COMMENT ON TABLE siglip.label_refusals
    IS 'One row is a label that a model can''t embed, and why; workers write it, and it goes where the prompts change.';
COMMENT ON COLUMN siglip.label_refusals.refusal IS 'What is wrong with the prompts, a sentence.';

CREATE VIEW siglip.label_status WITH (security_invoker = true) AS
SELECT s.name AS label_set, l.position, l.label, l.prompts, l.threshold, l.is_by_example, s.is_kept, m.name AS model, m.model_id, m.is_active,
       EXISTS (SELECT FROM siglip.label_embeddings AS v WHERE v.label_id = l.label_id AND v.model_id = m.model_id) AS has_vector,
       (SELECT r.refusal FROM siglip.label_refusals AS r WHERE r.label_id = l.label_id AND r.model_id = m.model_id) AS refusal,
       l.label_id
FROM siglip.label_sets AS s
JOIN siglip.labels AS l USING (label_set_id)
LEFT JOIN siglip.models AS m ON m.is_active OR m.is_kept;

COMMENT ON VIEW siglip.label_status
    IS 'One row is a label under a model that is kept (the active one, or one beside it): whether it has a vector, and if not, why not.';
COMMENT ON COLUMN siglip.label_status.threshold IS 'Calibrated score from which an image has the label, in [0, 1]; NULL means 0.5.';
COMMENT ON COLUMN siglip.label_status.is_by_example IS 'Whether its vector comes from the images that are marked with it, and not from prompts.';
COMMENT ON COLUMN siglip.label_status.is_kept IS 'Whether siglip.image_labels has a row for each image that has a label of its set.';
COMMENT ON COLUMN siglip.label_status.refusal IS 'Why the model can''t embed it; NULL where it has a vector, or waits for a worker of the model.';

CREATE FUNCTION siglip.vector_hint(label_set text, label text, model_id integer) RETURNS text
LANGUAGE sql STABLE
SET search_path = pg_catalog, siglip, pg_temp
AS $$
    SELECT coalesce((
        SELECT format('%s can''t embed it. %s Give it other prompts (siglip.change_label).', m.name, r.refusal)
        FROM siglip.label_refusals AS r
        JOIN siglip.models AS m USING (model_id)
        JOIN siglip.labels AS l USING (label_id)
        JOIN siglip.label_sets AS s USING (label_set_id)
        WHERE s.name = vector_hint.label_set AND l.label = vector_hint.label AND m.model_id = vector_hint.model_id
    ), 'A worker of that model adds it within seconds (siglip-ingest worker).')
$$;

COMMENT ON FUNCTION siglip.vector_hint(text, text, integer) IS 'Why a label has no vector under a model: what is wrong with it, or that a worker adds it.
Example: SELECT siglip.vector_hint(''scenes'', ''sunset'', 1);';
