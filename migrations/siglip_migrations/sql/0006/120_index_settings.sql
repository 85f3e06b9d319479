-- Purpose: what is in effect for the searches and the indexes of each model, and why.
-- Parameters: none.
-- A row means: one setting of one model.

-- What a setting siglip.<name> of the session, the role or the database is, and where it comes from.
CREATE FUNCTION siglip.setting_source(name text) RETURNS text
LANGUAGE sql STABLE
SET search_path = pg_catalog, siglip, pg_temp
AS $$
    SELECT CASE WHEN nullif(current_setting('siglip.' || name, true), '') IS NULL THEN 'default' ELSE 'siglip.' || name END
$$;

COMMENT ON FUNCTION siglip.setting_source(text) IS 'default, or the name of our setting where it is set.';

CREATE VIEW siglip.index_settings AS
SELECT m.model_id, m.name AS model, s.setting, s.value, s.source, s.why
FROM siglip.models AS m
CROSS JOIN LATERAL (
    SELECT string_agg(DISTINCT coalesce(o.m, '16'), ', ') AS m,
           string_agg(DISTINCT coalesce(o.ef_construction, '64'), ', ') AS ef_construction,
           count(*) FILTER (WHERE i.index_kind <> m.index_kind) AS other_kind
    FROM siglip.segments AS i
    JOIN pg_class AS c ON c.oid = i.index
    CROSS JOIN LATERAL (
        SELECT max(r.option_value) FILTER (WHERE r.option_name = 'm') AS m,
               max(r.option_value) FILTER (WHERE r.option_name = 'ef_construction') AS ef_construction
        FROM pg_options_to_table(c.reloptions) AS r
    ) AS o
    WHERE i.model_id = m.model_id
) AS x
LEFT JOIN LATERAL (
    SELECT h.measured_at, h.target_recall, h.recall
    FROM siglip.recall_history AS h
    WHERE h.model_id = m.model_id AND h.is_chosen AND h.ef_search = m.ef_search AND h.index_kind = m.index_kind
    ORDER BY h.measured_at DESC, h.recall LIMIT 1
) AS t ON true
CROSS JOIN LATERAL (VALUES
    (1, 'index_kind', m.index_kind, CASE m.index_kind WHEN 'halfvec' THEN 'default' ELSE 'siglip.create_index' END,
     CASE m.index_kind
         WHEN 'halfvec' THEN 'HNSW over the vectors as they are stored: finds most, and is larger than the vectors.'
         ELSE 'HNSW over one bit an element, whose candidates are ranked by their vectors: for tables that don''t fit memory.'
     END || CASE WHEN x.other_kind > 0 THEN format(' %s indexes are still of the other kind: siglip.maintain() builds them.', x.other_kind)
                 ELSE '' END),
    (2, 'ef_search', coalesce(m.ef_search, siglip.default_ef_search())::text,
     CASE WHEN m.ef_search IS NULL THEN 'default'
          WHEN t.measured_at IS NULL THEN 'set by hand'
          ELSE format('tuned on %s to reach %s', t.measured_at::date, t.target_recall) END,
     CASE WHEN m.ef_search IS NULL THEN 'Candidates that a search keeps while it walks the graph; siglip.tune_search() measures how many are needed here.'
          WHEN t.measured_at IS NULL THEN 'siglip.models.ef_search was written by somebody; siglip.tune_search() measures how many are needed here.'
          ELSE format('The smallest that siglip.tune_search() tried and that reached it; it measured a recall of %s.', round(t.recall::numeric, 3))
     END),
    (3, 'm', coalesce(x.m, '16'), 'default',
     'Neighbours of a vector in the graph, in each layer: 16 up to 20,000 rows, 24 beyond, where clusters hardly touch with 16.'),
    (4, 'ef_construction', coalesce(x.ef_construction, '64'), 'default',
     'Candidates that are looked at for each vector while the graph is built: 64 up to 20,000 rows, 128 beyond.'),
    (5, 'iterative_scan', 'relaxed_order', 'fixed',
     'A search walks on where filters leave too few rows; the rows are sorted at the end.'),
    (6, 'rerank_candidates', CASE WHEN m.index_kind = 'bit_rerank' THEN
         coalesce(nullif(current_setting('siglip.rerank_candidates', true), ''), coalesce(m.ef_search, siglip.default_ef_search())::text) END,
     CASE WHEN m.index_kind <> 'bit_rerank' THEN 'not used' ELSE siglip.setting_source('rerank_candidates') END,
     'Candidates of an index of bits that are ranked by their vectors; by default as many as ef_search.'),
    (7, 'exact_below_bytes', siglip.exact_below_bytes()::text, 'fixed',
     'A segment of fewer bytes than this gets no index: to read it all takes no longer.'),
    (8, 'seal_rows', siglip.seal_rows()::text, siglip.setting_source('seal_rows'),
     'Rows from which on the open segment is closed and gets its index.'),
    (9, 'build_memory', pg_size_pretty(siglip.build_memory()),
     CASE WHEN nullif(current_setting('siglip.maintenance_work_mem', true), '') IS NOT NULL THEN 'siglip.maintenance_work_mem'
          WHEN siglip.build_memory() > 2147483648 THEN 'maintenance_work_mem' ELSE 'default' END,
     'Memory that the build of one index may take; segments don''t grow beyond what fits it.'),
    (10, 'pgvector', (SELECT e.extversion FROM pg_extension AS e WHERE e.extname = 'vector'), 'the database',
     'siglip-ingest migrate warns of versions with known defects.')
) AS s (place, setting, value, source, why)
WHERE m.dimension IS NOT NULL
ORDER BY m.model_id, s.place;

COMMENT ON VIEW siglip.index_settings
    IS 'One row is one setting of a model''s searches or indexes: its value, where that comes from, and what it does.';
