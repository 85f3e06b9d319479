-- Purpose: queue images in plain SQL, as the Python library does.
-- Parameters: uris or bytes, a collection, keys and metadata; what the images are embedded under is siglip.kept_models().
-- A row means: nothing here has rows.

-- Images are locked in the order of (collection, uri) and items in that of (image_id, model_id), as everywhere.
CREATE FUNCTION siglip.store_images(
    collection text, uris text[], keys text[], metadata jsonb[], source_versions text[], reads_exif boolean, retries_failed boolean,
    model_ids integer[]
) RETURNS bigint[]
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, siglip, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    versions constant jsonb := CASE WHEN source_versions IS NOT NULL THEN jsonb_object(uris, source_versions) END;  -- the last of a URI
    existing bigint[];
    changed  bigint[];
    stored   bigint[];
BEGIN
    -- A lookup, not a join: of the length of arrays the planner knows nothing, and would compare each with each.
    SELECT array_agg(l.image_id),
           array_agg(l.image_id) FILTER (
               WHERE versions ->> l.uri <> coalesce(l.source_version, '') OR (store_images.reads_exif AND NOT l.reads_exif))
    INTO existing, changed
    FROM (
        SELECT i.image_id, i.uri, i.source_version, i.reads_exif
        FROM siglip.images AS i
        WHERE i.collection = store_images.collection AND i.uri = ANY (uris)
        ORDER BY i.collection, i.uri
        FOR NO KEY UPDATE
    ) AS l;

    INSERT INTO siglip.images AS i (collection, uri, key, source_version, metadata, reads_exif)
    SELECT DISTINCT ON (g.uri) store_images.collection, g.uri, g.key, g.source_version, coalesce(g.metadata, '{}'), store_images.reads_exif
    FROM unnest(uris, keys, source_versions, metadata) WITH ORDINALITY AS g (uri, key, source_version, metadata, place)
    ORDER BY g.uri, g.place DESC
    ON CONFLICT (collection, uri) DO UPDATE
    SET key = coalesce(excluded.key, i.key),
        source_version = coalesce(excluded.source_version, i.source_version),
        metadata = i.metadata || excluded.metadata,
        reads_exif = i.reads_exif OR excluded.reads_exif,
        updated_at = now()
    WHERE (i.key, i.source_version, i.metadata, i.reads_exif)
        IS DISTINCT FROM (coalesce(excluded.key, i.key), coalesce(excluded.source_version, i.source_version),
                          i.metadata || excluded.metadata, i.reads_exif OR excluded.reads_exif);

    PERFORM FROM siglip.ingest_items AS t WHERE t.image_id = ANY (existing) ORDER BY t.image_id, t.model_id FOR NO KEY UPDATE;
    UPDATE siglip.ingest_items AS t
    SET state = 'queued', attempts = 0, is_suspect = false, not_before = now(), lease_token = NULL, worker_id = NULL,
        error_code = NULL, error_message = NULL, updated_at = now()
    WHERE t.image_id = ANY (changed);

    SELECT array_agg(i.image_id ORDER BY g.place) INTO stored
    FROM unnest(uris) WITH ORDINALITY AS g (uri, place)
    JOIN siglip.images AS i ON i.collection = store_images.collection AND i.uri = g.uri;
    INSERT INTO siglip.ingest_items AS t (image_id, model_id)
    SELECT DISTINCT s.image_id, m.model_id
    FROM unnest(stored) AS s (image_id) CROSS JOIN unnest(model_ids) AS m (model_id)
    ORDER BY s.image_id, m.model_id
    ON CONFLICT (image_id, model_id) DO UPDATE
    SET state = 'queued', attempts = 0, is_suspect = false, not_before = now(), error_code = NULL, error_message = NULL,
        updated_at = now()
    WHERE t.state = 'failed' AND retries_failed;
    PERFORM pg_notify('siglip_ingest_items', m.model_id::text) FROM unnest(model_ids) AS m (model_id);
    RETURN stored;
END
$$;

