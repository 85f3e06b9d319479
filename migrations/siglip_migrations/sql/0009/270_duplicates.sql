-- Purpose: pairs of images that are nearly the same, and groups of them.
-- Parameters: min_similarity from 0.5 to 1; the contents after_content_id < content_id <= up_to_content_id are compared with all later ones.
-- A row means: two contents or images that are alike, each pair once; one group of at least two images.

CREATE FUNCTION siglip.check_similarity(name text, similarity double precision, lowest double precision) RETURNS void
LANGUAGE plpgsql IMMUTABLE
SET search_path = pg_catalog, siglip, pg_temp
AS $$
BEGIN
    IF (similarity BETWEEN check_similarity.lowest AND 1) IS NOT TRUE THEN
        RAISE EXCEPTION '% is %, not a number from % to 1.', name, coalesce(similarity::text, 'NULL'), check_similarity.lowest
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Images that people call the same mostly have a similarity above 0.9.';
    END IF;
END
$$;

COMMENT ON FUNCTION siglip.check_similarity(text, double precision, double precision) IS 'An error where a similarity is out of its range.
Example: SELECT siglip.check_similarity(''min_similarity'', 0.95, 0.5);';

-- For each content the graph is walked down to the similarity, in rounds of 20, 200 and 1,000 neighbours: a round whose last neighbour is
-- still alike, or that came to another region than its own content's, is made again by the next, and after the last one by an exact pass.
-- A pair may be found from both of its contents, and one walk in some hundreds misses a neighbour: those of one range make up for each
-- other. Where few contents are compared, or where there is no graph of whole vectors, each is compared with each.
CREATE FUNCTION siglip.near_duplicate_contents(
    model siglip.models, min_similarity double precision, collection text, filter jsonb,
    after_content_id bigint, up_to_content_id bigint
) RETURNS TABLE (content_id bigint, other_content_id bigint, similarity double precision)
LANGUAGE plpgsql VOLATILE ROWS 1000
SET search_path = pg_catalog, siglip, pg_temp
SET jit = off
SET work_mem = '64MB'
SET hnsw.iterative_scan = off
SET hnsw.ef_search = 100
AS $$
#variable_conflict use_column
DECLARE
    exact_below constant integer := 5000;
    conditions  constant text := siglip.narrowing('i', collection, filter);
    bound       constant double precision := -min_similarity;
    content_ids bigint[];
    first_ids   bigint[] := '{}';
    other_ids   bigint[] := '{}';
    distances   double precision[] := '{}';
    neighbours  integer;
