-- Purpose: whether there is something to claim.
-- Parameters: model_id; takes_suspects.
-- A row means: true where there is.
SELECT EXISTS (
    SELECT FROM siglip.ingest_items AS t
    WHERE t.model_id = %(model_id)s AND t.state = 'queued' AND t.not_before <= now()
      AND (%(takes_suspects)s OR NOT t.is_suspect)
)
