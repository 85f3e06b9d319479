-- Purpose: the arithmetic of calibration: a logistic fit beside the model's own scores, left-one-out figures, and a threshold with a guarantee.
-- Parameters: logits of marked images, and whether each was marked as having the label, in the same order.
-- A row means: one fit.

-- The minimum of sum(log loss) + (scale - 1)^2 / (2 * 0.5^2) + bias^2 / (2 * 1.5^2), with scale >= 0.05: a Gaussian prior at the model's own
-- scale 1 and bias 0. It is convex, so that Newton's steps, halved where they don't descend, find it from anywhere. The prior costs nothing at
-- (1, 0): begun there, the log loss of the marks is never larger than the model's own, also where the steps end early.
CREATE FUNCTION siglip.fit_logistic(
    logits double precision[], marks boolean[], start_scale double precision DEFAULT 1, start_bias double precision DEFAULT 0,
    positive_weight double precision DEFAULT 1, OUT scale double precision, OUT bias double precision, OUT log_loss double precision
)
LANGUAGE plpgsql IMMUTABLE
SET search_path = pg_catalog, siglip, pg_temp
AS $$
DECLARE
    scale_precision constant double precision := 4;
    bias_precision  constant double precision := 1 / 2.25;
    least_scale     constant double precision := 0.05;
    trial_scale     double precision := start_scale;
    trial_bias      double precision := start_bias;
    scale_step      double precision := 0;
    bias_step       double precision := 0;
    lowest          double precision;
    cost            double precision;
    slope_scale     double precision;
    determinant     double precision;
    sums            record;
BEGIN
    FOR attempt IN 1 .. 100 LOOP
        SELECT coalesce(sum(c.w * (greatest(c.u, 0) + ln(1 + exp(-least(abs(c.u), 700))) - CASE WHEN c.y THEN c.u ELSE 0 END)), 0) AS loss,
               coalesce(sum(c.w * (c.p - c.y::integer)), 0) AS slope, coalesce(sum(c.w * (c.p - c.y::integer) * c.x), 0) AS slope_x,
               coalesce(sum(c.w * c.p * (1 - c.p)), 0) AS bend, coalesce(sum(c.w * c.p * (1 - c.p) * c.x), 0) AS bend_x,
               coalesce(sum(c.w * c.p * (1 - c.p) * c.x * c.x), 0) AS bend_xx
        INTO sums
        FROM (
            SELECT m.x, m.y, CASE WHEN m.y THEN positive_weight ELSE 1 END AS w, trial_scale * m.x + trial_bias AS u,
                   siglip.sigmoid(greatest(-200, least(200, trial_scale * m.x + trial_bias))) AS p  -- products of less would underflow
            FROM (SELECT CASE WHEN abs(a.x) < 1e-9 THEN 0 ELSE a.x END AS x, a.y FROM unnest(logits, marks) AS a (x, y)) AS m
        ) AS c;
        cost := sums.loss + scale_precision / 2 * (trial_scale - 1) ^ 2 + bias_precision / 2 * trial_bias ^ 2;
        IF cost < lowest OR lowest IS NULL THEN
            EXIT WHEN lowest - cost < 1e-10 * (1 + cost) AND attempt > 2;
            lowest := cost;
            scale := trial_scale;
            bias := trial_bias;
            log_loss := sums.loss;
            slope_scale := sums.slope_x + scale_precision * (scale - 1);
            sums.slope := sums.slope + bias_precision * bias;
            sums.bend := sums.bend + bias_precision;
            sums.bend_xx := sums.bend_xx + scale_precision;
            determinant := sums.bend_xx * sums.bend - sums.bend_x ^ 2;
            scale_step := (sums.bend_x * sums.slope - sums.bend * slope_scale) / determinant;
            bias_step := (sums.bend_x * slope_scale - sums.bend_xx * sums.slope) / determinant;
            IF scale <= least_scale + 1e-12 AND scale_step <= 0 THEN  -- along the border
                scale_step := 0;
                bias_step := -sums.slope / sums.bend;
            ELSIF scale + scale_step < least_scale THEN  -- to the border
                bias_step := bias_step * (least_scale - scale) / scale_step;
                scale_step := least_scale - scale;
            END IF;
        ELSE
            scale_step := scale_step / 2;
            bias_step := bias_step / 2;
        END IF;
        EXIT WHEN abs(scale_step) + abs(bias_step) < 1e-9;
        trial_scale := greatest(least_scale, scale + scale_step);
        trial_bias := bias + bias_step;
    END LOOP;
