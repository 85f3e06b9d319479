-- Purpose: take away what 260_several_labels.sql made.
-- Parameters: none.
-- A row means: as before.

DROP FUNCTION siglip.any_of(text, text[], double precision, integer, text, jsonb, integer);
DROP FUNCTION siglip.all_of(text, text[], double precision, integer, text, jsonb, integer);
DROP FUNCTION siglip.images_with_labels(text, text[], text[], text[], double precision, integer, text, jsonb, integer);
DROP FUNCTION siglip.rarest_label(siglip.models, siglip.named_label[]);
DROP FUNCTION siglip.named_labels(siglip.models, text, text[], double precision);
DROP TYPE siglip.named_label;
DROP TYPE siglip.label_match;
