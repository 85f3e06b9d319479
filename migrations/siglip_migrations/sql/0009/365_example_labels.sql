-- Purpose: labels from images alone: a vector out of marked images, and where its scores begin to mean something.
-- Parameters: label_id; model, a row of siglip.models; size of a sample of vectors.
-- A row means: one marked content; one vector of a sample; one label's vector with what its calibration begins from.

CREATE FUNCTION siglip.named_label(label_set text, label text) RETURNS siglip.labels
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, siglip, pg_temp
AS $$
DECLARE
    found_label siglip.labels;
BEGIN
    SELECT l.* INTO found_label
    FROM siglip.label_sets AS s JOIN siglip.labels AS l USING (label_set_id)
    WHERE s.name = named_label.label_set AND l.label = named_label.label;
    IF FOUND THEN
        RETURN found_label;
    ELSIF EXISTS (SELECT FROM siglip.label_sets AS s WHERE s.name = named_label.label_set) THEN
        RAISE EXCEPTION 'The label set % has no label %.', quote_literal(label_set), coalesce(quote_literal(label), 'NULL')
            USING ERRCODE = 'no_data_found', HINT = 'SELECT label FROM siglip.labels shows what there is.';
    END IF;
    RAISE EXCEPTION 'There is no label set %.', coalesce(quote_literal(label_set), 'NULL')
        USING ERRCODE = 'no_data_found', HINT = 'SELECT name FROM siglip.label_sets shows what there is.';
END
$$;

COMMENT ON FUNCTION siglip.named_label(text, text) IS 'The row of a label by the names of its set and its own; an error where there is none.
Example: SELECT label_id, prompts FROM siglip.named_label(''scenes'', ''sunset'');';

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
-- Each positive's logit is that of the vector without it. Two normal distributions of one spread give the prior's log odds,
-- (m1 - m0) / s^2 * (logit - (m1 + m0) / 2) + ln(share / (1 - share)): m1 and its part of s from the positives, and one more at three times the
-- sample's spread for those that are few; m0 and s from the middle of the sample and its lower half, in which the label's own images are
-- rare; the share of images with the label is that of the sample above the half-way point, less what lies as far below m0.
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
    factor      double precision := exp(model.logit_scale);
    middle      double precision;
    spread      double precision;
    upper       double precision;
    share       double precision;
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
    fit.logits := ARRAY(
        SELECT model.logit_bias + factor * siglip.similarity(u.v::@vector@.halfvec OPERATOR(@vector@.<#>) CASE
                   WHEN NOT u.is_used THEN fit.embedding
                   WHEN u.y THEN siglip.example_vector(yes_sum OPERATOR(@vector@.-) u.v, yes_count - 1, no_sum, no_count, sample_mean)
                   ELSE siglip.example_vector(yes_sum, yes_count, no_sum OPERATOR(@vector@.-) u.v, no_count - 1, sample_mean) END)
        FROM unnest(vectors, fit.marks, fit.is_used) WITH ORDINALITY AS u (v, y, is_used, number) ORDER BY u.number);
    SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY s.logit),
           percentile_cont(0.5) WITHIN GROUP (ORDER BY s.logit) - percentile_cont(0.16) WITHIN GROUP (ORDER BY s.logit)
    INTO middle, spread
    FROM (SELECT model.logit_bias + factor * siglip.similarity(v OPERATOR(@vector@.<#>) fit.embedding) AS logit FROM unnest(sampled) AS v) AS s;
    IF coalesce(cardinality(sampled), 0) < 5 THEN  -- nearly all images are marked
        middle := model.logit_bias;
        spread := NULL;
    END IF;
    spread := greatest(coalesce(spread, 0.1 * factor), 0.005 * factor);
    SELECT (coalesce(sum(u.logit), 0) + middle + 3 * spread) / (count(u.logit) + 1),
           sqrt((10 * spread ^ 2 + coalesce(var_pop(u.logit) * count(u.logit), 0)) / (10 + count(u.logit)))
    INTO upper, spread
    FROM unnest(fit.logits, fit.marks) AS u (logit, mark) WHERE u.mark;
    upper := greatest(upper, middle + spread);
    SELECT (count(*) FILTER (WHERE s.logit > (upper + middle) / 2) - count(*) FILTER (WHERE s.logit < middle - (upper - middle) / 2))
           / greatest(count(*), 1)::double precision
    INTO share
    FROM (SELECT model.logit_bias + factor * siglip.similarity(v OPERATOR(@vector@.<#>) fit.embedding) AS logit FROM unnest(sampled) AS v) AS s;
    share := greatest(0.01, least(0.5, share));
    fit.prior_scale := (upper - middle) / spread ^ 2;
    fit.prior_bias := -fit.prior_scale * (upper + middle) / 2 + ln(share / (1 - share));
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
