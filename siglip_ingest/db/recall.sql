-- name: lift_timeout
-- Lets the statements of this transaction take as long as they need: exact answers over a large table take minutes.
SELECT pg_catalog.set_config('statement_timeout', '0', true);

-- name: measure_recall
-- Measures over sample queries of each kind how many of the limit best images searches find, and keeps it where the role may. A row is a
-- kind of query; milliseconds are means.
SELECT r.kind, r.queries, r.recall, r.low, r.high, r.search_ms, r.exact_ms, r.has_dropped
FROM siglip.index_recall(
    sample => %(sample)s::integer, max_results => %(limit)s::integer, collection => %(collection)s::text,
    filter => %(filter)s::jsonb) AS r;

-- name: tune_search
-- Tries growing ef_search until target_recall is reached, and keeps the last for all searches of the active model. A row is one that
-- was tried; none where there is no index yet.
SELECT r.ef_search, r.recall, r.low, r.milliseconds, r.is_chosen
FROM siglip.tune_search(target_recall => %(target_recall)s::double precision, sample => %(sample)s::integer) AS r;

-- name: list_measurements
-- Lists the last measurements of all models, newest first, each with how far it lies from the mean of those before.
SELECT d.measured_at, m.name, d.kind, d.collection, d.filter, d.index_kind, d.ef_search, d.queries, d.recall, d.low, d.high,
       d.estimated_rows, d.drift, d.has_dropped
FROM siglip.recall_drift AS d
JOIN siglip.models AS m USING (model_id)
ORDER BY d.measurement_id DESC
LIMIT %(limit)s;

-- name: list_settings
-- Lists what is in effect for the searches and the indexes of each model, where it comes from, and why.
SELECT s.model, s.setting, s.value, s.source, s.why
FROM siglip.index_settings AS s;
