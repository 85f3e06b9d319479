-- Purpose: a few images that stand for many.
-- Parameters: count 1 to 200; sample_size 1 to 20,000 contents that are looked at; seed of the sample and of the draws.
-- A row means: one image, and for how many it stands.

-- k-means on the sphere (Dhillon and Modha 2001: a centre is the normalised mean of what is nearest to it), begun as k-means++ (Arthur and
-- Vassilvitskii 2007: each next centre is drawn with a chance that grows with the squared distance to those there are, for unit vectors
-- 2 - 2 * similarity). The image that is nearest to a centre represents it. Similarities of half-precision vectors differ by up to 0.001.
CREATE FUNCTION siglip.representatives(
    count       integer DEFAULT 20,
    collection  text DEFAULT NULL,
    filter      jsonb DEFAULT NULL,
    sample_size integer DEFAULT 2000,
    seed        integer DEFAULT 0,
    model_id    integer DEFAULT NULL
) RETURNS TABLE (image_id bigint, uri text, images bigint, similarity double precision, metadata jsonb)
LANGUAGE plpgsql STABLE ROWS 20
SET search_path = pg_catalog, siglip, pg_temp
SET jit = off
SET work_mem = '64MB'
AS $$
#variable_conflict use_column
DECLARE
    rounds      constant integer := 8;
    model       siglip.models := siglip.described_model(representatives.model_id);
    wanted      constant integer := representatives.count;
    conditions  constant text := siglip.narrowing('i', collection, filter);
    content_ids bigint[];
    weights     bigint[];
    embeddings  @vector@.halfvec[];
    centres     @vector@.halfvec[];
    nearest     double precision[];
    places      bigint[];
    contents    bigint;
    total       bigint;
    target      double precision;
    place       bigint;
BEGIN
    IF (wanted BETWEEN 1 AND 200) IS NOT TRUE THEN
        RAISE EXCEPTION 'count is %, not a number from 1 to 200.', coalesce(wanted::text, 'NULL')
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Twenty fit on a page.';
    ELSIF (sample_size BETWEEN 1 AND 20000) IS NOT TRUE THEN
        RAISE EXCEPTION 'sample_size is %, not a number from 1 to 20000.', coalesce(sample_size::text, 'NULL')
            USING ERRCODE = 'invalid_parameter_value', HINT = '2000 are enough for twenty representatives.';
    ELSIF seed IS NULL THEN
        RAISE EXCEPTION 'seed is NULL, not a number.'
            USING ERRCODE = 'invalid_parameter_value', HINT = 'With the same seed the same images come back.';
    END IF;
    -- Twice as many as wanted, in case that some have no vector under this model.
    EXECUTE format(
        'SELECT array_agg(s.content_id ORDER BY s.place), array_agg(s.images ORDER BY s.place), array_agg(s.embedding ORDER BY s.place),'
        ' max(s.contents), max(s.total) FROM ('
        'SELECT n.*, e.embedding FROM ('
        'SELECT i.content_id, count(*) AS images, hashint8extended(i.content_id, $1) AS place, count(*) OVER () AS contents,'
        ' sum(count(*)) OVER () AS total'
        ' FROM siglip.images AS i WHERE i.content_id IS NOT NULL%2$s GROUP BY i.content_id ORDER BY place, i.content_id LIMIT 2 * $2'
        ') AS n JOIN siglip.image_embeddings AS e ON e.model_id = %1$s AND e.content_id = n.content_id ORDER BY n.place, n.content_id LIMIT $2'
        ') AS s', model.model_id, conditions)
        INTO content_ids, weights, embeddings, contents, total USING seed::bigint, sample_size;
    IF content_ids IS NULL THEN
        RETURN;
    END IF;

    centres := embeddings[1 : 1];
    nearest := array_fill(2::double precision, ARRAY[cardinality(embeddings)]);
    FOR number IN 2 .. wanted LOOP
        SELECT array_agg(least(u.distance, greatest(0, 0.999 + (u.embedding OPERATOR(@vector@.<#>) centres[number - 1]))) ORDER BY u.place)
        INTO nearest FROM unnest(embeddings, nearest) WITH ORDINALITY AS u (embedding, distance, place);
        SELECT sum(u.distance) INTO target FROM unnest(nearest) AS u (distance);
        EXIT WHEN target <= 0;
        target := target * ((hashint8extended(number, seed) & 2147483647) / 2147483648.0);
        SELECT s.place INTO place
        FROM (SELECT u.place, sum(u.distance) OVER (ORDER BY u.place) AS reached FROM unnest(nearest) WITH ORDINALITY AS u (distance, place)) AS s
        WHERE s.reached > target ORDER BY s.place LIMIT 1;
        EXIT WHEN place IS NULL;
        centres := centres || embeddings[place];
    END LOOP;

    FOR round IN 1 .. rounds LOOP
        SELECT array_agg(n.centre) INTO centres FROM (
            SELECT @vector@.l2_normalize(@vector@.avg(u.embedding)) AS centre
            FROM unnest(embeddings) AS u (embedding) CROSS JOIN LATERAL (
                SELECT c.number FROM unnest(centres) WITH ORDINALITY AS c (centre, number)
                ORDER BY u.embedding OPERATOR(@vector@.<#>) c.centre, c.number LIMIT 1
            ) AS a GROUP BY a.number ORDER BY a.number
        ) AS n;
    END LOOP;
    SELECT array_agg(n.place ORDER BY n.number) INTO places FROM (
        SELECT DISTINCT ON (a.number) a.number, u.place
        FROM unnest(embeddings) WITH ORDINALITY AS u (embedding, place) CROSS JOIN LATERAL (
            SELECT c.number, u.embedding OPERATOR(@vector@.<#>) c.centre AS distance FROM unnest(centres) WITH ORDINALITY AS c (centre, number)
            ORDER BY distance, c.number LIMIT 1
        ) AS a ORDER BY a.number, a.distance, u.place
    ) AS n;

    RETURN QUERY EXECUTE format(
        'SELECT f.image_id, f.uri, greatest(1, round(n.images * $5))::bigint AS images, n.similarity, f.metadata FROM ('
        'SELECT a.place, sum(u.weight) AS images, sum(u.weight * siglip.similarity(a.distance)) / sum(u.weight) AS similarity'
        ' FROM unnest($2, $3) AS u (embedding, weight) CROSS JOIN LATERAL ('
        'SELECT p.place, u.embedding OPERATOR(@vector@.<#>) ($2)[p.place] AS distance FROM unnest($4) AS p (place)'
        ' ORDER BY distance, p.place LIMIT 1) AS a GROUP BY a.place'
        ') AS n CROSS JOIN LATERAL ('
        'SELECT i.image_id, i.uri, i.metadata FROM siglip.images AS i WHERE i.content_id = ($1)[n.place]%s ORDER BY i.image_id LIMIT 1'
        ') AS f ORDER BY images DESC, f.image_id', conditions)
        USING content_ids, embeddings, weights, places,
              CASE WHEN contents > sample_size THEN total::numeric / (SELECT sum(w) FROM unnest(weights) AS w) ELSE 1 END;
END
$$;

COMMENT ON FUNCTION siglip.representatives(integer, text, jsonb, integer, integer, integer)
    IS 'Images that stand for all of a collection: for each, how many images it is the nearest of them to, and their mean similarity to it. Those numbers are counted on a sample, and scaled up where there are more.
Example: SELECT uri, images FROM siglip.representatives(5, collection => ''holiday'');';
