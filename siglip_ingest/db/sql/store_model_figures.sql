-- Purpose: store a checkpoint's figures where there are none yet; with replace, in any case.
-- Parameters: model_id; figures as JSON; replace.
-- A row means: the model's figures as they are now.
UPDATE siglip.models AS m
SET figures = CASE WHEN %(replace)s OR m.figures IS NULL THEN %(figures)s ELSE m.figures END
WHERE m.model_id = %(model_id)s
RETURNING m.figures
