-- Purpose: take away what 370_fitting_labels.sql made.
-- Parameters: none.
-- A row means: as before.

DROP FUNCTION siglip.check_wish(double precision, double precision);
DROP FUNCTION siglip.fit_label(siglip.labels, siglip.models, double precision, double precision);
DROP FUNCTION siglip.count_errors(double precision[], boolean[], double precision, double precision, double precision);
DROP FUNCTION siglip.log_loss(double precision[], boolean[], double precision, double precision);
DROP TYPE siglip.calibration;
