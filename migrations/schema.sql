-- The schema siglip at revision 0005, generated from the migrations by `make schema`; for reading.

-- One row of a search result; similarity in [-1, 1], score in [0, 1].
CREATE TYPE siglip.image_match AS (
    image_id bigint,
    uri text,
    similarity double precision,
    score double precision,
    metadata jsonb
);

-- One row is the content of an image that was handed over as bytes.
CREATE TABLE siglip.image_bytes (
    image_id bigint NOT NULL,
    content bytea NOT NULL,
    CONSTRAINT image_bytes_pkey PRIMARY KEY (image_id),
    CONSTRAINT image_bytes_image_id_fkey FOREIGN KEY (image_id) REFERENCES siglip.images(image_id) ON DELETE CASCADE
);

-- One row is the unit vector of one content under one model.
CREATE TABLE siglip.image_embeddings (
    model_id integer NOT NULL,
    content_hash bytea NOT NULL,
    embedding halfvec NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT image_embeddings_pkey PRIMARY KEY (model_id, content_hash),
    CONSTRAINT image_embeddings_content_hash_check CHECK ((octet_length(content_hash) = 32))
) PARTITION BY LIST (model_id);

-- One row is one image at one URI in one collection.
CREATE TABLE siglip.images (
    image_id bigint GENERATED ALWAYS AS IDENTITY NOT NULL,
    collection text DEFAULT 'default'::text NOT NULL,
    uri text NOT NULL,
    key text,  -- The caller's own key for the image, if there is one.
    source_version text,  -- What tells that the source has changed, for files <mtime_ns>-<size>.
    content_hash bytea,  -- SHA-256 of the bytes that were embedded last; NULL before the first time.
    width integer,
    height integer,
    format text,
    metadata jsonb DEFAULT '{}'::jsonb NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT images_pkey PRIMARY KEY (image_id),
    CONSTRAINT images_collection_uri_key UNIQUE (collection, uri),
    CONSTRAINT images_collection_check CHECK ((collection <> ''::text)),
    CONSTRAINT images_content_hash_check CHECK ((octet_length(content_hash) = 32)),
    CONSTRAINT images_height_check CHECK ((height > 0)),
    CONSTRAINT images_metadata_check CHECK ((jsonb_typeof(metadata) = 'object'::text)),
    CONSTRAINT images_uri_check CHECK ((uri <> ''::text)),
    CONSTRAINT images_width_check CHECK ((width > 0))
);
CREATE INDEX images_content_hash_btree_idx ON siglip.images USING btree (content_hash);
CREATE INDEX images_metadata_gin_idx ON siglip.images USING gin (metadata jsonb_path_ops);

-- One row is one image to embed under one model: queued, claimed, done or failed.
CREATE TABLE siglip.ingest_items (
    item_id bigint GENERATED ALWAYS AS IDENTITY NOT NULL,
    image_id bigint NOT NULL,
    model_id integer NOT NULL,
    state text DEFAULT 'queued'::text NOT NULL,
    attempts integer DEFAULT 0 NOT NULL,  -- How often the item was claimed since it was last queued by a person.
    is_suspect boolean DEFAULT false NOT NULL,  -- Its last worker was lost with it: it is claimed alone from then on.
    not_before timestamp with time zone DEFAULT now() NOT NULL,  -- A retry waits until then.
    lease_token uuid,
    error_code text,
    error_message text,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    worker_id uuid,  -- The worker that has the item, while it is claimed.
    CONSTRAINT ingest_items_pkey PRIMARY KEY (item_id),
    CONSTRAINT ingest_items_image_id_model_id_key UNIQUE (image_id, model_id),
    CONSTRAINT ingest_items_image_id_fkey FOREIGN KEY (image_id) REFERENCES siglip.images(image_id) ON DELETE CASCADE,
    CONSTRAINT ingest_items_model_id_fkey FOREIGN KEY (model_id) REFERENCES siglip.models(model_id) ON DELETE CASCADE,
    CONSTRAINT ingest_items_attempts_check CHECK ((attempts >= 0)),
    CONSTRAINT ingest_items_error_check CHECK (((state <> 'failed'::text) OR (num_nulls(error_code, error_message) = 0))),
    CONSTRAINT ingest_items_lease_check CHECK ((num_nonnulls(lease_token, worker_id) =
CASE state
    WHEN 'claimed'::text THEN 2
    ELSE 0
END)),
    CONSTRAINT ingest_items_state_check CHECK ((state = ANY (ARRAY['queued'::text, 'claimed'::text, 'done'::text, 'failed'::text])))
);
CREATE INDEX ingest_items_claimed_btree_idx ON siglip.ingest_items USING btree (worker_id) WHERE (state = 'claimed'::text);
CREATE INDEX ingest_items_failed_btree_idx ON siglip.ingest_items USING btree (model_id, item_id) WHERE (state = 'failed'::text);
CREATE INDEX ingest_items_lease_token_btree_idx ON siglip.ingest_items USING btree (lease_token) WHERE (state = 'claimed'::text);
CREATE INDEX ingest_items_queued_btree_idx ON siglip.ingest_items USING btree (model_id, item_id) WHERE (state = 'queued'::text);

-- One row is the unit vector of one label under one model.
CREATE TABLE siglip.label_embeddings (
    model_id integer NOT NULL,
    label_id integer NOT NULL,
    embedding halfvec NOT NULL,
    CONSTRAINT label_embeddings_pkey PRIMARY KEY (model_id, label_id),
    CONSTRAINT label_embeddings_label_id_fkey FOREIGN KEY (label_id) REFERENCES siglip.labels(label_id) ON DELETE CASCADE,
    CONSTRAINT label_embeddings_model_id_fkey FOREIGN KEY (model_id) REFERENCES siglip.models(model_id) ON DELETE CASCADE
);
CREATE INDEX label_embeddings_label_id_btree_idx ON siglip.label_embeddings USING btree (label_id);

