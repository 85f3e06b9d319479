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
-- Either half ends where a row might be missing: the candidates of the bits at the nearer half of them, since what lies further may have
-- been no candidate; the others at the last of a round. Where a filter leaves fewer than asked for, the exact answer is taken.
CREATE FUNCTION siglip.quantised_query(model_id integer, dimension integer, contents int8multirange) RETURNS text
LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, siglip, pg_temp
AS $$
    SELECT format(
        'WITH near AS MATERIALIZED ('
        'SELECT c.content_id, c.embedding OPERATOR(@vector@.<#>) $1 AS distance FROM ('
        'SELECT e.content_id, e.embedding FROM siglip.image_embeddings AS e WHERE e.model_id = %2$s AND %3$s'
        ' ORDER BY @vector@.binary_quantize(e.embedding)::bit(%1$s) OPERATOR(@vector@.<~>) @vector@.binary_quantize($1)::bit(%1$s)'
        ' LIMIT siglip.rerank_candidates($2)) AS c'
        '), rest AS MATERIALIZED ('
        'SELECT e.content_id, e.embedding::@vector@.halfvec(%1$s) OPERATOR(@vector@.<#>) $1 AS distance'
        ' FROM siglip.image_embeddings AS e WHERE e.model_id = %2$s AND %4$s'
        ' ORDER BY e.embedding::@vector@.halfvec(%1$s) OPERATOR(@vector@.<#>) $1 LIMIT current_setting(''hnsw.ef_search'')::bigint'
        '), ends AS MATERIALIZED ('
        'SELECT CASE WHEN count(*) >= least(siglip.rerank_candidates($2), current_setting(''hnsw.ef_search'')::bigint)'
        ' THEN percentile_disc(0.5) WITHIN GROUP (ORDER BY n.distance) END AS distance FROM near AS n'
        ' UNION ALL '
        'SELECT CASE WHEN count(*) >= current_setting(''hnsw.ef_search'')::bigint THEN max(r.distance) END FROM rest AS r'
        ') SELECT i.image_id, e.distance FROM ('
        'SELECT n.content_id, n.distance FROM near AS n UNION ALL SELECT r.content_id, r.distance FROM rest AS r'
        ') AS e CROSS JOIN LATERAL ('
        'SELECT o.image_id FROM siglip.images AS o WHERE o.content_id = e.content_id AND o.image_id IS DISTINCT FROM $3'
        ' AND ($6 IS NULL OR o.collection = $6) AND ($7 IS NULL OR o.metadata @> $7) AND ($8 IS NULL OR o.image_id IN (SELECT unnest($8)))'
        ' OFFSET 0) AS i'
        ' WHERE e.distance <= (SELECT coalesce(min(d.distance), ''Infinity'') FROM ends AS d)'
        ' ORDER BY e.distance FETCH FIRST $2 ROWS WITH TIES',
        dimension, model_id,
        siglip.content_conditions(contents), siglip.content_conditions('{(,)}'::int8multirange - contents))
$$;

COMMENT ON FUNCTION siglip.quantised_query(integer, integer, int8multirange)
    IS 'The text of the search of a model of which these contents have an index of bits.';

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
