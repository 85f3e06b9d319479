-- Purpose: take away what 360_fitting.sql made.
-- Parameters: none.
-- A row means: as before.

DROP FUNCTION siglip.guaranteed_marks(double precision[], boolean[], double precision, double precision);
DROP FUNCTION siglip.fewest_trials(double precision, double precision, integer, integer);
DROP FUNCTION siglip.binomial_tail(integer, integer, double precision);
DROP FUNCTION siglip.leave_one_out(double precision[], boolean[], double precision, double precision, double precision, double precision);
DROP FUNCTION siglip.fit_logistic(double precision[], boolean[], double precision, double precision, double precision);
