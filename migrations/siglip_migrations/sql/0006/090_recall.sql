-- Purpose: how many of the images that an exact search finds a search finds, too: measured, kept, and compared with before.
-- Parameters: sample 1 to 10,000 queries of each kind; max_results 1 to 1,000; collection, filter and model_id as in siglip.search_images.
-- A row means: one measurement of one kind of query under one ef_search.

CREATE TYPE siglip.recall_measurement AS (
    kind        text,
    ef_search   integer,
    queries     integer,
    recall      double precision,
    low         double precision,
    high        double precision,
    search_ms   double precision,
    exact_ms    double precision
);

COMMENT ON TYPE siglip.recall_measurement IS 'A recall with its 95 % interval, and the mean milliseconds of a search and of an exact answer.';

CREATE TABLE siglip.recall_history (
    measurement_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    measured_at    timestamptz NOT NULL DEFAULT now(),
    model_id       integer NOT NULL REFERENCES siglip.models ON DELETE CASCADE,
    kind           text NOT NULL CHECK (kind IN ('images', 'texts')),
    collection     text,
    filter         jsonb,
    max_results    integer NOT NULL,
    index_kind     text NOT NULL,
    ef_search      integer NOT NULL,
    queries        integer NOT NULL,
    recall         double precision NOT NULL CHECK (recall BETWEEN 0 AND 1),
    low            double precision NOT NULL,
    high           double precision NOT NULL,
    search_ms      double precision NOT NULL,
    exact_ms       double precision NOT NULL,
    estimated_rows bigint NOT NULL,
    target_recall  double precision,
    is_chosen      boolean NOT NULL DEFAULT false
);
CREATE INDEX recall_history_model_id_btree_idx ON siglip.recall_history (model_id, kind, measurement_id);

COMMENT ON TABLE siglip.recall_history
    IS 'One row is one measurement of recall, by siglip.index_recall, siglip.tune_search or siglip.maintain.';
COMMENT ON COLUMN siglip.recall_history.kind IS 'What was asked: images (stored vectors) or texts (of siglip.texts).';
COMMENT ON COLUMN siglip.recall_history.low IS 'Begin of the 95 % interval of recall, whose end is high.';
COMMENT ON COLUMN siglip.recall_history.exact_ms IS 'Milliseconds of an exact answer, where one pass over the vectors gives twenty.';
COMMENT ON COLUMN siglip.recall_history.estimated_rows IS 'Vectors under the model then, about.';
COMMENT ON COLUMN siglip.recall_history.target_recall IS 'What siglip.tune_search was to reach; NULL for other measurements.';
COMMENT ON COLUMN siglip.recall_history.is_chosen IS 'Whether siglip.tune_search chose this ef_search.';

