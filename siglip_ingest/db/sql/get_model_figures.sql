-- Purpose: what a checkpoint gave for known inputs when a worker first served it.
-- Parameters: model_id.
-- A row means: the model's figures as JSON, NULL where none are stored yet.
SELECT m.figures FROM siglip.models AS m WHERE m.model_id = %(model_id)s
