-- Purpose: remember a text's vector, or why the model can't read it.
-- Parameters: query; embedding, or NULL and refusal; model_id, name, revision of the model that made it; warning; max_rows.
-- A row means: nothing.
SELECT siglip.store_text(
    %(query)s::text, %(embedding)b, %(model_id)s::integer, %(name)s::text, %(revision)s::text, %(warning)s::text,
    %(refusal)s::text, %(max_rows)s::integer)