-- One more query, half right, is counted in: without it a sample that is all right would have an interval of no width. (The same idea
-- as Agresti and Coull's two more successes and failures, "Approximate is better than exact", 1998, for recalls between 0 and 1.)
CREATE FUNCTION siglip.recall_interval(
    recalls double precision[], OUT queries integer, OUT recall double precision, OUT low double precision, OUT high double precision
)
LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, siglip, pg_temp
AS $$
    SELECT o.queries, o.recall,
           greatest(0, least(o.recall, s.recall - 1.96 * s.deviation / sqrt(s.queries))),
           least(1, greatest(o.recall, s.recall + 1.96 * s.deviation / sqrt(s.queries)))
    FROM (SELECT count(r)::integer AS queries, avg(r) AS recall FROM unnest(recalls) AS r) AS o,
         (SELECT count(r) AS queries, avg(r) AS recall, stddev_samp(r) AS deviation FROM unnest(recalls || 0.5::double precision) AS r) AS s
$$;

COMMENT ON FUNCTION siglip.recall_interval(double precision[])
    IS 'The mean of the queries'' recalls and its 95 % interval: normal, over these recalls and one more of 0.5. NULLs don''t count.';

-- A part of the images is read, and only their vectors: what is read doesn't grow with the table, but for the pages of siglip.images.
CREATE FUNCTION siglip.sample_queries(
    model_id integer, kind text, sample integer, OUT embedding @vector@.halfvec, OUT image_id bigint
) RETURNS SETOF record
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, siglip, pg_temp
AS $$
#variable_conflict use_column
DECLARE
    percent double precision;
    found   bigint;
BEGIN
    IF kind = 'texts' THEN
        RETURN QUERY
        SELECT t.embedding, NULL::bigint
        FROM (
            SELECT s.text_hash FROM siglip.texts AS s
            WHERE s.model_id = sample_queries.model_id AND s.refusal IS NULL
            ORDER BY random() LIMIT sample
        ) AS c
        JOIN siglip.texts AS t ON t.model_id = sample_queries.model_id AND t.text_hash = c.text_hash;
        RETURN;
    END IF;
    SELECT least(100, 500.0 * sample / greatest(1, c.reltuples)) INTO percent
    FROM pg_class AS c WHERE c.oid = 'siglip.images'::regclass;
    LOOP
        RETURN QUERY
        SELECT e.embedding, s.image_id
        FROM (
            SELECT i.image_id, i.content_id FROM siglip.images AS i TABLESAMPLE BERNOULLI (percent) WHERE i.content_id IS NOT NULL
        ) AS s
        JOIN siglip.image_embeddings AS e ON e.model_id = sample_queries.model_id AND e.content_id = s.content_id
        ORDER BY random() LIMIT sample;
        GET DIAGNOSTICS found = ROW_COUNT;
        EXIT WHEN found > 0 OR percent >= 100;
        percent := 100;  -- few images have a vector under this model
    END LOOP;
END
$$;

COMMENT ON FUNCTION siglip.sample_queries(integer, text, integer)
    IS 'Vectors to measure with, drawn at random: those of images, or of texts that were asked; image_id is what the answer leaves out.';

CREATE TYPE siglip.measured_search AS (
    similarities double precision[],
    milliseconds double precision
);

COMMENT ON TYPE siglip.measured_search IS 'What a search found, best first, and how long it took.';

CREATE FUNCTION siglip.measure_searches(
    model siglip.models, queries @vector@.halfvec[], image_ids bigint[], max_results integer, collection text, filter jsonb
) RETURNS siglip.measured_search[]
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, siglip, pg_temp
AS $$
DECLARE
    searches      siglip.measured_search[] := '{}';
    matches    double precision[];
    started_at timestamptz;
BEGIN
    FOR number IN 0 .. cardinality(queries) LOOP  -- 0: the first is planned, and isn't counted
        started_at := clock_timestamp();
        matches := ARRAY(
            SELECT n.similarity
            FROM siglip.nearest_images(model, queries[greatest(number, 1)], max_results, collection, filter, NULL,
                                       image_ids[greatest(number, 1)]) AS n);
        IF number > 0 THEN
            searches := searches || ROW(matches, 1000 * extract(epoch FROM clock_timestamp() - started_at))::siglip.measured_search;
        END IF;
    END LOOP;
    RETURN searches;
END
$$;

COMMENT ON FUNCTION siglip.measure_searches(siglip.models, @vector@.halfvec[], bigint[], integer, text, jsonb)
    IS 'Search with each query, as siglip.search_images does, and take the time.';

-- One pass over the vectors for twenty queries: the row costs more than the product. A search has found max_results images, so that
-- only rows as good as the worst of these can belong to the exact answer: few, where the index is any good.
-- OFFSET 0: the planner expects many rows of "near", and would read all images.
CREATE FUNCTION siglip.exact_answers_query(model_id integer, query_count integer, has_content_ids boolean, conditions text)
RETURNS text
LANGUAGE sql IMMUTABLE
SET search_path = pg_catalog, siglip, pg_temp
AS $$
    SELECT format(
        'WITH near AS MATERIALIZED (SELECT e.content_id, e.embedding FROM siglip.image_embeddings AS e%s WHERE e.model_id = %s AND (%s))'
        ' SELECT array_agg(r.number), array_agg(cardinality(r.similarities)), array_agg(r.similarities[cardinality(r.similarities)])'
        ' FROM ('
        'SELECT q.number::integer, (array_agg(d.similarity ORDER BY d.similarity DESC))[1:$4] AS similarities'
        ' FROM near AS n CROSS JOIN unnest($1, $2, $3) WITH ORDINALITY AS q (embedding, distance, image_id, number)'
        ' CROSS JOIN LATERAL (SELECT n.embedding OPERATOR(@vector@.<#>) q.embedding AS distance OFFSET 0) AS c'
        ' CROSS JOIN LATERAL (SELECT greatest(-1, least(1, -c.distance)) AS similarity) AS d'
        ' CROSS JOIN LATERAL (SELECT FROM siglip.images AS i'
        ' WHERE i.content_id = n.content_id AND i.image_id IS DISTINCT FROM q.image_id%s OFFSET 0) AS i'
        ' WHERE c.distance <= q.distance GROUP BY q.number'
        ') AS r',
        CASE WHEN has_content_ids THEN ' JOIN unnest($5) AS w (content_id) USING (content_id)' ELSE '' END,
        model_id,
        (SELECT string_agg(format('e.embedding OPERATOR(@vector@.<#>) ($1)[%1$s] <= ($2)[%1$s]', n), ' OR ')
         FROM generate_series(1, query_count) AS n),
        conditions)
$$;

COMMENT ON FUNCTION siglip.exact_answers_query(integer, integer, boolean, text)
    IS 'The text of the query that gives the exact answers to several queries in one pass. $1 queries, $2 greatest distances.';

-- Similarities are compared, not ids, so that it doesn't matter which of equal images was found. 1e-6: distances of another server,
-- or of another plan, may differ in the last digit.
CREATE FUNCTION siglip.exact_answers(
    model siglip.models, queries @vector@.halfvec[], image_ids bigint[], searches siglip.measured_search[],
    max_results integer, collection text, filter jsonb,
    OUT number integer, OUT result_count integer, OUT last_similarity double precision
) RETURNS SETOF record
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, siglip, pg_temp
SET jit = off
AS $$
DECLARE
    at_once      constant integer := 20;
    conditions   constant text := CASE WHEN collection IS NULL THEN '' ELSE ' AND i.collection = $6' END
                               || CASE WHEN filter IS NULL THEN '' ELSE ' AND i.metadata @> $7' END;
    content_ids  bigint[];
    distances    double precision[];
    first        integer := 1;
    size         integer;
    numbers      integer[];
    counts       integer[];
    similarities double precision[];
BEGIN
    IF conditions <> '' THEN
        EXECUTE 'SELECT array_agg(DISTINCT i.content_id) FROM siglip.images AS i WHERE i.content_id IS NOT NULL' || conditions
            INTO content_ids USING NULL, NULL, NULL, NULL, NULL, collection, filter;
    END IF;
    SELECT array_agg(CASE WHEN cardinality(s.similarities) < max_results THEN 'Infinity'
                          WHEN s.similarities[max_results] >= 1 THEN -1 + 1e-6
                          ELSE -s.similarities[max_results] + 1e-6 END ORDER BY s.number)
    INTO distances FROM unnest(searches) WITH ORDINALITY AS s (similarities, milliseconds, number);
    WHILE first <= cardinality(queries) LOOP
        -- A query that found too few compares with every row, and goes alone.
        size := CASE WHEN distances[first] = 'Infinity' THEN 1
                     ELSE least(at_once, cardinality(queries) - first + 1,
                                coalesce(array_position(distances, 'Infinity', first), 2147483647) - first) END;
        -- INTO, and no loop over the rows: only what is read to its end is computed by several processes.
        EXECUTE siglip.exact_answers_query(model.model_id, size, conditions <> '', conditions)
            INTO numbers, counts, similarities
            USING queries[first : first + size - 1], distances[first : first + size - 1], image_ids[first : first + size - 1],
                  max_results, content_ids, collection, filter;
        RETURN QUERY SELECT first + a.number - 1, a.result_count, a.last_similarity
                     FROM unnest(numbers, counts, similarities) AS a (number, result_count, last_similarity);
        first := first + size;
    END LOOP;
END
$$;

COMMENT ON FUNCTION siglip.exact_answers(
    siglip.models, @vector@.halfvec[], bigint[], siglip.measured_search[], integer, text, jsonb)
    IS 'How many images the exact answer to each query has, up to max_results, and the similarity of the last; no row for none.';

-- STABLE, so that the search and the exact answer see the same rows while others write.
CREATE FUNCTION siglip.measure_recall(
    model siglip.models, sample integer, max_results integer, collection text, filter jsonb, ef_searches integer[],
    target_recall double precision
) RETURNS SETOF siglip.recall_measurement
LANGUAGE plpgsql STABLE
SET search_path = pg_catalog, siglip, pg_temp
AS $$
DECLARE
    fewest_counting constant integer := 20;  -- what fewer texts tell is chance
    queries    @vector@.halfvec[];
    image_ids  bigint[];
    kinds      text[];
    searches      siglip.measured_search[];
    counts     integer[];
    thresholds double precision[];
    exact_ms   double precision;
    started_at timestamptz;
    lowest     double precision;
    measured   siglip.recall_measurement;
BEGIN
    SELECT array_agg(s.embedding ORDER BY k.kind), array_agg(s.image_id ORDER BY k.kind), array_agg(k.kind ORDER BY k.kind)
    INTO queries, image_ids, kinds
    FROM unnest('{images,texts}'::text[]) AS k (kind) CROSS JOIN LATERAL siglip.sample_queries(model.model_id, k.kind, sample) AS s;
    IF queries IS NULL THEN
        RETURN;
    END IF;
    FOR step IN 1 .. cardinality(ef_searches) LOOP
        model.ef_search := ef_searches[step];
        searches := siglip.measure_searches(model, queries, image_ids, max_results, collection, filter);
        IF step = 1 THEN
            started_at := clock_timestamp();
            SELECT array_agg(a.result_count ORDER BY q.number), array_agg(a.last_similarity ORDER BY q.number)
            INTO counts, thresholds
            FROM generate_series(1, cardinality(queries)) AS q (number)
            LEFT JOIN siglip.exact_answers(model, queries, image_ids, searches, max_results, collection, filter) AS a USING (number);
            exact_ms := 1000 * extract(epoch FROM clock_timestamp() - started_at) / cardinality(queries);
        END IF;
        lowest := NULL;
        FOR measured IN
            SELECT r.kind, ef_searches[step], i.queries, i.recall, i.low, i.high, r.search_ms, exact_ms
            FROM (
                SELECT kinds[f.number] AS kind, avg(f.milliseconds) AS search_ms,
                       array_agg((SELECT count(*) FROM unnest(f.similarities) AS s WHERE s >= thresholds[f.number] - 1e-6)
                                 / counts[f.number]::double precision) AS recalls
                FROM unnest(searches) WITH ORDINALITY AS f (similarities, milliseconds, number)
                GROUP BY 1
            ) AS r
            CROSS JOIN LATERAL siglip.recall_interval(r.recalls) AS i
            WHERE i.queries > 0
            ORDER BY r.kind
        LOOP
            RETURN NEXT measured;
            IF measured.queries >= fewest_counting OR measured.kind = 'images' THEN
                lowest := least(lowest, measured.recall);
            END IF;
        END LOOP;
        EXIT WHEN lowest >= target_recall;
    END LOOP;
END
$$;

COMMENT ON FUNCTION siglip.measure_recall(siglip.models, integer, integer, text, jsonb, integer[], double precision)
    IS 'Measure recall under growing ef_search, with the same queries, until stored vectors and twenty or more texts reach target_recall.';

-- A drop: the interval of the new measurement lies below that of the mean of the ones before, up to twenty, of the same question.
CREATE FUNCTION siglip.earlier_recall(
    measurement siglip.recall_history, OUT measurements bigint, OUT recall double precision, OUT low double precision
)
LANGUAGE sql STABLE
SET search_path = pg_catalog, siglip, pg_temp
AS $$
    SELECT count(*), avg(e.recall), avg(e.low)
    FROM (
        SELECT h.recall, h.low
        FROM siglip.recall_history AS h
        WHERE h.model_id = measurement.model_id AND h.kind = measurement.kind
          AND h.measurement_id < coalesce(measurement.measurement_id, 9223372036854775807)
          AND h.collection IS NOT DISTINCT FROM measurement.collection AND h.filter IS NOT DISTINCT FROM measurement.filter
          AND h.max_results = measurement.max_results AND h.ef_search = measurement.ef_search
          AND h.index_kind = measurement.index_kind
        ORDER BY h.measurement_id DESC LIMIT 20
    ) AS e
$$;

COMMENT ON FUNCTION siglip.earlier_recall(siglip.recall_history)
    IS 'The mean of up to 20 measurements before one, of the same kind, filter, ef_search and index kind.';

CREATE VIEW siglip.recall_drift AS
SELECT h.*, e.measurements AS earlier_measurements, e.recall AS earlier_recall, e.low AS earlier_low,
       h.recall - e.recall AS drift,
       coalesce(h.high < e.low, false) AS has_dropped
FROM siglip.recall_history AS h
CROSS JOIN LATERAL siglip.earlier_recall(h) AS e;

COMMENT ON VIEW siglip.recall_drift
    IS 'One row is one measurement of recall beside the mean of those before; has_dropped where the intervals don''t meet.';

CREATE FUNCTION siglip.can_write_recall() RETURNS boolean
LANGUAGE sql STABLE
SET search_path = pg_catalog, siglip, pg_temp
AS $$
    SELECT current_setting('transaction_read_only') = 'off' AND has_table_privilege('siglip.recall_history', 'INSERT')
$$;

COMMENT ON FUNCTION siglip.can_write_recall()
    IS 'Whether the caller can add to siglip.recall_history: a role that only searches may have no right to, and a standby can''t.';

CREATE FUNCTION siglip.keep_measurement(
    model siglip.models, measured siglip.recall_measurement, max_results integer, collection text, filter jsonb,
    target_recall double precision, is_chosen boolean
) RETURNS boolean
LANGUAGE plpgsql
SET search_path = pg_catalog, siglip, pg_temp
AS $$
DECLARE
    kept    siglip.recall_history;
    earlier record;
BEGIN
    kept.model_id := model.model_id;
    kept.kind := measured.kind;
    kept.collection := collection;
    kept.filter := filter;
    kept.max_results := max_results;
    kept.index_kind := model.index_kind;
    kept.ef_search := measured.ef_search;
    SELECT e.* INTO earlier FROM siglip.earlier_recall(kept) AS e;
    IF siglip.can_write_recall() THEN
        INSERT INTO siglip.recall_history (
            model_id, kind, collection, filter, max_results, index_kind, ef_search, queries, recall, low, high, search_ms, exact_ms,
            estimated_rows, target_recall, is_chosen)
        SELECT kept.model_id, kept.kind, collection, filter, max_results, kept.index_kind, kept.ef_search,
               measured.queries, measured.recall, measured.low, measured.high, measured.search_ms, measured.exact_ms,
               (SELECT coalesce(sum(s.estimated_rows), 0) FROM siglip.index_status AS s WHERE s.model_id = model.model_id),
               target_recall, is_chosen;
    END IF;
    IF measured.high < earlier.low THEN
        RAISE WARNING 'Recall of % under the model % is %, % to %; in the % measurements before it was %, at least %.',
            measured.kind, model.name, round(measured.recall::numeric, 3), round(measured.low::numeric, 3),
            round(measured.high::numeric, 3), earlier.measurements, round(earlier.recall::numeric, 3), round(earlier.low::numeric, 3)
            USING ERRCODE = 'SIG10',
                  HINT = 'siglip.tune_search() finds the ef_search that reaches it again; siglip.recall_drift shows each measurement.';
        RETURN true;
    END IF;
    RETURN false;
END
$$;

COMMENT ON FUNCTION siglip.keep_measurement(
    siglip.models, siglip.recall_measurement, integer, text, jsonb, double precision, boolean)
    IS 'Add a measurement to siglip.recall_history where the caller may; warns of a drop, and returns whether there is one.';

CREATE FUNCTION siglip.check_measuring(sample integer, max_results integer, filter jsonb) RETURNS void
LANGUAGE plpgsql IMMUTABLE
SET search_path = pg_catalog, siglip, pg_temp
AS $$
BEGIN
    IF sample IS NULL OR sample NOT BETWEEN 1 AND 10000 THEN
        RAISE EXCEPTION 'sample is %, not a number from 1 to 10000.', coalesce(sample::text, 'NULL')
            USING ERRCODE = 'invalid_parameter_value', HINT = 'It is how many images, and how many texts, are searched for; 200 is plenty.';
    ELSIF max_results IS NULL OR max_results NOT BETWEEN 1 AND 1000 THEN
        RAISE EXCEPTION 'max_results is %, not a number from 1 to 1000.', coalesce(max_results::text, 'NULL')
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Recall is measured over the best rows; 10 is what most people see.';
    ELSIF jsonb_typeof(filter) <> 'object' THEN
        RAISE EXCEPTION 'filter is a JSON %, not an object.', jsonb_typeof(filter)
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Write for instance filter => ''{"album": "2026"}''.';
    END IF;
END
$$;

COMMENT ON FUNCTION siglip.check_measuring(integer, integer, jsonb) IS 'Raise where the arguments of a measurement of recall are out of range.';

CREATE FUNCTION siglip.index_recall(
    sample      integer DEFAULT 200,
    max_results integer DEFAULT 10,
    collection  text DEFAULT NULL,
    filter      jsonb DEFAULT NULL,
    model_id    integer DEFAULT NULL,
    OUT kind text, OUT queries integer, OUT recall double precision, OUT low double precision, OUT high double precision,
    OUT search_ms double precision, OUT exact_ms double precision, OUT has_dropped boolean
) RETURNS SETOF record
LANGUAGE plpgsql VOLATILE ROWS 2
SET search_path = pg_catalog, siglip, pg_temp
AS $$
DECLARE
    model    siglip.models := siglip.described_model(model_id);
    measured siglip.recall_measurement;
    is_empty boolean := true;
BEGIN
    PERFORM siglip.check_measuring(sample, max_results, filter);
    FOR measured IN
        SELECT m.* FROM siglip.measure_recall(
            model, sample, max_results, collection, filter, ARRAY[coalesce(model.ef_search, siglip.default_ef_search())], NULL) AS m
    LOOP
        is_empty := false;
        has_dropped := siglip.keep_measurement(model, measured, max_results, collection, filter, NULL, false);
        kind := measured.kind;
        queries := measured.queries;
        recall := measured.recall;
        low := measured.low;
        high := measured.high;
        search_ms := measured.search_ms;
        exact_ms := measured.exact_ms;
        RETURN NEXT;
    END LOOP;
    IF is_empty THEN
        RAISE EXCEPTION 'No image to measure with has a vector under the model %, or none passes the filter.', model.name
            USING ERRCODE = 'no_data_found', HINT = 'SELECT * FROM siglip.index_status shows what is there.';
    END IF;
EXCEPTION WHEN connection_exception OR admin_shutdown OR crash_shutdown THEN
    PERFORM siglip.report_away_servers(model.model_id, SQLERRM, false);
END
$$;

COMMENT ON FUNCTION siglip.index_recall(integer, integer, text, jsonb, integer)
    IS 'The share of the max_results best images that searches find, by stored vectors and by texts that were asked, with its 95 % interval.';
