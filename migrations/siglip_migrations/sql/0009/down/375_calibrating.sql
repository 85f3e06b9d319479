-- Purpose: take away what 375_calibrating.sql made.
-- Parameters: none.
-- A row means: as before.

DROP FUNCTION siglip.embed_example_labels(integer);
DROP FUNCTION siglip.label_from_images(text, text, bigint[], bigint[], integer);
DROP FUNCTION siglip.use_calibration(text, text, integer, integer);
DROP FUNCTION siglip.calibrations(text, text, integer);
DROP FUNCTION siglip.recalibrate(integer);
DROP FUNCTION siglip.calibrate(text, text, bigint[], bigint[], double precision, double precision, integer);
