-- Purpose: images that are deleted with all that was made of them: bytes, ledger, content and vectors.
-- Parameters: what says which images: image_ids, uris, keys, a collection, a filter of their metadata. All that are given must fit.
-- A row means: nothing here has rows.

CREATE INDEX images_key_btree_idx ON siglip.images (key) WHERE key IS NOT NULL;

CREATE FUNCTION siglip.selection_conditions(
    image_ids bigint[], uris text[], keys text[], collection text, filter jsonb
) RETURNS text
LANGUAGE plpgsql IMMUTABLE
SET search_path = pg_catalog, siglip, pg_temp
AS $$
BEGIN
    IF num_nonnulls(image_ids, uris, keys, collection, filter) = 0 THEN
        RAISE EXCEPTION 'Nothing says which images.'
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Give image_ids, uris, keys, collection or filter.';
    ELSIF jsonb_typeof(filter) <> 'object' THEN
        RAISE EXCEPTION 'filter is a JSON %, not an object.', jsonb_typeof(filter)
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Write for instance filter => ''{"album": "2026"}''.';
    ELSIF num_nonnulls(image_ids, uris, keys, collection) = 0 AND filter = '{}' THEN
        RAISE EXCEPTION 'The filter {} fits every image.'
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Name a collection, or what the metadata contain.';
    END IF;
    RETURN concat_ws(' AND ',
        CASE WHEN image_ids IS NOT NULL THEN 'i.image_id = ANY ($1)' END,
        CASE WHEN uris IS NOT NULL THEN 'i.uri = ANY ($2)' END,
        CASE WHEN keys IS NOT NULL THEN 'i.key = ANY ($3)' END,
        CASE WHEN collection IS NOT NULL THEN 'i.collection = $4' END,
        CASE WHEN filter IS NOT NULL THEN 'i.metadata @> $5' END);
END
$$;

COMMENT ON FUNCTION siglip.selection_conditions(bigint[], text[], text[], text, jsonb)
    IS 'The text of the condition that images AS i are those that are named; $1 to $5 are its parameters.';

CREATE FUNCTION siglip.count_images(
    image_ids  bigint[] DEFAULT NULL,
    uris       text[] DEFAULT NULL,
    keys       text[] DEFAULT NULL,
    collection text DEFAULT NULL,
    filter     jsonb DEFAULT NULL
) RETURNS bigint
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, siglip, pg_temp
AS $$
DECLARE
    counted bigint;
BEGIN
    EXECUTE 'SELECT count(*) FROM siglip.images AS i WHERE '
            || siglip.selection_conditions(image_ids, uris, keys, collection, filter)
        INTO counted USING image_ids, uris, keys, collection, filter;
    RETURN counted;
END
$$;

COMMENT ON FUNCTION siglip.count_images(bigint[], text[], text[], text, jsonb) IS 'How many images siglip.delete_images would delete.';

-- Images, items and contents are locked in the orders in which they are always locked, so that workers and enqueuers are waited for.
-- A content is looked at once it is locked: no image can come to it then.
-- A role that may not see all images can't know whether another one has the content, and one that may not delete vectors can't: then, and
-- where a server of its segments is away, content and vectors stay until siglip.maintain() takes them out.
CREATE FUNCTION siglip.delete_images(
    image_ids  bigint[] DEFAULT NULL,
    uris       text[] DEFAULT NULL,
    keys       text[] DEFAULT NULL,
    collection text DEFAULT NULL,
    filter     jsonb DEFAULT NULL,
    max_images integer DEFAULT NULL
) RETURNS bigint
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, siglip, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    chosen    bigint[];
    contents  bigint[];
    forgotten bigint[];
    deleted   bigint;
BEGIN
    IF max_images < 1 THEN
        RAISE EXCEPTION 'max_images is %, not a number from 1 on.', max_images USING ERRCODE = 'invalid_parameter_value';
    END IF;
    EXECUTE 'SELECT array_agg(s.image_id), array_agg(DISTINCT s.content_id) FILTER (WHERE s.content_id IS NOT NULL) FROM ('
            'SELECT i.image_id, i.content_id FROM siglip.images AS i WHERE '
            || siglip.selection_conditions(image_ids, uris, keys, collection, filter)
            || ' ORDER BY i.collection, i.uri LIMIT $6 FOR UPDATE) AS s'
        INTO chosen, contents USING image_ids, uris, keys, collection, filter, max_images;
    PERFORM FROM siglip.ingest_items AS t WHERE t.image_id = ANY (chosen) ORDER BY t.image_id, t.model_id FOR UPDATE;
    DELETE FROM siglip.images AS i WHERE i.image_id = ANY (chosen);
    GET DIAGNOSTICS deleted = ROW_COUNT;
    IF contents IS NULL OR row_security_active('siglip.images')
       OR NOT (has_table_privilege('siglip.contents', 'UPDATE') AND has_table_privilege('siglip.contents', 'DELETE')
               AND has_table_privilege('siglip.image_embeddings', 'DELETE')
               AND has_table_privilege('siglip.released_contents', 'DELETE')) THEN
        RETURN deleted;
    END IF;
    BEGIN
        PERFORM FROM siglip.contents AS c WHERE c.content_id = ANY (contents) ORDER BY c.content_hash, c.content_id FOR UPDATE;
        SELECT array_agg(u.content_id) INTO forgotten
        FROM unnest(contents) AS u (content_id)
        WHERE NOT EXISTS (SELECT FROM siglip.images AS i WHERE i.content_id = u.content_id);
        DELETE FROM siglip.image_embeddings AS e WHERE e.content_id = ANY (forgotten);
        DELETE FROM siglip.contents AS c WHERE c.content_id = ANY (forgotten);
        DELETE FROM siglip.released_contents AS r WHERE r.content_id = ANY (forgotten);
    EXCEPTION WHEN connection_exception OR admin_shutdown OR crash_shutdown THEN
        RAISE NOTICE 'The images are deleted; their vectors stay until every server answers: %', SQLERRM;
    END;
    RETURN deleted;
END
$$;

COMMENT ON FUNCTION siglip.delete_images(bigint[], text[], text[], text, jsonb, integer)
    IS 'Delete images with their bytes and ledger, and with content and vectors where no other image has them; returns how many images.';
