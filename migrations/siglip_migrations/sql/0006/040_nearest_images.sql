-- Purpose: the one vector search that the public functions share: by the graph, or exactly where the graph would miss rows.
-- Parameters: see siglip.search_images; excluded_image_id is left out of the result.
-- A row means: one image, best first; images of the same similarity in the order of image_id.

-- Loads the extension's library, which brings the settings hnsw.* that a function sets below.
SELECT '[1]'::@vector@.halfvec;

CREATE TYPE siglip.search_position AS (
    similarity double precision,
    image_id   bigint
);

COMMENT ON TYPE siglip.search_position IS 'A place in a search result: that of the row with this similarity and image_id.';

-- See docs/numbers.md for recall and latency at 200,000 vectors of 768 elements.
CREATE FUNCTION siglip.default_ef_search() RETURNS integer
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN 200;

COMMENT ON FUNCTION siglip.default_ef_search() IS 'hnsw.ef_search of models that siglip.tune_search has not measured.';

CREATE FUNCTION siglip.similarity(distance double precision) RETURNS double precision
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN greatest(-1::double precision, least(1::double precision, -distance));

COMMENT ON FUNCTION siglip.similarity(double precision) IS 'The similarity, in [-1, 1], that belongs to pgvector''s <#> of two unit vectors in half precision.';

-- The conditions that narrow a search, for images AS i. $6 collection, $7 filter, $8 image_ids; $3 is the image to leave out.
CREATE FUNCTION siglip.image_conditions(has_collection boolean, has_filter boolean, has_image_ids boolean) RETURNS text
LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, siglip, pg_temp
AS $$
    SELECT 'i.image_id IS DISTINCT FROM $3'
        || CASE WHEN has_collection THEN ' AND i.collection = $6' ELSE '' END
        || CASE WHEN has_filter THEN ' AND i.metadata @> $7' ELSE '' END
        || CASE WHEN has_image_ids THEN ' AND i.image_id = ANY ($8)' ELSE '' END
$$;

COMMENT ON FUNCTION siglip.image_conditions(boolean, boolean, boolean) IS 'The text of the conditions that narrow a search.';

-- The text of the queries, so that a test can EXPLAIN what is executed. Parameters: $1 halfvec query, $2 rows wanted, $3 to $8 as above,
-- with $4 logit_scale and $5 logit_bias; $9 content_ids, $10 the position after which the rows begin.
-- HNSW serves only the bare operator on the indexed expression; "+ 0" keeps it away where an exact answer is wanted. It is computed once a
-- row where the same expression is returned and sorted by.
-- ARRAY(SELECT ...): of an array that the planner sees it compares each element with the bounds of the partitions, which takes longer than
-- the search. WITH TIES: one content under many URIs is one distance, and which of them come first must not depend on the plan.
-- LIMIT: each graph gives ef_search candidates a round, so that none of them ends before so many are merged. What would come after lies
-- beyond the round of one segment or another: rows of the others alone, not the nearest.
CREATE FUNCTION siglip.graph_query(model_id integer, dimension integer) RETURNS text
LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, siglip, pg_temp
AS $$
    SELECT format(
        'SELECT i.image_id, e.distance FROM ('
        'SELECT e.content_id, e.embedding::@vector@.halfvec(%1$s) OPERATOR(@vector@.<#>) $1 AS distance'
        ' FROM siglip.image_embeddings AS e WHERE e.model_id = %2$s'
        ' ORDER BY e.embedding::@vector@.halfvec(%1$s) OPERATOR(@vector@.<#>) $1'
        ' LIMIT current_setting(''hnsw.ef_search'')::bigint) AS e CROSS JOIN LATERAL ('
        'SELECT o.image_id FROM siglip.images AS o WHERE o.content_id = e.content_id AND o.image_id IS DISTINCT FROM $3'
        ' AND ($6 IS NULL OR o.collection = $6) AND ($7 IS NULL OR o.metadata @> $7) AND ($8 IS NULL OR o.image_id IN (SELECT unnest($8)))'
        ' OFFSET 0) AS i ORDER BY e.distance FETCH FIRST $2 ROWS WITH TIES',
        dimension, model_id)
