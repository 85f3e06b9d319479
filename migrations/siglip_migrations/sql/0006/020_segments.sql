-- Purpose: the vectors of a model in segments: ranges of content_id. New contents land in the last, which has no HNSW index.
-- Parameters: create_embedding_partition(model_id, dimension in elements).
-- A row means: the unit vector of one content under one model (image_embeddings); one segment (segments).

-- Each segment has its own primary key (content_id): ranges of one model don't overlap, so that a content has one vector under it.
-- A key of the whole table would exclude segments on other servers.
ALTER TABLE siglip.image_embeddings RENAME TO image_embeddings_before;

CREATE TABLE siglip.image_embeddings (
    model_id   integer NOT NULL,
    content_id bigint NOT NULL,
    embedding  @vector@.halfvec NOT NULL
) PARTITION BY LIST (model_id);

-- Vectors of more than 1,000 elements would go to the TOAST table, and an exact scan would fetch each from there.
ALTER TABLE siglip.image_embeddings ALTER COLUMN embedding SET STORAGE PLAIN;

COMMENT ON TABLE siglip.image_embeddings
    IS 'One row is the unit vector of one content under one model. Its partitions by content_id are the segments.';

CREATE SEQUENCE siglip.segment_numbers AS integer;

CREATE TABLE siglip.segment_builds (
    segment_number integer PRIMARY KEY,
    built_rows     bigint NOT NULL,
    built_at       timestamptz NOT NULL DEFAULT now(),
    build_s        double precision NOT NULL
);

COMMENT ON TABLE siglip.segment_builds IS 'One row is one segment that was built as a whole, with its index.';
COMMENT ON COLUMN siglip.segment_builds.built_rows IS 'Rows that it had then: what was deleted since is the difference.';

-- What is found near a text, or anything that lies apart from the images, depends on where a graph is entered. A sample of all vectors,
-- compared one by one, tells whether a search ended in the wrong region, and where to begin another.
CREATE TABLE siglip.landmarks (
    content_id bigint NOT NULL REFERENCES siglip.contents ON DELETE CASCADE,
    model_id   integer NOT NULL REFERENCES siglip.models ON DELETE CASCADE,
    embedding  @vector@.halfvec NOT NULL,
    rank       integer NOT NULL,
    usual_similarity double precision,
    PRIMARY KEY (content_id, model_id)
);
ALTER TABLE siglip.landmarks ALTER COLUMN embedding SET STORAGE PLAIN;
CREATE INDEX landmarks_model_id_rank_btree_idx ON siglip.landmarks (model_id, rank);

COMMENT ON TABLE siglip.landmarks IS 'One row is a vector of a segment with an index, drawn at random: what searches compare their results with.';
COMMENT ON COLUMN siglip.landmarks.rank IS 'From 1 in each segment: each search looks at the first 128, one that may have gone wrong at all.';
COMMENT ON COLUMN siglip.landmarks.usual_similarity
    IS 'The median similarity of two of those that were drawn together; NULL for a single one.';

-- TRUNCATE siglip.contents CASCADE empties what has foreign keys to it; the vectors have none, since segments may be on other servers.
CREATE FUNCTION siglip.truncate_vectors() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, siglip, pg_temp
AS $$
BEGIN
    TRUNCATE siglip.image_embeddings;
    RETURN NULL;
END
$$;

COMMENT ON FUNCTION siglip.truncate_vectors() IS 'Take all vectors out where siglip.contents was emptied.';

CREATE TRIGGER truncate_vectors AFTER TRUNCATE ON siglip.contents
FOR EACH STATEMENT EXECUTE FUNCTION siglip.truncate_vectors();

CREATE FUNCTION siglip.create_segment(model_id integer) RETURNS regclass
LANGUAGE plpgsql
SET search_path = pg_catalog, siglip, pg_temp
AS $$
DECLARE
    name text := format('image_embeddings_%s_%s', model_id, nextval('siglip.segment_numbers'));
BEGIN
    EXECUTE format(
        'CREATE TABLE siglip.%I (LIKE siglip.%I INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING STORAGE)',
        name, 'image_embeddings_' || model_id
    );
    -- Nobody asks for the distribution of vectors, and to sample it reads them all.
    EXECUTE format('ALTER TABLE siglip.%I ALTER COLUMN embedding SET STATISTICS 0', name);
    RETURN format('siglip.%I', name)::regclass;