-- One row is a label set: a named list of labels.
CREATE TABLE siglip.label_sets (
    label_set_id integer GENERATED ALWAYS AS IDENTITY NOT NULL,
    name text NOT NULL,
    template text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT label_sets_pkey PRIMARY KEY (label_set_id),
    CONSTRAINT label_sets_name_key UNIQUE (name),
    CONSTRAINT label_sets_name_check CHECK ((name <> ''::text))
);

-- One row is a label of a label set, with the prompts whose mean stands for it.
CREATE TABLE siglip.labels (
    label_id integer GENERATED ALWAYS AS IDENTITY NOT NULL,
    label_set_id integer NOT NULL,
    position integer NOT NULL,
    label text NOT NULL,
    prompts text[] NOT NULL,
    threshold real,  -- Score from which an image has the label, in [0, 1]; NULL means 0.5.
    CONSTRAINT labels_pkey PRIMARY KEY (label_id),
    CONSTRAINT labels_label_set_id_label_key UNIQUE (label_set_id, label),
    CONSTRAINT labels_label_set_id_fkey FOREIGN KEY (label_set_id) REFERENCES siglip.label_sets(label_set_id) ON DELETE CASCADE,
    CONSTRAINT labels_label_check CHECK ((label <> ''::text)),
    CONSTRAINT labels_prompts_check CHECK ((cardinality(prompts) > 0)),
    CONSTRAINT labels_threshold_check CHECK (((threshold >= (0)::double precision) AND (threshold <= (1)::double precision)))
);

-- One row is one checkpoint revision; at most one is active.
CREATE TABLE siglip.models (
    model_id integer GENERATED ALWAYS AS IDENTITY NOT NULL,
    name text NOT NULL,
    revision text DEFAULT ''::text NOT NULL,
    dimension integer,
    logit_scale double precision,  -- A logarithm, as in the checkpoint: the factor is exp(logit_scale).
    logit_bias double precision,
    image_settings jsonb DEFAULT '{}'::jsonb NOT NULL,
    text_settings jsonb DEFAULT '{}'::jsonb NOT NULL,
    is_active boolean DEFAULT false NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    described_at timestamp with time zone,  -- When a worker first loaded the checkpoint; NULL before that.
    figures jsonb,  -- What a worker's quick check gave first: token ids, hashes of pixels, vectors. Later workers must give the same.
    CONSTRAINT models_pkey PRIMARY KEY (model_id),
    CONSTRAINT models_name_revision_key UNIQUE (name, revision),
    CONSTRAINT models_described_check CHECK ((num_nonnulls(dimension, logit_scale, logit_bias, described_at) = ANY (ARRAY[0, 4]))),
    CONSTRAINT models_dimension_check CHECK (((dimension >= 1) AND (dimension <= 4000))),
    CONSTRAINT models_name_check CHECK ((name <> ''::text))
);
CREATE UNIQUE INDEX models_is_active_btree_idx ON siglip.models USING btree (is_active) WHERE is_active;

-- One row is the unit vector of one text under one model: a bounded cache.
CREATE TABLE siglip.texts (
    model_id integer NOT NULL,
    text_hash uuid GENERATED ALWAYS AS ((md5(query))::uuid) STORED NOT NULL,
    query text NOT NULL,
    embedding halfvec,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    last_used_at timestamp with time zone DEFAULT now() NOT NULL,
    refusal text,  -- Why the model can't embed the text, a sentence; NULL where it can.
    warning text,  -- What the model doesn't read of the text, a sentence; NULL where it reads all.
    CONSTRAINT texts_pkey PRIMARY KEY (model_id, text_hash),
    CONSTRAINT texts_model_id_fkey FOREIGN KEY (model_id) REFERENCES siglip.models(model_id) ON DELETE CASCADE,
    CONSTRAINT texts_query_check CHECK ((octet_length(query) <= 1200)),
    CONSTRAINT texts_refusal_check CHECK ((num_nonnulls(embedding, refusal) = 1))
);
CREATE INDEX texts_last_used_at_btree_idx ON siglip.texts USING btree (model_id, last_used_at);

-- One row is a worker process, which renews seen_at several times in lease_s seconds.
CREATE TABLE siglip.workers (
    worker_id uuid NOT NULL,
    model_id integer NOT NULL,
    node text DEFAULT ''::text NOT NULL,  -- What Celery calls it, for instance siglip-4711@host.
    lease_s real NOT NULL,  -- Once it has been silent for so many seconds, what it had claimed is queued again.
    started_at timestamp with time zone DEFAULT now() NOT NULL,
    seen_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT workers_pkey PRIMARY KEY (worker_id),
    CONSTRAINT workers_model_id_fkey FOREIGN KEY (model_id) REFERENCES siglip.models(model_id) ON DELETE CASCADE,
    CONSTRAINT workers_lease_s_check CHECK ((lease_s > (0)::double precision))
);
CREATE INDEX workers_model_id_btree_idx ON siglip.workers USING btree (model_id);

-- The row of siglip.models that searches use; an error where there is none.
CREATE OR REPLACE FUNCTION siglip.active_model()
 RETURNS siglip.models
 LANGUAGE sql
 STABLE
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
    SELECT siglip.described_model(NULL)
$function$;