BEGIN
    PERFORM siglip.check_similarity('min_similarity', min_similarity, 0.5);
    PERFORM siglip.tell_servers(model.model_id);
    EXECUTE 'SELECT array_agg(n.content_id) FROM ('
        'SELECT DISTINCT i.content_id FROM siglip.images AS i WHERE i.content_id IS NOT NULL' || conditions || ' LIMIT $1) AS n'
        INTO content_ids USING exact_below + 1;
    IF cardinality(content_ids) <= exact_below THEN
        RETURN QUERY EXECUTE format(
            'WITH passing AS MATERIALIZED ('
            'SELECT e.content_id, e.embedding FROM siglip.image_embeddings AS e'
            ' WHERE e.model_id = %s AND e.content_id = ANY (ARRAY(SELECT unnest($1)))'
            ') SELECT a.content_id, b.content_id, siglip.similarity(a.embedding OPERATOR(@vector@.<#>) b.embedding)'
            ' FROM passing AS a JOIN passing AS b ON b.content_id > a.content_id'
            ' WHERE a.content_id > coalesce($2, 0) AND ($3 IS NULL OR a.content_id <= $3)'
            ' AND a.embedding OPERATOR(@vector@.<#>) b.embedding <= $4', model.model_id)
            USING content_ids, after_content_id, up_to_content_id, bound;
        RETURN;
    END IF;

    EXECUTE 'SELECT array_agg(n.content_id) FROM ('
        'SELECT DISTINCT i.content_id FROM siglip.images AS i WHERE i.content_id > coalesce($1, 0) AND ($2 IS NULL OR i.content_id <= $2)'
        || conditions || ' ORDER BY i.content_id) AS n'
        INTO content_ids USING after_content_id, up_to_content_id;
    FOREACH neighbours IN ARRAY CASE WHEN model.index_kind = 'halfvec' THEN ARRAY[20, 200, 1000] ELSE '{}'::integer[] END LOOP
        EXIT WHEN content_ids IS NULL;
        PERFORM set_config('hnsw.ef_search', least(1000, greatest(100, 2 * neighbours))::text, true);
        EXECUTE format(
            'WITH walks AS MATERIALIZED ('
            'SELECT c.content_id, n.others, n.distances,'
            ' coalesce(cardinality(n.others) < %3$s AND c.content_id = ANY (n.others), false) AS is_finished'
            ' FROM siglip.image_embeddings AS c CROSS JOIN LATERAL ('
            'SELECT array_agg(w.content_id) AS others, array_agg(w.distance) AS distances FROM ('
            'SELECT e.content_id, e.embedding::@vector@.halfvec(%1$s) OPERATOR(@vector@.<#>) c.embedding AS distance'
            ' FROM siglip.image_embeddings AS e WHERE e.model_id = %2$s'
            ' ORDER BY e.embedding::@vector@.halfvec(%1$s) OPERATOR(@vector@.<#>) c.embedding LIMIT %3$s'
            ') AS w WHERE w.distance <= $2'
            ') AS n WHERE c.model_id = %2$s AND c.content_id = ANY (ARRAY(SELECT unnest($1)))'
            ') SELECT $3 || array_agg(w.content_id), $4 || array_agg(u.other_id), $5 || array_agg(u.distance),'
            ' (SELECT array_agg(f.content_id) FROM walks AS f WHERE NOT f.is_finished)'
            ' FROM walks AS w CROSS JOIN LATERAL unnest(w.others, w.distances) AS u (other_id, distance)'
            ' WHERE w.is_finished AND u.other_id <> w.content_id', model.dimension, model.model_id, neighbours)
            INTO first_ids, other_ids, distances, content_ids USING content_ids, bound, first_ids, other_ids, distances;
    END LOOP;
    IF content_ids IS NOT NULL THEN
        EXECUTE format(
            'SELECT $3 || array_agg(n.content_id), $4 || array_agg(n.other_id), $5 || array_agg(n.distance) FROM ('
            'SELECT a.content_id, b.content_id AS other_id, a.embedding OPERATOR(@vector@.<#>) b.embedding AS distance'
            ' FROM siglip.image_embeddings AS b JOIN siglip.image_embeddings AS a ON a.content_id < b.content_id'
            ' WHERE a.model_id = %1$s AND a.content_id = ANY (ARRAY(SELECT unnest($1))) AND b.model_id = %1$s'
            ' AND a.embedding OPERATOR(@vector@.<#>) b.embedding <= $2) AS n', model.model_id)
            INTO first_ids, other_ids, distances USING content_ids, bound, first_ids, other_ids, distances;
    END IF;
    RETURN QUERY EXECUTE
        'SELECT p.content_id, p.other_id, siglip.similarity(min(p.distance)) FROM ('
        'SELECT least(u.content_id, u.other_id) AS content_id, greatest(u.content_id, u.other_id) AS other_id, u.distance'
        ' FROM unnest($1, $2, $3) AS u (content_id, other_id, distance)'
        ') AS p WHERE p.content_id > coalesce($4, 0)'
        ' AND EXISTS (SELECT FROM siglip.images AS i WHERE i.content_id = p.content_id' || conditions || ')'
        ' AND EXISTS (SELECT FROM siglip.images AS i WHERE i.content_id = p.other_id' || conditions || ')'
        ' GROUP BY p.content_id, p.other_id'
        USING first_ids, other_ids, distances, after_content_id;
