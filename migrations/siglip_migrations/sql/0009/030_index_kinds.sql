-- Purpose: a second kind of index, for tables that don't fit memory: HNSW over one bit an element, whose best are ranked by the vectors.
-- Parameters: kind 'halfvec' or 'bit_rerank'; model_id, NULL for the active model; contents, ranges of content_id.
-- A row means: nothing here has rows.

CREATE FUNCTION siglip.rerank_candidates(max_results integer) RETURNS integer
LANGUAGE sql STABLE
SET search_path = pg_catalog, siglip, pg_temp
AS $$
    SELECT greatest(coalesce(nullif(current_setting('siglip.rerank_candidates', true), ''), current_setting('hnsw.ef_search'))::integer,
                    4 * max_results)
$$;

COMMENT ON FUNCTION siglip.rerank_candidates(integer)
    IS 'How many contents an index of bits proposes: siglip.rerank_candidates, by default as many as ef_search, and four times max_results.';

CREATE FUNCTION siglip.quantised_contents(model_id integer) RETURNS int8multirange
LANGUAGE sql STABLE
SET search_path = pg_catalog, siglip, pg_temp
AS $$
    SELECT coalesce(range_agg(int8range(s.from_content_id, s.to_content_id)), '{}')
    FROM siglip.segments AS s
    WHERE s.model_id = quantised_contents.model_id AND s.index_kind = 'bit_rerank' AND s.is_index_valid
$$;

COMMENT ON FUNCTION siglip.quantised_contents(integer) IS 'The contents whose segments have an index of bits, as ranges of content_id.';

CREATE FUNCTION siglip.content_conditions(contents int8multirange) RETURNS text
LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, siglip, pg_temp
AS $$
    SELECT coalesce('(' || string_agg(concat_ws(' AND ',
               'e.content_id >= ' || lower(u.r), 'e.content_id < ' || upper(u.r)), ' OR ' ORDER BY u.r) || ')', 'false')
    FROM unnest(contents) AS u (r)
$$;

COMMENT ON FUNCTION siglip.content_conditions(int8multirange)
    IS 'The text of the condition that a content is one of these, with constants, for which the planner leaves segments out.';

-- Parameters as in siglip.graph_query. Segments that have an index of bits give candidates in the order of Hamming distance, which are
-- ranked by their vectors; the others, the open one among them, are searched by the vectors. So a change of kind goes on segment by
-- segment, and each is searched by the index that it has.
-- Where a filter leaves fewer candidates than asked for, the result is empty, and siglip.nearest_images gives the exact answer.
CREATE FUNCTION siglip.quantised_query(model_id integer, dimension integer, contents int8multirange) RETURNS text
LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, siglip, pg_temp
AS $$
    SELECT format(
        'WITH near AS MATERIALIZED ('
        'SELECT e.content_id, e.embedding FROM siglip.image_embeddings AS e CROSS JOIN LATERAL (SELECT %3$s LIMIT 1) AS i'
        ' WHERE e.model_id = %2$s AND %4$s'
        ' ORDER BY @vector@.binary_quantize(e.embedding)::bit(%1$s) OPERATOR(@vector@.<~>) @vector@.binary_quantize($1)::bit(%1$s)'
        ' LIMIT siglip.rerank_candidates($2)'
        '), rest AS MATERIALIZED ('
        'SELECT e.content_id, e.embedding::@vector@.halfvec(%1$s) OPERATOR(@vector@.<#>) $1 AS distance'
        ' FROM siglip.image_embeddings AS e CROSS JOIN LATERAL (SELECT %3$s LIMIT 1) AS i'
        ' WHERE e.model_id = %2$s AND %5$s'
        ' ORDER BY e.embedding::@vector@.halfvec(%1$s) OPERATOR(@vector@.<#>) $1 LIMIT $2'
        ') SELECT i.image_id, e.distance FROM ('
        'SELECT n.content_id, n.embedding OPERATOR(@vector@.<#>) $1 AS distance FROM near AS n'
        ' WHERE (SELECT count(*) FROM near) >= siglip.rerank_candidates($2)'
        ' OR (num_nonnulls($6, $7, $8) = 0 AND NOT row_security_active(''siglip.images''))'
        ' UNION ALL SELECT r.content_id, r.distance FROM rest AS r'
        ') AS e CROSS JOIN LATERAL (SELECT i.image_id %3$s OFFSET 0) AS i'
        ' ORDER BY e.distance FETCH FIRST $2 ROWS WITH TIES',
        dimension, model_id,
        'FROM siglip.images AS i WHERE i.content_id = e.content_id AND i.image_id IS DISTINCT FROM $3'
        ' AND ($6 IS NULL OR i.collection = $6) AND ($7 IS NULL OR i.metadata @> $7)'
        ' AND ($8 IS NULL OR i.image_id IN (SELECT unnest($8)))',
        siglip.content_conditions(contents), siglip.content_conditions('{(,)}'::int8multirange - contents))
