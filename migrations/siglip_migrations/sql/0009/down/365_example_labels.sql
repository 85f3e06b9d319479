-- Purpose: take away what 365_example_labels.sql made.
-- Parameters: none.
-- A row means: as before.

DROP FUNCTION siglip.fit_examples(integer, siglip.models, boolean);
DROP FUNCTION siglip.example_vector(@vector@.vector, integer, @vector@.vector, integer, @vector@.vector);
DROP TYPE siglip.label_fit;
DROP FUNCTION siglip.label_marks(integer, integer);
DROP FUNCTION siglip.sample_contents(integer, integer);
