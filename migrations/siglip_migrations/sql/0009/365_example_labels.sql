-- Purpose: labels from images alone: a vector out of marked images, and where its scores begin to mean something.
-- Parameters: label_id; model, a row of siglip.models; size of a sample of vectors.
-- A row means: one marked content; one vector of a sample; one label's vector with what its calibration begins from.

-- By a hash of the place and not by chance: the same images give the same vectors, calibrations and percentiles again.
CREATE FUNCTION siglip.sample_contents(model_id integer, size integer)
RETURNS TABLE (content_id bigint, embedding @vector@.halfvec)
LANGUAGE plpgsql STABLE ROWS 500
SET search_path = pg_catalog, siglip, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    last_id constant bigint := (SELECT max(c.content_id) FROM siglip.contents AS c);
    found   bigint;
BEGIN
    IF last_id > 4 * size THEN
        RETURN QUERY EXECUTE format(
            'SELECT e.content_id, e.embedding FROM siglip.image_embeddings AS e'
            ' WHERE e.model_id = %s AND e.content_id = ANY (ARRAY(SELECT unnest($1)))'
            ' ORDER BY hashint8extended(e.content_id, 1) LIMIT $2', model_id)
            USING ARRAY(SELECT DISTINCT 1 + (hashint8extended(n, 7) & 9223372036854775807) % last_id
                        FROM generate_series(1, 3 * size) AS n), size;
        GET DIAGNOSTICS found = ROW_COUNT;
        IF found > size / 4 THEN
            RETURN;
        END IF;
    END IF;
    RETURN QUERY EXECUTE format(  -- few contents, or few of them have a vector
        'SELECT e.content_id, e.embedding FROM (SELECT o.* FROM siglip.image_embeddings AS o WHERE o.model_id = %s LIMIT %s) AS e'
        ' ORDER BY hashint8extended(e.content_id, 1) LIMIT $1', model_id, 4 * size)
        USING size;
END
$$;

COMMENT ON FUNCTION siglip.sample_contents(integer, integer)
    IS 'Up to so many vectors under a model, spread over all contents; the same ones while no contents come or go.
Example: SELECT content_id FROM siglip.sample_contents(1, 5);';

CREATE FUNCTION siglip.label_marks(label_id integer, model_id integer)
RETURNS TABLE (content_id bigint, image_id bigint, is_accepted boolean, embedding @vector@.halfvec)
LANGUAGE sql STABLE ROWS 100
SET search_path = pg_catalog, siglip, pg_temp
AS $$
    SELECT DISTINCT ON (i.content_id, m.is_accepted) i.content_id, i.image_id, m.is_accepted, e.embedding
    FROM siglip.image_labels AS m
    JOIN siglip.images AS i ON i.image_id = m.image_id
    JOIN siglip.image_embeddings AS e ON e.model_id = label_marks.model_id AND e.content_id = i.content_id
    WHERE m.label_id = label_marks.label_id AND m.marked_by IS NOT NULL
    ORDER BY i.content_id, m.is_accepted, i.image_id
$$;

COMMENT ON FUNCTION siglip.label_marks(integer, integer)
    IS 'The marked images of a label that have a vector under a model; the same content under several URIs counts once.
Example: SELECT image_id, is_accepted FROM siglip.label_marks(1, 1);';

CREATE TYPE siglip.label_fit AS (
    embedding   @vector@.halfvec,
    prior_scale double precision,
    prior_bias  double precision,
    logits      double precision[],
    marks       boolean[],
    is_used     boolean[]
);

COMMENT ON TYPE siglip.label_fit IS 'A label''s vector; the scale and bias that its calibration begins from; logits and marks of its marked images, and whether each is part of the vector.';

-- The direction in which marked images lie from all others: mean of the positives, minus that of a sample of all images, of which negatives
-- take a quarter where there are some. Images have much in common with each other, which says nothing of the label, and goes out with the
-- sample's mean. It is Fisher's discriminant with equal spread in each direction.
-- Similarities of images lie elsewhere than those of a text and an image: the prior can't be the model's own scale and bias. m0 is the middle of
-- the sample's logits, most of which haven't the label; m1 the mean of the positives' logits, each of the vector without it, and of one more at
-- the sample's 98th percentile for those that are few. The border lies at 0.7 of the way from m0 to m1, and the log odds grow by 6 from one to the
-- other: log odds = 6 * ((logit - m0) / (m1 - m0) - 0.7). Both numbers are those that fit the labels of the demo's images best
-- (benchmarks/calibration.py).
CREATE FUNCTION siglip.fit_examples(label_id integer, model siglip.models, has_held_out boolean) RETURNS siglip.label_fit
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, siglip, pg_temp
AS $$
DECLARE
    fit         siglip.label_fit;
    vectors     @vector@.vector[];
    yes_sum     @vector@.vector;
    no_sum      @vector@.vector;
    sample_mean @vector@.vector;
    sampled     @vector@.halfvec[];
    yes_count   integer;
    no_count    integer;
    factor      constant double precision := exp(model.logit_scale);
    middle      double precision;
    high        double precision;
    upper       double precision;
    marked_middle double precision;