END
$$;

COMMENT ON FUNCTION siglip.fit_logistic(double precision[], boolean[], double precision, double precision, double precision)
    IS 'The scale and the bias under which sigmoid(scale * logit + bias) fits marks best, near 1 and 0 where few marks say otherwise.
Example: SELECT * FROM siglip.fit_logistic(''{-3,-2.5,-6}'', ''{true,true,false}'');';

-- Up to 100 marks the fit is made again without each. Above, one Newton step from the whole fit: (H - h_i)^-1 g_i with the gradient g_i and
-- the curvature h_i of the mark that is left out, which is as near as the rounding of a threshold (Cawley and Talbot, 2008, section 3).
CREATE FUNCTION siglip.leave_one_out(
    logits double precision[], marks boolean[], scale double precision, bias double precision, threshold double precision,
    positive_weight double precision DEFAULT 1, OUT accepted integer, OUT right_accepted integer
)
LANGUAGE plpgsql IMMUTABLE
SET search_path = pg_catalog, siglip, pg_temp
AS $$
BEGIN
    IF cardinality(logits) <= 100 THEN
        SELECT count(*) FILTER (WHERE p.is_accepted), count(*) FILTER (WHERE p.is_accepted AND p.mark) INTO accepted, right_accepted
        FROM (
            SELECT m.mark, siglip.sigmoid(f.scale * m.logit + f.bias) >= threshold AS is_accepted
            FROM unnest(logits, marks) WITH ORDINALITY AS m (logit, mark, number)
            CROSS JOIN LATERAL siglip.fit_logistic(
                logits[: m.number - 1] || logits[m.number + 1 :], marks[: m.number - 1] || marks[m.number + 1 :],
                leave_one_out.scale, leave_one_out.bias, positive_weight) AS f
        ) AS p;
        RETURN;
    END IF;
    SELECT count(*) FILTER (WHERE p.is_accepted), count(*) FILTER (WHERE p.is_accepted AND p.mark) INTO accepted, right_accepted
    FROM (
        SELECT l.mark, siglip.sigmoid(
                   greatest(0.05, leave_one_out.scale + l.g * (l.bend * l.logit - l.bend_x) / l.determinant) * l.logit
                   + leave_one_out.bias + l.g * (l.bend_xx - l.bend_x * l.logit) / l.determinant) >= threshold AS is_accepted
        FROM (
            SELECT h.*, h.bend * h.bend_xx - h.bend_x ^ 2 AS determinant
            FROM (
                SELECT c.logit, c.mark, c.weight * (c.p - c.mark::integer) AS g,
                       1 / 2.25 + sum(c.w) OVER () - c.w AS bend, sum(c.w * c.logit) OVER () - c.w * c.logit AS bend_x,
                       4 + sum(c.w * c.logit ^ 2) OVER () - c.w * c.logit ^ 2 AS bend_xx
                FROM (
                    SELECT m.logit, m.mark, m.weight, s.p, m.weight * s.p * (1 - s.p) AS w
                    FROM (SELECT CASE WHEN abs(u.logit) < 1e-9 THEN 0 ELSE u.logit END AS logit, u.mark,
                                 CASE WHEN u.mark THEN positive_weight ELSE 1 END AS weight
                          FROM unnest(logits, marks) AS u (logit, mark)) AS m
                    CROSS JOIN LATERAL (
                        SELECT siglip.sigmoid(greatest(-200, least(200, leave_one_out.scale * m.logit + leave_one_out.bias)))) AS s (p)
                ) AS c
            ) AS h
        ) AS l
    ) AS p;