END
$$;

COMMENT ON FUNCTION siglip.create_segment(integer) IS 'Make an empty table for a segment of a model, without a key, yet to be attached.';

CREATE FUNCTION siglip.segment_number(segment regclass) RETURNS integer
LANGUAGE sql STABLE
SET search_path = pg_catalog, siglip, pg_temp
AS $$
    SELECT substring(c.relname FROM '_([0-9]+)$')::integer FROM pg_class AS c WHERE c.oid = segment
$$;

COMMENT ON FUNCTION siglip.segment_number(regclass) IS 'The number at the end of a segment''s name.';

CREATE OR REPLACE FUNCTION siglip.create_embedding_partition(model_id integer, dimension integer) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, siglip, pg_temp
AS $$
DECLARE
    name text := format('image_embeddings_%s', model_id);
    tail regclass;
BEGIN
    IF to_regclass(format('siglip.%I', name)) IS NOT NULL THEN
        RETURN;
    END IF;
    -- Made apart and then attached: ATTACH, unlike CREATE ... PARTITION OF, lets searches go on meanwhile.
    EXECUTE format(
        'CREATE TABLE siglip.%I ('
        'LIKE siglip.image_embeddings INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING STORAGE,'
        ' CONSTRAINT %I CHECK (@vector@.vector_dims(embedding) = %L::integer)'
        ') PARTITION BY RANGE (content_id)',
        name, name || '_dimension_check', dimension
    );
    tail := siglip.create_segment(model_id);
    EXECUTE format('ALTER TABLE %s ADD PRIMARY KEY (content_id)', tail);
    EXECUTE format('ALTER TABLE siglip.%I ATTACH PARTITION %s FOR VALUES FROM (MINVALUE) TO (MAXVALUE)', name, tail);
    EXECUTE format('ALTER TABLE siglip.image_embeddings ATTACH PARTITION siglip.%I FOR VALUES IN (%L)', name, model_id);
END
$$;

COMMENT ON FUNCTION siglip.create_embedding_partition(integer, integer)
    IS 'Make the partition of siglip.image_embeddings for one model, with its first segment; nothing happens where it exists.';

-- Everything that is known of a segment stands in PostgreSQL's catalogues: there is no second truth to fall behind.
CREATE VIEW siglip.segments AS
SELECT c.oid::regclass AS segment,
       m.model_id,
       nullif(b.bounds[1], 'MINVALUE')::bigint AS from_content_id,
       nullif(b.bounds[2], 'MAXVALUE')::bigint AS to_content_id,
       greatest(c.reltuples, 0)::bigint AS estimated_rows,
       CASE WHEN c.relkind = 'r' THEN pg_relation_size(c.oid) END AS bytes,
       x.index,
       x.index_kind,
       coalesce(x.indisvalid, false) AS is_index_valid,
       b.bounds[2] = 'MAXVALUE' AS is_open,
       s.srvname::text AS server
FROM siglip.models AS m
JOIN pg_inherits AS h ON h.inhparent = to_regclass('siglip.image_embeddings_' || m.model_id)
JOIN pg_class AS c ON c.oid = h.inhrelid
CROSS JOIN LATERAL (
    SELECT regexp_match(pg_get_expr(c.relpartbound, c.oid), 'FROM \(''?(-?\d+|MINVALUE)''?\) TO \(''?(-?\d+|MAXVALUE)''?\)')
) AS b (bounds)
LEFT JOIN LATERAL (
    SELECT i.indexrelid::regclass AS index, i.indisvalid,
           CASE WHEN a.opcname LIKE 'bit%' THEN 'bit_rerank' ELSE 'halfvec' END AS index_kind
    FROM pg_index AS i
    JOIN pg_class AS n ON n.oid = i.indexrelid
    JOIN pg_am AS am ON am.oid = n.relam AND am.amname = 'hnsw'
    JOIN pg_opclass AS a ON a.oid = i.indclass[0]
    WHERE i.indrelid = c.oid
    ORDER BY i.indexrelid
    LIMIT 1
) AS x ON true
LEFT JOIN pg_foreign_table AS f ON f.ftrelid = c.oid
LEFT JOIN pg_foreign_server AS s ON s.oid = f.ftserver;

COMMENT ON VIEW siglip.segments IS 'One row is one segment: a range of contents under one model, from (inclusive) to (exclusive), NULL for no bound.';