$$;

COMMENT ON FUNCTION siglip.graph_query(integer, integer) IS 'The text of the search by the HNSW graphs of a model.';

CREATE FUNCTION siglip.second_start(model_id integer, query_embedding @vector@.halfvec) RETURNS @vector@.halfvec
LANGUAGE sql STABLE
SET search_path = pg_catalog, siglip, pg_temp
AS $$
    SELECT @vector@.l2_normalize(query_embedding OPERATOR(@vector@.+) @vector@.avg(n.embedding))
    FROM (
        SELECT l.embedding FROM siglip.landmarks AS l WHERE l.model_id = second_start.model_id
        ORDER BY l.embedding OPERATOR(@vector@.<#>) query_embedding LIMIT 3
    ) AS n
$$;

COMMENT ON FUNCTION siglip.second_start(integer, @vector@.halfvec)
    IS 'A unit vector between a query and the three landmarks that are nearest to it; NULL where there are none.';

-- $9 is siglip.second_start: a graph is walked from the query and from there.
CREATE FUNCTION siglip.second_graph_query(model_id integer, dimension integer) RETURNS text
LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, siglip, pg_temp
AS $$
    SELECT format(
        'SELECT i.image_id, e.distance FROM ('
        'SELECT w.content_id, w.distance FROM ('
        '(SELECT e.content_id, e.embedding::@vector@.halfvec(%1$s) OPERATOR(@vector@.<#>) $1 AS distance'
        ' FROM siglip.image_embeddings AS e WHERE e.model_id = %2$s'
        ' ORDER BY e.embedding::@vector@.halfvec(%1$s) OPERATOR(@vector@.<#>) $1 LIMIT current_setting(''hnsw.ef_search'')::bigint)'
        ' UNION '
        '(SELECT e.content_id, e.embedding::@vector@.halfvec(%1$s) OPERATOR(@vector@.<#>) $1 AS distance'
        ' FROM siglip.image_embeddings AS e WHERE e.model_id = %2$s'
        ' ORDER BY e.embedding::@vector@.halfvec(%1$s) OPERATOR(@vector@.<#>) $9 LIMIT current_setting(''hnsw.ef_search'')::bigint)'
        ') AS w ORDER BY w.distance LIMIT current_setting(''hnsw.ef_search'')::bigint) AS e CROSS JOIN LATERAL ('
        'SELECT o.image_id FROM siglip.images AS o WHERE o.content_id = e.content_id AND o.image_id IS DISTINCT FROM $3'
        ' AND ($6 IS NULL OR o.collection = $6) AND ($7 IS NULL OR o.metadata @> $7) AND ($8 IS NULL OR o.image_id IN (SELECT unnest($8)))'
        ' OFFSET 0) AS i ORDER BY e.distance FETCH FIRST $2 ROWS WITH TIES',
        dimension, model_id)
$$;

COMMENT ON FUNCTION siglip.second_graph_query(integer, integer) IS 'The text of the search by the HNSW graphs of a model that begins in two places.';

CREATE FUNCTION siglip.exact_query(model_id integer, conditions text, has_content_ids boolean, is_after boolean) RETURNS text
LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, siglip, pg_temp
AS $$
    SELECT CASE WHEN has_content_ids THEN format(
        'SELECT i.image_id, n.distance FROM ('
        'SELECT e.content_id, (e.embedding OPERATOR(@vector@.<#>) $1) + 0 AS distance FROM siglip.image_embeddings AS e'
        ' WHERE e.model_id = %1$s AND e.content_id = ANY (ARRAY(SELECT unnest($9)))%2$s'
        ' ORDER BY distance FETCH FIRST $2 ROWS WITH TIES'
        ') AS n JOIN siglip.images AS i ON i.content_id = n.content_id WHERE %3$s%4$s',
        model_id,
        -- Contents of the position's own similarity count only where a later image has one: those before it would take the places of others.
        CASE WHEN is_after
             THEN ' AND (siglip.similarity(e.embedding OPERATOR(@vector@.<#>) $1) < ($10).similarity'
                  ' OR (siglip.similarity(e.embedding OPERATOR(@vector@.<#>) $1) = ($10).similarity AND EXISTS ('
                  'SELECT FROM siglip.images AS i WHERE i.content_id = e.content_id AND i.image_id > ($10).image_id AND '
                  || conditions || ')))' ELSE '' END,
        conditions,
        CASE WHEN is_after
             THEN ' AND (-siglip.similarity(n.distance), i.image_id) > (-($10).similarity, ($10).image_id)' ELSE '' END)
    ELSE format(
        'SELECT i.image_id, (e.embedding OPERATOR(@vector@.<#>) $1) + 0 AS distance'
        ' FROM siglip.image_embeddings AS e JOIN siglip.images AS i ON i.content_id = e.content_id'
        ' WHERE e.model_id = %1$s AND %2$s%3$s'
        ' ORDER BY distance FETCH FIRST $2 ROWS WITH TIES',
        model_id, conditions,
        CASE WHEN is_after
             THEN ' AND (-siglip.similarity(e.embedding OPERATOR(@vector@.<#>) $1), i.image_id) > (-($10).similarity, ($10).image_id)'
             ELSE '' END)
    END
$$;

COMMENT ON FUNCTION siglip.exact_query(integer, text, boolean, boolean)
    IS 'The text of the exact search of a model, over some contents or over all.';

-- "+ 0" here: HNSW gives a long result nearly in order (relaxed_order), and the planner would take it for sorted.
CREATE FUNCTION siglip.matches_query(query text) RETURNS text
LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, siglip, pg_temp
AS $$
    SELECT 'SELECT ARRAY('
        'SELECT ROW(i.image_id, i.uri, c.similarity, siglip.score(c.similarity, $4, $5), i.metadata)::siglip.image_match'
        ' FROM (' || query || ') AS n JOIN siglip.images AS i ON i.image_id = n.image_id'
        ' CROSS JOIN LATERAL (SELECT greatest(-1::double precision, least(1::double precision, -n.distance)) AS similarity OFFSET 0) AS c'
        ' ORDER BY c.similarity DESC, n.image_id LIMIT $2)'
$$;

COMMENT ON FUNCTION siglip.matches_query(text) IS 'The text of the query that makes one array of matches, best first, of what a search finds.';

-- To plan the search takes a quarter of the time that it takes to run, and the plan is always the same: a function whose text is
-- constant has it planned once in a session. That plan doesn't know how few rows are asked for: to sort or to hash a whole table is
-- never right here.
-- VOLATILE: a search may wait for the lock of a segment that is being replaced, and must look at the new one with a snapshot that is
-- taken then; that of the statement which calls it is older than its rows.
-- Landmarks tell two things. A query that is less like any of them than two of them are like each other lies apart from the images, as
-- texts do: its search begins in two places, and looks at three times as many candidates. And where a landmark is nearer than what a search
-- found, that search never came to the right region: it is made again in this way. Where three are still nearer then, the result is NULL,
-- and the exact answer is taken; a single one may be a row that its graph doesn't reach, for which alone all vectors aren't read. A landmark
-- that was found itself is no such sign, nor is the image whose like is searched for. Under a filter what was found lies further away: then
-- five landmarks must be nearer.
CREATE FUNCTION siglip.create_nearest_images(model_id integer, dimension integer) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, siglip, pg_temp
AS $$
DECLARE
    name     constant text := format('siglip.nearest_images_%s', model_id);
    contents constant int8multirange := siglip.quantised_contents(model_id);
    query    constant text := siglip.matches_query(
        CASE WHEN isempty(contents) THEN siglip.graph_query(model_id, dimension)
             ELSE siglip.quantised_query(model_id, dimension, contents) END);
    landmarks constant text := format(
        'SELECT array_agg(n.similarity), min(n.usual_similarity) INTO near, usual_similarity FROM ('
        'SELECT siglip.similarity(l.embedding OPERATOR(@vector@.<#>) $1) AS similarity, l.usual_similarity FROM siglip.landmarks AS l'
        ' WHERE l.model_id = %s AND l.rank <= %%s ORDER BY similarity DESC LIMIT 6'
        ') AS n WHERE $3 IS NULL OR n.similarity < 0.9999; ', model_id);
    -- Two conditions: a simple expression costs next to nothing, one with a query inside a tenth of a search.
    check_found constant text :=
        'IF (matches[least(10, cardinality(matches))]).similarity < near[CASE WHEN is_narrowed THEN 5 ELSE %1$s END] THEN'
        ' is_lost := is_narrowed OR NOT EXISTS (SELECT FROM unnest(matches) AS m WHERE m.similarity = near[%1$s]); END IF; ';
    search   constant text := CASE WHEN isempty(contents) THEN
        format(landmarks, 128)
        || format('is_lost := coalesce(near[1] < usual_similarity, false); IF NOT is_lost THEN matches := (%s); %s END IF; ', query, format(check_found, 1))
        || format('IF is_lost THEN PERFORM set_config(''hnsw.ef_search'', least(1000, 3 * current_setting(''hnsw.ef_search'')::integer)::text, true);'
                  ' start := siglip.second_start(%s, $1); matches := (%s); is_lost := false; %s%s'
                  'IF is_lost THEN matches := NULL; END IF; END IF;', model_id,
                  replace(siglip.matches_query(siglip.second_graph_query(model_id, dimension)), '$9', 'start'), format(landmarks, 500), format(check_found, 3))
        ELSE format('matches := (%s);', query) END;
    body     constant text := format(
        'DECLARE matches siglip.image_match[]; start @vector@.halfvec; near double precision[];'
        ' usual_similarity double precision; is_lost boolean := false;'
        ' is_narrowed constant boolean := num_nonnulls($6, $7, $8) > 0 OR row_security_active(''siglip.images''); '
        'BEGIN'
        '    IF NOT siglip.has_foreign_segments(%1$s) THEN %2$s RETURN matches; END IF;'
        '    IF siglip.is_exact_quicker(%1$s, $3, $6, $7, $8) THEN RETURN ''{}''; END IF;'
        '    BEGIN PERFORM siglip.tell_servers(%1$s); %2$s'
        '    EXCEPTION WHEN connection_exception OR admin_shutdown OR crash_shutdown THEN'
        '        matches := siglip.find_without_servers(%1$s, %3$L, SQLERRM, $1, $2, $3, $4, $5, $6, $7, $8, NULL, NULL);'
        '    END;'
        '    RETURN matches; '
        'END', model_id, search, query);
BEGIN
    IF EXISTS (SELECT FROM pg_proc AS p WHERE p.oid = to_regproc(name) AND p.prosrc = body) THEN
        RETURN;
    END IF;
    EXECUTE format(
        'CREATE OR REPLACE FUNCTION %s('
        '@vector@.halfvec, integer, bigint, double precision, double precision, text, jsonb, bigint[])'
        ' RETURNS siglip.image_match[] LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, siglip, pg_temp'
        ' SET plan_cache_mode = force_generic_plan'
        ' SET enable_sort = off SET enable_hashjoin = off SET enable_mergejoin = off SET enable_seqscan = off AS %L',
        name, body
    );
    EXECUTE format('COMMENT ON FUNCTION %s IS %L', name, format('The search by HNSW under the model %s.', model_id));
END
$$;

COMMENT ON FUNCTION siglip.create_nearest_images(integer, integer)
    IS 'Make the function that searches a model''s graphs, as its segments are indexed now; nothing happens where it fits already.';