END
$$;

COMMENT ON FUNCTION siglip.leave_one_out(double precision[], boolean[], double precision, double precision, double precision, double precision)
    IS 'How many marked images are accepted by a fit that was made without them, and how many of those rightly: estimates of precision and recall.
Example: SELECT * FROM siglip.leave_one_out(''{-3,-2.5,-6}'', ''{true,true,false}'', 1, 2, 0.5);';

CREATE FUNCTION siglip.binomial_tail(errors integer, trials integer, error_rate double precision) RETURNS double precision
LANGUAGE plpgsql IMMUTABLE
SET search_path = pg_catalog, siglip, pg_temp
AS $$
DECLARE
    log_term double precision := trials * ln(1 - error_rate);
    total    double precision := 0;
BEGIN
    FOR n IN 0 .. least(errors, trials) LOOP
        IF log_term > -700 THEN
            total := total + exp(log_term);
        END IF;
        log_term := log_term + ln((trials - n + 1e-300) / (n + 1)) + ln(error_rate / (1 - error_rate));
    END LOOP;
    RETURN least(1, total);
END
$$;

COMMENT ON FUNCTION siglip.binomial_tail(integer, integer, double precision)
    IS 'The probability of at most so many errors in so many independent trials, each wrong with the same probability between 0 and 1.
Example: SELECT siglip.binomial_tail(0, 45, 0.05);';

-- T(e, n) = P(Binomial(n, q) <= e) step by step: T(e, n + 1) = T(e, n) - q * p(e, n), T(e + 1, n) = T(e, n) + p(e + 1, n).
CREATE FUNCTION siglip.fewest_trials(error_rate double precision, risk double precision, max_trials integer, min_length integer DEFAULT 1)
RETURNS integer[]
LANGUAGE plpgsql IMMUTABLE
SET search_path = pg_catalog, siglip, pg_temp
AS $$
DECLARE
    fewest integer[] := '{}';
    errors integer := 0;
    trials integer := 0;
    tail   double precision := 1;
    exact  double precision := 1;  -- the probability of just so many errors
BEGIN
    WHILE trials <= max_trials OR errors < min_length LOOP
        IF tail <= risk THEN
            fewest := fewest || trials;
            exact := exact * (trials - errors) / (errors + 1) * error_rate / (1 - error_rate);
            tail := tail + exact;
            errors := errors + 1;
        ELSE
            tail := tail - error_rate * exact;
            exact := exact * (trials + 1) / (trials + 1 - errors) * (1 - error_rate);
            trials := trials + 1;
        END IF;
    END LOOP;
    RETURN fewest;
END
$$;

COMMENT ON FUNCTION siglip.fewest_trials(double precision, double precision, integer, integer)
    IS 'For 0, 1, 2, ... errors the fewest trials of which so many show, with a risk to be wrong, that the error rate is lower than a given one.
Example: SELECT siglip.fewest_trials(0.05, 0.1, 200);';