-- Lay a text of at most 1,200 bytes out as shared advisory locks, where a worker sees it at once.
CREATE OR REPLACE FUNCTION siglip.ask_text(query text, model_id integer, is_cut boolean)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
DECLARE
    letter  constant bigint := 90::bigint << 56;
    content constant bytea := convert_to(query, 'UTF8');
    size    constant integer := octet_length(content);
    padded  constant bytea := content || '\x0000000000'::bytea;
    payload bigint := (model_id::bigint << 16) | size | CASE WHEN is_cut THEN 32768 ELSE 0 END;
    is_free boolean := pg_try_advisory_xact_lock_shared(letter | payload);
BEGIN
    FOR chunk IN 0 .. (size - 1) / 6 LOOP
        payload := 0;
        FOR position IN 6 * chunk .. 6 * chunk + 5 LOOP
            payload := (payload << 8) | get_byte(padded, position);
        END LOOP;
        is_free := is_free AND pg_try_advisory_xact_lock_shared(letter | ((chunk + 1)::bigint << 48) | payload);
    END LOOP;
    IF NOT (is_free AND pg_try_advisory_xact_lock_shared(1397311308, model_id)) THEN
        RAISE EXCEPTION 'The text can''t be sent to a worker: another program holds an advisory lock that it needs.'
            USING ERRCODE = 'object_in_use', HINT = 'pg_locks shows it, with the mode ExclusiveLock.';
    END IF;
END
$function$;

-- Whether the caller can add to the cache: a role that only searches may have no right to, and a standby can't.
CREATE OR REPLACE FUNCTION siglip.can_write_texts()
 RETURNS boolean
 LANGUAGE sql
 STABLE
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
    SELECT current_setting('transaction_read_only') = 'off'
       AND has_table_privilege('siglip.texts', 'INSERT') AND has_table_privilege('siglip.texts', 'UPDATE')
       AND has_table_privilege('siglip.texts', 'SELECT') AND has_table_privilege('siglip.texts', 'DELETE')
$function$;

-- An error unless max_results is a number from 1 to 10,000.
CREATE OR REPLACE FUNCTION siglip.check_max_results(max_results integer)
 RETURNS void
 LANGUAGE plpgsql
 IMMUTABLE
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
BEGIN
    IF max_results IS NULL OR max_results NOT BETWEEN 1 AND 10000 THEN
        RAISE EXCEPTION 'max_results is %, not a number from 1 to 10000.', coalesce(max_results::text, 'NULL')
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Ask for fewer rows, or narrow the search with filter or collection.';
    END IF;
END
$function$;

-- Make the partition of siglip.image_embeddings for one model, with its HNSW index; nothing happens where it exists.
CREATE OR REPLACE FUNCTION siglip.create_embedding_partition(model_id integer, dimension integer)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
DECLARE
    partition_name text := format('image_embeddings_%s', model_id);
BEGIN
    IF to_regclass(format('siglip.%I', partition_name)) IS NOT NULL THEN
        RETURN;
    END IF;
    EXECUTE format('CREATE TABLE siglip.%I (LIKE siglip.image_embeddings INCLUDING ALL)', partition_name);
    EXECUTE format(
        'ALTER TABLE siglip.%I'
        ' ADD CONSTRAINT %I CHECK (model_id = %L::integer),'
        ' ADD CONSTRAINT %I CHECK (public.vector_dims(embedding) = %L::integer)',
        partition_name, partition_name || '_model_id_check', model_id, partition_name || '_dimension_check', dimension
    );
    EXECUTE format(
        'CREATE INDEX %I ON siglip.%I USING hnsw ((embedding::public.halfvec(%L)) public.halfvec_ip_ops)',
        partition_name || '_embedding_hnsw_idx', partition_name, dimension
    );
    EXECUTE format(
        'ALTER TABLE siglip.image_embeddings ATTACH PARTITION siglip.%I FOR VALUES IN (%L)', partition_name, model_id
    );
END
$function$;

-- Make the function that searches a model's vectors, unless it is there.
CREATE OR REPLACE FUNCTION siglip.create_nearest_images(model_id integer, dimension integer)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
DECLARE
    name constant text := format('siglip.nearest_images_%s', model_id);
BEGIN
    IF to_regproc(name) IS NOT NULL THEN
        RETURN;
    END IF;
    EXECUTE format(
        'CREATE FUNCTION %s(public.halfvec, integer, bigint, double precision, double precision)'
        ' RETURNS siglip.image_match[] LANGUAGE plpgsql STABLE SET search_path = pg_catalog, siglip, pg_temp'
        ' SET plan_cache_mode = force_generic_plan'
        ' SET enable_sort = off SET enable_hashjoin = off SET enable_mergejoin = off AS %L',
        name,
        format('BEGIN RETURN (%s); END',
               siglip.nearest_matches_query(siglip.nearest_images_query(model_id, dimension, false, false, false)))
    );
    EXECUTE format('COMMENT ON FUNCTION %s IS %L', name, format('The unfiltered search by HNSW under the model %s.', model_id));
END
$function$;

-- The first 1,200 bytes of a text, whole characters: more than any model reads, and all that is kept and sent.
CREATE OR REPLACE FUNCTION siglip.cut_text(query text)
 RETURNS text
 LANGUAGE plpgsql
 IMMUTABLE PARALLEL SAFE
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
DECLARE
    content bytea;
    size    integer := 1200;
BEGIN
    IF octet_length(query) <= size THEN
        RETURN (cut_text.query);
    END IF;
    content := convert_to(query, 'UTF8');
    WHILE (get_byte(content, size) & 192) = 128 LOOP  -- in the middle of a character
        size := size - 1;
    END LOOP;
    RETURN convert_from(substring(content FROM 1 FOR size), 'UTF8');