COMMENT ON FUNCTION siglip.store_images(text, text[], text[], jsonb[], text[], boolean, boolean, integer[])
    IS 'Write images and their ledger items; returns the image_id of each URI, in their order. siglip.enqueue_images checks its arguments first.
Example: SELECT siglip.store_images(''holiday'', ''{https://example.org/1.jpg}'', NULL, NULL, NULL, false, true, ARRAY(SELECT siglip.kept_models()));';

CREATE FUNCTION siglip.models_to_queue() RETURNS integer[]
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, siglip, pg_temp
AS $$
DECLARE
    model_ids integer[];
BEGIN
    -- They stay what they are until the images are written: a switch then queues what it lacks.
    PERFORM pg_advisory_xact_lock_shared('siglip.models'::regclass::oid::bigint);
    model_ids := ARRAY(SELECT siglip.kept_models());
    IF cardinality(model_ids) = 0 THEN
        RAISE EXCEPTION 'Images can''t be queued: no model that a worker can load is active in this database.'
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  HINT = 'Start a worker (siglip-ingest worker): it activates its model; or name one: siglip-ingest models use NAME.';
    END IF;
    RETURN model_ids;
END
$$;

COMMENT ON FUNCTION siglip.models_to_queue()
    IS 'The models that new images are queued for, which stay so until the transaction ends; an error where there are none.
Example: SELECT siglip.models_to_queue();';

CREATE FUNCTION siglip.enqueue_images(
    uris            text[],
    collection      text DEFAULT 'default',
    keys            text[] DEFAULT NULL,
    metadata        jsonb DEFAULT '{}',
    each_metadata   jsonb[] DEFAULT NULL,
    source_versions text[] DEFAULT NULL,
    reads_exif      boolean DEFAULT false
) RETURNS SETOF bigint
LANGUAGE plpgsql VOLATILE ROWS 100
SET search_path = pg_catalog, siglip, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    wrong text;
BEGIN
    IF cardinality(uris) = 0 THEN
        RETURN;
    ELSIF uris IS NULL OR array_ndims(uris) > 1 THEN
        RAISE EXCEPTION 'uris is %, not a list of addresses.', CASE WHEN uris IS NULL THEN 'NULL' ELSE 'an array of arrays' END
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Write uris => ''{https://example.org/1.jpg}'', or array_agg(your_column).';
    ELSIF coalesce(collection, '') = '' THEN
        RAISE EXCEPTION 'A collection needs a name, not %.', coalesce(quote_literal(collection), 'NULL')
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Leave it out for the collection ''default''.';
    ELSIF metadata IS NULL OR jsonb_typeof(metadata) <> 'object' THEN
        RAISE EXCEPTION 'metadata is %, not a JSON object.', coalesce('a JSON ' || jsonb_typeof(metadata), 'NULL')
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Write for instance metadata => ''{"album": "2026"}''.';
    ELSIF cardinality(keys) <> cardinality(uris) OR cardinality(each_metadata) <> cardinality(uris)
       OR cardinality(source_versions) <> cardinality(uris) THEN
        RAISE EXCEPTION 'There are % uris, but % keys, % each_metadata and % source_versions.', cardinality(uris),
            coalesce(cardinality(keys)::text, 'no'), coalesce(cardinality(each_metadata)::text, 'no'), coalesce(cardinality(source_versions)::text, 'no')
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Give as many of each as there are uris, or leave them out.';
    END IF;
    SELECT coalesce(quote_literal(left(u.uri, 60)), 'NULL') INTO wrong
    FROM unnest(uris) AS u (uri) WHERE (u.uri ~ '^[A-Za-z][A-Za-z0-9+.-]*:.' AND octet_length(u.uri) <= 2000) IS NOT TRUE LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION '% can''t be the address of an image.', wrong
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'Give complete addresses of at most 2,000 bytes: https://example.org/1.jpg, file:///photos/1.jpg, s3://bucket/1.jpg.';
    END IF;
    SELECT jsonb_typeof(e.metadata) INTO wrong
    FROM unnest(each_metadata) AS e (metadata) WHERE jsonb_typeof(e.metadata) <> 'object' LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'each_metadata has a JSON %, where each is an object.', wrong
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Write for instance each_metadata => array_agg(jsonb_build_object(''price'', price)).';
    END IF;
    RETURN QUERY SELECT unnest(siglip.store_images(
        collection, uris, keys,
        ARRAY(SELECT metadata || coalesce(e.own, '{}') FROM unnest(uris, each_metadata) WITH ORDINALITY AS e (uri, own, place) ORDER BY e.place),
        source_versions, coalesce(reads_exif, false), true, siglip.models_to_queue()));
END
$$;

COMMENT ON FUNCTION siglip.enqueue_images(text[], text, text[], jsonb, jsonb[], text[], boolean)
    IS 'Queue images by their addresses; workers embed them. Returns the image_id of each, in the order of uris; known ones keep theirs, and new metadata are merged in.
Example: SELECT siglip.enqueue_images(''{https://example.org/1.jpg,https://example.org/2.jpg}'', ''holiday'', metadata => ''{"album": "2026"}'');';

CREATE FUNCTION siglip.enqueue_image(
    content    bytea,
    collection text DEFAULT 'default',
    key        text DEFAULT NULL,
    metadata   jsonb DEFAULT '{}',
    reads_exif boolean DEFAULT false
) RETURNS bigint
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, siglip, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    stored bigint;
BEGIN
    IF coalesce(octet_length(content), 0) = 0 THEN
        RAISE EXCEPTION 'An image was given as bytes, but there are none.'
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Give the content of an image file, such as pg_read_binary_file returns.';
    END IF;
    SELECT e.image_id INTO stored
    FROM siglip.enqueue_images(
        ARRAY['sha256:' || encode(sha256(content), 'hex')], collection, CASE WHEN key IS NOT NULL THEN ARRAY[key] END, metadata,
        reads_exif => reads_exif) AS e (image_id);
    INSERT INTO siglip.image_bytes (image_id, content) VALUES (stored, content) ON CONFLICT DO NOTHING;
    RETURN stored;
END
$$;

COMMENT ON FUNCTION siglip.enqueue_image(bytea, text, text, jsonb, boolean)
    IS 'Queue one image by its bytes, the content of an image file, which the database keeps; returns its image_id.
Example: SELECT siglip.enqueue_image(decode(''iVBORw0KGgo='', ''base64''), ''holiday'', key => ''first'');';

CREATE FUNCTION siglip.retry_failed(collection text DEFAULT NULL) RETURNS bigint
LANGUAGE plpgsql VOLATILE
SET search_path = pg_catalog, siglip, pg_temp
AS $$
DECLARE
    model_ids constant integer[] := siglip.models_to_queue();
    failed    bigint[];
BEGIN
    SELECT array_agg(f.item_id) INTO failed FROM (
        SELECT t.item_id
        FROM siglip.ingest_items AS t JOIN siglip.images AS i USING (image_id)
        WHERE t.state = 'failed' AND t.model_id = ANY (model_ids)
          AND (retry_failed.collection IS NULL OR i.collection = retry_failed.collection)
        ORDER BY t.image_id, t.model_id
        FOR NO KEY UPDATE OF t
    ) AS f;
    UPDATE siglip.ingest_items AS t
    SET state = 'queued', attempts = 0, is_suspect = false, not_before = now(), error_code = NULL, error_message = NULL,
        updated_at = now()
    WHERE t.item_id = ANY (failed);
    IF failed IS NOT NULL THEN
        PERFORM pg_notify('siglip_ingest_items', m.model_id::text) FROM unnest(model_ids) AS m (model_id);
    END IF;
    RETURN coalesce(cardinality(failed), 0);
END
$$;

COMMENT ON FUNCTION siglip.retry_failed(text)
    IS 'Queue what failed under the active model and the kept ones once more, of one collection or of all; returns how many.
Example: SELECT siglip.retry_failed(''holiday'');';
