-- Purpose: search by a vector, by a text, or by an image that is indexed, under the active model or the one that is named.
-- Parameters: max_results 1 to 10,000; collection, filter (metadata @> filter) and image_ids narrow the search; skip_results or after begin further down.
-- A row means: one image, best first: image_id, uri, similarity in [-1, 1], score in [0, 1], metadata.

-- The planner puts this body in the place of its call: one call less to prepare.
CREATE FUNCTION siglip.search_images(
    query_embedding @vector@.halfvec,
    max_results     integer DEFAULT 10,
    collection      text DEFAULT NULL,
    filter          jsonb DEFAULT NULL,
    min_score       double precision DEFAULT NULL,
    model_id        integer DEFAULT NULL,
    image_ids       bigint[] DEFAULT NULL,
    skip_results    integer DEFAULT 0,
    after           siglip.search_position DEFAULT NULL
) RETURNS SETOF siglip.image_match
LANGUAGE sql STABLE ROWS 10
BEGIN ATOMIC
    SELECT n.* FROM siglip.nearest_images(
        siglip.described_model(model_id), query_embedding, max_results, collection, filter, min_score, NULL,
        image_ids, skip_results, after) AS n;
END;

COMMENT ON FUNCTION siglip.search_images(
    @vector@.halfvec, integer, text, jsonb, double precision, integer, bigint[], integer, siglip.search_position)
    IS 'The images nearest to a vector of the active model, or of another, best first.';

CREATE FUNCTION siglip.search_images(
    query       text,
    max_results integer DEFAULT 10,
    collection  text DEFAULT NULL,
    filter      jsonb DEFAULT NULL,
    min_score   double precision DEFAULT NULL,
    model_id    integer DEFAULT NULL,
    timeout_s   double precision DEFAULT NULL,
    image_ids    bigint[] DEFAULT NULL,
    skip_results integer DEFAULT 0,
    after        siglip.search_position DEFAULT NULL
) RETURNS SETOF siglip.image_match
LANGUAGE plpgsql VOLATILE ROWS 10
SET search_path = pg_catalog, siglip, pg_temp
AS $$
DECLARE
    model siglip.models := siglip.described_model(model_id);
BEGIN
    -- Looked at first: a wrong number should not wait for a worker.
    PERFORM siglip.check_max_results(max_results);
    RETURN QUERY SELECT n.* FROM siglip.nearest_images(
        model, siglip.embed_text(query, model.model_id, timeout_s), max_results, collection, filter, min_score, NULL,
        image_ids, skip_results, after) AS n;
END
$$;

COMMENT ON FUNCTION siglip.search_images(
    text, integer, text, jsonb, double precision, integer, double precision, bigint[], integer, siglip.search_position)
    IS 'The images that fit a text best, best first. The text comes from the cache or is embedded by a worker.';

CREATE FUNCTION siglip.similar_images(
    image_id    bigint,
    max_results integer DEFAULT 10,
    collection  text DEFAULT NULL,
    filter      jsonb DEFAULT NULL,
    min_score   double precision DEFAULT NULL,
    model_id    integer DEFAULT NULL,
    image_ids    bigint[] DEFAULT NULL,
    skip_results integer DEFAULT 0,
    after        siglip.search_position DEFAULT NULL
) RETURNS SETOF siglip.image_match
LANGUAGE plpgsql STABLE ROWS 10
SET search_path = pg_catalog, siglip, pg_temp
AS $$
DECLARE
    model           siglip.models := siglip.described_model(model_id);
    own_content_id  bigint;
    query_embedding @vector@.halfvec;
BEGIN
    -- One after the other: a join would ask every server that has segments of the model.
    SELECT i.content_id INTO own_content_id FROM siglip.images AS i WHERE i.image_id = similar_images.image_id;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'There is no image %.', coalesce(similar_images.image_id::text, 'NULL')
            USING ERRCODE = 'no_data_found', HINT = 'SELECT image_id, uri FROM siglip.images shows what there is.';
    END IF;
    SELECT e.embedding INTO query_embedding
    FROM siglip.image_embeddings AS e WHERE e.model_id = model.model_id AND e.content_id = own_content_id;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'Image % is not embedded under the model %.', similar_images.image_id, model.name
            USING ERRCODE = 'no_data_found',
                  HINT = format('SELECT state, error_message FROM siglip.ingest_items WHERE image_id = %s tells why.',
                                similar_images.image_id);
    END IF;
    RETURN QUERY SELECT n.* FROM siglip.nearest_images(
        model, query_embedding, max_results, collection, filter, min_score, similar_images.image_id,
        image_ids, skip_results, after) AS n;
