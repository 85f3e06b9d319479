-- Purpose: the row of a checkpoint.
-- Parameters: name; revision, '' for any: the active row, else the one described last, else the one that waits for a worker.
-- A row means: a model; of a revision that is not there, the row of that name that waits for its description.
SELECT m.model_id, m.name, m.revision, m.is_active, m.dimension, m.logit_scale, m.logit_bias, m.image_settings, m.text_settings
FROM siglip.models AS m
WHERE m.name = %(name)s AND (%(revision)s = '' OR m.revision IN (%(revision)s, ''))
ORDER BY
    m.revision = %(revision)s AND m.revision <> '' DESC, m.is_active DESC, m.described_at DESC NULLS LAST, m.model_id
LIMIT 1