END
$$;

COMMENT ON FUNCTION siglip.near_duplicate_contents(siglip.models, double precision, text, jsonb, bigint, bigint)
    IS 'Pairs of different contents whose similarity under a model reaches min_similarity, each once, in no order.
Example: SELECT * FROM siglip.near_duplicate_contents(siglip.active_model(), 0.9, ''holiday'', NULL, NULL, NULL);';

CREATE FUNCTION siglip.near_duplicates(
    min_similarity   double precision DEFAULT 0.95,
    collection       text DEFAULT NULL,
    filter           jsonb DEFAULT NULL,
    max_pairs        integer DEFAULT 1000,
    after_content_id bigint DEFAULT NULL,
    up_to_content_id bigint DEFAULT NULL,
    model_id         integer DEFAULT NULL
) RETURNS TABLE (image_id bigint, other_image_id bigint, similarity double precision, is_same_content boolean)
LANGUAGE plpgsql VOLATILE ROWS 1000
SET search_path = pg_catalog, siglip, pg_temp
SET jit = off
AS $$
#variable_conflict use_column
DECLARE
    model siglip.models := siglip.described_model(near_duplicates.model_id);
BEGIN
    IF max_pairs <= 0 THEN
        RAISE EXCEPTION 'max_pairs is %, not a number of at least 1.', max_pairs
            USING ERRCODE = 'invalid_parameter_value', HINT = 'NULL gives all pairs.';
    END IF;
    RETURN QUERY EXECUTE format(
        'SELECT least(i.image_id, o.image_id) AS image_id, greatest(i.image_id, o.image_id) AS other_image_id, p.similarity, false'
        ' FROM siglip.near_duplicate_contents($1, $2, $3, $4, $5, $6) AS p'
        ' JOIN siglip.images AS i ON i.content_id = p.content_id JOIN siglip.images AS o ON o.content_id = p.other_content_id'
        ' WHERE true%1$s%2$s'
        ' UNION ALL '
        'SELECT i.image_id, o.image_id, 1, true FROM siglip.images AS i'
        ' JOIN siglip.images AS o ON o.content_id = i.content_id AND o.image_id > i.image_id'
        ' WHERE i.content_id > coalesce($5, 0) AND ($6 IS NULL OR i.content_id <= $6)%1$s%2$s'
        ' ORDER BY 3 DESC, 4 DESC, 1, 2 LIMIT $7', siglip.narrowing('i', collection, filter), siglip.narrowing('o', collection, filter))
        USING model, min_similarity, collection, filter, after_content_id, up_to_content_id, max_pairs;
END
$$;

COMMENT ON FUNCTION siglip.near_duplicates(double precision, text, jsonb, integer, bigint, bigint, integer)
    IS 'Pairs of images whose similarity reaches min_similarity, each once, most alike first; is_same_content where the files are the same. A large collection is gone through in ranges of siglip.images.content_id.
Example: SELECT * FROM siglip.near_duplicates(0.95, collection => ''holiday'');';

-- A union of sets, each named by its least place: to find a set's name, every place on the way is made to point further.
CREATE FUNCTION siglip.group_pairs(first_ids bigint[], other_ids bigint[]) RETURNS TABLE (member_id bigint, group_id bigint)
LANGUAGE plpgsql IMMUTABLE ROWS 1000
SET search_path = pg_catalog, siglip, pg_temp
AS $$
DECLARE
    members bigint[];
    parents integer[];
    pair    record;
    a       integer;
    b       integer;