END
$function$;

-- The row of a model that a worker has loaded, NULL for the active one; an error where there is none.
CREATE OR REPLACE FUNCTION siglip.described_model(model_id integer)
 RETURNS siglip.models
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
DECLARE
    model siglip.models;
BEGIN
    IF described_model.model_id IS NULL THEN
        SELECT m.* INTO model FROM siglip.models AS m WHERE m.is_active;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'No model is active in this database.'
                USING ERRCODE = 'no_data_found',
                      HINT = 'Start a worker (siglip-ingest worker): it activates its model; or name one: siglip-ingest models use NAME.';
        END IF;
    ELSE
        SELECT m.* INTO model FROM siglip.models AS m WHERE m.model_id = described_model.model_id;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'There is no model %.', described_model.model_id
                USING ERRCODE = 'no_data_found', HINT = 'SELECT model_id, name FROM siglip.models shows what there is.';
        END IF;
    END IF;
    IF model.described_at IS NULL THEN
        RAISE EXCEPTION 'The model % has not been loaded by any worker yet.', model.name
            USING ERRCODE = 'no_data_found',
                  HINT = 'Start a worker (siglip-ingest worker) and wait until it says that it is ready.';
    END IF;
    RETURN model;
END
$function$;

-- The unit vector of a text under the active model (or another): from the cache, or from a worker.
CREATE OR REPLACE FUNCTION siglip.embed_text(query text, model_id integer DEFAULT NULL::integer, timeout_s double precision DEFAULT NULL::double precision)
 RETURNS halfvec
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
#variable_conflict use_column
DECLARE
    model         siglip.models;
    found_text    siglip.texts;
    cut_query     text;
    query_hash    uuid;
    started_at    timestamptz;
    seen_at       timestamptz;
    elapsed_s     double precision := 0;
    checked_s     double precision := 0;
    advice        constant text := 'Start a worker (siglip-ingest worker), or search from a Python with torch, which embeds the text itself.';
BEGIN
    IF query IS NULL OR btrim(query, E' \t\n\r') = '' THEN
        RAISE EXCEPTION 'The query is empty.'
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Say in a few words what the image shows.';
    END IF;
    model := siglip.described_model(embed_text.model_id);
    cut_query := siglip.cut_text(embed_text.query);
    query_hash := md5(cut_query)::uuid;
    SELECT t.* INTO found_text FROM siglip.texts AS t
    WHERE t.model_id = model.model_id AND t.text_hash = query_hash AND t.query = cut_query;

    IF NOT FOUND THEN
        -- What can't succeed is said at once.
        IF current_setting('transaction_isolation') NOT IN ('read committed', 'read uncommitted') THEN
            RAISE EXCEPTION 'The text is not in the cache, and a transaction in % never sees the row that a worker would add.',
                upper(current_setting('transaction_isolation'))
                USING ERRCODE = 'object_not_in_prerequisite_state',
                      HINT = 'Search in READ COMMITTED, or call siglip.embed_text once before the transaction starts.';
        END IF;
        timeout_s := coalesce(timeout_s, nullif(current_setting('siglip.embed_timeout_s', true), '')::double precision, 10);
        started_at := clock_timestamp();
        seen_at := started_at;
        BEGIN
            IF NOT siglip.has_text_listener(model.model_id) THEN
                RAISE EXCEPTION 'The text is not in the cache, and no worker of the model % listens to this server.', model.name
                    USING ERRCODE = 'SIG01', HINT = advice;
            END IF;
            PERFORM siglip.ask_text(cut_query, model.model_id, cut_query <> embed_text.query);
            LOOP
                PERFORM pg_sleep(least(0.02, greatest(0.001, elapsed_s / 20)));
                SELECT t.* INTO found_text FROM siglip.texts AS t
                WHERE t.model_id = model.model_id AND t.text_hash = query_hash AND t.query = cut_query;
                EXIT WHEN FOUND;
                elapsed_s := extract(epoch FROM clock_timestamp() - started_at);
                IF elapsed_s >= timeout_s THEN
                    RAISE EXCEPTION 'No worker embedded the text within % s.', timeout_s
                        USING ERRCODE = 'SIG01',
                              HINT = format('Is a worker of the model %s running? SET siglip.embed_timeout_s = ''60'' waits longer.', model.name);
                END IF;
                -- Another worker takes over from one that dies; the question is still there. Without any there is no hope.
                IF elapsed_s - checked_s > 0.5 THEN
                    checked_s := elapsed_s;
                    IF siglip.has_text_listener(model.model_id) THEN
                        seen_at := clock_timestamp();
                    ELSIF clock_timestamp() - seen_at > interval '2 seconds' THEN
                        RAISE EXCEPTION 'The last worker of the model % ended before it embedded the text.', model.name
                            USING ERRCODE = 'SIG01', HINT = advice;
                    END IF;
                END IF;
            END LOOP;
            RAISE EXCEPTION USING ERRCODE = 'SIG00';  -- the locks go with the subtransaction; variables keep their values
        EXCEPTION
            WHEN SQLSTATE 'SIG00' THEN
                NULL;
            WHEN out_of_memory THEN
                RAISE EXCEPTION 'The text can''t be sent to a worker: PostgreSQL''s lock table is full.'
                    USING ERRCODE = 'configuration_limit_exceeded',
                          HINT = 'Ask fewer new texts at a time, shorten this one, or raise max_locks_per_transaction.';
        END;
    ELSIF found_text.last_used_at < now() - interval '1 day' THEN  -- once a day is enough to know which are in use
        PERFORM siglip.touch_text(found_text.model_id, found_text.text_hash);
    END IF;

    IF found_text.refusal IS NOT NULL THEN
        RAISE EXCEPTION '%', found_text.refusal USING ERRCODE = 'invalid_parameter_value';
    ELSIF found_text.warning IS NOT NULL THEN
        RAISE NOTICE '%', found_text.warning USING ERRCODE = 'SIG10';
    END IF;
    RETURN found_text.embedding;
