-- Purpose: the best images of a search that are not nearly the same as a better one: one of a burst, not five.
-- Parameters: see siglip.search_images; max_similarity from 0 to 1 of two images of the result.
-- A row means: one image, best first.

CREATE FUNCTION siglip.diverse_matches(
    model siglip.models, query_embedding @vector@.halfvec, max_results integer, max_similarity double precision,
    collection text, filter jsonb, min_score double precision, excluded_image_id bigint
) RETURNS SETOF siglip.image_match
LANGUAGE plpgsql VOLATILE ROWS 10
SET search_path = pg_catalog, siglip, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    most constant integer := 10000;
    asked  integer;
    seen   integer;
    chosen siglip.image_match[];
    taken  @vector@.halfvec[];
    found  record;
BEGIN
    PERFORM siglip.check_max_results(max_results), siglip.check_similarity('max_similarity', max_similarity, 0);
    asked := least(most, greatest(50, 5 * max_results));
    LOOP
        chosen := '{}';
        taken := '{}';
        seen := 0;
        FOR found IN EXECUTE format(
            'SELECT ROW(n.image_id, n.uri, n.similarity, n.score, n.metadata)::siglip.image_match AS match, e.embedding'
            ' FROM siglip.nearest_images($1, $2, $3, $4, $5, $6, $7)'
            '     WITH ORDINALITY AS n (image_id, uri, similarity, score, metadata, place)'
            ' JOIN siglip.images AS i ON i.image_id = n.image_id'
            ' JOIN siglip.image_embeddings AS e ON e.model_id = %s AND e.content_id = i.content_id ORDER BY n.place', model.model_id)
            USING model, query_embedding, asked, collection, filter, min_score, excluded_image_id
        LOOP
            seen := seen + 1;
            -- Two with the same file are one, whatever rounding makes of their similarity.
            CONTINUE WHEN EXISTS (
                SELECT FROM unnest(taken) AS t (embedding)
                WHERE siglip.similarity(t.embedding OPERATOR(@vector@.<#>) found.embedding) > max_similarity
                   OR t.embedding OPERATOR(@vector@.=) found.embedding);
            chosen := chosen || found.match;
            taken := taken || found.embedding;
            EXIT WHEN cardinality(chosen) = max_results;
        END LOOP;
        EXIT WHEN cardinality(chosen) = max_results OR seen < asked OR asked = most;
        asked := least(most, 4 * asked);
    END LOOP;
    RETURN QUERY SELECT c.* FROM unnest(chosen) AS c;
END
$$;

COMMENT ON FUNCTION siglip.diverse_matches(
    siglip.models, @vector@.halfvec, integer, double precision, text, jsonb, double precision, bigint)
    IS 'The search that the functions siglip.diverse_images share: best first, without those too similar to a better one, among the best 10,000.
Example: SELECT * FROM siglip.diverse_matches(siglip.active_model(), siglip.embed_text(''a lake''), 5, 0.9, NULL, NULL, NULL, NULL);';

CREATE FUNCTION siglip.diverse_images(
    query          text,
    max_results    integer DEFAULT 10,
    max_similarity double precision DEFAULT 0.9,
    collection     text DEFAULT NULL,
    filter         jsonb DEFAULT NULL,
    min_score      double precision DEFAULT NULL,
    model_id       integer DEFAULT NULL,
    timeout_s      double precision DEFAULT NULL
) RETURNS SETOF siglip.image_match
LANGUAGE plpgsql VOLATILE ROWS 10
SET search_path = pg_catalog, siglip, pg_temp
AS $$
DECLARE
    model siglip.models := siglip.described_model(model_id);
BEGIN
    PERFORM siglip.check_max_results(max_results), siglip.check_similarity('max_similarity', max_similarity, 0);
    RETURN QUERY SELECT n.* FROM siglip.diverse_matches(
        model, siglip.embed_text(siglip.plain_text(query), model.model_id, timeout_s), max_results, max_similarity, collection, filter, min_score, NULL) AS n;
END
$$;

COMMENT ON FUNCTION siglip.diverse_images(
    text, integer, double precision, text, jsonb, double precision, integer, double precision)
    IS 'The images that fit a text best, best first, without those whose similarity to a better one is above max_similarity.
Example: SELECT uri, score FROM siglip.diverse_images(''a lake'', 5, max_similarity => 0.8);';

CREATE FUNCTION siglip.diverse_images(
    query_embedding @vector@.halfvec,
    max_results     integer DEFAULT 10,
    max_similarity  double precision DEFAULT 0.9,
    collection      text DEFAULT NULL,
    filter          jsonb DEFAULT NULL,
    min_score       double precision DEFAULT NULL,
    model_id        integer DEFAULT NULL
) RETURNS SETOF siglip.image_match
LANGUAGE plpgsql VOLATILE ROWS 10
SET search_path = pg_catalog, siglip, pg_temp
AS $$
BEGIN
    RETURN QUERY SELECT n.* FROM siglip.diverse_matches(
        siglip.described_model(model_id), query_embedding, max_results, max_similarity, collection, filter, min_score, NULL) AS n;
END
$$;

COMMENT ON FUNCTION siglip.diverse_images(@vector@.halfvec, integer, double precision, text, jsonb, double precision, integer)
    IS 'The images nearest to a vector, best first, without those whose similarity to a better one is above max_similarity.
Example: SELECT image_id FROM siglip.diverse_images(siglip.embed_text(''a lake''), 5);';

CREATE FUNCTION siglip.diverse_images(
    image_id       bigint,
    max_results    integer DEFAULT 10,
    max_similarity double precision DEFAULT 0.9,
    collection     text DEFAULT NULL,
    filter         jsonb DEFAULT NULL,
    min_score      double precision DEFAULT NULL,
    model_id       integer DEFAULT NULL
) RETURNS SETOF siglip.image_match
LANGUAGE plpgsql VOLATILE ROWS 10
SET search_path = pg_catalog, siglip, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    model           siglip.models := siglip.described_model(diverse_images.model_id);
    query_embedding @vector@.halfvec;
BEGIN
    SELECT e.embedding INTO query_embedding
    FROM siglip.images AS i JOIN siglip.image_embeddings AS e ON e.content_id = i.content_id AND e.model_id = model.model_id
    WHERE i.image_id = diverse_images.image_id;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'There is no image %, or it is not embedded under the model %.',
            coalesce(diverse_images.image_id::text, 'NULL'), model.name
            USING ERRCODE = 'no_data_found', HINT = 'SELECT image_id, uri FROM siglip.images shows what there is.';
    END IF;
    RETURN QUERY SELECT n.* FROM siglip.diverse_matches(
        model, query_embedding, max_results, max_similarity, collection, filter, min_score, diverse_images.image_id) AS n;
END
$$;

COMMENT ON FUNCTION siglip.diverse_images(bigint, integer, double precision, text, jsonb, double precision, integer)
    IS 'The images most similar to one that is indexed, without that one, and without those whose similarity to a better one is above max_similarity.
Example: SELECT image_id, similarity FROM siglip.diverse_images(1, 5);';