END
$$;

COMMENT ON FUNCTION siglip.similar_images(
    bigint, integer, text, jsonb, double precision, integer, bigint[], integer, siglip.search_position)
    IS 'The images most similar to one that is indexed, best first, without that one. Only the order of the scores means something.';

-- For clients that embed texts themselves: all that a search needs in one statement, whether the text is known or not.
CREATE FUNCTION siglip.search_cached_text(
    query text, max_results integer, collection text, filter jsonb, min_score double precision,
    image_ids bigint[], skip_results integer, after siglip.search_position,
    OUT model_id integer, OUT name text, OUT revision text, OUT is_cached boolean,
    OUT image_id bigint, OUT uri text, OUT similarity double precision, OUT score double precision, OUT metadata jsonb
) RETURNS SETOF record
LANGUAGE plpgsql VOLATILE ROWS 10
SET search_path = pg_catalog, siglip, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    model      siglip.models := siglip.described_model(NULL);
    cut_query  text := siglip.cut_text(search_cached_text.query);
    found_text siglip.texts;
BEGIN
    SELECT t.* INTO found_text FROM siglip.texts AS t
    WHERE t.model_id = model.model_id AND t.text_hash = md5(cut_query)::uuid AND t.query = cut_query;
    IF FOUND AND found_text.refusal IS NOT NULL THEN
        RAISE EXCEPTION '%', found_text.refusal USING ERRCODE = 'invalid_parameter_value';
    ELSIF FOUND THEN
        IF found_text.last_used_at < now() - interval '1 day' THEN
            PERFORM siglip.touch_text(found_text.model_id, found_text.text_hash);
        END IF;
        RETURN QUERY SELECT model.model_id, model.name, model.revision, true, n.*
        FROM siglip.nearest_images(model, found_text.embedding, max_results, collection, filter, min_score, NULL,
            image_ids, skip_results, after) AS n;
        IF FOUND THEN
            RETURN;
        END IF;
    END IF;
    -- No image, or no vector of the text: one row that names the model all the same.
    RETURN QUERY SELECT model.model_id, model.name, model.revision, found_text.text_hash IS NOT NULL,
        NULL::bigint, NULL::text, NULL::double precision, NULL::double precision, NULL::jsonb;
END
$$;

COMMENT ON FUNCTION siglip.search_cached_text(
    text, integer, text, jsonb, double precision, bigint[], integer, siglip.search_position)
    IS 'The images that fit a text best where its vector is in the cache; a single row without an image where it isn''t.';

CREATE FUNCTION siglip.search_embedded_text(
    query text, query_embedding @vector@.halfvec, model_id integer, name text, revision text, warning text, max_rows integer,
    max_results integer, collection text, filter jsonb, min_score double precision,
    image_ids bigint[], skip_results integer, after siglip.search_position
) RETURNS SETOF siglip.image_match
LANGUAGE plpgsql VOLATILE ROWS 10
SET search_path = pg_catalog, siglip, pg_temp
AS $$
BEGIN
    IF siglip.can_write_texts() THEN
        PERFORM siglip.store_text(query, query_embedding, model_id, name, revision, warning, NULL, max_rows);
    END IF;
    RETURN QUERY SELECT n.* FROM siglip.search_images(
        query_embedding, max_results, collection, filter, min_score, model_id, image_ids, skip_results, after) AS n;
END
$$;

COMMENT ON FUNCTION siglip.search_embedded_text(
    text, @vector@.halfvec, integer, text, text, text, integer, integer, text, jsonb, double precision, bigint[], integer, siglip.search_position)
    IS 'Remember the vector of a text that the caller has embedded, where the caller may, and search with it.';
