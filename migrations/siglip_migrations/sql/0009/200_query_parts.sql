-- Purpose: queries of several parts: texts, images by id and vectors, each with a weight, wanted or not wanted.
-- Parameters: a part is a text as typed, or what siglip.plus, siglip.minus, siglip.like and siglip.by_vector return; weights are 0.01 to 100.
-- A row means: one part (composed_part); all parts of one query (composed_query).

-- A domain over text, since PostgreSQL gives an untyped literal to no composite type: 'beach' must be a part as it stands. What isn't a
-- plain text begins with the character U+001F, which nobody types, and goes on as JSON.
CREATE DOMAIN siglip.query_part AS text;

COMMENT ON DOMAIN siglip.query_part
    IS 'A part of siglip.compose: a text as typed, or what siglip.plus, siglip.minus, siglip.like and siglip.by_vector return.';

CREATE TYPE siglip.composed_part AS (
    query     text,
    image_id  bigint,
    embedding @vector@.halfvec,
    model_id  integer,
    weight    double precision
);

COMMENT ON TYPE siglip.composed_part
    IS 'One part of a query: a text, an image or a vector (of a text, where there is one); of model_id where it was said; a weight below 0 means that it isn''t wanted.';

CREATE TYPE siglip.composed_query AS (parts siglip.composed_part[]);

COMMENT ON TYPE siglip.composed_query
    IS 'What siglip.compose returns. Its texts and images become vectors when it is searched for, all under that search''s model.';

CREATE FUNCTION siglip.read_part(part siglip.query_part) RETURNS jsonb
LANGUAGE plpgsql IMMUTABLE
SET search_path = pg_catalog, siglip, pg_temp
AS $$
BEGIN
    IF part IS NULL OR btrim(part, E' \t\n\r') = '' THEN
        RAISE EXCEPTION 'A part of the query is %.', CASE WHEN part IS NULL THEN 'NULL' ELSE 'an empty text' END
            USING ERRCODE = 'invalid_parameter_value', HINT = 'A part is a text, or siglip.minus(''people''), siglip.like(42), ...';
    ELSIF NOT starts_with(part, E'\x1f') THEN
        RETURN jsonb_build_object('query', part, 'weight', 1);
    END IF;
    RETURN substr(part, 2)::jsonb;
EXCEPTION WHEN invalid_text_representation THEN
    RAISE EXCEPTION 'A part of the query begins with the character U+001F.'
        USING ERRCODE = 'invalid_parameter_value', HINT = 'Take it out of the text: it says nothing.';
END
$$;

COMMENT ON FUNCTION siglip.read_part(siglip.query_part) IS 'A part of a query as JSON: query, image_id or embedding, and weight.
Example: SELECT siglip.read_part(siglip.minus(''people''));';

CREATE FUNCTION siglip.write_part(part jsonb, weight double precision) RETURNS siglip.query_part
LANGUAGE plpgsql IMMUTABLE
SET search_path = pg_catalog, siglip, pg_temp
AS $$
BEGIN
    IF weight IS NULL OR abs(weight) NOT BETWEEN 0.01 AND 100 THEN  -- NaN is above all numbers
        RAISE EXCEPTION 'The weight of a part is %, not a number from 0.01 to 100.', coalesce(abs(weight)::text, 'NULL')
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Weights compare the parts; 1 is usual. siglip.minus says what is not wanted.';
    END IF;
    RETURN E'\x1f' || (part || jsonb_build_object('weight', weight))::text;
END
$$;

COMMENT ON FUNCTION siglip.write_part(jsonb, double precision) IS 'A part of a query from JSON, with a weight.
Example: SELECT siglip.write_part(''{"query": "people"}'', -1);';

CREATE FUNCTION siglip.check_weight(weight double precision) RETURNS double precision
LANGUAGE plpgsql IMMUTABLE
SET search_path = pg_catalog, siglip, pg_temp
AS $$
BEGIN
    IF weight <= 0 THEN
        RAISE EXCEPTION 'The weight of a part is %, not a number from 0.01 to 100.', weight
            USING ERRCODE = 'invalid_parameter_value', HINT = 'siglip.minus says what is not wanted.';
    END IF;
    RETURN weight;
END
$$;

COMMENT ON FUNCTION siglip.check_weight(double precision) IS 'An error where a weight is not above 0.
Example: SELECT siglip.check_weight(0.7);';

CREATE FUNCTION siglip.plus(part siglip.query_part, weight double precision DEFAULT 1) RETURNS siglip.query_part
LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, siglip, pg_temp
AS $$
    SELECT siglip.write_part(p.part, siglip.check_weight(weight) * (p.part ->> 'weight')::double precision)
    FROM (SELECT siglip.read_part(part)) AS p (part)
$$;

COMMENT ON FUNCTION siglip.plus(siglip.query_part, double precision) IS 'A part of a query with a weight: more or less than the 1 of a plain text.
Example: SELECT * FROM siglip.search_images(siglip.compose(''beach'', siglip.plus(''at night'', 0.5)));';

CREATE FUNCTION siglip.minus(part siglip.query_part, weight double precision DEFAULT 1) RETURNS siglip.query_part
LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, siglip, pg_temp
AS $$
    SELECT siglip.write_part(p.part, -siglip.check_weight(weight) * (p.part ->> 'weight')::double precision)
    FROM (SELECT siglip.read_part(part)) AS p (part)
