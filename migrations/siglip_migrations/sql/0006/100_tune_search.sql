-- Purpose: find the smallest ef_search under which searches find as much as is asked of them.
-- Parameters: target_recall 0.5 to 1; sample 1 to 10,000 queries of each kind; model_id, NULL for the active model.
-- A row means: one ef_search that was tried, and the recall of the kind of query that fares worse.

CREATE FUNCTION siglip.tune_search(
    target_recall double precision DEFAULT 0.98,
    sample        integer DEFAULT 200,
    model_id      integer DEFAULT NULL,
    OUT ef_search integer, OUT recall double precision, OUT low double precision, OUT milliseconds double precision,
    OUT is_chosen boolean
) RETURNS SETOF record
LANGUAGE plpgsql VOLATILE ROWS 10
SET search_path = pg_catalog, siglip, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    model        siglip.models := siglip.described_model(model_id);
    measurements siglip.recall_measurement[];
    chosen       integer;
    best         siglip.recall_measurement;
BEGIN
    PERFORM siglip.check_measuring(sample, 10, NULL);
    IF target_recall IS NULL OR target_recall NOT BETWEEN 0.5 AND 1 THEN
        RAISE EXCEPTION 'target_recall is %, not a number from 0.5 to 1.', coalesce(target_recall::text, 'NULL')
            USING ERRCODE = 'invalid_parameter_value', HINT = 'It is the share of the ten best images that searches are to find.';
    ELSIF NOT EXISTS (SELECT FROM siglip.segments AS s WHERE s.model_id = model.model_id AND s.index IS NOT NULL) THEN
        RAISE NOTICE 'The model % has no index yet: its searches are exact, and there is nothing to tune.', model.name;
        RETURN;
    END IF;
    measurements := ARRAY(
        SELECT m FROM siglip.measure_recall(
            model, sample, 10, NULL, NULL, '{40,60,80,100,150,200,300,400,500,600,800,1000}', target_recall) AS m);
    SELECT max(m.ef_search) INTO chosen FROM unnest(measurements) AS m;  -- measuring ended there
    UPDATE siglip.models AS m SET ef_search = chosen WHERE m.model_id = model.model_id;
    PERFORM siglip.keep_measurement(model, m, 10, NULL, NULL, target_recall, m.ef_search = chosen) FROM unnest(measurements) AS m;
    FOR best IN
        SELECT DISTINCT ON (m.ef_search) m.* FROM unnest(measurements) AS m
        ORDER BY m.ef_search, m.kind = 'texts' AND m.queries < 20, m.recall
    LOOP
        ef_search := best.ef_search;
        recall := best.recall;
        low := best.low;
        milliseconds := best.search_ms;
        is_chosen := best.ef_search = chosen;
        RETURN NEXT;
    END LOOP;
    IF best.recall < target_recall THEN
        RAISE WARNING 'No ef_search reaches a recall of % under the model %: the largest, %, gives % (at least %), and is kept.',
            target_recall, model.name, chosen, round(best.recall::numeric, 3), round(best.low::numeric, 3)
            USING ERRCODE = 'SIG10',
                  HINT = 'SELECT * FROM siglip.index_status shows what isn''t built; a halfvec index finds more than bit_rerank.';
    END IF;
END
$$;

COMMENT ON FUNCTION siglip.tune_search(double precision, integer, integer)
    IS 'Measure recall at growing ef_search, and keep the smallest that reaches target_recall for all searches of the model.';
