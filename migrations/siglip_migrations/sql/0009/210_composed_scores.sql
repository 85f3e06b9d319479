-- Purpose: the score of an image for a query of several parts.
-- Parameters: $1 vectors, $2 weights of the texts, $3 of the images; $4 logit_scale and $5 logit_bias.
-- A row means: one part as a vector (embedded_part).

CREATE TYPE siglip.embedded_part AS (
    embedding @vector@.halfvec,
    weight    double precision,
    is_image  boolean
);

COMMENT ON TYPE siglip.embedded_part IS 'One part of a query as a unit vector under the model of a search; a weight below 0 means that it isn''t wanted.';

-- ln(sigmoid(logit)); exp() fails beyond 709.
CREATE FUNCTION siglip.log_score(logit double precision) RETURNS double precision
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN logit < -700 THEN logit ELSE -ln(1 + exp(-logit)) END;

COMMENT ON FUNCTION siglip.log_score(double precision) IS 'The natural logarithm of the score that belongs to a logit.
Example: SELECT siglip.log_score(-3);';

-- The least of them is 1e-16 below 0, where double precision ends: a score of 1 stands for a logit of 37.
CREATE FUNCTION siglip.logit_of_log(log_score double precision) RETURNS double precision
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN log_score > -1e-9 THEN -ln(greatest(-log_score, 1e-16))
            WHEN log_score < -700 THEN log_score
            ELSE log_score - ln(1 - exp(log_score)) END;

COMMENT ON FUNCTION siglip.logit_of_log(double precision) IS 'The logit that belongs to the natural logarithm of a score.
Example: SELECT siglip.logit_of_log(ln(0.5));';

-- Weights and scales are written out: the planner computes with constants. similarity is the expression for part n.
CREATE FUNCTION siglip.composed_log_score(parts siglip.embedded_part[], logit_scale double precision, logit_bias double precision) RETURNS text
LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, siglip, pg_temp
AS $$
    WITH part AS (
        SELECT p.place, p.is_image, format('siglip.similarity(e.embedding OPERATOR(@vector@.<#>) ($1)[%s])', p.place) AS similarity, p.weight,
               CASE WHEN p.is_image AND p.weight < 0 THEN 0.25 * p.weight ELSE p.weight END AS image_weight
        FROM unnest(parts) WITH ORDINALITY AS p (embedding, weight, is_image, place)
    )
    SELECT concat_ws(' + ',
        string_agg(format('%L::double precision * siglip.log_score(%L::double precision * (%L::double precision * %s + %L::double precision))',
                          abs(weight), sign(weight), exp(logit_scale), similarity, logit_bias), ' + ' ORDER BY place) FILTER (WHERE NOT is_image),
        CASE WHEN bool_or(is_image) THEN format('%L::double precision * ln(greatest(1e-9, (1 + (%s) / %L::double precision) / 2))',
               4 * sum(abs(image_weight)) FILTER (WHERE is_image),
               string_agg(format('%L::double precision * %s', image_weight, similarity), ' + ' ORDER BY place) FILTER (WHERE is_image),
               sum(abs(image_weight)) FILTER (WHERE is_image)) END)
    FROM part
$$;

COMMENT ON FUNCTION siglip.composed_log_score(siglip.embedded_part[], double precision, double precision)
    IS 'The text of the expression for the logarithm of a score, for image_embeddings AS e and the vectors of the parts in $1. See docs/composing.md for the formula.
Example: SELECT siglip.composed_log_score(ARRAY[ROW(siglip.embed_text(''beach''), 1, false)::siglip.embedded_part], 2.3, -2);';