-- Learn then Test (Angelopoulos, Bates, Candès, Jordan and Lei, "Learn then Test: Calibrating Predictive Algorithms to Achieve Risk Control",
-- 2021) with fixed-sequence testing. The marks are sorted by score. "The precision of the best k is below the wish" is refused where
-- P(Binomial(k, 1 - wish) <= errors among them) <= risk, which is to say where Clopper and Pearson's lower bound of the precision reaches the
-- wish. Tested are, in this order and until one isn't refused, the k that suffice for 0, 1, 2, ... errors. Given the score of mark k + 1, the k
-- above it are a random sample of all images above it, whatever the distribution. Precision must not grow again as the threshold falls: then
-- the first true hypothesis of the sequence is refused with a probability of at most risk, and no later one is reached without it.
-- With many marks a second sequence begins where an error or more is allowed, and each has half of the risk: one wrong mark near the top
-- would end the first. Where it begins depends on the number of marks alone.
CREATE FUNCTION siglip.guaranteed_marks(
    logits double precision[], marks boolean[], min_precision double precision, risk double precision,
    OUT accepted integer, OUT errors integer, OUT lower_bound double precision, OUT missing integer
)
LANGUAGE plpgsql IMMUTABLE
SET search_path = pg_catalog, siglip, pg_temp
AS $$
DECLARE
    error_rate  constant double precision := 1 - min_precision;
    total       constant integer := cardinality(logits);
    wrong       integer[];
    fewest      integer[];
    sorted      double precision[];
    allowed     integer;
    has_second  boolean;
    own_risk    double precision;
    rank        integer;
    high        double precision := 1;
    middle      double precision;
BEGIN
    SELECT array_agg(s.wrong ORDER BY s.number), array_agg(s.logit ORDER BY s.number) INTO wrong, sorted
    FROM (
        SELECT m.logit, row_number() OVER w AS number, (count(*) FILTER (WHERE NOT m.mark) OVER w)::integer AS wrong
        FROM unnest(logits, marks) AS m (logit, mark)
        WINDOW w AS (ORDER BY m.logit DESC, m.mark ROWS UNBOUNDED PRECEDING)
    ) AS s;
    SELECT count(*) - 1 INTO allowed FROM unnest(siglip.fewest_trials(error_rate, risk / 2, total / 2)) AS f WHERE f <= total / 2;
    has_second := allowed > 0;
    own_risk := CASE WHEN has_second THEN risk / 2 ELSE risk END;
    fewest := siglip.fewest_trials(error_rate, own_risk, total);
    FOR start IN 0 .. CASE WHEN has_second THEN 1 ELSE 0 END LOOP
        FOR allowed_errors IN CASE WHEN start = 0 THEN 0 ELSE allowed END .. total LOOP
            rank := fewest[allowed_errors + 1];
            EXIT WHEN rank IS NULL OR rank > total;
            WHILE rank < total AND sorted[rank] = sorted[rank + 1] LOOP  -- the same score is accepted with it
                rank := rank + 1;
            END LOOP;
            EXIT WHEN wrong[rank] > allowed_errors
                AND (rank = fewest[allowed_errors + 1] OR siglip.binomial_tail(wrong[rank], rank, error_rate) > own_risk);
            IF rank > coalesce(accepted, 0) THEN
                accepted := rank;
                errors := wrong[rank];
            END IF;
        END LOOP;
    END LOOP;
    IF accepted IS NULL THEN
        SELECT greatest(1, min(f.trials - (SELECT count(*) FROM unnest(wrong) AS w WHERE w < f.number)::integer)) INTO missing
        FROM unnest(siglip.fewest_trials(error_rate, own_risk, 0, 20)) WITH ORDINALITY AS f (trials, number)
        WHERE f.number <= coalesce(wrong[total], 0) + 1;
        RETURN;
    END IF;
    lower_bound := min_precision;
    FOR step IN 1 .. 40 LOOP
        middle := (lower_bound + high) / 2;
        IF siglip.binomial_tail(errors, accepted, 1 - middle) <= own_risk THEN
            lower_bound := middle;
        ELSE
            high := middle;
        END IF;
    END LOOP;
END
$$;

COMMENT ON FUNCTION siglip.guaranteed_marks(double precision[], boolean[], double precision, double precision)
    IS 'How many of the marks that score best may be accepted so that the precision reaches a wish with a risk; else how many more marks it takes at least.
Example: SELECT * FROM siglip.guaranteed_marks(''{3,2,1}'', ''{true,true,false}'', 0.5, 0.3);';