$$;

COMMENT ON FUNCTION siglip.quantised_query(integer, integer, int8multirange)
    IS 'The text of the search of a model of which these contents have an index of bits.';

-- As in 0007, but for the query, which follows the kinds of index that there are. An index of bits is walked further for a filter: it is
-- small, and its candidates say less.
CREATE OR REPLACE FUNCTION siglip.create_nearest_images(model_id integer, dimension integer) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, siglip, pg_temp
AS $$
DECLARE
    name     constant text := format('siglip.nearest_images_%s', model_id);
    contents constant int8multirange := siglip.quantised_contents(model_id);
    body     constant text := format('BEGIN RETURN (%s); END', siglip.matches_query(
        CASE WHEN isempty(contents) THEN siglip.graph_query(model_id, dimension)
             ELSE siglip.quantised_query(model_id, dimension, contents) END));
BEGIN
    IF EXISTS (SELECT FROM pg_proc AS p WHERE p.oid = to_regproc(name) AND p.prosrc = body) THEN
        RETURN;
    END IF;
    EXECUTE format(
        'CREATE OR REPLACE FUNCTION %s('
        '@vector@.halfvec, integer, bigint, double precision, double precision, text, jsonb, bigint[])'
        ' RETURNS siglip.image_match[] LANGUAGE plpgsql STABLE SET search_path = pg_catalog, siglip, pg_temp'
        ' SET plan_cache_mode = force_generic_plan'
        ' SET enable_sort = off SET enable_hashjoin = off SET enable_mergejoin = off SET enable_seqscan = off%s AS %L',
        name, CASE WHEN isempty(contents) THEN '' ELSE ' SET hnsw.max_scan_tuples = 20000' END, body
    );
    EXECUTE format('COMMENT ON FUNCTION %s IS %L', name, format('The search by HNSW under the model %s.', model_id));
END
$$;

COMMENT ON FUNCTION siglip.create_nearest_images(integer, integer)
    IS 'Make the function that searches a model''s graphs, as its segments are indexed now; nothing happens where it fits already.';

CREATE FUNCTION siglip.create_index(kind text, model_id integer DEFAULT NULL) RETURNS text
LANGUAGE plpgsql
SET search_path = pg_catalog, siglip, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    model         siglip.models := siglip.described_model(model_id);
    segment_count bigint;
BEGIN
    IF kind IS NULL OR kind NOT IN ('halfvec', 'bit_rerank') THEN
        RAISE EXCEPTION 'kind is %, not halfvec or bit_rerank.', coalesce(quote_literal(kind), 'NULL')
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'halfvec finds more; bit_rerank takes about a fifth of the memory, for tables that don''t fit it.';
    END IF;
    -- What was tuned was tuned for the other kind.
    UPDATE siglip.models AS m
    SET index_kind = kind, ef_search = CASE WHEN m.index_kind = kind THEN m.ef_search END
    WHERE m.model_id = model.model_id;
    SELECT count(*) INTO segment_count
    FROM siglip.segments AS s WHERE s.model_id = model.model_id AND s.index IS NOT NULL AND s.index_kind <> kind;
    RETURN CASE segment_count
        WHEN 0 THEN format('The indexes of %s are of the kind %s.', model.name, kind)
        ELSE format('siglip.maintain() builds %s indexes for %s: %s left. Searches go on meanwhile.', kind, model.name, segment_count)
    END;
END
$$;

COMMENT ON FUNCTION siglip.create_index(text, integer)
    IS 'Choose the kind of a model''s indexes: halfvec, or bit_rerank for tables that don''t fit memory. siglip.maintain() builds them.';