BEGIN
    SELECT array_agg(m.embedding::@vector@.vector ORDER BY m.content_id), array_agg(m.is_accepted ORDER BY m.content_id),
           array_agg(NOT has_held_out OR hashint8extended(m.content_id, 5) % 2 = 0 ORDER BY m.content_id)
    INTO vectors, fit.marks, fit.is_used
    FROM siglip.label_marks(label_id, model.model_id) AS m;
    SELECT @vector@.sum(u.v) FILTER (WHERE u.y), @vector@.sum(u.v) FILTER (WHERE NOT u.y), count(*) FILTER (WHERE u.y), count(*) FILTER (WHERE NOT u.y)
    INTO yes_sum, no_sum, yes_count, no_count
    FROM unnest(vectors, fit.marks, fit.is_used) AS u (v, y, is_used) WHERE u.is_used;
    IF yes_count = 0 THEN
        RETURN NULL;
    END IF;
    SELECT array_agg(s.embedding), @vector@.avg(s.embedding::@vector@.vector) INTO sampled, sample_mean
    FROM siglip.sample_contents(model.model_id, 500) AS s
    WHERE s.content_id NOT IN (SELECT m.content_id FROM siglip.label_marks(label_id, model.model_id) AS m);
    fit.embedding := siglip.example_vector(yes_sum, yes_count, no_sum, no_count, sample_mean);
    IF fit.embedding IS NULL THEN
        RETURN NULL;
    END IF;
    SELECT array_agg(model.logit_bias - factor * (w.v OPERATOR(@vector@.<#>) w.without_it) ORDER BY w.number) INTO fit.logits
    FROM (
        SELECT u.number, u.v::@vector@.halfvec AS v,
               CASE WHEN NOT u.is_used THEN fit.embedding
                    WHEN u.y THEN siglip.example_vector(yes_sum OPERATOR(@vector@.-) u.v, yes_count - 1, no_sum, no_count, sample_mean)
                    ELSE siglip.example_vector(yes_sum, yes_count, no_sum OPERATOR(@vector@.-) u.v, no_count - 1, sample_mean)
               END AS without_it
        FROM unnest(vectors, fit.marks, fit.is_used) WITH ORDINALITY AS u (v, y, is_used, number)
    ) AS w;
    SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY s.logit), percentile_cont(0.98) WITHIN GROUP (ORDER BY s.logit) INTO middle, high
    FROM (SELECT model.logit_bias + factor * siglip.similarity(v OPERATOR(@vector@.<#>) fit.embedding) AS logit FROM unnest(sampled) AS v) AS s;
    SELECT avg(u.logit) FILTER (WHERE NOT u.mark), avg(u.logit) FILTER (WHERE u.mark), count(u.logit) FILTER (WHERE u.mark)
    INTO marked_middle, upper, yes_count
    FROM unnest(fit.logits, fit.marks) AS u (logit, mark);
    IF coalesce(cardinality(sampled), 0) < 10 THEN  -- nearly all images are marked
        middle := coalesce(marked_middle, model.logit_bias);
        high := middle + 0.2 * factor;
    END IF;
    upper := greatest((coalesce(upper, 0) * yes_count + high) / (yes_count + 1), middle + greatest((high - middle) / 2, 0.02 * factor));
    fit.prior_scale := 6 / (upper - middle);
    fit.prior_bias := -fit.prior_scale * middle - 6 * 0.7;
    RETURN fit;
END
$$;

COMMENT ON FUNCTION siglip.fit_examples(integer, siglip.models, boolean)
    IS 'The vector of a label out of the images that are marked with it, half of them where the others are held out to test it; NULL without a positive.
Example: SELECT f.prior_scale FROM siglip.models AS m, siglip.fit_examples(1, m, false) AS f WHERE m.is_active;';

CREATE FUNCTION siglip.example_vector(
    yes_sum @vector@.vector, yes_count integer, no_sum @vector@.vector, no_count integer, sample_mean @vector@.vector
) RETURNS @vector@.halfvec
LANGUAGE plpgsql IMMUTABLE
SET search_path = pg_catalog, siglip, pg_temp
AS $$
DECLARE
    dimension constant integer := coalesce(@vector@.vector_dims(yes_sum), 1);
    direction @vector@.vector;
BEGIN
    IF yes_count = 0 THEN
        RETURN NULL;
    END IF;
    direction := yes_sum OPERATOR(@vector@.*) array_fill((1.0 / yes_count)::real, ARRAY[dimension])::@vector@.vector;
    IF no_count > 0 THEN
        direction := direction OPERATOR(@vector@.-) (
            no_sum OPERATOR(@vector@.*) array_fill((0.25 / no_count)::real, ARRAY[dimension])::@vector@.vector);
    END IF;
    IF sample_mean IS NOT NULL THEN
        direction := direction OPERATOR(@vector@.-) (
            sample_mean OPERATOR(@vector@.*) array_fill(CASE WHEN no_count > 0 THEN 0.75 ELSE 1 END::real, ARRAY[dimension])::@vector@.vector);
    END IF;
    RETURN CASE WHEN @vector@.vector_norm(direction) > 1e-4 THEN @vector@.l2_normalize(direction)::@vector@.halfvec END;
END
$$;

COMMENT ON FUNCTION siglip.example_vector(@vector@.vector, integer, @vector@.vector, integer, @vector@.vector)
    IS 'The unit vector from what negatives and a sample of images have in common to the mean of the positives; NULL without a positive.
Example: SELECT siglip.example_vector(sum(embedding::vector), 3, NULL, 0, NULL) FROM siglip.label_marks(1, 1) WHERE is_accepted;';
