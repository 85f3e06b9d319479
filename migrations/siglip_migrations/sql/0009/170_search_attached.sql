-- Purpose: search the rows of an attached table: what is found are its rows, not only its images.
-- Parameters: as of siglip.search_images; the table takes the place of the collection.
-- A row means: one row of the table, best first, by its best image.

CREATE TYPE siglip.row_match AS (
    row_key    text,
    place      integer,
    image_id   bigint,
    uri        text,
    similarity double precision,
    score      double precision,
    metadata   jsonb
);

COMMENT ON TYPE siglip.row_match IS 'One row of an attached table that a search found, by its best image: place says which of the row''s images that is.';

-- $1 matches, $2 attachment, $3 rows wanted, $4 filter. A row that is gone, or that the role may not see, is no match: the join with the table
-- drops it. Its metadata are read from itself, and not from its image, which a row that the role may not see may have too.
CREATE FUNCTION siglip.row_matches_query(attachment siglip.attachments, plan siglip.attachment_plan) RETURNS text
LANGUAGE sql STABLE
SET search_path = pg_catalog, siglip, pg_temp
AS $$
    SELECT format(
        'SELECT array_agg(ROW(b.row_key, b.place, b.image_id, b.uri, b.similarity, b.score, b.metadata)::siglip.row_match ORDER BY b.turn) FROM ('
        'SELECT * FROM ('
        'SELECT DISTINCT ON (a.row_key) a.row_key, a.place, n.image_id, n.uri, n.similarity, n.score, %s AS metadata, n.turn'
        ' FROM unnest($1) WITH ORDINALITY AS n (image_id, uri, similarity, score, metadata, turn)'
        ' JOIN siglip.attached_images AS a ON a.image_id = n.image_id AND a.attachment_id = $2'
        ' CROSS JOIN LATERAL (SELECT %s AS parts) AS k'
        ' JOIN %s AS r ON %s ORDER BY a.row_key, n.turn, a.place) AS d'
        ' WHERE $4 IS NULL OR %s ORDER BY d.turn, d.row_key LIMIT $3) AS b',
        CASE WHEN p.may_read THEN plan.metadata ELSE '''{}''::jsonb' END,
        CASE WHEN cardinality(plan.id_names) = 1 THEN 'ARRAY[a.row_key]' ELSE 'a.row_key::text[]' END,
        attachment.attached_table, plan.matches, CASE WHEN p.may_read THEN 'd.metadata @> $4' ELSE 'true' END)
    FROM (SELECT coalesce(bool_and(has_column_privilege(attachment.attached_table, n.name, 'SELECT')), true)
          FROM unnest(plan.metadata_names) AS n (name) WHERE n.name IS NOT NULL) AS p (may_read)
$$;

COMMENT ON FUNCTION siglip.row_matches_query(siglip.attachments, siglip.attachment_plan)
    IS 'The text of the query that turns matches of images into matches of rows, so that a test can see its plan.
Example: SELECT siglip.row_matches_query(a, siglip.plan_attachment(a)) FROM siglip.attachments AS a;';

CREATE FUNCTION siglip.search(
    attached_table  regclass,
    query_embedding @vector@.halfvec,
    max_results     integer DEFAULT 10,
    filter          jsonb DEFAULT NULL,
    min_score       double precision DEFAULT NULL,
    model_id        integer DEFAULT NULL
) RETURNS SETOF siglip.row_match
LANGUAGE plpgsql VOLATILE ROWS 10
SET search_path = pg_catalog, siglip, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    model      constant siglip.models := siglip.described_model(model_id);
    attachment siglip.attachments;
    plan       siglip.attachment_plan;
    asked      integer := max_results;
    matches    siglip.image_match[];
    found_rows siglip.row_match[];
BEGIN
    PERFORM siglip.check_max_results(max_results);
    SELECT a.* INTO attachment FROM siglip.attachments AS a WHERE a.attached_table = search.attached_table;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'The table % is not attached.', coalesce(attached_table::text, 'NULL')
            USING ERRCODE = 'no_data_found', HINT = 'siglip.attach attaches it; siglip.search_images searches images that belong to no table.';
    END IF;
    IF has_table_privilege(attached_table, 'SELECT') THEN  -- a right to some columns is enough to search, but not to lock
        PERFORM siglip.hold_attached(attached_table);
    END IF;
    plan := siglip.plan_attachment(attachment);
    IF plan.problem IS NOT NULL THEN
        RAISE EXCEPTION '%', plan.problem USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    -- More images are asked for where those found are of other tables, or of rows that are gone, hidden, or there by another image.
    LOOP
        matches := ARRAY(
            SELECT ROW(n.image_id, n.uri, n.similarity, n.score, n.metadata)::siglip.image_match
            FROM siglip.nearest_images(model, query_embedding, asked, attachment.collection, filter, min_score, NULL) AS n);
        EXECUTE siglip.row_matches_query(attachment, plan) INTO found_rows USING matches, attachment.attachment_id, max_results, filter;
        EXIT WHEN cardinality(found_rows) >= max_results OR cardinality(matches) < asked OR asked = 10000;
        asked := least(10000, 4 * asked);
    END LOOP;
    RETURN QUERY SELECT f.* FROM unnest(found_rows) AS f;
END
$$;

COMMENT ON FUNCTION siglip.search(regclass, @vector@.halfvec, integer, jsonb, double precision, integer)
    IS 'The rows of an attached table whose images are nearest to a vector, best first; each row once.
Example: SELECT s.row_key, s.score FROM siglip.search(''public.product'', siglip.embed_text(''red shoes'')) AS s WHERE EXISTS (SELECT FROM siglip.attachments);';

CREATE FUNCTION siglip.search(
    attached_table regclass,
    query          text,
    max_results    integer DEFAULT 10,
    filter         jsonb DEFAULT NULL,
    min_score      double precision DEFAULT NULL,
    model_id       integer DEFAULT NULL,
    timeout_s      double precision DEFAULT NULL
) RETURNS SETOF siglip.row_match
LANGUAGE plpgsql VOLATILE ROWS 10
SET search_path = pg_catalog, siglip, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    model constant siglip.models := siglip.described_model(model_id);
BEGIN
    PERFORM siglip.check_max_results(max_results);
    IF NOT EXISTS (SELECT FROM siglip.attachments AS a WHERE a.attached_table = search.attached_table) THEN
        RAISE EXCEPTION 'The table % is not attached.', coalesce(attached_table::text, 'NULL')
            USING ERRCODE = 'no_data_found', HINT = 'siglip.attach attaches it; siglip.search_images searches images that belong to no table.';
    END IF;
    RETURN QUERY SELECT s.* FROM siglip.search(
        attached_table, siglip.embed_text(siglip.plain_text(query), model.model_id, timeout_s), max_results, filter, min_score, model.model_id) AS s;
END
$$;

COMMENT ON FUNCTION siglip.search(regclass, text, integer, jsonb, double precision, integer, double precision)
    IS 'The rows of an attached table whose images fit a text best, best first; each row once. Join on the key: ON p.id = s.row_key::integer.
Example: SELECT p.*, s.score FROM siglip.search(''public.product'', ''red shoes'') AS s JOIN public.product AS p ON p.id = s.row_key::integer WHERE EXISTS (SELECT FROM siglip.attachments);';

CREATE FUNCTION siglip.search_rows(
    table_row   anyelement,
    query       text,
    max_results integer DEFAULT 10,
    filter      jsonb DEFAULT NULL,
    min_score   double precision DEFAULT NULL,
    model_id    integer DEFAULT NULL,
    timeout_s   double precision DEFAULT NULL
) RETURNS TABLE (found anyelement, image_id bigint, place integer, similarity double precision, score double precision)
LANGUAGE plpgsql VOLATILE ROWS 10
SET search_path = pg_catalog, siglip, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
    searched   constant regclass := (SELECT t.typrelid FROM pg_type AS t WHERE t.oid = pg_typeof(table_row));
    attachment siglip.attachments;
    plan       siglip.attachment_plan;
    found_rows siglip.row_match[];
BEGIN
    found_rows := ARRAY(SELECT s FROM siglip.search(searched, query, max_results, filter, min_score, model_id, timeout_s) AS s);
    SELECT a.* INTO attachment FROM siglip.attachments AS a WHERE a.attached_table = searched;
    plan := siglip.plan_attachment(attachment);
    RETURN QUERY EXECUTE format(
        'SELECT (r.*)::%s, m.image_id, m.place, m.similarity, m.score'
        ' FROM unnest($1) WITH ORDINALITY AS m (row_key, place, image_id, uri, similarity, score, metadata, turn)'
        ' CROSS JOIN LATERAL (SELECT %s AS parts) AS k JOIN %s AS r ON %s ORDER BY m.turn',
        searched,  -- of the type of the table, else r could be a column of that name
        CASE WHEN cardinality(plan.id_names) = 1 THEN 'ARRAY[m.row_key]' ELSE 'm.row_key::text[]' END,
        searched, plan.matches) USING found_rows;
END
$$;

COMMENT ON FUNCTION siglip.search_rows(anyelement, text, integer, jsonb, double precision, integer, double precision)
    IS 'The same as siglip.search with the rows themselves, typed as the table is: the table is named by a NULL of its row type.
Example: SELECT (s.found).name, s.score FROM siglip.search_rows(NULL::public.product, ''red shoes'') AS s WHERE EXISTS (SELECT FROM siglip.attachments);';