BEGIN
    members := ARRAY(SELECT DISTINCT u.id FROM unnest(first_ids || other_ids) AS u (id) ORDER BY u.id);
    parents := ARRAY(SELECT generate_series(1, cardinality(members)));
    FOR pair IN
        SELECT f.place::integer AS first_place, s.place::integer AS other_place
        FROM unnest(first_ids, other_ids) AS p (first_id, other_id)
        JOIN unnest(members) WITH ORDINALITY AS f (id, place) ON f.id = p.first_id
        JOIN unnest(members) WITH ORDINALITY AS s (id, place) ON s.id = p.other_id
    LOOP
        a := pair.first_place;
        b := pair.other_place;
        WHILE parents[a] <> a LOOP
            parents[a] := parents[parents[a]];
            a := parents[a];
        END LOOP;
        WHILE parents[b] <> b LOOP
            parents[b] := parents[parents[b]];
            b := parents[b];
        END LOOP;
        parents[greatest(a, b)] := least(a, b);
    END LOOP;
    FOR place IN 1 .. cardinality(members) LOOP
        parents[place] := parents[parents[place]];  -- a parent's place is the smaller one, and done already
        member_id := members[place];
        group_id := members[parents[place]];
        RETURN NEXT;
    END LOOP;
END
$$;

COMMENT ON FUNCTION siglip.group_pairs(bigint[], bigint[])
    IS 'The groups that pairs of numbers connect, each named by its least member.
Example: SELECT * FROM siglip.group_pairs(''{1,2,7}'', ''{2,3,8}'');';

CREATE FUNCTION siglip.duplicate_groups(
    min_similarity double precision DEFAULT 0.95,
    collection     text DEFAULT NULL,
    filter         jsonb DEFAULT NULL,
    model_id       integer DEFAULT NULL
) RETURNS TABLE (representative_id bigint, images bigint, image_ids bigint[], least_similarity double precision)
LANGUAGE plpgsql VOLATILE ROWS 100
SET search_path = pg_catalog, siglip, pg_temp
SET jit = off
AS $$
#variable_conflict use_column
DECLARE
    model        siglip.models := siglip.described_model(duplicate_groups.model_id);
    first_ids    bigint[];
    other_ids    bigint[];
    similarities double precision[];
BEGIN
    SELECT array_agg(p.content_id), array_agg(p.other_content_id), array_agg(p.similarity) INTO first_ids, other_ids, similarities
    FROM siglip.near_duplicate_contents(model, min_similarity, collection, filter, NULL, NULL) AS p;
    RETURN QUERY EXECUTE format(
        'WITH members AS MATERIALIZED (SELECT g.member_id, g.group_id FROM siglip.group_pairs($1, $2) AS g),'
        ' least_similar AS ('
        '     SELECT m.group_id, min(p.similarity) AS similarity FROM unnest($1, $3) AS p (content_id, similarity)'
        '     JOIN members AS m ON m.member_id = p.content_id GROUP BY m.group_id'
        '), groups AS ('
        '     SELECT coalesce(m.group_id, i.content_id) AS group_id, count(*) AS images,'
        '            array_agg(i.image_id ORDER BY c.width::bigint * c.height DESC NULLS LAST, i.image_id) AS image_ids'
        '     FROM siglip.images AS i JOIN siglip.contents AS c ON c.content_id = i.content_id'
        '     LEFT JOIN members AS m ON m.member_id = i.content_id'
        '     WHERE i.content_id IS NOT NULL%s GROUP BY 1 HAVING count(*) > 1'
        ') SELECT g.image_ids[1], g.images, g.image_ids, coalesce(l.similarity, 1)'
        ' FROM groups AS g LEFT JOIN least_similar AS l ON l.group_id = g.group_id ORDER BY g.images DESC, g.image_ids[1]',
        siglip.narrowing('i', collection, filter))
        USING coalesce(first_ids, '{}'), coalesce(other_ids, '{}'), coalesce(similarities, '{}');
END
$$;

COMMENT ON FUNCTION siglip.duplicate_groups(double precision, text, jsonb, integer)
    IS 'Groups of images that pairs of siglip.near_duplicates connect, files that are the same included, largest first. The first of image_ids, that with the most pixels, represents the group; least_similarity is that of its least similar pair.
Example: SELECT representative_id, image_ids FROM siglip.duplicate_groups(0.95);';