END
$function$;

-- Whether a worker of a model answers texts on this server.
CREATE OR REPLACE FUNCTION siglip.has_text_listener(model_id integer)
 RETURNS boolean
 LANGUAGE sql
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
    -- This query's own lock on the view tells the database's oid: reading pg_database would take a lock out of the shared
    -- table, which may be full.
    WITH locks AS MATERIALIZED (
        SELECT l.locktype, l.database, l.relation, l.classid, l.objid, l.objsubid, l.granted, l.pid
        FROM pg_locks AS l
        WHERE l.locktype IN ('advisory', 'relation')
    )
    SELECT EXISTS (
        SELECT FROM locks AS l
        WHERE l.locktype = 'advisory' AND l.objsubid = 2 AND l.granted
          AND l.classid = 1397311309::oid AND l.objid = model_id::oid
          AND l.database = (
              SELECT own.database FROM locks AS own
              WHERE own.pid = pg_backend_pid() AND own.relation = 'pg_catalog.pg_locks'::regclass
              LIMIT 1
          )
    )
$function$;

-- The images whose score for a label reaches min_score (by default the label's threshold, else 0.5), best first.
CREATE OR REPLACE FUNCTION siglip.images_with_label(label_set text, label text, min_score double precision DEFAULT NULL::double precision, max_results integer DEFAULT NULL::integer, collection text DEFAULT NULL::text, filter jsonb DEFAULT NULL::jsonb, model_id integer DEFAULT NULL::integer)
 RETURNS SETOF siglip.image_match
 LANGUAGE plpgsql
 STABLE ROWS 100
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
 SET jit TO 'off'
AS $function$
#variable_conflict use_column
DECLARE
    model           siglip.models := siglip.described_model(images_with_label.model_id);
    label_embedding public.halfvec;
    least_score     double precision;
BEGIN
    IF max_results IS NOT NULL THEN
        PERFORM siglip.check_max_results(max_results);
    END IF;
    IF min_score NOT BETWEEN 0 AND 1 THEN
        RAISE EXCEPTION 'min_score is %, not a number from 0 to 1.', min_score
            USING ERRCODE = 'invalid_parameter_value', HINT = 'A score is a probability.';
    END IF;
    IF NOT EXISTS (SELECT FROM siglip.label_sets AS s WHERE s.name = images_with_label.label_set) THEN
        RAISE EXCEPTION 'There is no label set %.', coalesce(quote_literal(label_set), 'NULL')
            USING ERRCODE = 'no_data_found', HINT = 'SELECT name FROM siglip.label_sets shows what there is.';
    END IF;
    SELECT v.embedding, coalesce(min_score, l.threshold, 0.5) INTO label_embedding, least_score
    FROM siglip.label_sets AS s
    JOIN siglip.labels AS l USING (label_set_id)
    LEFT JOIN siglip.label_embeddings AS v ON v.label_id = l.label_id AND v.model_id = model.model_id
    WHERE s.name = images_with_label.label_set AND l.label = images_with_label.label;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'The label set % has no label %.', quote_literal(label_set), coalesce(quote_literal(label), 'NULL')
            USING ERRCODE = 'no_data_found', HINT = 'SELECT label FROM siglip.labels shows what there is.';
    ELSIF label_embedding IS NULL THEN
        RAISE EXCEPTION 'The label set % has no vectors under the model % yet.', quote_literal(label_set), model.name
            USING ERRCODE = 'no_data_found', HINT = 'A worker of that model adds them within seconds (siglip-ingest worker).';
    END IF;
    RETURN QUERY
        SELECT i.image_id, i.uri, c.similarity, g.score, i.metadata
        FROM siglip.image_embeddings AS e
        JOIN siglip.images AS i USING (content_hash)
        CROSS JOIN LATERAL (
            SELECT greatest(-1::double precision, least(1::double precision, -(e.embedding OPERATOR(public.<#>) label_embedding))) AS similarity
            OFFSET 0
        ) AS c
        CROSS JOIN LATERAL (SELECT siglip.score(c.similarity, model.logit_scale, model.logit_bias) AS score) AS g
        WHERE e.model_id = model.model_id
          AND (images_with_label.collection IS NULL OR i.collection = images_with_label.collection)
          AND (images_with_label.filter IS NULL OR i.metadata @> images_with_label.filter)
          AND g.score >= least_score
        ORDER BY c.similarity DESC, i.image_id
        LIMIT max_results;
END
$function$;

-- The vector search that search_images and similar_images share.
CREATE OR REPLACE FUNCTION siglip.nearest_images(model siglip.models, query_embedding halfvec, max_results integer, collection text, filter jsonb, min_score double precision, excluded_image_id bigint)
 RETURNS SETOF siglip.image_match
 LANGUAGE plpgsql
 STABLE ROWS 10
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
 SET jit TO 'off'
 SET "hnsw.iterative_scan" TO 'relaxed_order'
 SET "hnsw.ef_search" TO '100'
AS $function$
#variable_conflict use_column
DECLARE
    exact_below_bytes constant bigint := 8 * 1024 * 1024;
    is_narrowed constant boolean := collection IS NOT NULL OR filter IS NOT NULL;
    is_exact    boolean;
    matches     siglip.image_match[];
BEGIN
    PERFORM siglip.check_max_results(max_results);
    IF jsonb_typeof(filter) <> 'object' THEN
        RAISE EXCEPTION 'filter is a JSON %, not an object.', jsonb_typeof(filter)
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Write for instance filter => ''{"album": "2026"}''.';
    ELSIF min_score NOT BETWEEN 0 AND 1 THEN
        RAISE EXCEPTION 'min_score is %, not a number from 0 to 1.', min_score
            USING ERRCODE = 'invalid_parameter_value', HINT = 'A score is a probability.';
    ELSIF query_embedding IS NULL OR public.l2_norm(query_embedding) = 0 THEN
        RAISE EXCEPTION 'The query embedding is NULL or zero.'
            USING ERRCODE = 'invalid_parameter_value', HINT = 'siglip.embed_text makes one from a text.';
    ELSIF public.vector_dims(query_embedding) <> model.dimension THEN
        RAISE EXCEPTION 'The query embedding has % elements, those of the model % have %.',
            public.vector_dims(query_embedding), model.name, model.dimension
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Embed the query with that model.';
    END IF;
    IF abs(public.l2_norm(query_embedding) - 1) > 0.01 THEN
        query_embedding := public.l2_normalize(query_embedding);
    END IF;

    is_exact := pg_relation_size(format('siglip.%I', 'image_embeddings_' || model.model_id)::regclass) < exact_below_bytes;
    PERFORM set_config('hnsw.ef_search', least(1000, greatest(100, 2 * max_results))::text, true);
    LOOP
        IF is_exact OR is_narrowed THEN
            EXECUTE siglip.nearest_matches_query(siglip.nearest_images_query(
                    model.model_id, model.dimension, is_exact, collection IS NOT NULL, filter IS NOT NULL))
                INTO matches
                USING query_embedding, max_results, excluded_image_id, model.logit_scale, model.logit_bias, collection, filter;
        ELSE
            EXECUTE format('SELECT siglip.nearest_images_%s($1, $2, $3, $4, $5)', model.model_id)
                INTO matches
                USING query_embedding, max_results, excluded_image_id, model.logit_scale, model.logit_bias;
        END IF;
        EXIT WHEN is_exact OR cardinality(matches) >= max_results;
        is_exact := true;
    END LOOP;

    RETURN QUERY SELECT m.* FROM unnest(matches) AS m
        WHERE nearest_images.min_score IS NULL OR m.score >= nearest_images.min_score;
END
$function$;

-- The text of the query that a search executes.
CREATE OR REPLACE FUNCTION siglip.nearest_images_query(model_id integer, dimension integer, is_exact boolean, has_collection boolean, has_filter boolean)
 RETURNS text
 LANGUAGE sql
 IMMUTABLE
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
    SELECT format(
        'SELECT i.image_id, e.embedding::public.halfvec(%1$L) OPERATOR(public.<#>) $1 AS distance'
        ' FROM siglip.image_embeddings AS e JOIN siglip.images AS i ON i.content_hash = e.content_hash'
        ' WHERE e.model_id = %2$L AND i.image_id IS DISTINCT FROM $3'
        || CASE WHEN has_collection THEN ' AND i.collection = $6' ELSE '' END
        || CASE WHEN has_filter THEN ' AND i.metadata @> $7' ELSE '' END
        || CASE WHEN is_exact
                THEN ' ORDER BY (e.embedding::public.halfvec(%1$L) OPERATOR(public.<#>) $1) + 0'
                ELSE ' ORDER BY e.embedding::public.halfvec(%1$L) OPERATOR(public.<#>) $1' END
        || ' FETCH FIRST $2 ROWS WITH TIES',
        dimension, model_id
    )
$function$;

-- The text of the query that makes one array of matches, best first, of what siglip.nearest_images_query finds.
CREATE OR REPLACE FUNCTION siglip.nearest_matches_query(query text)
 RETURNS text
 LANGUAGE sql
 IMMUTABLE
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
    SELECT 'SELECT ARRAY('
        'SELECT ROW(i.image_id, i.uri, c.similarity, siglip.score(c.similarity, $4, $5), i.metadata)::siglip.image_match'
        ' FROM (' || query || ') AS n JOIN siglip.images AS i ON i.image_id = n.image_id'
        ' CROSS JOIN LATERAL (SELECT greatest(-1, least(1, -n.distance)) AS similarity OFFSET 0) AS c'
        ' ORDER BY n.distance + 0, n.image_id LIMIT $2)'
$function$;

-- sigmoid(exp(logit_scale) * similarity + logit_bias).
CREATE OR REPLACE FUNCTION siglip.score(similarity double precision, logit_scale double precision, logit_bias double precision)
 RETURNS double precision
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN (((exp(logit_scale) * similarity) + logit_bias) > (700)::double precision) THEN (1)::double precision WHEN (((exp(logit_scale) * similarity) + logit_bias) < ('-700'::integer)::double precision) THEN (0)::double precision ELSE ((1)::double precision / ((1)::double precision + exp((- ((exp(logit_scale) * similarity) + logit_bias))))) END;

-- A model's score of a similarity; by default the active model's.
CREATE OR REPLACE FUNCTION siglip.score(similarity double precision, model_id integer DEFAULT NULL::integer)
 RETURNS double precision
 LANGUAGE sql
 STABLE
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
    SELECT siglip.score(similarity, m.logit_scale, m.logit_bias) FROM siglip.described_model(model_id) AS m
$function$;

-- The scores of an image vector for each label of a set, best first: an image that isn't indexed.
CREATE OR REPLACE FUNCTION siglip.score_labels(query_embedding halfvec, label_set text, model_id integer DEFAULT NULL::integer)
 RETURNS TABLE(label text, score double precision)
 LANGUAGE plpgsql
 STABLE ROWS 10
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
#variable_conflict use_column
DECLARE
    model siglip.models := siglip.described_model(score_labels.model_id);
BEGIN
    RETURN QUERY
        SELECT l.label, siglip.score(c.similarity, model.logit_scale, model.logit_bias)
        FROM siglip.label_embeddings AS v
        JOIN siglip.labels AS l USING (label_id)
        JOIN siglip.label_sets AS s USING (label_set_id)
        CROSS JOIN LATERAL (
            SELECT greatest(-1::double precision, least(1::double precision, -(v.embedding OPERATOR(public.<#>) query_embedding)))
                AS similarity
            OFFSET 0
        ) AS c
        WHERE v.model_id = model.model_id AND s.name = score_labels.label_set
        ORDER BY c.similarity DESC, l.label;
END
$function$;

-- The images that fit a text best where its vector is in the cache; a single row without an image where it isn't.
CREATE OR REPLACE FUNCTION siglip.search_cached_text(query text, max_results integer, collection text, filter jsonb, min_score double precision, OUT model_id integer, OUT name text, OUT revision text, OUT is_cached boolean, OUT image_id bigint, OUT uri text, OUT similarity double precision, OUT score double precision, OUT metadata jsonb)
 RETURNS SETOF record
 LANGUAGE plpgsql
 ROWS 10
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
#variable_conflict use_column
DECLARE
    model      siglip.models := siglip.described_model(NULL);
    cut_query  text := siglip.cut_text(search_cached_text.query);
    found_text siglip.texts;
BEGIN
    SELECT t.* INTO found_text FROM siglip.texts AS t
    WHERE t.model_id = model.model_id AND t.text_hash = md5(cut_query)::uuid AND t.query = cut_query;
    IF FOUND AND found_text.refusal IS NOT NULL THEN
        RAISE EXCEPTION '%', found_text.refusal USING ERRCODE = 'invalid_parameter_value';
    ELSIF FOUND THEN
        IF found_text.last_used_at < now() - interval '1 day' THEN
            PERFORM siglip.touch_text(found_text.model_id, found_text.text_hash);
        END IF;
        RETURN QUERY SELECT model.model_id, model.name, model.revision, true, n.*
        FROM siglip.nearest_images(model, found_text.embedding, max_results, collection, filter, min_score, NULL) AS n;
        IF FOUND THEN
            RETURN;
        END IF;
    END IF;
    -- No image, or no vector of the text: one row that names the model all the same.
    RETURN QUERY SELECT model.model_id, model.name, model.revision, found_text.text_hash IS NOT NULL,
        NULL::bigint, NULL::text, NULL::double precision, NULL::double precision, NULL::jsonb;
END
$function$;

-- Remember the vector of a text that the caller has embedded, where the caller may, and search with it.
CREATE OR REPLACE FUNCTION siglip.search_embedded_text(query text, query_embedding halfvec, model_id integer, name text, revision text, warning text, max_rows integer, max_results integer, collection text, filter jsonb, min_score double precision)
 RETURNS SETOF siglip.image_match
 LANGUAGE plpgsql
 ROWS 10
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
BEGIN
    IF siglip.can_write_texts() THEN
        PERFORM siglip.store_text(query, query_embedding, model_id, name, revision, warning, NULL, max_rows);
    END IF;
    RETURN QUERY SELECT n.* FROM siglip.search_images(query_embedding, max_results, collection, filter, min_score, model_id) AS n;
END
$function$;

-- The images that fit a text best, best first. The text comes from the cache or is embedded by a worker.
CREATE OR REPLACE FUNCTION siglip.search_images(query text, max_results integer DEFAULT 10, collection text DEFAULT NULL::text, filter jsonb DEFAULT NULL::jsonb, min_score double precision DEFAULT NULL::double precision, model_id integer DEFAULT NULL::integer, timeout_s double precision DEFAULT NULL::double precision)
 RETURNS SETOF siglip.image_match
 LANGUAGE plpgsql
 ROWS 10
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
DECLARE
    model siglip.models := siglip.described_model(model_id);
BEGIN
    -- Looked at first: a wrong number should not wait for a worker.
    PERFORM siglip.check_max_results(max_results);
    RETURN QUERY SELECT n.* FROM siglip.nearest_images(
        model, siglip.embed_text(query, model.model_id, timeout_s), max_results, collection, filter, min_score, NULL) AS n;
END
$function$;

-- The images nearest to a vector of the active model, or of another, best first.
CREATE OR REPLACE FUNCTION siglip.search_images(query_embedding halfvec, max_results integer DEFAULT 10, collection text DEFAULT NULL::text, filter jsonb DEFAULT NULL::jsonb, min_score double precision DEFAULT NULL::double precision, model_id integer DEFAULT NULL::integer)
 RETURNS SETOF siglip.image_match
 LANGUAGE plpgsql
 STABLE ROWS 10
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
BEGIN
    RETURN QUERY SELECT n.* FROM siglip.nearest_images(
        siglip.described_model(model_id), query_embedding, max_results, collection, filter, min_score, NULL) AS n;
END
$function$;

-- The images most similar to one that is indexed, best first, without that one. Only the order of the scores means something.
CREATE OR REPLACE FUNCTION siglip.similar_images(image_id bigint, max_results integer DEFAULT 10, collection text DEFAULT NULL::text, filter jsonb DEFAULT NULL::jsonb, min_score double precision DEFAULT NULL::double precision, model_id integer DEFAULT NULL::integer)
 RETURNS SETOF siglip.image_match
 LANGUAGE plpgsql
 STABLE ROWS 10
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
DECLARE
    model           siglip.models := siglip.described_model(model_id);
    query_embedding public.halfvec;
BEGIN
    SELECT e.embedding INTO query_embedding
    FROM siglip.images AS i
    LEFT JOIN siglip.image_embeddings AS e ON e.model_id = model.model_id AND e.content_hash = i.content_hash
    WHERE i.image_id = similar_images.image_id;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'There is no image %.', coalesce(similar_images.image_id::text, 'NULL')
            USING ERRCODE = 'no_data_found', HINT = 'SELECT image_id, uri FROM siglip.images shows what there is.';
    ELSIF query_embedding IS NULL THEN
        RAISE EXCEPTION 'Image % is not embedded under the model %.', similar_images.image_id, model.name
            USING ERRCODE = 'no_data_found',
                  HINT = format('SELECT state, error_message FROM siglip.ingest_items WHERE image_id = %s tells why.',
                                similar_images.image_id);
    END IF;
    RETURN QUERY SELECT n.* FROM siglip.nearest_images(
        model, query_embedding, max_results, collection, filter, min_score, similar_images.image_id) AS n;
END
$function$;

-- Remember a text's vector under the model (name, revision) that made it; one that is there already stays.
CREATE OR REPLACE FUNCTION siglip.store_text(query text, embedding halfvec, model_id integer, name text, revision text, warning text DEFAULT NULL::text, refusal text DEFAULT NULL::text, max_rows integer DEFAULT NULL::integer)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
BEGIN
    IF NOT EXISTS (
        SELECT FROM siglip.models AS m
        WHERE m.model_id = store_text.model_id AND m.name = store_text.name AND m.revision = store_text.revision
    ) THEN
        RAISE EXCEPTION 'Model % of the database is not % at revision %.', model_id, name, revision
            USING ERRCODE = 'SIG02', HINT = 'The model was changed or taken out meanwhile. Try again.';
    END IF;
    IF max_rows IS NOT NULL THEN
        PERFORM set_config('siglip.max_cached_texts', max_rows::text, true);
    END IF;
    INSERT INTO siglip.texts AS t (model_id, query, embedding, warning, refusal)
    VALUES (store_text.model_id, siglip.cut_text(store_text.query), store_text.embedding, store_text.warning, store_text.refusal)
    ON CONFLICT DO NOTHING;
END
$function$;

-- Note that a text was used, unless another transaction is just at its row.
CREATE OR REPLACE FUNCTION siglip.touch_text(model_id integer, text_hash uuid)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
BEGIN
    -- A search must not wait for a lock, or fail for one.
    IF current_setting('transaction_isolation') = 'read committed' AND siglip.can_write_texts() THEN
        UPDATE siglip.texts AS t SET last_used_at = now()
        WHERE (t.model_id, t.text_hash) IN (
            SELECT u.model_id, u.text_hash
            FROM siglip.texts AS u
            WHERE u.model_id = touch_text.model_id AND u.text_hash = touch_text.text_hash
            FOR NO KEY UPDATE SKIP LOCKED
        );
    END IF;
END
$function$;

-- Forget the texts that were used longest ago, all but siglip.max_cached_texts of a model.
CREATE OR REPLACE FUNCTION siglip.trim_texts()
 RETURNS trigger
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
DECLARE
    max_rows constant integer := coalesce(nullif(current_setting('siglip.max_cached_texts', true), ''), '100000')::integer;
BEGIN
    -- Rows that another transaction is at, a search that notes their use for instance, stay: nobody waits.
    DELETE FROM siglip.texts AS t
    WHERE (t.model_id, t.text_hash) IN (
        SELECT u.model_id, u.text_hash
        FROM siglip.texts AS u
        WHERE (u.model_id, u.text_hash) IN (
            SELECT o.model_id, o.text_hash
            FROM siglip.texts AS o
            WHERE o.model_id = NEW.model_id
            ORDER BY o.last_used_at DESC, o.text_hash
            OFFSET max_rows
        )
        FOR UPDATE SKIP LOCKED
    );
    RETURN NULL;
END
$function$;

-- One row is one image x label under the active model. The scores of a label set are independent: they don't sum to 1.
CREATE VIEW siglip.label_scores AS
 SELECT i.image_id,
    s.name AS label_set,
    l.label,
    c.similarity,
    g.logit,
    siglip.score(c.similarity, m.logit_scale, m.logit_bias) AS score
   FROM (((((((siglip.models m
     JOIN siglip.label_embeddings v ON ((v.model_id = m.model_id)))
     JOIN siglip.labels l USING (label_id))
     JOIN siglip.label_sets s USING (label_set_id))
     JOIN siglip.image_embeddings e ON ((e.model_id = m.model_id)))
     JOIN siglip.images i USING (content_hash))
     CROSS JOIN LATERAL ( SELECT GREATEST((- (1)::double precision), LEAST((1)::double precision, (- (e.embedding <#> v.embedding)))) AS similarity
         OFFSET 0) c)
     CROSS JOIN LATERAL ( SELECT ((exp(m.logit_scale) * c.similarity) + m.logit_bias) AS logit) g)
  WHERE (m.model_id = ( SELECT models.model_id
           FROM siglip.models
          WHERE models.is_active));
