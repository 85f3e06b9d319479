-- Purpose: take away what 300_label_sets.sql made.
-- Parameters: none.
-- A row means: as before.

DROP FUNCTION siglip.keep_labels(text, boolean);
DROP FUNCTION siglip.set_template(text, text);
DROP FUNCTION siglip.rename_label_set(text, text);
DROP FUNCTION siglip.drop_label_set(text);
DROP FUNCTION siglip.remove_label(text, text);
DROP FUNCTION siglip.set_threshold(text, text, double precision);
DROP FUNCTION siglip.change_label(text, text, text, text[], integer);
DROP FUNCTION siglip.check_threshold(double precision);
DROP FUNCTION siglip.add_label(text, text, text[], double precision);
DROP FUNCTION siglip.create_label_set(text, text[], text, boolean, json, boolean);
DROP TRIGGER labels_prompts_trigger ON siglip.labels;
DROP FUNCTION siglip.forget_label_vectors();
DROP FUNCTION siglip.hold_label_set(text);
DROP FUNCTION siglip.make_prompts(text, text[], text);
DROP FUNCTION siglip.check_template(text);
DROP FUNCTION siglip.check_label_name(text, text);
DROP FUNCTION siglip.find_label(text, text);