$$;

COMMENT ON FUNCTION siglip.minus(siglip.query_part, double precision) IS 'A part of a query that is not wanted: a text, or siglip.like(17) for "less like that image".
Example: SELECT * FROM siglip.search_images(siglip.compose(''beach'', siglip.minus(''people'')));';

CREATE FUNCTION siglip.like(image_id bigint, weight double precision DEFAULT 1) RETURNS siglip.query_part
LANGUAGE plpgsql IMMUTABLE
SET search_path = pg_catalog, siglip, pg_temp
AS $$
BEGIN
    IF image_id IS NULL THEN
        RAISE EXCEPTION 'The image_id of a part is NULL.'
            USING ERRCODE = 'invalid_parameter_value', HINT = 'SELECT image_id, uri FROM siglip.images shows what there is.';
    END IF;
    RETURN siglip.write_part(jsonb_build_object('image_id', image_id), siglip.check_weight(weight));
END
$$;

COMMENT ON FUNCTION siglip.like(bigint, double precision) IS 'A part of a query: like this indexed image. It is not among the results itself.
Example: SELECT * FROM siglip.search_images(siglip.compose(siglip.like(1), siglip.like(2), siglip.like(3), siglip.minus(siglip.like(4))));';

CREATE FUNCTION siglip.by_vector(embedding @vector@.halfvec, weight double precision DEFAULT 1, model_id integer DEFAULT NULL) RETURNS siglip.query_part
LANGUAGE plpgsql IMMUTABLE
SET search_path = pg_catalog, siglip, pg_temp
AS $$
BEGIN
    IF embedding IS NULL OR @vector@.l2_norm(embedding) = 0 THEN
        RAISE EXCEPTION 'The vector of a part is NULL or zero.'
            USING ERRCODE = 'invalid_parameter_value', HINT = 'A vector has a direction: any length but 0.';
    END IF;
    RETURN siglip.write_part(
        jsonb_strip_nulls(jsonb_build_object('embedding', embedding::text, 'model_id', model_id)), siglip.check_weight(weight));
END
$$;

COMMENT ON FUNCTION siglip.by_vector(@vector@.halfvec, double precision, integer)
    IS 'A part of a query: the vector of an image, of any length but 0; with model_id, a search under another model refuses it.
Example: SELECT * FROM siglip.search_images(siglip.compose(''beach'', siglip.by_vector((SELECT embedding FROM siglip.image_embeddings WHERE model_id = 1 LIMIT 1))));';

-- PostgreSQL gives a part to whatever takes a text.
CREATE FUNCTION siglip.plain_text(query text) RETURNS text
LANGUAGE plpgsql IMMUTABLE
SET search_path = pg_catalog, siglip, pg_temp
AS $$
BEGIN
    IF starts_with(query, E'\x1f') THEN
        RAISE EXCEPTION 'The query is a part of a composed query, not a text.'
            USING ERRCODE = 'invalid_parameter_value', HINT = 'siglip.search_images takes siglip.like(42) and siglip.compose(...).';
    END IF;
    RETURN plain_text.query;
END
$$;

COMMENT ON FUNCTION siglip.plain_text(text) IS 'A text as it stands; an error where it is a part of a composed query.
Example: SELECT siglip.plain_text(''a lake'');';

CREATE FUNCTION siglip.compose(VARIADIC parts siglip.query_part[]) RETURNS siglip.composed_query
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, siglip, pg_temp
AS $$
DECLARE
    hint     constant text := 'Say what the images show or are like: siglip.compose(''beach'', siglip.minus(''people'')).';
    composed siglip.composed_part[];
BEGIN
    IF parts IS NULL OR cardinality(parts) NOT BETWEEN 1 AND 100 THEN
        RAISE EXCEPTION 'The query has % parts, not 1 to 100.', coalesce(cardinality(parts), 0)
            USING ERRCODE = 'invalid_parameter_value', HINT = hint;
    END IF;
    SELECT array_agg(ROW(r.part ->> 'query', (r.part ->> 'image_id')::bigint, (r.part ->> 'embedding')::@vector@.halfvec,
                         (r.part ->> 'model_id')::integer, (r.part ->> 'weight')::double precision)::siglip.composed_part
                     ORDER BY p.place)
    INTO composed
    FROM unnest(parts) WITH ORDINALITY AS p (part, place)
    CROSS JOIN LATERAL (SELECT siglip.read_part(p.part)) AS r (part);
    IF NOT EXISTS (SELECT FROM unnest(composed) AS c WHERE c.weight > 0) THEN
        RAISE EXCEPTION 'The query only says what is not wanted.'
            USING ERRCODE = 'invalid_parameter_value', HINT = hint;
    END IF;
    RETURN ROW(composed)::siglip.composed_query;
END
$$;

COMMENT ON FUNCTION siglip.compose(siglip.query_part[])
    IS 'A query of several parts for siglip.search_images: texts, siglip.minus(''people''), siglip.like(42, 0.7), siglip.plus(''at night'', 0.5).
Example: SELECT * FROM siglip.search_images(siglip.compose(''beach'', siglip.minus(''people''), siglip.like(1, 0.7), ''at night''));';
