-- The schema siglip at revision 0009, generated from the migrations by `make schema`; for reading.

-- One row of a search result; similarity in [-1, 1], score in [0, 1].
CREATE TYPE siglip.image_match AS (
    image_id bigint,
    uri text,
    similarity double precision,
    score double precision,
    metadata jsonb
);

-- What a search found, best first, and how long it took.
CREATE TYPE siglip.measured_search AS (
    similarities double precision[],
    milliseconds double precision
);

-- A recall with its 95 % interval, and the mean milliseconds of a search and of an exact answer.
CREATE TYPE siglip.recall_measurement AS (
    kind text,
    ef_search integer,
    queries integer,
    recall double precision,
    low double precision,
    high double precision,
    search_ms double precision,
    exact_ms double precision
);

-- A place in a search result: that of the row with this similarity and image_id.
CREATE TYPE siglip.search_position AS (
    similarity double precision,
    image_id bigint
);

-- How many images fit into a device's memory at a time, by model, kind of device and arithmetic; a deleted row is found anew.
CREATE TABLE siglip.batch_sizes (
    model_id integer NOT NULL,
    device text NOT NULL,  -- As its maker calls it: NVIDIA H100 80GB HBM3, or the name of a CPU.
    dtype text NOT NULL,
    batch_size integer NOT NULL,  -- Images; halved whenever the memory did not suffice.
    measured_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT batch_sizes_pkey PRIMARY KEY (model_id, device, dtype),
    CONSTRAINT batch_sizes_model_id_fkey FOREIGN KEY (model_id) REFERENCES siglip.models(model_id) ON DELETE CASCADE,
    CONSTRAINT batch_sizes_batch_size_check CHECK ((batch_size >= 1))
);

-- One row is one file content, however many images have it.
CREATE TABLE siglip.contents (
    content_id bigint GENERATED ALWAYS AS IDENTITY NOT NULL,
    content_hash bytea,  -- SHA-256 of the bytes; NULL where vectors were imported without it.
    width integer,
    height integer,
    format text,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT contents_pkey PRIMARY KEY (content_id),
    CONSTRAINT contents_content_hash_key UNIQUE (content_hash),
    CONSTRAINT contents_content_hash_check CHECK ((octet_length(content_hash) = 32)),
    CONSTRAINT contents_height_check CHECK ((height > 0)),
    CONSTRAINT contents_width_check CHECK ((width > 0))
);

-- One row is the content of an image that was handed over as bytes.
CREATE TABLE siglip.image_bytes (
    image_id bigint NOT NULL,
    content bytea NOT NULL,
    CONSTRAINT image_bytes_pkey PRIMARY KEY (image_id),
    CONSTRAINT image_bytes_image_id_fkey FOREIGN KEY (image_id) REFERENCES siglip.images(image_id) ON DELETE CASCADE
);

-- One row is the unit vector of one content under one model. Its partitions by content_id are the segments.
CREATE TABLE siglip.image_embeddings (
    model_id integer NOT NULL,
    content_id bigint NOT NULL,
    embedding halfvec NOT NULL
) PARTITION BY LIST (model_id);

-- One row is a label that an image has, by the model where its set is kept; or has or has not, by the mark of a person, which wins.
CREATE TABLE siglip.image_labels (
    label_id integer NOT NULL,
    image_id bigint NOT NULL,
    is_accepted boolean NOT NULL,  -- Whether the image has the label; false only by a person's mark.
    score real,  -- Calibrated score under model_id when the row was last computed; NULL where only a person has looked.
    model_id integer,
    marked_by text,  -- Who marked it, by default the role; NULL where the model decided.
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT image_labels_pkey PRIMARY KEY (label_id, image_id),
    CONSTRAINT image_labels_image_id_fkey FOREIGN KEY (image_id) REFERENCES siglip.images(image_id) ON DELETE CASCADE,
    CONSTRAINT image_labels_label_id_fkey FOREIGN KEY (label_id) REFERENCES siglip.labels(label_id) ON DELETE CASCADE,
    CONSTRAINT image_labels_model_id_fkey FOREIGN KEY (model_id) REFERENCES siglip.models(model_id) ON DELETE SET NULL,
    CONSTRAINT image_labels_marked_by_check CHECK ((marked_by <> ''::text)),
    CONSTRAINT image_labels_refused_check CHECK ((is_accepted OR (marked_by IS NOT NULL))),
    CONSTRAINT image_labels_score_check CHECK (((score >= (0)::double precision) AND (score <= (1)::double precision)))
);
CREATE INDEX image_labels_image_id_btree_idx ON siglip.image_labels USING btree (image_id);
CREATE INDEX image_labels_marked_btree_idx ON siglip.image_labels USING btree (label_id) WHERE (marked_by IS NOT NULL);

-- One row is one image at one URI in one collection.
CREATE TABLE siglip.images (
    image_id bigint GENERATED ALWAYS AS IDENTITY NOT NULL,
    collection text DEFAULT 'default'::text NOT NULL,
    uri text NOT NULL,
    key text,  -- The caller's own key for the image, if there is one.
    source_version text,  -- What tells that the source has changed, for files <mtime_ns>-<size>.
    metadata jsonb DEFAULT '{}'::jsonb NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    content_id bigint,  -- What was embedded last at this URI; NULL before the first time.
    reads_exif boolean DEFAULT false NOT NULL,  -- Whether the worker that embeds it adds capture time, camera and place from its EXIF data to the metadata.
    CONSTRAINT images_pkey PRIMARY KEY (image_id),
    CONSTRAINT images_collection_uri_key UNIQUE (collection, uri),
    CONSTRAINT images_content_id_fkey FOREIGN KEY (content_id) REFERENCES siglip.contents(content_id),
    CONSTRAINT images_collection_check CHECK ((collection <> ''::text)),
    CONSTRAINT images_metadata_check CHECK ((jsonb_typeof(metadata) = 'object'::text)),
    CONSTRAINT images_uri_check CHECK ((uri <> ''::text))
);
CREATE INDEX images_content_id_btree_idx ON siglip.images USING btree (content_id);
CREATE INDEX images_key_btree_idx ON siglip.images USING btree (key) WHERE (key IS NOT NULL);
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
CREATE INDEX ingest_items_queued_btree_idx ON siglip.ingest_items USING btree (model_id, item_id) WHERE (state = 'queued'::text);
CREATE INDEX ingest_items_suspects_btree_idx ON siglip.ingest_items USING btree (model_id, item_id) WHERE ((state = 'queued'::text) AND is_suspect);

-- The images of an ingestion, in parts, in the order in which they were given; some may have been deleted since.
CREATE TABLE siglip.ingestion_images (
    ingestion_id bigint NOT NULL,
    part integer NOT NULL,
    image_ids bigint[] NOT NULL,
    CONSTRAINT ingestion_images_pkey PRIMARY KEY (ingestion_id, part),
    CONSTRAINT ingestion_images_ingestion_id_fkey FOREIGN KEY (ingestion_id) REFERENCES siglip.ingestions(ingestion_id) ON DELETE CASCADE
);

-- Batches of images that were queued together; kept for 30 days.
CREATE TABLE siglip.ingestions (
    ingestion_id bigint GENERATED ALWAYS AS IDENTITY NOT NULL,
    model_id integer NOT NULL,
    collection text,  -- The set of images that they joined; NULL where they are in several.
    is_complete boolean DEFAULT false NOT NULL,  -- Whether all of its images are queued: more may come until then.
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    grown_at timestamp with time zone DEFAULT now() NOT NULL,  -- When images were last added.
    CONSTRAINT ingestions_pkey PRIMARY KEY (ingestion_id),
    CONSTRAINT ingestions_model_id_fkey FOREIGN KEY (model_id) REFERENCES siglip.models(model_id) ON DELETE CASCADE
);
CREATE INDEX ingestions_created_at_btree_idx ON siglip.ingestions USING btree (created_at);
CREATE INDEX ingestions_model_id_btree_idx ON siglip.ingestions USING btree (model_id);

-- One row is one fit of a label's scores under a model: calibrated score = sigmoid(scale * logit + bias). The current one counts.
CREATE TABLE siglip.label_calibrations (
    label_id integer NOT NULL,
    model_id integer NOT NULL,
    version integer NOT NULL,
    scale double precision NOT NULL,
    bias double precision NOT NULL,
    threshold real,  -- Calibrated score from which an image has the label; NULL means that of the label.
    is_current boolean DEFAULT true NOT NULL,
    figures jsonb DEFAULT '{}'::jsonb NOT NULL,  -- What it was fitted to, and how well: marks, precision, recall.
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    created_by text DEFAULT CURRENT_USER NOT NULL,
    CONSTRAINT label_calibrations_pkey PRIMARY KEY (label_id, model_id, version),
    CONSTRAINT label_calibrations_label_id_fkey FOREIGN KEY (label_id) REFERENCES siglip.labels(label_id) ON DELETE CASCADE,
    CONSTRAINT label_calibrations_model_id_fkey FOREIGN KEY (model_id) REFERENCES siglip.models(model_id) ON DELETE CASCADE,
    CONSTRAINT label_calibrations_scale_check CHECK ((scale > (0)::double precision)),
    CONSTRAINT label_calibrations_threshold_check CHECK (((threshold >= (0)::double precision) AND (threshold <= (1)::double precision))),
    CONSTRAINT label_calibrations_version_check CHECK ((version >= 1))
);
CREATE UNIQUE INDEX label_calibrations_current_btree_idx ON siglip.label_calibrations USING btree (label_id, model_id) WHERE is_current;

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
    is_kept boolean DEFAULT false NOT NULL,  -- Whether siglip.image_labels has a row for each image that has one of its labels.
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
    threshold real,  -- Calibrated score from which an image has the label, in [0, 1]; NULL means 0.5. Until the label is calibrated, that is the score.
    is_by_example boolean DEFAULT false NOT NULL,  -- Whether its vector comes from the images that are marked with it, and not from prompts.
    CONSTRAINT labels_pkey PRIMARY KEY (label_id),
    CONSTRAINT labels_label_set_id_label_key UNIQUE (label_set_id, label),
    CONSTRAINT labels_label_set_id_fkey FOREIGN KEY (label_set_id) REFERENCES siglip.label_sets(label_set_id) ON DELETE CASCADE,
    CONSTRAINT labels_label_check CHECK ((label <> ''::text)),
    CONSTRAINT labels_prompts_check CHECK ((is_by_example OR (cardinality(prompts) > 0))),
    CONSTRAINT labels_threshold_check CHECK (((threshold >= (0)::double precision) AND (threshold <= (1)::double precision)))
);

-- One row is a vector of a segment with an index, drawn at random: what searches compare their results with.
CREATE TABLE siglip.landmarks (
    content_id bigint NOT NULL,
    model_id integer NOT NULL,
    embedding halfvec NOT NULL,
    rank integer NOT NULL,  -- From 1 in each segment: each search looks at the first 128, one that may have gone wrong at all.
    usual_similarity double precision,  -- The median similarity of two of those that were drawn together; NULL for a single one.
    CONSTRAINT landmarks_pkey PRIMARY KEY (content_id, model_id),
    CONSTRAINT landmarks_content_id_fkey FOREIGN KEY (content_id) REFERENCES siglip.contents(content_id) ON DELETE CASCADE,
    CONSTRAINT landmarks_model_id_fkey FOREIGN KEY (model_id) REFERENCES siglip.models(model_id) ON DELETE CASCADE
);
CREATE INDEX landmarks_model_id_rank_btree_idx ON siglip.landmarks USING btree (model_id, rank);

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
    is_external boolean DEFAULT false NOT NULL,  -- Its vectors come from elsewhere: no worker can load it, and it may have no logit_scale and logit_bias.
    index_kind text DEFAULT 'halfvec'::text NOT NULL,  -- The kind of index that siglip.maintain builds; siglip.create_index changes it.
    ef_search integer,  -- hnsw.ef_search of its searches, as siglip.tune_search found it; NULL means the default.
    arithmetics text[] DEFAULT '{}'::text[] NOT NULL,  -- What the workers that made its image vectors computed in, in the order of their first starts: float32, bfloat16, int8 (ONNX Runtime 1.32.0).
    is_kept boolean DEFAULT false NOT NULL,  -- Whether new images are embedded under it beside the active one: it is being prepared, or can be gone back to.
    CONSTRAINT models_pkey PRIMARY KEY (model_id),
    CONSTRAINT models_name_revision_key UNIQUE (name, revision),
    CONSTRAINT models_described_check CHECK (((num_nonnulls(dimension, described_at) = ANY (ARRAY[0, 2])) AND (num_nonnulls(logit_scale, logit_bias) = ANY (ARRAY[0, 2])) AND (is_external OR (num_nonnulls(dimension, logit_scale) = ANY (ARRAY[0, 2]))))),
    CONSTRAINT models_dimension_check CHECK (((dimension >= 1) AND (dimension <= 4000))),
    CONSTRAINT models_ef_search_check CHECK (((ef_search >= 1) AND (ef_search <= 1000))),
    CONSTRAINT models_index_kind_check CHECK ((index_kind = ANY (ARRAY['halfvec'::text, 'bit_rerank'::text]))),
    CONSTRAINT models_name_check CHECK ((name <> ''::text))
);
CREATE UNIQUE INDEX models_is_active_btree_idx ON siglip.models USING btree (is_active) WHERE is_active;

-- One row is one measurement of recall, by siglip.index_recall, siglip.tune_search or siglip.maintain.
CREATE TABLE siglip.recall_history (
    measurement_id bigint GENERATED ALWAYS AS IDENTITY NOT NULL,
    measured_at timestamp with time zone DEFAULT now() NOT NULL,
    model_id integer NOT NULL,
    kind text NOT NULL,  -- What was asked: images (stored vectors) or texts (of siglip.texts).
    collection text,
    filter jsonb,
    max_results integer NOT NULL,
    index_kind text NOT NULL,
    ef_search integer NOT NULL,
    queries integer NOT NULL,
    recall double precision NOT NULL,
    low double precision NOT NULL,  -- Begin of the 95 % interval of recall, whose end is high.
    high double precision NOT NULL,
    search_ms double precision NOT NULL,
    exact_ms double precision NOT NULL,  -- Milliseconds of an exact answer, where one pass over the vectors gives twenty.
    estimated_rows bigint NOT NULL,  -- Vectors under the model then, about.
    target_recall double precision,  -- What siglip.tune_search was to reach; NULL for other measurements.
    is_chosen boolean DEFAULT false NOT NULL,  -- Whether siglip.tune_search chose this ef_search.
    CONSTRAINT recall_history_pkey PRIMARY KEY (measurement_id),
    CONSTRAINT recall_history_model_id_fkey FOREIGN KEY (model_id) REFERENCES siglip.models(model_id) ON DELETE CASCADE,
    CONSTRAINT recall_history_kind_check CHECK ((kind = ANY (ARRAY['images'::text, 'texts'::text]))),
    CONSTRAINT recall_history_recall_check CHECK (((recall >= (0)::double precision) AND (recall <= (1)::double precision)))
);
CREATE INDEX recall_history_model_id_btree_idx ON siglip.recall_history USING btree (model_id, kind, measurement_id);

-- One row is a content that lost an image; siglip.maintain takes it out if that was its last.
CREATE TABLE siglip.released_contents (
    content_id bigint NOT NULL
);

-- One row is one segment that was built as a whole, with its index.
CREATE TABLE siglip.segment_builds (
    segment_number integer NOT NULL,
    built_rows bigint NOT NULL,  -- Rows that it had then: what was deleted since is the difference.
    built_at timestamp with time zone DEFAULT now() NOT NULL,
    build_s double precision NOT NULL,
    CONSTRAINT segment_builds_pkey PRIMARY KEY (segment_number)
);

-- One row is a server that siglip.add_server prepared; the foreign server of that name has its address.
CREATE TABLE siglip.segment_servers (
    name text NOT NULL,
    schema_name text NOT NULL,  -- Where this database's segments lie there; no other database has the same.
    added_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT segment_servers_pkey PRIMARY KEY (name),
    CONSTRAINT segment_servers_name_check CHECK ((name ~ '^[A-Za-z0-9_][A-Za-z0-9_.-]{0,30}$'::text))
);

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
    holds_lock boolean DEFAULT false NOT NULL,  -- Whether a connection of it holds the advisory lock that shows that it lives; behind a pooler none can.
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

-- Add a model whose vectors are imported, and return its model_id; it becomes the active one where none is.
CREATE OR REPLACE FUNCTION siglip.add_external_model(name text, dimension integer, logit_scale double precision DEFAULT NULL::double precision, logit_bias double precision DEFAULT NULL::double precision)
 RETURNS integer
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
#variable_conflict use_column
DECLARE
    new_id integer;
BEGIN
    IF coalesce(name, '') = '' THEN
        RAISE EXCEPTION 'The model has no name.'
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Any name does that no other model has.';
    ELSIF dimension IS NULL OR dimension NOT BETWEEN 1 AND 4000 THEN
        RAISE EXCEPTION 'dimension is %, not a number from 1 to 4000.', coalesce(dimension::text, 'NULL')
            USING ERRCODE = 'invalid_parameter_value', HINT = 'It is the number of elements of the model''s vectors.';
    ELSIF num_nonnulls(logit_scale, logit_bias) = 1 THEN
        RAISE EXCEPTION 'logit_scale and logit_bias go together.'
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Give both, or neither: then similarities have no scores.';
    ELSIF logit_scale NOT BETWEEN -100 AND 100 OR logit_bias NOT BETWEEN -1e6 AND 1e6 THEN
        RAISE EXCEPTION 'logit_scale is %, and logit_bias %: no logarithm of a factor, or no number.', logit_scale, logit_bias
            USING ERRCODE = 'invalid_parameter_value', HINT = 'A score is 1 / (1 + exp(-(exp(logit_scale) * similarity + logit_bias))).';
    END IF;
    -- As siglip_ingest.db.models.lock_models does it: one transaction at a time adds or activates models.
    PERFORM pg_advisory_xact_lock('siglip.models'::regclass::oid::bigint);
    IF EXISTS (SELECT FROM siglip.models AS m WHERE m.name = add_external_model.name) THEN
        RAISE EXCEPTION 'There is a model % already.', quote_literal(add_external_model.name)
            USING ERRCODE = 'unique_violation', HINT = 'SELECT model_id, name, dimension FROM siglip.models shows it.';
    END IF;
    -- The revision is a word that no checkpoint's can be.
    INSERT INTO siglip.models (name, revision, is_external, dimension, logit_scale, logit_bias, described_at)
    VALUES (add_external_model.name, 'external', true, add_external_model.dimension, add_external_model.logit_scale,
            add_external_model.logit_bias, now())
    RETURNING model_id INTO new_id;
    PERFORM siglip.create_embedding_partition(new_id, add_external_model.dimension);
    PERFORM siglip.create_nearest_images(new_id, add_external_model.dimension);
    UPDATE siglip.models AS m SET is_active = true
    WHERE m.model_id = new_id AND NOT EXISTS (SELECT FROM siglip.models AS a WHERE a.is_active);
    RETURN new_id;
END
$function$;

-- Prepare another PostgreSQL server for segments; for a name that is there already, change its address or password.
CREATE OR REPLACE FUNCTION siglip.add_server(name text, url text)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
#variable_conflict use_variable
DECLARE
    known constant text := (SELECT s.schema_name FROM siglip.segment_servers AS s WHERE s.name = add_server.name);
    there constant text := coalesce(known, 'siglip_segments_' || substr(replace(gen_random_uuid()::text, '-', ''), 1, 12));
    found jsonb;
BEGIN
    PERFORM siglip.require_extensions();
    IF known IS NULL AND EXISTS (SELECT FROM pg_foreign_server AS f WHERE f.srvname = add_server.name) THEN
        RAISE EXCEPTION 'A foreign server % exists already, and is none of siglip''s.', name
            USING ERRCODE = 'duplicate_object', HINT = 'Take another name.';
    END IF;
    IF known IS NULL THEN
        INSERT INTO siglip.segment_servers AS s (name, schema_name) VALUES (add_server.name, there);
    END IF;
    PERFORM siglip.set_server_address(name, url);
    PERFORM siglip.connect_server(name);
    BEGIN
        SELECT a.* INTO found FROM siglip.ask_server(name,
            'SELECT current_setting(''server_version_num'')::integer AS version, current_database() AS database, current_user AS role,'
            ' has_database_privilege(current_database(), ''CREATE'') AS may_create, pg_is_in_recovery() AS is_standby,'
            ' EXISTS (SELECT FROM pg_available_extensions WHERE name = ''vector'') AS is_vector_available,'
            ' (SELECT extversion FROM pg_extension WHERE extname = ''vector'') AS vector,'
            ' (SELECT quote_ident(nspname) FROM pg_extension JOIN pg_namespace AS n ON n.oid = extnamespace WHERE extname = ''vector'')'
            ' AS vector_schema,'
            || format(' to_regclass(%L) IS NOT NULL AS has_ours', there || '.tables')) AS a;
        IF (found ->> 'version')::integer < 160000 OR (found ->> 'is_standby')::boolean OR NOT (found ->> 'may_create')::boolean THEN
            RAISE EXCEPTION 'The server % can''t take segments: %.', name, CASE
                    WHEN (found ->> 'version')::integer < 160000 THEN 'it is older than PostgreSQL 16'
                    WHEN (found ->> 'is_standby')::boolean THEN 'it is a standby, which can''t be written to'
                    ELSE format('the role %s may not create a schema in the database %s there', found ->> 'role', found ->> 'database') END
                USING ERRCODE = 'invalid_parameter_value', HINT = 'Correct the URL, or the server.';
        ELSIF known IS NOT NULL AND NOT (found ->> 'has_ours')::boolean THEN
            RAISE EXCEPTION 'The database at the new address of % doesn''t hold its segments: the schema % is missing there.', name, known
                USING ERRCODE = 'invalid_parameter_value', HINT = 'Give the address of the same database, or another name.';
        ELSIF found ->> 'vector' IS NULL THEN
            IF NOT (found ->> 'is_vector_available')::boolean THEN
                RAISE EXCEPTION 'The server % lacks pgvector.', name
                    USING ERRCODE = 'feature_not_supported', HINT = 'Install it there (on Debian: apt-get install postgresql-18-pgvector).';
            END IF;
            PERFORM siglip.run_on_server(name, 'CREATE EXTENSION vector SCHEMA ' || siglip.extension_schema('vector'));
            found := found || (SELECT a.* FROM siglip.ask_server(
                name, 'SELECT extversion AS vector FROM pg_extension WHERE extname = ''vector''') AS a)
                || jsonb_build_object('vector_schema', siglip.extension_schema('vector'));
        END IF;
        IF string_to_array(regexp_replace(found ->> 'vector', '[^0-9.].*', ''), '.')::integer[] < ARRAY[0, 8] THEN
            RAISE EXCEPTION 'The server % has pgvector %, and 0.8 or newer is needed.', name, found ->> 'vector'
                USING ERRCODE = 'feature_not_supported', HINT = 'Update it there, then ALTER EXTENSION vector UPDATE.';
        ELSIF found ->> 'vector_schema' <> siglip.extension_schema('vector') THEN
            RAISE EXCEPTION 'pgvector lies in the schema % on the server %, and in % here: the names in a statement must be the same.',
                    found ->> 'vector_schema', name, siglip.extension_schema('vector')
                USING ERRCODE = 'invalid_parameter_value',
                      HINT = format('Run there: ALTER EXTENSION vector SET SCHEMA %s.', siglip.extension_schema('vector'));
        ELSIF string_to_array(regexp_replace(found ->> 'vector', '[^0-9.].*', ''), '.')::integer[] < ARRAY[0, 8, 2] THEN
            RAISE WARNING 'The server % has pgvector %, which has CVE-2026-3172.', name, found ->> 'vector'
                USING HINT = 'Update it to 0.8.2 or newer there, then ALTER EXTENSION vector UPDATE.';
        END IF;
        IF known IS NULL THEN
            PERFORM siglip.run_on_server(name, format('CREATE SCHEMA %I', there));
            PERFORM siglip.run_on_server(name, format('COMMENT ON SCHEMA %I IS %L', there,
                'Segments of the database ' || current_database() || '; siglip.remove_server takes it away.'));
            PERFORM siglip.run_on_server(name, format(
                'CREATE TABLE %I.tables (table_name text PRIMARY KEY, is_settled boolean NOT NULL,'
                ' started_at timestamptz NOT NULL DEFAULT now())', there));
            PERFORM siglip.create_search_settings(name, there);
        END IF;
    EXCEPTION WHEN OTHERS OR query_canceled THEN
        PERFORM siglip.disconnect_server(name);
        RAISE;
    END;
    PERFORM siglip.disconnect_server(name);
END
$function$;

-- Return what a query finds, each row as JSON, where the segment lies; the query has %s for its table.
CREATE OR REPLACE FUNCTION siglip.ask_segment(segment regclass, query text)
 RETURNS SETOF jsonb
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
DECLARE
    place record;
BEGIN
    SELECT l.* INTO place FROM siglip.locate_segment(segment) AS l;
    IF place.server IS NULL THEN
        RETURN QUERY EXECUTE format('SELECT to_jsonb(q) FROM (%s) AS q', format(query, place.table_name));
    ELSE
        RETURN QUERY SELECT a.* FROM siglip.ask_server(place.server, format(query, place.table_name)) AS a;
    END IF;
END
$function$;

-- Return what a query finds on a connected server, each row as JSON.
CREATE OR REPLACE FUNCTION siglip.ask_server(server text, query text)
 RETURNS SETOF jsonb
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
BEGIN
    RETURN QUERY EXECUTE format('SELECT t.found FROM %s.dblink($1, $2) AS t (found jsonb)', siglip.extension_schema('dblink'))
        USING 'siglip_' || server, format('SELECT pg_catalog.to_jsonb(q) FROM (%s) AS q', query);
END
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

-- The servers with segments of a model that don't answer; conditions leaves those out of a query of siglip.image_embeddings AS e.
CREATE OR REPLACE FUNCTION siglip.away_servers(model_id integer)
 RETURNS TABLE(server text, segments regclass[], conditions text)
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
#variable_conflict use_column
DECLARE
    held record;
BEGIN
    FOR held IN
        SELECT s.server, array_agg(s.segment ORDER BY s.from_content_id NULLS FIRST) AS segments, min(s.to_content_id) - 1 AS content_id,
               string_agg(format(' AND (%se.content_id >= %s)', 'e.content_id < ' || s.from_content_id || ' OR ', s.to_content_id), '')
               AS conditions
        FROM siglip.segments AS s
        WHERE s.model_id = away_servers.model_id AND s.server IS NOT NULL
        GROUP BY s.server ORDER BY s.server
    LOOP
        BEGIN
            EXECUTE format('SELECT FROM siglip.image_embeddings AS e WHERE e.model_id = %s AND e.content_id = %s', model_id, held.content_id);
        EXCEPTION WHEN connection_exception OR admin_shutdown OR crash_shutdown THEN
            server := held.server;
            segments := held.segments;
            conditions := held.conditions;
            RETURN NEXT;
        END;
    END LOOP;
END
$function$;

-- Bytes that the build of one index may take: siglip.maintenance_work_mem (2GB by default), or PostgreSQL's own where that is more.
CREATE OR REPLACE FUNCTION siglip.build_memory()
 RETURNS bigint
 LANGUAGE sql
 STABLE
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
    SELECT greatest(pg_size_bytes(coalesce(nullif(current_setting('siglip.maintenance_work_mem', true), ''), '2GB')),
                    pg_size_bytes(current_setting('maintenance_work_mem')))
$function$;

-- Whether the caller can add to siglip.recall_history: a role that only searches may have no right to, and a standby can't.
CREATE OR REPLACE FUNCTION siglip.can_write_recall()
 RETURNS boolean
 LANGUAGE sql
 STABLE
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
    SELECT current_setting('transaction_read_only') = 'off' AND has_table_privilege('siglip.recall_history', 'INSERT')
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

-- Bring a copy of segments up to date with rows that were added and deleted since; a vector is replaced only while nothing is copied.
CREATE OR REPLACE FUNCTION siglip.catch_up(target regclass, sources regclass[])
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
DECLARE
    source regclass;
    kept   text := '';
BEGIN
    IF EXISTS (SELECT FROM pg_foreign_table AS f WHERE f.ftrelid = target OR f.ftrelid = ANY (sources)) THEN
        PERFORM siglip.catch_up_elsewhere(target, sources[1]);
        RETURN;
    END IF;
    FOREACH source IN ARRAY sources LOOP
        EXECUTE format(
            'INSERT INTO %1$s SELECT s.* FROM %2$s AS s WHERE NOT EXISTS (SELECT FROM %1$s AS t WHERE t.content_id = s.content_id)',
            target, source);
        kept := kept || format(' AND NOT EXISTS (SELECT FROM %s AS s WHERE s.content_id = t.content_id)', source);
    END LOOP;
    EXECUTE format('DELETE FROM %s AS t WHERE true%s', target, kept);
END
$function$;

-- Bring a copy of a segment up to date with rows that were added and deleted since, where either lies on another server.
CREATE OR REPLACE FUNCTION siglip.catch_up_elsewhere(target regclass, source regclass)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
DECLARE
    summary constant text :=
        'SELECT content_id / 4096 AS block, count(*) AS rows, bit_xor(hashint8extended(content_id, 0))::text AS hash FROM %s GROUP BY 1';
    block   bigint;
    keys    text;
    wanted  bigint[];
    present bigint[];
    missing bigint[];
    surplus bigint[];
BEGIN
    FOR block IN
        SELECT (coalesce(s.found, t.found) ->> 'block')::bigint
        FROM (SELECT a.found FROM siglip.ask_segment(source, summary) AS a (found)) AS s
        FULL JOIN (SELECT a.found FROM siglip.ask_segment(target, summary) AS a (found)) AS t ON s.found ->> 'block' = t.found ->> 'block'
        WHERE s.found IS DISTINCT FROM t.found
        ORDER BY 1
    LOOP
        -- -1 / 4096 is 0: the block 0 has both signs.
        keys := format('SELECT content_id FROM %%s WHERE content_id BETWEEN %s AND %s AND content_id / 4096 = %s',
                       block * 4096 - 4095, block * 4096 + 4095, block);
        SELECT array_agg((a.found ->> 'content_id')::bigint) INTO wanted FROM siglip.ask_segment(source, keys) AS a (found);
        SELECT array_agg((a.found ->> 'content_id')::bigint) INTO present FROM siglip.ask_segment(target, keys) AS a (found);
        SELECT array_agg(w.id) INTO missing FROM unnest(wanted) AS w (id) WHERE w.id <> ALL (coalesce(present, '{}'));
        SELECT array_agg(p.id) INTO surplus FROM unnest(present) AS p (id) WHERE p.id <> ALL (coalesce(wanted, '{}'));
        IF missing IS NOT NULL THEN
            PERFORM siglip.copy_vectors(source, target, format('t.content_id = ANY (%L::bigint[])', missing), 8192);
        END IF;
        IF surplus IS NOT NULL THEN
            PERFORM siglip.delete_vectors(target, surplus);
        END IF;
    END LOOP;
END
$function$;

-- An error in a transaction that doesn't see what others commit meanwhile.
CREATE OR REPLACE FUNCTION siglip.check_isolation()
 RETURNS void
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
BEGIN
    IF current_setting('transaction_isolation') NOT IN ('read committed', 'read uncommitted') THEN
        RAISE EXCEPTION 'This transaction is %, in which it doesn''t see the rows that others write while it copies a segment.',
            upper(current_setting('transaction_isolation'))
            USING ERRCODE = 'invalid_transaction_state', HINT = 'Maintain segments in a transaction that is READ COMMITTED.';
    END IF;
END
$function$;

-- An error where there is no such label set, where min_score is no score, or where the model has none.
CREATE OR REPLACE FUNCTION siglip.check_label_set(label_set text, min_score double precision, model siglip.models)
 RETURNS void
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
BEGIN
    IF min_score NOT BETWEEN 0 AND 1 THEN
        RAISE EXCEPTION 'min_score is %, not a number from 0 to 1.', min_score
            USING ERRCODE = 'invalid_parameter_value', HINT = 'A score is a probability.';
    ELSIF NOT EXISTS (SELECT FROM siglip.label_sets AS s WHERE s.name = check_label_set.label_set) THEN
        RAISE EXCEPTION 'There is no label set %.', coalesce(quote_literal(label_set), 'NULL')
            USING ERRCODE = 'no_data_found', HINT = 'SELECT name FROM siglip.label_sets shows what there is.';
    ELSIF model.is_external THEN
        RAISE EXCEPTION 'The model % is external: its vectors are imported, and no worker can embed a label with it.', model.name
            USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'Labels need a model that embeds texts.';
    ELSIF model.logit_scale IS NULL THEN
        RAISE EXCEPTION 'The model % has no scores: its logit_scale and logit_bias are not known.', model.name
            USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'Labels need a model that embeds texts.';
    END IF;
    -- The functions of labels begin here, with what hnsw.* they set.
    PERFORM siglip.tell_servers(model.model_id);
EXCEPTION WHEN connection_exception OR admin_shutdown OR crash_shutdown THEN
    PERFORM siglip.report_away_servers(model.model_id, SQLERRM, false);
END
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

-- Raise where the arguments of a measurement of recall are out of range.
CREATE OR REPLACE FUNCTION siglip.check_measuring(sample integer, max_results integer, filter jsonb)
 RETURNS void
 LANGUAGE plpgsql
 IMMUTABLE
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
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
$function$;

-- An error where an argument of a search is wrong; returns the query as a unit vector.
CREATE OR REPLACE FUNCTION siglip.check_search(model siglip.models, query_embedding halfvec, max_results integer, filter jsonb, min_score double precision, skip_results integer, after siglip.search_position)
 RETURNS halfvec
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
BEGIN
    PERFORM siglip.check_max_results(max_results);
    IF jsonb_typeof(filter) <> 'object' THEN
        RAISE EXCEPTION 'filter is a JSON %, not an object.', jsonb_typeof(filter)
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Write for instance filter => ''{"album": "2026"}''.';
    ELSIF min_score NOT BETWEEN 0 AND 1 THEN
        RAISE EXCEPTION 'min_score is %, not a number from 0 to 1.', min_score
            USING ERRCODE = 'invalid_parameter_value', HINT = 'A score is a probability.';
    ELSIF min_score IS NOT NULL AND model.logit_scale IS NULL THEN
        RAISE EXCEPTION 'The model % has no scores: its logit_scale and logit_bias are not known.', model.name
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Search without min_score, and look at the similarity.';
    ELSIF query_embedding IS NULL OR public.l2_norm(query_embedding) = 0 THEN
        RAISE EXCEPTION 'The query embedding is NULL or zero.'
            USING ERRCODE = 'invalid_parameter_value', HINT = 'siglip.embed_text makes one from a text.';
    ELSIF public.vector_dims(query_embedding) <> model.dimension THEN
        RAISE EXCEPTION 'The query embedding has % elements, those of the model % have %.',
            public.vector_dims(query_embedding), model.name, model.dimension
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Embed the query with that model.';
    ELSIF skip_results IS NULL OR skip_results NOT BETWEEN 0 AND 1000000 THEN
        RAISE EXCEPTION 'skip_results is %, not a number from 0 to 1000000.', coalesce(skip_results::text, 'NULL')
            USING ERRCODE = 'invalid_parameter_value', HINT = 'after => (similarity, image_id) of the last row goes on at any depth.';
    ELSIF num_nonnulls(after) > 0 AND (after.similarity IS NULL OR after.similarity = 'NaN' OR after.image_id IS NULL OR skip_results > 0) THEN
        RAISE EXCEPTION 'after is %, not the similarity and the image_id of a row%.', after,
            CASE WHEN skip_results > 0 THEN ', or is given with skip_results' ELSE '' END
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Write after => (0.31, 42) with those of the last row that you have.';
    END IF;
    RETURN CASE WHEN abs(public.l2_norm(query_embedding) - 1) > 0.01 THEN public.l2_normalize(query_embedding)
                ELSE query_embedding END;
END
$function$;

-- Close a model's open segment after its last content, and open another; returns the first content_id of that. NULL where it has no rows.
CREATE OR REPLACE FUNCTION siglip.close_segment(model_id integer)
 RETURNS bigint
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
DECLARE
    parent   constant text := format('siglip.image_embeddings_%s', model_id);
    tail     siglip.segments;
    next     regclass;
    boundary bigint;
    patience constant text := current_setting('lock_timeout');
BEGIN
    PERFORM siglip.check_isolation();
    SELECT s.* INTO tail FROM siglip.segments AS s WHERE s.model_id = close_segment.model_id AND s.is_open AND s.server IS NULL;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    -- Autovacuum, for which the loop would have too little patience, makes room for this lock.
    EXECUTE format('LOCK TABLE ONLY %s IN SHARE UPDATE EXCLUSIVE MODE', tail.segment);
    next := siglip.create_segment(model_id);
    EXECUTE format('ALTER TABLE %s ADD PRIMARY KEY (content_id)', next);
    FOR attempt IN 1 .. 100 LOOP
        BEGIN
            PERFORM set_config('lock_timeout', '25ms', true);
            EXECUTE format('LOCK TABLE ONLY %s IN ACCESS EXCLUSIVE MODE', parent);
            EXECUTE format('LOCK TABLE ONLY %s IN ACCESS EXCLUSIVE MODE', tail.segment);
            EXECUTE format('SELECT max(content_id) + 1 FROM %s', tail.segment) INTO boundary;
            IF boundary IS NULL THEN  -- emptied meanwhile
                EXECUTE format('DROP TABLE %s', next);
                RETURN NULL;
            END IF;
            EXECUTE format('ALTER TABLE %s DETACH PARTITION %s', parent, tail.segment);
            EXECUTE format('ALTER TABLE %s ATTACH PARTITION %s FOR VALUES FROM (%s) TO (%L)',
                           parent, tail.segment, coalesce(quote_literal(tail.from_content_id), 'MINVALUE'), boundary);
            EXECUTE format('ALTER TABLE %s ATTACH PARTITION %s FOR VALUES FROM (%L) TO (MAXVALUE)', parent, next, boundary);
            PERFORM set_config('lock_timeout', patience, true);
            RETURN boundary;
        EXCEPTION WHEN lock_not_available OR deadlock_detected THEN
            PERFORM pg_sleep(0.02 + 0.1 * random());
        END;
    END LOOP;
    RAISE EXCEPTION 'The open segment of model % is in use by a statement that takes long; it stays open for now.', model_id
        USING ERRCODE = 'lock_not_available', HINT = 'Call siglip.maintain() again when that statement has ended.';
END
$function$;

-- Connect this session to a server, anew.
CREATE OR REPLACE FUNCTION siglip.connect_server(server text)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
DECLARE
    reason text;
BEGIN
    PERFORM siglip.disconnect_server(server);
    EXECUTE format('SELECT %s.dblink_connect($1, $2)', siglip.extension_schema('dblink')) USING 'siglip_' || server, server;
EXCEPTION WHEN sqlclient_unable_to_establish_sqlconnection THEN
    GET STACKED DIAGNOSTICS reason = PG_EXCEPTION_DETAIL;
    RAISE EXCEPTION 'The server % doesn''t answer: %', server, regexp_replace(reason, '\s+', ' ', 'g')
        USING ERRCODE = 'sqlclient_unable_to_establish_sqlconnection',
              HINT = format('Start it, or tell its new address: SELECT siglip.add_server(%L, ''postgresql://...'').', server);
END
$function$;

-- The text of the condition that a content is one of these, with constants, for which the planner leaves segments out.
CREATE OR REPLACE FUNCTION siglip.content_conditions(contents int8multirange)
 RETURNS text
 LANGUAGE sql
 IMMUTABLE
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
    SELECT coalesce('(' || string_agg(concat_ws(' AND ',
               'e.content_id >= ' || lower(u.r), 'e.content_id < ' || upper(u.r)), ' OR ' ORDER BY u.r) || ')', 'false')
    FROM unnest(contents) AS u (r)
$function$;

-- Copy the first max_rows vectors that fulfil a condition on t; returns the last content_id, NULL where there was none.
CREATE OR REPLACE FUNCTION siglip.copy_vectors(source regclass, target regclass, condition text, max_rows integer)
 RETURNS bigint
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
DECLARE
    origin      record;
    destination record;
    batch       constant text := format(
        'SELECT max(s.model_id) AS model_id, array_agg(s.content_id ORDER BY s.content_id) AS ids,'
        ' array_agg(s.embedding ORDER BY s.content_id)::text AS embeddings'
        ' FROM (SELECT t.* FROM %%s AS t WHERE %s ORDER BY t.content_id LIMIT %s) AS s', condition, max_rows);
    insertion   constant text :=
        'INSERT INTO %s SELECT %L::integer, v.* FROM unnest(%L::bigint[], %L::public.halfvec[]) AS v ON CONFLICT DO NOTHING';
    model_id    integer;
    ids         bigint[];
    embeddings  text;
BEGIN
    SELECT l.* INTO origin FROM siglip.locate_segment(source) AS l;
    SELECT l.* INTO destination FROM siglip.locate_segment(target) AS l;
    IF origin.server IS NULL THEN
        EXECUTE format(batch, origin.table_name) INTO model_id, ids, embeddings;
    ELSE
        EXECUTE format('SELECT t.* FROM %s.dblink($1, $2) AS t (model_id integer, ids bigint[], embeddings text)',
                       siglip.extension_schema('dblink'))
            INTO model_id, ids, embeddings USING 'siglip_' || origin.server, format(batch, origin.table_name);
    END IF;
    IF ids IS NULL THEN
        RETURN NULL;
    ELSIF destination.server IS NULL THEN
        EXECUTE format(insertion, destination.table_name, model_id, ids, embeddings);
    ELSE
        PERFORM siglip.run_on_server(destination.server, format(insertion, destination.table_name, model_id, ids, embeddings));
    END IF;
    RETURN ids[cardinality(ids)];
END
$function$;

-- How many images siglip.delete_images would delete.
CREATE OR REPLACE FUNCTION siglip.count_images(image_ids bigint[] DEFAULT NULL::bigint[], uris text[] DEFAULT NULL::text[], keys text[] DEFAULT NULL::text[], collection text DEFAULT NULL::text, filter jsonb DEFAULT NULL::jsonb)
 RETURNS bigint
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
DECLARE
    counted bigint;
BEGIN
    EXECUTE 'SELECT count(*) FROM siglip.images AS i WHERE '
            || siglip.selection_conditions(image_ids, uris, keys, collection, filter)
        INTO counted USING image_ids, uris, keys, collection, filter;
    RETURN counted;
END
$function$;

-- How many images have each label of a set: those whose score reaches min_score, or the label's threshold, else 0.5.
CREATE OR REPLACE FUNCTION siglip.count_labels(label_set text, min_score double precision DEFAULT NULL::double precision, collection text DEFAULT NULL::text, filter jsonb DEFAULT NULL::jsonb, model_id integer DEFAULT NULL::integer)
 RETURNS TABLE(label text, images bigint)
 LANGUAGE plpgsql
 ROWS 20
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
 SET jit TO 'off'
 SET parallel_setup_cost TO '0'
AS $function$
#variable_conflict use_column
DECLARE
    model  siglip.models := siglip.described_model(count_labels.model_id);
    chunk  record;
    counts bigint[];
BEGIN
    PERFORM siglip.check_label_set(label_set, min_score, model);
    FOR chunk IN
        SELECT array_agg(l.label ORDER BY l.position) AS labels,
               string_agg(format(
                   'count(*) FILTER (WHERE e.embedding OPERATOR(public.<#>) %L::public.halfvec <= %L::double precision)', v.embedding,
                   -(siglip.least_similarity(coalesce(min_score, l.threshold, 0.5), model.logit_scale, model.logit_bias) - 1e-9)),
                   ', ' ORDER BY l.position) AS columns
        FROM siglip.label_sets AS s
        JOIN siglip.labels AS l USING (label_set_id)
        JOIN siglip.label_embeddings AS v ON v.label_id = l.label_id AND v.model_id = model.model_id
        WHERE s.name = count_labels.label_set
        GROUP BY l.position / 50
        ORDER BY min(l.position)
    LOOP
        EXECUTE 'SELECT ARRAY[' || chunk.columns || '] FROM siglip.image_embeddings AS e'
            ' JOIN siglip.images AS i ON i.content_id = e.content_id WHERE e.model_id = ' || model.model_id
            || CASE WHEN collection IS NULL THEN '' ELSE ' AND i.collection = $1' END
            || CASE WHEN filter IS NULL THEN '' ELSE ' AND i.metadata @> $2' END
            INTO counts USING collection, filter;
        RETURN QUERY SELECT c.label, c.images FROM unnest(chunk.labels, counts) AS c (label, images);
    END LOOP;
END
$function$;

-- Make the partition of siglip.image_embeddings for one model, with its first segment; nothing happens where it exists.
CREATE OR REPLACE FUNCTION siglip.create_embedding_partition(model_id integer, dimension integer)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
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
        ' CONSTRAINT %I CHECK (public.vector_dims(embedding) = %L::integer)'
        ') PARTITION BY RANGE (content_id)',
        name, name || '_dimension_check', dimension
    );
    tail := siglip.create_segment(model_id);
    EXECUTE format('ALTER TABLE %s ADD PRIMARY KEY (content_id)', tail);
    EXECUTE format('ALTER TABLE siglip.%I ATTACH PARTITION %s FOR VALUES FROM (MINVALUE) TO (MAXVALUE)', name, tail);
    EXECUTE format('ALTER TABLE siglip.image_embeddings ATTACH PARTITION siglip.%I FOR VALUES IN (%L)', name, model_id);
END
$function$;

-- Make an empty table for a segment on a connected server, and the foreign table for it here, yet to be attached.
CREATE OR REPLACE FUNCTION siglip.create_foreign_segment(model_id integer, server text, first bigint, beyond bigint)
 RETURNS regclass
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
DECLARE
    parent      constant text := format('image_embeddings_%s', model_id);
    name        constant text := format('%s_%s', parent, nextval('siglip.segment_numbers'));
    there       constant text := (SELECT s.schema_name FROM siglip.segment_servers AS s WHERE s.name = server);
    constraints text;
BEGIN
    SELECT string_agg(format(', CONSTRAINT %I %s', c.conname, pg_get_constraintdef(c.oid)), '') INTO constraints
    FROM pg_constraint AS c WHERE c.conrelid = format('siglip.%I', parent)::regclass AND c.contype = 'c';
    PERFORM siglip.run_on_server(server, format('INSERT INTO %I.tables (table_name, is_settled) VALUES (%L, false)', there, name));
    PERFORM siglip.run_on_server(server, format(
        'CREATE TABLE %I.%I (model_id integer NOT NULL, content_id bigint NOT NULL, embedding public.halfvec NOT NULL%s)',
        there, name, constraints));
    PERFORM siglip.run_on_server(server, format(
        'ALTER TABLE %I.%I ALTER COLUMN embedding SET STORAGE PLAIN, ALTER COLUMN embedding SET STATISTICS 0,'
        ' ADD PRIMARY KEY (content_id)', there, name));
    EXECUTE format(
        'CREATE FOREIGN TABLE siglip.%I (model_id integer NOT NULL, content_id bigint NOT NULL, embedding public.halfvec NOT NULL%s,'
        ' CONSTRAINT segment_bounds CHECK (model_id = %L AND content_id < %L AND %s))'
        ' SERVER %I OPTIONS (schema_name %L, table_name %L)',
        name, constraints, model_id, beyond, CASE WHEN first IS NULL THEN 'true' ELSE format('content_id >= %L', first) END,
        server, there, name);
    EXECUTE format('ALTER FOREIGN TABLE siglip.%I ALTER COLUMN embedding SET STATISTICS 0, ALTER COLUMN model_id SET STATISTICS 1,'
                   ' ALTER COLUMN content_id SET STATISTICS 1', name);
    RETURN format('siglip.%I', name)::regclass;
END
$function$;

-- Choose the kind of a model's indexes: halfvec, or bit_rerank for tables that don't fit memory. siglip.maintain() builds them.
CREATE OR REPLACE FUNCTION siglip.create_index(kind text, model_id integer DEFAULT NULL::integer)
 RETURNS text
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
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
$function$;

-- Make the function that searches a model's graphs, as its segments are indexed now; nothing happens where it fits already.
CREATE OR REPLACE FUNCTION siglip.create_nearest_images(model_id integer, dimension integer)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
DECLARE
    name     constant text := format('siglip.nearest_images_%s', model_id);
    contents constant int8multirange := siglip.quantised_contents(model_id);
    query    constant text := siglip.matches_query(
        CASE WHEN isempty(contents) THEN siglip.graph_query(model_id, dimension)
             ELSE siglip.quantised_query(model_id, dimension, contents) END);
    landmarks constant text := format(
        'SELECT array_agg(n.similarity), min(n.usual_similarity) INTO near, usual_similarity FROM ('
        'SELECT siglip.similarity(l.embedding OPERATOR(public.<#>) $1) AS similarity, l.usual_similarity FROM siglip.landmarks AS l'
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
        'DECLARE matches siglip.image_match[]; start public.halfvec; near double precision[];'
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
        'public.halfvec, integer, bigint, double precision, double precision, text, jsonb, bigint[])'
        ' RETURNS siglip.image_match[] LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, siglip, pg_temp'
        ' SET plan_cache_mode = force_generic_plan'
        ' SET enable_sort = off SET enable_hashjoin = off SET enable_mergejoin = off SET enable_seqscan = off AS %L',
        name, body
    );
    EXECUTE format('COMMENT ON FUNCTION %s IS %L', name, format('The search by HNSW under the model %s.', model_id));
END
$function$;

-- Make what siglip.tell_servers reads, on a connected server and here.
CREATE OR REPLACE FUNCTION siglip.create_search_settings(server text, there text)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
BEGIN
    PERFORM siglip.run_on_server(server, format(
        'CREATE VIEW %I.search_settings AS'
        ' SELECT i.iterative_scan, e.ef_search, set_config(''hnsw.iterative_scan'', i.iterative_scan, true) IS NOT NULL'
        ' AND set_config(''hnsw.ef_search'', e.ef_search::text, true) IS NOT NULL AS is_set'
        ' FROM generate_series(1, 1000) AS e (ef_search), (VALUES (''off''), (''relaxed_order''), (''strict_order'')) AS i (iterative_scan)',
        there));
    EXECUTE format('CREATE FOREIGN TABLE siglip.%I (iterative_scan text, ef_search integer, is_set boolean) SERVER %I'
                   ' OPTIONS (schema_name %L, table_name ''search_settings'')', 'search_settings_' || server, server, there);
    EXECUTE format('COMMENT ON FOREIGN TABLE siglip.%I IS %L', 'search_settings_' || server,
                   'To read a row sets hnsw.iterative_scan and hnsw.ef_search on ' || server || ' until the transaction ends.');
    EXECUTE format('GRANT SELECT ON siglip.%I TO PUBLIC', 'search_settings_' || server);
END
$function$;

-- Make an empty table for a segment of a model, without a key, yet to be attached.
CREATE OR REPLACE FUNCTION siglip.create_segment(model_id integer)
 RETURNS regclass
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
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
$function$;

-- Build the HNSW index of a segment of row_count rows, with up to siglip.maintenance_work_mem (2GB) of memory.
CREATE OR REPLACE FUNCTION siglip.create_segment_index(segment regclass, dimension integer, index_kind text, row_count bigint)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
DECLARE
    own_memory constant text := current_setting('maintenance_work_mem');
    processes constant text := current_setting('max_parallel_maintenance_workers');
    name      constant text := format('%s_hnsw_idx', (SELECT c.relname FROM pg_class AS c WHERE c.oid = segment));
    statement constant text := format('CREATE INDEX %I ON %s ', name, segment) || siglip.index_definition(dimension, index_kind, row_count);
BEGIN
    PERFORM set_config('maintenance_work_mem',
                       greatest(pg_size_bytes(own_memory) / 1024,
                                least(siglip.build_memory(), 67108864 + row_count * siglip.graph_bytes(dimension, index_kind))
                                / 1024)::text || 'kB', true);
    BEGIN
        EXECUTE statement;
    EXCEPTION WHEN insufficient_resources OR system_error THEN
        -- Several processes share the graph in shared memory, of which a container may have little.
        PERFORM set_config('max_parallel_maintenance_workers', '0', true);
        EXECUTE statement;
        PERFORM set_config('max_parallel_maintenance_workers', processes, true);
    END;
    PERFORM set_config('maintenance_work_mem', own_memory, true);
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

-- Put characters for the %XX of a URL.
CREATE OR REPLACE FUNCTION siglip.decode_percent(word text)
 RETURNS text
 LANGUAGE sql
 IMMUTABLE
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
    SELECT coalesce(convert_from(string_agg(
               CASE WHEN m.part[1] ~ '^%..' THEN decode(substr(m.part[1], 2), 'hex') ELSE convert_to(m.part[1], 'UTF8') END,
               ''::bytea ORDER BY m.place), 'UTF8'), '')
    FROM regexp_matches(word, '%[0-9A-Fa-f]{2}|[^%]+|%', 'g') WITH ORDINALITY AS m (part, place)
$function$;

-- hnsw.ef_search of models that siglip.tune_search has not measured.
CREATE OR REPLACE FUNCTION siglip.default_ef_search()
 RETURNS integer
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
RETURN 200;

-- Delete images with their bytes and ledger, and with content and vectors where no other image has them; returns how many images.
CREATE OR REPLACE FUNCTION siglip.delete_images(image_ids bigint[] DEFAULT NULL::bigint[], uris text[] DEFAULT NULL::text[], keys text[] DEFAULT NULL::text[], collection text DEFAULT NULL::text, filter jsonb DEFAULT NULL::jsonb, max_images integer DEFAULT NULL::integer)
 RETURNS bigint
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
#variable_conflict use_variable
DECLARE
    chosen    bigint[];
    contents  bigint[];
    forgotten bigint[];
    deleted   bigint;
BEGIN
    IF max_images < 1 THEN
        RAISE EXCEPTION 'max_images is %, not a number from 1 on.', max_images USING ERRCODE = 'invalid_parameter_value';
    END IF;
    EXECUTE 'SELECT array_agg(s.image_id), array_agg(DISTINCT s.content_id) FILTER (WHERE s.content_id IS NOT NULL) FROM ('
            'SELECT i.image_id, i.content_id FROM siglip.images AS i WHERE '
            || siglip.selection_conditions(image_ids, uris, keys, collection, filter)
            || ' ORDER BY i.collection, i.uri LIMIT $6 FOR UPDATE) AS s'
        INTO chosen, contents USING image_ids, uris, keys, collection, filter, max_images;
    PERFORM FROM siglip.ingest_items AS t WHERE t.image_id = ANY (chosen) ORDER BY t.image_id, t.model_id FOR UPDATE;
    DELETE FROM siglip.images AS i WHERE i.image_id = ANY (chosen);
    GET DIAGNOSTICS deleted = ROW_COUNT;
    IF contents IS NULL OR row_security_active('siglip.images')
       OR NOT (has_table_privilege('siglip.contents', 'UPDATE') AND has_table_privilege('siglip.contents', 'DELETE')
               AND has_table_privilege('siglip.image_embeddings', 'DELETE')
               AND has_table_privilege('siglip.released_contents', 'DELETE')) THEN
        RETURN deleted;
    END IF;
    BEGIN
        PERFORM FROM siglip.contents AS c WHERE c.content_id = ANY (contents) ORDER BY c.content_hash, c.content_id FOR UPDATE;
        SELECT array_agg(u.content_id) INTO forgotten
        FROM unnest(contents) AS u (content_id)
        WHERE NOT EXISTS (SELECT FROM siglip.images AS i WHERE i.content_id = u.content_id);
        DELETE FROM siglip.image_embeddings AS e WHERE e.content_id = ANY (forgotten);
        DELETE FROM siglip.contents AS c WHERE c.content_id = ANY (forgotten);
        DELETE FROM siglip.released_contents AS r WHERE r.content_id = ANY (forgotten);
    EXCEPTION WHEN connection_exception OR admin_shutdown OR crash_shutdown THEN
        RAISE NOTICE 'The images are deleted; their vectors stay until every server answers: %', SQLERRM;
    END;
    RETURN deleted;
END
$function$;

-- Delete vectors where the segment lies, at once.
CREATE OR REPLACE FUNCTION siglip.delete_vectors(segment regclass, content_ids bigint[])
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
DECLARE
    place     record;
    statement text;
BEGIN
    SELECT l.* INTO place FROM siglip.locate_segment(segment) AS l;
    statement := format('DELETE FROM %s WHERE content_id = ANY (%L::bigint[])', place.table_name, content_ids);
    IF place.server IS NULL THEN
        EXECUTE statement;
    ELSE
        PERFORM siglip.run_on_server(place.server, statement);
    END IF;
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

-- Close this session's connection to a server, if there is one.
CREATE OR REPLACE FUNCTION siglip.disconnect_server(server text)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
DECLARE
    dblink constant text := siglip.extension_schema('dblink');
    is_open boolean;
BEGIN
    EXECUTE format('SELECT coalesce($1 = ANY (%s.dblink_get_connections()), false)', dblink) INTO is_open USING 'siglip_' || server;
    IF is_open THEN
        EXECUTE format('SELECT %s.dblink_disconnect($1)', dblink) USING 'siglip_' || server;
    END IF;
END
$function$;

-- Draw the landmarks of a segment anew.
CREATE OR REPLACE FUNCTION siglip.draw_landmarks(segment regclass, row_count bigint, model_id integer, first bigint, beyond bigint)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
#variable_conflict use_variable
DECLARE
    wanted constant bigint := least(500, row_count / siglip.rows_per_landmark());
BEGIN
    DELETE FROM siglip.landmarks AS l
    WHERE l.model_id = draw_landmarks.model_id AND l.content_id < beyond AND (first IS NULL OR l.content_id >= first);
    IF pg_relation_size(segment) >= siglip.exact_below_bytes() THEN
        EXECUTE format(
            'WITH drawn AS MATERIALIZED ('
            'SELECT k.content_id, k.model_id, k.embedding, row_number() OVER () AS rank FROM ('
            'SELECT s.content_id, s.model_id, s.embedding'
            ' FROM (SELECT e.* FROM %s AS e TABLESAMPLE SYSTEM (%s) ORDER BY random() LIMIT %s) AS s'
            ' JOIN siglip.contents AS c USING (content_id) FOR KEY SHARE OF c SKIP LOCKED) AS k'
            '), usual AS MATERIALIZED ('
            'SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY -(a.embedding OPERATOR(public.<#>) o.embedding)) AS similarity'
            ' FROM drawn AS a JOIN drawn AS o ON o.content_id > a.content_id'
            ') INSERT INTO siglip.landmarks (content_id, model_id, embedding, rank, usual_similarity)'
            ' SELECT d.content_id, d.model_id, d.embedding, d.rank, u.similarity FROM drawn AS d CROSS JOIN usual AS u',
            segment, least(100, 400.0 * wanted / greatest(1, row_count)), wanted);
    END IF;
END
$function$;

-- The mean of up to 20 measurements before one, of the same kind, filter, ef_search and index kind.
CREATE OR REPLACE FUNCTION siglip.earlier_recall(measurement siglip.recall_history, OUT measurements bigint, OUT recall double precision, OUT low double precision)
 RETURNS record
 LANGUAGE sql
 STABLE
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
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
        IF model.is_external THEN
            RAISE EXCEPTION 'The model % is external: its vectors are imported, and no worker can embed a text with it.', model.name
                USING ERRCODE = 'invalid_parameter_value',
                      HINT = 'Search by a vector, siglip.search_images(vector), or by an image, siglip.similar_images(image_id).';
        END IF;
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

-- How many images the exact answer to each query has, up to max_results, and the similarity of the last; no row for none.
CREATE OR REPLACE FUNCTION siglip.exact_answers(model siglip.models, queries halfvec[], image_ids bigint[], searches siglip.measured_search[], max_results integer, collection text, filter jsonb, OUT number integer, OUT result_count integer, OUT last_similarity double precision)
 RETURNS SETOF record
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
 SET jit TO 'off'
AS $function$
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
$function$;

-- The text of the query that gives the exact answers to several queries in one pass. $1 queries, $2 greatest distances.
CREATE OR REPLACE FUNCTION siglip.exact_answers_query(model_id integer, query_count integer, has_content_ids boolean, conditions text)
 RETURNS text
 LANGUAGE sql
 IMMUTABLE
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
    SELECT format(
        'WITH near AS MATERIALIZED (SELECT e.content_id, e.embedding FROM siglip.image_embeddings AS e%s WHERE e.model_id = %s AND (%s))'
        ' SELECT array_agg(r.number), array_agg(cardinality(r.similarities)), array_agg(r.similarities[cardinality(r.similarities)])'
        ' FROM ('
        'SELECT q.number::integer, (array_agg(d.similarity ORDER BY d.similarity DESC))[1:$4] AS similarities'
        ' FROM near AS n CROSS JOIN unnest($1, $2, $3) WITH ORDINALITY AS q (embedding, distance, image_id, number)'
        ' CROSS JOIN LATERAL (SELECT n.embedding OPERATOR(public.<#>) q.embedding AS distance OFFSET 0) AS c'
        ' CROSS JOIN LATERAL (SELECT greatest(-1, least(1, -c.distance)) AS similarity) AS d'
        ' CROSS JOIN LATERAL (SELECT FROM siglip.images AS i'
        ' WHERE i.content_id = n.content_id AND i.image_id IS DISTINCT FROM q.image_id%s OFFSET 0) AS i'
        ' WHERE c.distance <= q.distance GROUP BY q.number'
        ') AS r',
        CASE WHEN has_content_ids THEN ' JOIN unnest($5) AS w (content_id) USING (content_id)' ELSE '' END,
        model_id,
        (SELECT string_agg(format('e.embedding OPERATOR(public.<#>) ($1)[%1$s] <= ($2)[%1$s]', n), ' OR ')
         FROM generate_series(1, query_count) AS n),
        conditions)
$function$;

-- A segment of fewer bytes than this needs no index.
CREATE OR REPLACE FUNCTION siglip.exact_below_bytes()
 RETURNS bigint
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
RETURN ((8 * 1024) * 1024);

-- The exact answer of a search, as one array of matches.
CREATE OR REPLACE FUNCTION siglip.exact_images(model siglip.models, query_embedding halfvec, wanted integer, excluded_image_id bigint, collection text, filter jsonb, image_ids bigint[], after siglip.search_position)
 RETURNS siglip.image_match[]
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
 SET jit TO 'off'
 SET enable_indexscan TO 'on'
 SET parallel_setup_cost TO '1000'
 SET parallel_tuple_cost TO '0.1'
 SET min_parallel_table_scan_size TO '8MB'
 SET min_parallel_index_scan_size TO '512kB'
AS $function$
DECLARE
    conditions constant text := siglip.image_conditions(collection IS NOT NULL, filter IS NOT NULL, image_ids IS NOT NULL);
    is_narrowed constant boolean := collection IS NOT NULL OR filter IS NOT NULL OR image_ids IS NOT NULL;
    content_ids bigint[];
    query       text;
    matches     siglip.image_match[];
BEGIN
    IF is_narrowed OR row_security_active('siglip.images') THEN
        -- The rows that pass, then their vectors in the order of their places: half as long as a join.
        EXECUTE 'SELECT array_agg(i.content_id) FROM siglip.images AS i WHERE i.content_id IS NOT NULL AND ' || conditions
            INTO content_ids
            USING query_embedding, wanted, excluded_image_id, model.logit_scale, model.logit_bias, collection, filter, image_ids;
        IF content_ids IS NULL THEN
            RETURN '{}';
        END IF;
    END IF;
    IF content_ids IS NOT NULL THEN
        PERFORM set_config('enable_indexscan', 'off', true);  -- a bitmap reads the table in order, and several processes share it
    END IF;
    IF content_ids IS NULL OR cardinality(content_ids) > 15000 THEN
        PERFORM set_config('parallel_setup_cost', '0', true), set_config('parallel_tuple_cost', '0', true),
                set_config('min_parallel_table_scan_size', '0', true), set_config('min_parallel_index_scan_size', '0', true);
    END IF;
    query := siglip.matches_query(siglip.exact_query(model.model_id, conditions, content_ids IS NOT NULL, after IS NOT NULL));
    IF NOT siglip.has_foreign_segments(model.model_id) THEN
        EXECUTE query
            INTO matches
            USING query_embedding, wanted, excluded_image_id, model.logit_scale, model.logit_bias, collection, filter, image_ids,
                  content_ids, after;
        RETURN matches;
    END IF;
    -- The array itself here: by its length the planner sees that it pays to let the servers sort.
    query := replace(query, 'ARRAY(SELECT unnest($9))', '$9');
    BEGIN
        EXECUTE query
            INTO matches
            USING query_embedding, wanted, excluded_image_id, model.logit_scale, model.logit_bias, collection, filter, image_ids,
                  content_ids, after;
    EXCEPTION WHEN connection_exception OR admin_shutdown OR crash_shutdown THEN
        matches := siglip.find_without_servers(
            model.model_id, query, SQLERRM, query_embedding, wanted, excluded_image_id, model.logit_scale, model.logit_bias,
            collection, filter, image_ids, content_ids, after);
    END;
    RETURN matches;
END
$function$;

-- The text of the exact search of a model, over some contents or over all.
CREATE OR REPLACE FUNCTION siglip.exact_query(model_id integer, conditions text, has_content_ids boolean, is_after boolean)
 RETURNS text
 LANGUAGE sql
 IMMUTABLE
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
    SELECT CASE WHEN has_content_ids THEN format(
        'SELECT i.image_id, n.distance FROM ('
        'SELECT e.content_id, (e.embedding OPERATOR(public.<#>) $1) + 0 AS distance FROM siglip.image_embeddings AS e'
        ' WHERE e.model_id = %1$s AND e.content_id = ANY (ARRAY(SELECT unnest($9)))%2$s'
        ' ORDER BY distance FETCH FIRST $2 ROWS WITH TIES'
        ') AS n JOIN siglip.images AS i ON i.content_id = n.content_id WHERE %3$s%4$s',
        model_id,
        -- Contents of the position's own similarity count only where a later image has one: those before it would take the places of others.
        CASE WHEN is_after
             THEN ' AND (siglip.similarity(e.embedding OPERATOR(public.<#>) $1) < ($10).similarity'
                  ' OR (siglip.similarity(e.embedding OPERATOR(public.<#>) $1) = ($10).similarity AND EXISTS ('
                  'SELECT FROM siglip.images AS i WHERE i.content_id = e.content_id AND i.image_id > ($10).image_id AND '
                  || conditions || ')))' ELSE '' END,
        conditions,
        CASE WHEN is_after
             THEN ' AND (-siglip.similarity(n.distance), i.image_id) > (-($10).similarity, ($10).image_id)' ELSE '' END)
    ELSE format(
        'SELECT i.image_id, (e.embedding OPERATOR(public.<#>) $1) + 0 AS distance'
        ' FROM siglip.image_embeddings AS e JOIN siglip.images AS i ON i.content_id = e.content_id'
        ' WHERE e.model_id = %1$s AND %2$s%3$s'
        ' ORDER BY distance FETCH FIRST $2 ROWS WITH TIES',
        model_id, conditions,
        CASE WHEN is_after
             THEN ' AND (-siglip.similarity(e.embedding OPERATOR(public.<#>) $1), i.image_id) > (-($10).similarity, ($10).image_id)'
             ELSE '' END)
    END
$function$;

-- For so many rows that pass a filter, for each segment on another server, the exact search is the quicker one.
CREATE OR REPLACE FUNCTION siglip.exact_rows_elsewhere()
 RETURNS integer
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
RETURN 20000;

-- The schema of an extension, quoted; NULL where it isn't installed.
CREATE OR REPLACE FUNCTION siglip.extension_schema(extension text)
 RETURNS text
 LANGUAGE sql
 STABLE
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
    SELECT quote_ident(n.nspname) FROM pg_extension AS e JOIN pg_namespace AS n ON n.oid = e.extnamespace WHERE e.extname = extension
$function$;

-- After a search that failed for a server that is away: its result without that server where siglip.partial_results is on, else an error.
CREATE OR REPLACE FUNCTION siglip.find_without_servers(model_id integer, query text, reason text, query_embedding halfvec, wanted integer, excluded_image_id bigint, logit_scale double precision, logit_bias double precision, collection text, filter jsonb, image_ids bigint[], content_ids bigint[], after siglip.search_position)
 RETURNS siglip.image_match[]
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
DECLARE
    conditions text;
    matches    siglip.image_match[];
BEGIN
    conditions := siglip.report_away_servers(model_id, reason, coalesce(nullif(current_setting('siglip.partial_results', true), ''), 'off')::boolean);
    EXECUTE replace(query, format('e.model_id = %s ', model_id), format('e.model_id = %s%s ', model_id, conditions))
        INTO matches
        USING query_embedding, wanted, excluded_image_id, logit_scale, logit_bias, collection, filter, image_ids, content_ids, after;
    RETURN matches;
END
$function$;

-- Bytes of memory that one row takes while its index is built, about.
CREATE OR REPLACE FUNCTION siglip.graph_bytes(dimension integer, index_kind text)
 RETURNS bigint
 LANGUAGE sql
 IMMUTABLE
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
    SELECT 1200 + CASE index_kind WHEN 'bit_rerank' THEN dimension / 8 ELSE 2 * dimension END
$function$;

-- The text of the search by the HNSW graphs of a model.
CREATE OR REPLACE FUNCTION siglip.graph_query(model_id integer, dimension integer)
 RETURNS text
 LANGUAGE sql
 IMMUTABLE
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
    SELECT format(
        'SELECT i.image_id, e.distance FROM ('
        'SELECT e.content_id, e.embedding::public.halfvec(%1$s) OPERATOR(public.<#>) $1 AS distance'
        ' FROM siglip.image_embeddings AS e WHERE e.model_id = %2$s'
        ' ORDER BY e.embedding::public.halfvec(%1$s) OPERATOR(public.<#>) $1'
        ' LIMIT current_setting(''hnsw.ef_search'')::bigint) AS e CROSS JOIN LATERAL ('
        'SELECT o.image_id FROM siglip.images AS o WHERE o.content_id = e.content_id AND o.image_id IS DISTINCT FROM $3'
        ' AND ($6 IS NULL OR o.collection = $6) AND ($7 IS NULL OR o.metadata @> $7) AND ($8 IS NULL OR o.image_id IN (SELECT unnest($8)))'
        ' OFFSET 0) AS i ORDER BY e.distance FETCH FIRST $2 ROWS WITH TIES',
        dimension, model_id)
$function$;

-- Whether segments of a model lie on other servers.
CREATE OR REPLACE FUNCTION siglip.has_foreign_segments(model_id integer)
 RETURNS boolean
 LANGUAGE sql
 STABLE
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
    SELECT EXISTS (
        SELECT FROM pg_foreign_table AS f JOIN pg_inherits AS h ON h.inhrelid = f.ftrelid
        WHERE h.inhparent = to_regclass('siglip.image_embeddings_' || model_id))
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

-- The text of the conditions that narrow a search.
CREATE OR REPLACE FUNCTION siglip.image_conditions(has_collection boolean, has_filter boolean, has_image_ids boolean)
 RETURNS text
 LANGUAGE sql
 IMMUTABLE
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
    SELECT 'i.image_id IS DISTINCT FROM $3'
        || CASE WHEN has_collection THEN ' AND i.collection = $6' ELSE '' END
        || CASE WHEN has_filter THEN ' AND i.metadata @> $7' ELSE '' END
        || CASE WHEN has_image_ids THEN ' AND i.image_id = ANY ($8)' ELSE '' END
$function$;

-- The images whose score for a label reaches min_score (by default the label's threshold, else 0.5), best first.
CREATE OR REPLACE FUNCTION siglip.images_with_label(label_set text, label text, min_score double precision DEFAULT NULL::double precision, max_results integer DEFAULT NULL::integer, collection text DEFAULT NULL::text, filter jsonb DEFAULT NULL::jsonb, model_id integer DEFAULT NULL::integer)
 RETURNS SETOF siglip.image_match
 LANGUAGE plpgsql
 ROWS 100
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
 SET jit TO 'off'
 SET "hnsw.iterative_scan" TO 'relaxed_order'
 SET "hnsw.ef_search" TO '700'
 SET "hnsw.max_scan_tuples" TO '100000'
 SET parallel_setup_cost TO '1000'
 SET min_parallel_table_scan_size TO '8MB'
AS $function$
#variable_conflict use_column
DECLARE
    model           siglip.models := siglip.described_model(images_with_label.model_id);
    label_embedding public.halfvec;
    landmark        double precision;
    walk            text;
    least_score     double precision;
    bound           double precision;
    conditions      text;
    content_ids     bigint[];
    distances       double precision[];
    step            integer := 600;
    is_large        boolean;
    total           bigint;
    reached         bigint;
    hits            bigint;
    sampled         bigint;
    expected        double precision;
    is_found        boolean := false;
BEGIN
    PERFORM siglip.check_label_set(label_set, min_score, model);
    IF max_results IS NOT NULL THEN
        PERFORM siglip.check_max_results(max_results);
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
    -- A hair below, for rounding; the score itself decides in the end.
    bound := -(siglip.least_similarity(least_score, model.logit_scale, model.logit_bias) - 1e-6);
    conditions := 'i.image_id IS DISTINCT FROM $3'
        || CASE WHEN collection IS NULL THEN '' ELSE ' AND i.collection = $6' END
        || CASE WHEN filter IS NULL THEN '' ELSE ' AND i.metadata @> $7' END;
    IF collection IS NOT NULL OR filter IS NOT NULL THEN
        EXECUTE 'SELECT coalesce(array_agg(i.content_id), ''{}'') FROM siglip.images AS i WHERE i.content_id IS NOT NULL AND ' || conditions
            INTO content_ids USING NULL::integer, NULL::integer, NULL::bigint, NULL::integer, NULL::integer, collection, filter;
    ELSE
        SELECT sum(greatest(c.reltuples, 0)) INTO total
        FROM pg_inherits AS h JOIN pg_class AS c ON c.oid = h.inhrelid
        WHERE h.inhparent = format('siglip.image_embeddings_%s', model.model_id)::regclass;
        is_large := total > 500000;
        IF is_large THEN
            step := 1500;
            PERFORM set_config('hnsw.ef_search', '1000', true);
        END IF;
        SELECT min(l.embedding OPERATOR(public.<#>) label_embedding) INTO landmark
        FROM siglip.landmarks AS l WHERE l.model_id = model.model_id;
        WHILE model.index_kind = 'halfvec' AND step <= total / 50 LOOP
            walk := format(
                'SELECT e.content_id, e.embedding::public.halfvec(%1$s) OPERATOR(public.<#>) $1 AS distance'
                ' FROM siglip.image_embeddings AS e WHERE e.model_id = %2$s'
                ' ORDER BY e.embedding::public.halfvec(%1$s) OPERATOR(public.<#>) $2 LIMIT %3$s',
                model.dimension, model.model_id, step);
            EXECUTE 'SELECT array_agg(n.content_id), array_agg(n.distance) FROM (' || walk || ') AS n'
                INTO content_ids, distances USING label_embedding, label_embedding;
            IF is_large OR (SELECT count(*) < 10 FROM unnest(distances) AS d (distance) WHERE d.distance <= landmark) THEN
                EXECUTE 'SELECT array_agg(n.content_id), array_agg(n.distance)'
                        ' FROM (SELECT * FROM unnest($3, $4) AS u UNION (' || walk || ')) AS n (content_id, distance)'
                    INTO content_ids, distances
                    USING label_embedding, siglip.second_start(model.model_id, label_embedding), content_ids, distances;
            END IF;
            SELECT count(*) INTO reached FROM unnest(distances) AS d (distance) WHERE d.distance <= bound;
            is_found := reached <= step / 2;
            EXIT WHEN is_found;
            step := 4 * step;
        END LOOP;
        IF is_found THEN
            EXECUTE format(
                'SELECT count(*) FILTER (WHERE e.embedding OPERATOR(public.<#>) $1 <= $2), count(*) FROM siglip.image_embeddings AS e'
                ' WHERE e.model_id = %s AND e.content_id = ANY (ARRAY(SELECT unnest($3)))', model.model_id)
                INTO hits, sampled
                USING label_embedding, bound, ARRAY(  -- five neighbours each: they lie on one page
                    SELECT p.place + n
                    FROM (SELECT (random() * (SELECT max(c.content_id) FROM siglip.contents AS c))::bigint AS place
                          FROM generate_series(1, 300)) AS p, generate_series(1, 5) AS n);
            expected := reached * sampled / greatest(total, 1)::double precision;
            is_found := hits <= expected + 3 * sqrt(expected) + 3;
        END IF;
        IF NOT is_found THEN
            content_ids := NULL;
        END IF;
    END IF;
    IF content_ids IS NULL OR cardinality(content_ids) > 15000 THEN
        PERFORM set_config('parallel_setup_cost', '0', true), set_config('min_parallel_table_scan_size', '0', true);
    END IF;
    RETURN QUERY EXECUTE
        'SELECT i.image_id, i.uri, s.similarity, siglip.score(s.similarity, $4, $5), i.metadata FROM ('
        || CASE WHEN is_found THEN 'SELECT u.content_id, u.distance FROM unnest($9, $11) AS u (content_id, distance) WHERE u.distance <= $8'
           ELSE 'SELECT e.content_id, e.embedding OPERATOR(public.<#>) $1 AS distance FROM siglip.image_embeddings AS e'
                ' WHERE e.model_id = ' || model.model_id || ' AND e.embedding OPERATOR(public.<#>) $1 <= $8'
                || CASE WHEN content_ids IS NULL THEN '' ELSE ' AND e.content_id = ANY (ARRAY(SELECT unnest($9)))' END END
        || ') AS n JOIN siglip.images AS i ON i.content_id = n.content_id'
        ' CROSS JOIN LATERAL (SELECT siglip.similarity(n.distance)) AS s (similarity)'
        ' WHERE siglip.score(s.similarity, $4, $5) >= $2 AND ' || conditions ||
        ' ORDER BY s.similarity DESC, i.image_id LIMIT $10'
        USING label_embedding, least_score, NULL::bigint, model.logit_scale, model.logit_bias, collection, filter, bound,
              content_ids, max_results, distances;
END
$function$;

-- How CREATE INDEX goes on after the name of the table.
CREATE OR REPLACE FUNCTION siglip.index_definition(dimension integer, index_kind text, row_count bigint)
 RETURNS text
 LANGUAGE sql
 IMMUTABLE
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
    SELECT format(CASE index_kind
        WHEN 'bit_rerank' THEN 'USING hnsw ((public.binary_quantize(embedding)::bit(%s)) public.bit_hamming_ops)'
        ELSE 'USING hnsw ((embedding::public.halfvec(%s)) public.halfvec_ip_ops)' END || ' WITH (m = %s, ef_construction = %s)',
        dimension, CASE WHEN row_count <= 20000 THEN 16 ELSE 24 END, CASE WHEN row_count <= 20000 THEN 64 ELSE 128 END)
$function$;

-- Build the index of a segment of row_count rows on its server.
CREATE OR REPLACE FUNCTION siglip.index_foreign_segment(segment regclass, dimension integer, index_kind text, row_count bigint)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
DECLARE
    place     record;
    statement text;
BEGIN
    SELECT l.* INTO place FROM siglip.locate_segment(segment) AS l;
    IF row_count * (64 + 2 * dimension) >= siglip.exact_below_bytes() THEN
        statement := format('CREATE INDEX ON %s ', place.table_name) || siglip.index_definition(dimension, index_kind, row_count);
        PERFORM siglip.run_on_server(place.server, format(
            'DO $do$ BEGIN'
            '  PERFORM set_config(''maintenance_work_mem'', greatest(pg_size_bytes(current_setting(''maintenance_work_mem'')), %s) / 1024 || ''kB'', true);'
            '  BEGIN %s;'
            '  EXCEPTION WHEN insufficient_resources OR system_error THEN'
            '    SET LOCAL max_parallel_maintenance_workers = 0; %s;'
            '  END; END $do$',
            least(siglip.build_memory(), 67108864 + row_count * siglip.graph_bytes(dimension, index_kind)), statement, statement));
    END IF;
    PERFORM siglip.run_on_server(place.server, format('ANALYZE %s', place.table_name));
END
$function$;

-- The share of the max_results best images that searches find, by stored vectors and by texts that were asked, with its 95 % interval.
CREATE OR REPLACE FUNCTION siglip.index_recall(sample integer DEFAULT 200, max_results integer DEFAULT 10, collection text DEFAULT NULL::text, filter jsonb DEFAULT NULL::jsonb, model_id integer DEFAULT NULL::integer, OUT kind text, OUT queries integer, OUT recall double precision, OUT low double precision, OUT high double precision, OUT search_ms double precision, OUT exact_ms double precision, OUT has_dropped boolean)
 RETURNS SETOF record
 LANGUAGE plpgsql
 ROWS 2
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
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
$function$;

-- Whether a worker lives, as far as its signs of life and its lock tell; a start of the server counts as a sign of life.
CREATE OR REPLACE FUNCTION siglip.is_alive(worker siglip.workers)
 RETURNS boolean
 LANGUAGE sql
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
    SELECT greatest(worker.seen_at, pg_postmaster_start_time()) > clock_timestamp() - make_interval(secs => CASE
        WHEN worker.holds_lock AND NOT EXISTS (
            SELECT FROM pg_locks AS l
            WHERE l.locktype = 'advisory' AND l.classid = 1399416684 AND l.objsubid = 2 AND l.granted
              AND l.objid = (hashtext(worker.worker_id::text)::bigint & 4294967295)::oid
              AND l.database = (SELECT d.oid FROM pg_database AS d WHERE d.datname = current_database())
        ) THEN least(worker.lease_s, 3)
        ELSE worker.lease_s
    END)
$function$;

-- Whether a filter passes so few rows that a model with segments elsewhere is searched exactly at once.
CREATE OR REPLACE FUNCTION siglip.is_exact_quicker(model_id integer, excluded_image_id bigint, collection text, filter jsonb, image_ids bigint[])
 RETURNS boolean
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
DECLARE
    most_rows constant bigint := siglip.exact_rows_elsewhere() * (
        SELECT count(*) FROM pg_foreign_table AS f JOIN pg_inherits AS h ON h.inhrelid = f.ftrelid
        WHERE h.inhparent = to_regclass('siglip.image_embeddings_' || model_id));
    is_quicker boolean;
BEGIN
    IF num_nonnulls(collection, filter, image_ids) = 0 THEN
        RETURN false;
    END IF;
    EXECUTE format('SELECT count(*) <= %s FROM (SELECT FROM siglip.images AS i WHERE %s LIMIT %s) AS n', most_rows,
                   siglip.image_conditions(collection IS NOT NULL, filter IS NOT NULL, image_ids IS NOT NULL), most_rows + 1)
        INTO is_quicker
        USING NULL::text, NULL::integer, excluded_image_id, NULL::integer, NULL::integer, collection, filter, image_ids;
    RETURN is_quicker;
END
$function$;

-- Whether work is queued under a model, or new contents arrived in the last 30 seconds (siglip.rest_after).
CREATE OR REPLACE FUNCTION siglip.is_loading(model_id integer)
 RETURNS boolean
 LANGUAGE sql
 STABLE
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
    SELECT EXISTS (
            SELECT FROM siglip.ingest_items AS t WHERE t.model_id = is_loading.model_id AND t.state = 'queued' AND t.not_before <= now())
        OR EXISTS (SELECT FROM siglip.ingest_items AS t WHERE t.model_id = is_loading.model_id AND t.state = 'claimed')
        OR (SELECT c.created_at FROM siglip.contents AS c ORDER BY c.content_id DESC LIMIT 1)
            > now() - coalesce(nullif(current_setting('siglip.rest_after', true), ''), '30 s')::interval
$function$;

-- Add a measurement to siglip.recall_history where the caller may; warns of a drop, and returns whether there is one.
CREATE OR REPLACE FUNCTION siglip.keep_measurement(model siglip.models, measured siglip.recall_measurement, max_results integer, collection text, filter jsonb, target_recall double precision, is_chosen boolean)
 RETURNS boolean
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
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
$function$;

-- The models that a new image is queued for: the active one, and those that are kept beside it.
Example: SELECT * FROM siglip.kept_models();
CREATE OR REPLACE FUNCTION siglip.kept_models()
 RETURNS SETOF integer
 LANGUAGE sql
 STABLE ROWS 2
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
    SELECT m.model_id FROM siglip.models AS m WHERE (m.is_active OR m.is_kept) AND NOT m.is_external ORDER BY m.model_id
$function$;

-- For each label of a set, how many images have a score in each of so many bins of equal width.
CREATE OR REPLACE FUNCTION siglip.label_histogram(label_set text, bins integer DEFAULT 10, collection text DEFAULT NULL::text, filter jsonb DEFAULT NULL::jsonb, model_id integer DEFAULT NULL::integer)
 RETURNS TABLE(label text, from_score double precision, to_score double precision, images bigint)
 LANGUAGE plpgsql
 ROWS 200
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
 SET jit TO 'off'
 SET parallel_setup_cost TO '0'
AS $function$
#variable_conflict use_column
DECLARE
    model     siglip.models := siglip.described_model(label_histogram.model_id);
    labels    text[];
    distances text;
    edges     double precision[];
BEGIN
    PERFORM siglip.check_label_set(label_set, NULL, model);
    IF bins IS NULL OR bins NOT BETWEEN 2 AND 1000 THEN
        RAISE EXCEPTION 'bins is %, not a number from 2 to 1000.', coalesce(bins::text, 'NULL')
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Ten bins are a tenth of a score each.';
    END IF;
    SELECT array_agg(l.label ORDER BY l.position),
           string_agg(format('e.embedding OPERATOR(public.<#>) %L::public.halfvec', v.embedding), ', ' ORDER BY l.position)
    INTO labels, distances
    FROM siglip.label_sets AS s
    JOIN siglip.labels AS l USING (label_set_id)
    JOIN siglip.label_embeddings AS v ON v.label_id = l.label_id AND v.model_id = model.model_id
    WHERE s.name = label_histogram.label_set;
    IF labels IS NULL THEN
        RETURN;
    END IF;
    SELECT array_agg(siglip.least_similarity(b / bins::double precision, model.logit_scale, model.logit_bias) - 1e-9 ORDER BY b) INTO edges
    FROM generate_series(1, bins - 1) AS b;
    RETURN QUERY EXECUTE
        'WITH counts AS ('
        '    SELECT u.position, width_bucket(-u.distance, $1) AS bin, count(*) AS images'
        '    FROM siglip.image_embeddings AS e JOIN siglip.images AS i ON i.content_id = e.content_id'
        '    CROSS JOIN LATERAL unnest(ARRAY[' || distances || ']) WITH ORDINALITY AS u (distance, position)'
        '    WHERE e.model_id = ' || model.model_id || ' AND least(' || distances || ') <= -($1)[1] AND u.distance <= -($1)[1]'
        || CASE WHEN collection IS NULL THEN '' ELSE ' AND i.collection = $3' END
        || CASE WHEN filter IS NULL THEN '' ELSE ' AND i.metadata @> $4' END ||
        '    GROUP BY 1, 2'
        '), total AS ('
        '    SELECT count(*) AS images FROM siglip.image_embeddings AS e JOIN siglip.images AS i ON i.content_id = e.content_id'
        '    WHERE e.model_id = ' || model.model_id
        || CASE WHEN collection IS NULL THEN '' ELSE ' AND i.collection = $3' END
        || CASE WHEN filter IS NULL THEN '' ELSE ' AND i.metadata @> $4' END ||
        ')'
        ' SELECT l.label, b / $5::double precision, (b + 1) / $5::double precision,'
        '        CASE WHEN b = 0 THEN t.images - coalesce((SELECT sum(a.images) FROM counts AS a WHERE a.position = l.position), 0)::bigint'
        '             ELSE coalesce(c.images, 0) END'
        ' FROM unnest($2) WITH ORDINALITY AS l (label, position) CROSS JOIN generate_series(0, $5 - 1) AS b CROSS JOIN total AS t'
        ' LEFT JOIN counts AS c ON c.position = l.position AND c.bin = b'
        ' ORDER BY l.position, b'
        USING edges, labels, collection, filter, bins;
END
$function$;

-- The similarity that has this score, (ln(score / (1 - score)) - logit_bias) / exp(logit_scale): siglip.score the other way round.
CREATE OR REPLACE FUNCTION siglip.least_similarity(score double precision, logit_scale double precision, logit_bias double precision)
 RETURNS double precision
 LANGUAGE sql
 IMMUTABLE
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
    SELECT CASE WHEN score <= 0 THEN -1.01 WHEN score >= 1 THEN (37 - logit_bias) / exp(logit_scale)
                ELSE (ln(score / (1 - score)) - logit_bias) / exp(logit_scale) END
$function$;

-- The server that has a segment's rows, NULL for this one, and the name of their table there. Here: connect_server must have been called.
CREATE OR REPLACE FUNCTION siglip.locate_segment(segment regclass, OUT server text, OUT table_name text)
 RETURNS record
 LANGUAGE sql
 STABLE
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
    SELECT s.srvname::text,
           CASE WHEN f.ftrelid IS NULL THEN segment::text ELSE (
               SELECT format('%I.%I', max(substr(o.pair, 13)) FILTER (WHERE o.pair LIKE 'schema\_name=%'),
                                      max(substr(o.pair, 12)) FILTER (WHERE o.pair LIKE 'table\_name=%'))
               FROM unnest(f.ftoptions) AS o (pair)) END
    FROM (SELECT) AS one
    LEFT JOIN pg_foreign_table AS f ON f.ftrelid = segment
    LEFT JOIN pg_foreign_server AS s ON s.oid = f.ftserver
$function$;

-- Do the next step that the segments need, and return a sentence; NULL where there is nothing to do. With is_full one segment remains.
CREATE OR REPLACE FUNCTION siglip.maintain(model_id integer DEFAULT NULL::integer, is_full boolean DEFAULT false)
 RETURNS text
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
#variable_conflict use_column
DECLARE
    seal_rows  constant bigint := siglip.seal_rows();
    model      siglip.models;
    removed    bigint;
    tail       siglip.segments;
    is_at_rest boolean;
    boundary   bigint;
    chosen     regclass[];
    name       text;
    row_count  bigint;
    server     text;
    done       text;
BEGIN
    IF NOT pg_try_advisory_xact_lock(1397311311, 0) THEN
        RAISE NOTICE 'Another session maintains the segments just now.';
        RETURN NULL;
    END IF;
    BEGIN
        removed := siglip.remove_released_contents(5000);
    EXCEPTION WHEN connection_exception OR admin_shutdown OR crash_shutdown THEN
        RAISE NOTICE 'Contents without an image stay until every server answers: %', SQLERRM;
    END;
    IF removed > 0 THEN
        RETURN format('Removed %s contents without an image.', removed);
    END IF;
    FOR model IN
        SELECT m.* FROM siglip.models AS m
        WHERE m.dimension IS NOT NULL AND (maintain.model_id IS NULL OR m.model_id = maintain.model_id)
        ORDER BY m.is_active DESC, m.model_id
    LOOP
        PERFORM siglip.create_nearest_images(model.model_id, model.dimension);
        is_at_rest := is_full OR NOT siglip.is_loading(model.model_id);
        SELECT s.* INTO tail FROM siglip.segments AS s WHERE s.model_id = model.model_id AND s.is_open AND s.server IS NULL;
        IF FOUND AND (tail.bytes >= seal_rows * (64 + 2 * model.dimension)
                      OR (is_at_rest AND tail.bytes >= siglip.exact_below_bytes())
                      OR (is_full AND tail.bytes > 0)) THEN
            boundary := siglip.close_segment(model.model_id);
            IF boundary IS NOT NULL THEN
                RETURN format('Closed the segment %s of %s at content %s.', tail.segment, model.name, boundary);
            END IF;
        END IF;
        chosen := siglip.segments_to_rebuild(model.model_id, is_at_rest, is_full);
        IF chosen IS NOT NULL THEN
            name := chosen[1]::text;
            row_count := siglip.rebuild_segments(chosen);
            PERFORM siglip.create_nearest_images(model.model_id, model.dimension);
            RETURN CASE cardinality(chosen)
                WHEN 1 THEN format('Built the segment %s of %s: %s rows.', name, model.name, row_count)
                ELSE format('Merged %s segments of %s: %s rows.', cardinality(chosen), model.name, row_count)
            END;
        END IF;
        IF is_at_rest AND siglip.needs_measuring(model) THEN
            BEGIN
                RETURN siglip.measure_in_passing(model);
            EXCEPTION WHEN no_data_found OR connection_exception OR admin_shutdown OR crash_shutdown THEN
                RAISE NOTICE 'Recall is not measured: %', SQLERRM;
            END;
        END IF;
    END LOOP;
    FOR server IN SELECT s.name FROM siglip.segment_servers AS s ORDER BY s.name LOOP
        BEGIN
            done := siglip.settle_server(server);
        EXCEPTION WHEN connection_exception OR admin_shutdown OR crash_shutdown THEN
            RAISE NOTICE '%', SQLERRM;
        END;
        IF done IS NOT NULL THEN
            RETURN done;
        END IF;
    END LOOP;
    RETURN NULL;
END
$function$;

-- The text of the query that makes one array of matches, best first, of what a search finds.
CREATE OR REPLACE FUNCTION siglip.matches_query(query text)
 RETURNS text
 LANGUAGE sql
 IMMUTABLE
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
    SELECT 'SELECT ARRAY('
        'SELECT ROW(i.image_id, i.uri, c.similarity, siglip.score(c.similarity, $4, $5), i.metadata)::siglip.image_match'
        ' FROM (' || query || ') AS n JOIN siglip.images AS i ON i.image_id = n.image_id'
        ' CROSS JOIN LATERAL (SELECT greatest(-1::double precision, least(1::double precision, -n.distance)) AS similarity OFFSET 0) AS c'
        ' ORDER BY c.similarity DESC, n.image_id LIMIT $2)'
$function$;

-- Measure recall with a small sample; returns a sentence.
CREATE OR REPLACE FUNCTION siglip.measure_in_passing(model siglip.models)
 RETURNS text
 LANGUAGE sql
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
    SELECT format('Measured the recall of %s: %s.', model.name,
                  string_agg(format('%s %s', r.kind, round(r.recall::numeric, 3)), ', ' ORDER BY r.kind))
    FROM siglip.index_recall(
        sample => CASE WHEN (SELECT sum(s.estimated_rows) FROM siglip.segments AS s WHERE s.model_id = model.model_id) > 1000000
                       THEN 20 ELSE 50 END,
        model_id => model.model_id) AS r
$function$;

-- Measure recall under growing ef_search, with the same queries, until stored vectors and twenty or more texts reach target_recall.
CREATE OR REPLACE FUNCTION siglip.measure_recall(model siglip.models, sample integer, max_results integer, collection text, filter jsonb, ef_searches integer[], target_recall double precision)
 RETURNS SETOF siglip.recall_measurement
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
DECLARE
    fewest_counting constant integer := 20;  -- what fewer texts tell is chance
    queries    public.halfvec[];
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
$function$;

-- Search with each query, as siglip.search_images does, and take the time.
CREATE OR REPLACE FUNCTION siglip.measure_searches(model siglip.models, queries halfvec[], image_ids bigint[], max_results integer, collection text, filter jsonb)
 RETURNS siglip.measured_search[]
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
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
$function$;

-- Move a closed segment to another server, or, with NULL, back to this one, while searches and workers go on; returns how many rows it has.
CREATE OR REPLACE FUNCTION siglip.move_segment(segment regclass, server text)
 RETURNS bigint
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
#variable_conflict use_variable
DECLARE
    started_at constant timestamptz := clock_timestamp();
    source     siglip.segments;
    model      siglip.models;
    place      record;
    target     regclass;
    last       bigint;
    row_count  bigint;
BEGIN
    IF server IS NOT NULL AND NOT EXISTS (SELECT FROM siglip.segment_servers AS s WHERE s.name = server) THEN
        RAISE EXCEPTION 'There is no server %.', server
            USING ERRCODE = 'no_data_found', HINT = 'SELECT siglip.add_server(name, url) adds one.';
    END IF;
    PERFORM siglip.check_isolation();
    PERFORM pg_advisory_xact_lock(1397311311, 0);
    SELECT s.* INTO source FROM siglip.segments AS s WHERE s.segment = move_segment.segment;
    IF NOT FOUND OR source.is_open THEN
        RAISE EXCEPTION '% is not a closed segment.', segment
            USING ERRCODE = 'invalid_parameter_value', HINT = 'SELECT * FROM siglip.index_status shows what there is.';
    ELSIF source.server IS NOT DISTINCT FROM server THEN
        RAISE EXCEPTION 'The segment % is % already.', segment, coalesce('on ' || server, 'on this server')
            USING ERRCODE = 'invalid_parameter_value', HINT = 'SELECT * FROM siglip.index_status shows what there is.';
    END IF;
    SELECT m.* INTO model FROM siglip.models AS m WHERE m.model_id = source.model_id;
    SELECT l.* INTO place FROM siglip.locate_segment(segment) AS l;
    PERFORM pg_advisory_xact_lock(1397311312, siglip.segment_number(segment));
    IF source.server IS NULL THEN  -- see siglip.rebuild_segments
        EXECUTE format('LOCK TABLE ONLY %s IN SHARE UPDATE EXCLUSIVE MODE', segment);
    END IF;

    BEGIN
        IF source.server IS NOT NULL THEN
            PERFORM siglip.connect_server(source.server);
        END IF;
        IF server IS NULL THEN
            target := siglip.create_segment(model.model_id);
            EXECUTE format('ALTER TABLE %s ADD PRIMARY KEY (content_id), ADD CONSTRAINT segment_bounds'
                           ' CHECK (model_id = %L AND content_id < %L AND %s)', target, model.model_id, source.to_content_id,
                           CASE WHEN source.from_content_id IS NULL THEN 'true' ELSE format('content_id >= %L', source.from_content_id) END);
        ELSE
            PERFORM siglip.settle_server(server);
            PERFORM siglip.connect_server(server);
            PERFORM siglip.run_on_server(server, 'SET client_connection_check_interval = ''5s''');
            target := siglip.create_foreign_segment(model.model_id, server, source.from_content_id, source.to_content_id);
        END IF;

        last := siglip.copy_vectors(segment, target, 'true', 1000);
        WHILE last IS NOT NULL LOOP
            last := siglip.copy_vectors(segment, target, format('t.content_id > %L', last), 1000);
        END LOOP;
        SELECT (a.found ->> 'rows')::bigint INTO row_count FROM siglip.ask_segment(target, 'SELECT count(*) AS rows FROM %s') AS a (found);
        IF server IS NOT NULL THEN
            PERFORM siglip.index_foreign_segment(target, model.dimension, 'halfvec', row_count);  -- no search asks for bits there
        ELSIF pg_relation_size(target) >= siglip.exact_below_bytes() THEN
            PERFORM siglip.create_segment_index(target, model.dimension, model.index_kind, row_count);
        END IF;
        PERFORM siglip.catch_up_elsewhere(target, segment);
        EXECUTE format('ANALYZE %s', target);
        INSERT INTO siglip.segment_builds (segment_number, built_rows, build_s)
        VALUES (siglip.segment_number(target), row_count, extract(epoch FROM clock_timestamp() - started_at));

        IF source.server IS NOT NULL THEN
            PERFORM siglip.run_on_server(source.server, format(
                'UPDATE %I.tables SET is_settled = false WHERE table_name = %L',
                (SELECT s.schema_name FROM siglip.segment_servers AS s WHERE s.name = source.server), split_part(place.table_name, '.', 2)));
        END IF;
        PERFORM siglip.replace_segments(
            format('siglip.image_embeddings_%s', model.model_id), ARRAY[segment], target,
            format('FROM (%s) TO (%L)', coalesce(quote_literal(source.from_content_id), 'MINVALUE'), source.to_content_id));
        PERFORM siglip.create_nearest_images(model.model_id, model.dimension);
    EXCEPTION WHEN OTHERS OR query_canceled THEN
        PERFORM siglip.disconnect_server(s.name) FROM siglip.segment_servers AS s WHERE s.name IN (server, source.server);
        RAISE;
    END;
    PERFORM siglip.disconnect_server(s.name) FROM siglip.segment_servers AS s WHERE s.name IN (server, source.server);
    RETURN row_count;
END
$function$;

-- The vector search that search_images and similar_images share.
CREATE OR REPLACE FUNCTION siglip.nearest_images(model siglip.models, query_embedding halfvec, max_results integer, collection text, filter jsonb, min_score double precision, excluded_image_id bigint, image_ids bigint[] DEFAULT NULL::bigint[], skip_results integer DEFAULT 0, after siglip.search_position DEFAULT NULL::siglip.search_position)
 RETURNS SETOF siglip.image_match
 LANGUAGE plpgsql
 STABLE ROWS 10
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
 SET jit TO 'off'
 SET "hnsw.iterative_scan" TO 'relaxed_order'
 SET "hnsw.ef_search" TO '400'
AS $function$
#variable_conflict use_column
DECLARE
    exact_below_rows constant integer := 5000;
    surplus     constant integer := 3;
    is_narrowed constant boolean := num_nonnulls(collection, filter, image_ids) > 0 OR row_security_active('siglip.images');
    ef_search   integer := coalesce(model.ef_search, siglip.default_ef_search());
    wanted      integer;
    asked       integer;
    found       integer;
    matches     siglip.image_match[];
BEGIN
    -- What is usual passes in one expression: of each more, a transaction pays the preparation.
    IF (max_results BETWEEN 1 AND 10000 AND skip_results = 0 AND num_nonnulls(filter, min_score, after) = 0
        AND public.vector_dims(query_embedding) = model.dimension
        AND abs(public.l2_norm(query_embedding) - 1) <= 0.01) IS NOT TRUE THEN
        query_embedding := siglip.check_search(model, query_embedding, max_results, filter, min_score, skip_results, after);
    END IF;

    wanted := max_results + skip_results;
    IF wanted <= 500 AND skip_results = 0 AND (image_ids IS NULL OR cardinality(image_ids) >= exact_below_rows) THEN
        -- A page that begins further down is cut out of the best 1,000, the most that a graph finds in one round.
        asked := CASE WHEN after IS NOT NULL THEN 1000 WHEN is_narrowed THEN surplus * wanted ELSE wanted END;
        ef_search := least(1000, greatest(CASE WHEN is_narrowed THEN 2 ELSE 1 END * ef_search, 2 * asked));
        IF is_narrowed OR after IS NOT NULL THEN
            PERFORM set_config('hnsw.iterative_scan', 'off', true);  -- one round
        END IF;
        LOOP
            PERFORM set_config('hnsw.ef_search', ef_search::text, true);
            EXECUTE format('SELECT siglip.nearest_images_%s($1, $2, $3, $4, $5, $6, $7, $8)', model.model_id)
                INTO matches
                USING query_embedding, asked, excluded_image_id, model.logit_scale, model.logit_bias, collection, filter, image_ids;
            found := coalesce(cardinality(matches), 0);
            EXIT WHEN NOT is_narrowed OR matches IS NULL OR found >= asked OR ef_search = 1000 OR 1000 * found < 1.5 * asked * ef_search;
            ef_search := least(1000, ceil(1.5 * asked * ef_search / found));
        END LOOP;
        IF after IS NOT NULL THEN
            -- What follows the position, if it lies among the better half of what was found: the far end of a round has gaps.
            SELECT array_agg(m ORDER BY p.place) INTO matches
            FROM unnest(matches[1 : cardinality(matches) / 2]) WITH ORDINALITY
                 AS p (image_id, uri, similarity, score, metadata, place)
            CROSS JOIN LATERAL (SELECT ROW(p.image_id, p.uri, p.similarity, p.score, p.metadata)::siglip.image_match) AS r (m)
            WHERE (-p.similarity, p.image_id) > (-(after).similarity, (after).image_id);
            asked := wanted;
        END IF;
    END IF;
    IF coalesce(cardinality(matches), 0) < coalesce(asked, 1) THEN
        matches := siglip.exact_images(model, query_embedding, wanted, excluded_image_id, collection, filter, image_ids, after);
    END IF;

    RETURN QUERY
        SELECT p.image_id, p.uri, p.similarity, p.score, p.metadata
        FROM unnest(matches) WITH ORDINALITY AS p (image_id, uri, similarity, score, metadata, place)
        WHERE p.place > skip_results AND p.place <= wanted
          AND (nearest_images.min_score IS NULL OR p.score >= nearest_images.min_score)
        ORDER BY p.place;
END
$function$;

-- Whether a model's indexes were built since recall was measured, or a month has passed; at most once a day. siglip.measure_recall = off: never.
CREATE OR REPLACE FUNCTION siglip.needs_measuring(model siglip.models)
 RETURNS boolean
 LANGUAGE sql
 STABLE
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
    SELECT siglip.can_write_recall()
       AND coalesce(nullif(current_setting('siglip.measure_recall', true), ''), 'on')::boolean
       AND coalesce(max(b.built_at) > l.measured_at OR l.measured_at < now() - interval '30 days', true)
       AND coalesce(l.measured_at < now() - interval '1 day', true)
    FROM siglip.segments AS s
    JOIN siglip.segment_builds AS b ON b.segment_number = siglip.segment_number(s.segment)
    CROSS JOIN LATERAL (
        SELECT max(h.measured_at) AS measured_at FROM siglip.recall_history AS h
        WHERE h.model_id = model.model_id AND h.collection IS NULL AND h.filter IS NULL
    ) AS l
    WHERE s.model_id = model.model_id AND s.is_index_valid
    GROUP BY l.measured_at
$function$;

-- The contents whose segments have an index of bits, as ranges of content_id.
CREATE OR REPLACE FUNCTION siglip.quantised_contents(model_id integer)
 RETURNS int8multirange
 LANGUAGE sql
 STABLE
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
    SELECT coalesce(range_agg(int8range(s.from_content_id, s.to_content_id)), '{}')
    FROM siglip.segments AS s
    WHERE s.model_id = quantised_contents.model_id AND s.index_kind = 'bit_rerank' AND s.is_index_valid
$function$;

-- The text of the search of a model of which these contents have an index of bits.
CREATE OR REPLACE FUNCTION siglip.quantised_query(model_id integer, dimension integer, contents int8multirange)
 RETURNS text
 LANGUAGE sql
 IMMUTABLE
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
    SELECT format(
        'WITH near AS MATERIALIZED ('
        'SELECT c.content_id, c.embedding OPERATOR(public.<#>) $1 AS distance FROM ('
        'SELECT e.content_id, e.embedding FROM siglip.image_embeddings AS e WHERE e.model_id = %2$s AND %3$s'
        ' ORDER BY public.binary_quantize(e.embedding)::bit(%1$s) OPERATOR(public.<~>) public.binary_quantize($1)::bit(%1$s)'
        ' LIMIT siglip.rerank_candidates($2)) AS c'
        '), rest AS MATERIALIZED ('
        'SELECT e.content_id, e.embedding::public.halfvec(%1$s) OPERATOR(public.<#>) $1 AS distance'
        ' FROM siglip.image_embeddings AS e WHERE e.model_id = %2$s AND %4$s'
        ' ORDER BY e.embedding::public.halfvec(%1$s) OPERATOR(public.<#>) $1 LIMIT current_setting(''hnsw.ef_search'')::bigint'
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
$function$;

-- The parameters of a libpq URL, by libpq's keywords.
CREATE OR REPLACE FUNCTION siglip.read_server_url(url text)
 RETURNS TABLE(keyword text, value text)
 LANGUAGE plpgsql
 IMMUTABLE
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
DECLARE
    parts constant text[] := regexp_match(
        url, '^postgres(?:ql)?://(?:([^:@/?#]*)(?::([^@/?#]*))?@)?([^/?#]*)(?:/([^?#]*))?(?:\?([^#]*))?$');
    hosts constant text[] := string_to_array(parts[3], ',');
BEGIN
    IF parts IS NULL OR coalesce(parts[1], '') = '' OR coalesce(parts[4], '') = '' THEN
        RAISE EXCEPTION 'The server''s URL can''t be read, or lacks the user or the database.'
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'It looks like postgresql://user:password@host:5432/database?sslmode=require, with special characters in the'
                         ' password written as %40 and the like.';
    END IF;
    RETURN QUERY
    WITH named AS (
        SELECT 'user' AS keyword, siglip.decode_percent(parts[1]) AS value
        UNION ALL SELECT 'password', siglip.decode_percent(parts[2])
        UNION ALL SELECT 'dbname', siglip.decode_percent(parts[4])
        UNION ALL
        SELECT 'host', string_agg(siglip.decode_percent(
                   coalesce(substring(h.host FROM '^\[([^\]]*)\]'), regexp_replace(h.host, ':\d*$', ''))), ',' ORDER BY h.place)
        FROM unnest(hosts) WITH ORDINALITY AS h (host, place)
        UNION ALL
        SELECT 'port', string_agg(coalesce(nullif(substring(h.host FROM ':(\d*)$'), ''), '5432'), ',' ORDER BY h.place)
        FROM unnest(hosts) WITH ORDINALITY AS h (host, place)
    ), asked AS (
        SELECT siglip.decode_percent(split_part(q.pair, '=', 1)) AS keyword,
               siglip.decode_percent(substr(q.pair, strpos(q.pair, '=') + 1)) AS value
        FROM regexp_split_to_table(coalesce(parts[5], ''), '&') AS q (pair) WHERE q.pair LIKE '%=%'
    )
    SELECT a.keyword, a.value FROM asked AS a
    UNION ALL
    SELECT n.keyword, n.value FROM named AS n
    WHERE n.value <> '' AND NOT EXISTS (SELECT FROM asked AS a WHERE a.keyword = n.keyword);
END
$function$;

-- Put one new segment, with a new index, in the place of closed neighbours; returns how many rows it has.
CREATE OR REPLACE FUNCTION siglip.rebuild_segments(segments regclass[])
 RETURNS bigint
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
 SET enable_sort TO 'off'
AS $function$
DECLARE
    started_at timestamptz := clock_timestamp();
    model      siglip.models;
    parent     text;
    sources    regclass[];
    source     regclass;
    target     regclass;
    bounds     text;
    found      record;
    built_rows bigint := 0;
    moved_rows bigint;
BEGIN
    PERFORM siglip.check_isolation();
    PERFORM pg_advisory_xact_lock(1397311311, 0);  -- as siglip.maintain: who replaces vectors waits for its end
    SELECT array_agg(s.segment ORDER BY s.from_content_id NULLS FIRST) AS sources,
           min(s.model_id) AS model_id, count(DISTINCT s.model_id) AS model_count,
           bool_or(s.is_open OR s.server IS NOT NULL) AS is_fixed,
           CASE WHEN bool_or(s.from_content_id IS NULL) THEN NULL ELSE min(s.from_content_id) END AS first,
           max(s.to_content_id) AS beyond,
           count(*) FILTER (WHERE s.from_content_id IS NOT NULL
                            AND NOT EXISTS (SELECT FROM siglip.segments AS p
                                            WHERE p.model_id = s.model_id AND p.to_content_id = s.from_content_id
                                              AND p.segment = ANY (rebuild_segments.segments))) AS gaps,
           bool_or(s.from_content_id IS NULL) AS has_first
    INTO found
    FROM siglip.segments AS s
    WHERE s.segment = ANY (rebuild_segments.segments);
    sources := found.sources;
    IF sources IS NULL OR cardinality(sources) <> cardinality(segments) OR found.model_count <> 1 OR found.is_fixed
        OR found.gaps + found.has_first::integer <> 1 THEN
        RAISE EXCEPTION 'These are not closed, neighbouring segments of one model on this server: %.', segments
            USING ERRCODE = 'invalid_parameter_value', HINT = 'SELECT * FROM siglip.index_status shows what there is.';
    END IF;
    SELECT m.* INTO model FROM siglip.models AS m WHERE m.model_id = found.model_id;
    parent := format('siglip.image_embeddings_%s', model.model_id);
    bounds := format('FROM (%s) TO (%L)', coalesce(quote_literal(found.first), 'MINVALUE'), found.beyond);

    -- siglip.index_status finds this session's progress by the first locks, whose key is no other's (db/text_requests.py has those up to 1397311310). The others keep autovacuum away, which the swap, with its
    -- short patience, would wait for in vain: the sources are about to be dropped.
    FOREACH source IN ARRAY sources LOOP
        PERFORM pg_advisory_xact_lock(1397311312, siglip.segment_number(source));
        EXECUTE format('LOCK TABLE ONLY %s IN SHARE UPDATE EXCLUSIVE MODE', source);
    END LOOP;

    -- The constraint proves what ATTACH would otherwise read the whole table for.
    target := siglip.create_segment(model.model_id);
    EXECUTE format(
        'ALTER TABLE %s ADD CONSTRAINT segment_bounds CHECK (model_id = %L AND content_id < %L AND %s)',
        target, model.model_id, found.beyond,
        CASE WHEN found.first IS NULL THEN 'true' ELSE format('content_id >= %L', found.first) END
    );
    FOREACH source IN ARRAY sources LOOP
        EXECUTE format('INSERT INTO %s SELECT * FROM %s ORDER BY content_id', target, source);
        GET DIAGNOSTICS moved_rows = ROW_COUNT;
        built_rows := built_rows + moved_rows;
    END LOOP;
    EXECUTE format('ALTER TABLE %s ADD PRIMARY KEY (content_id)', target);
    IF pg_relation_size(target) >= siglip.exact_below_bytes() THEN
        PERFORM siglip.create_segment_index(target, model.dimension, model.index_kind, built_rows);
    END IF;
    INSERT INTO siglip.segment_builds (segment_number, built_rows, build_s)
    VALUES (siglip.segment_number(target), built_rows, extract(epoch FROM clock_timestamp() - started_at));
    EXECUTE format('ANALYZE %s', target);

    PERFORM siglip.catch_up(target, sources);
    PERFORM siglip.draw_landmarks(target, built_rows, model.model_id, found.first, found.beyond);
    PERFORM siglip.replace_segments(parent, sources, target, bounds);
    RETURN built_rows;
END
$function$;

-- The mean of the queries' recalls and its 95 % interval: normal, over these recalls and one more of 0.5. NULLs don't count.
CREATE OR REPLACE FUNCTION siglip.recall_interval(recalls double precision[], OUT queries integer, OUT recall double precision, OUT low double precision, OUT high double precision)
 RETURNS record
 LANGUAGE sql
 IMMUTABLE
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
    SELECT o.queries, o.recall,
           greatest(0, least(o.recall, s.recall - 1.96 * s.deviation / sqrt(s.queries))),
           least(1, greatest(o.recall, s.recall + 1.96 * s.deviation / sqrt(s.queries)))
    FROM (SELECT count(r)::integer AS queries, avg(r) AS recall FROM unnest(recalls) AS r) AS o,
         (SELECT count(r) AS queries, avg(r) AS recall, stddev_samp(r) AS deviation FROM unnest(recalls || 0.5::double precision) AS r) AS s
$function$;

-- Note which contents lost an image.
CREATE OR REPLACE FUNCTION siglip.release_contents()
 RETURNS trigger
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
BEGIN
    IF TG_OP = 'UPDATE' THEN
        INSERT INTO siglip.released_contents (content_id) VALUES (OLD.content_id);
    ELSIF TG_OP = 'DELETE' THEN
        INSERT INTO siglip.released_contents (content_id)
        SELECT DISTINCT d.content_id FROM deleted_images AS d WHERE d.content_id IS NOT NULL;
    ELSE
        INSERT INTO siglip.released_contents (content_id) SELECT c.content_id FROM siglip.contents AS c;
    END IF;
    RETURN NULL;
END
$function$;

-- Take out up to max_rows contents that have lost their last image, with their vectors; returns how many that were.
CREATE OR REPLACE FUNCTION siglip.remove_released_contents(max_rows integer)
 RETURNS bigint
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
DECLARE
    places   tid[];
    noted    bigint[];
    released bigint[];
    removed  bigint[];
    is_done  boolean;
BEGIN
    LOOP
        SELECT array_agg(r.ctid), array_agg(r.content_id) INTO places, noted
        FROM (SELECT o.ctid, o.content_id FROM siglip.released_contents AS o LIMIT max_rows FOR UPDATE SKIP LOCKED) AS r;
        -- Locked first, looked at then: no image can come to a content that is locked. One that is in use just now may be unused
        -- later, if that transaction fails: its note stays.
        SELECT array_agg(l.content_id) INTO released
        FROM (SELECT c.content_id FROM siglip.contents AS c WHERE c.content_id = ANY (noted) FOR UPDATE SKIP LOCKED) AS l;
        DELETE FROM siglip.released_contents AS r
        WHERE r.ctid = ANY (places)
          AND (r.content_id = ANY (released) OR NOT EXISTS (SELECT FROM siglip.contents AS c WHERE c.content_id = r.content_id));
        is_done := NOT FOUND;
        SELECT array_agg(r.content_id ORDER BY r.content_id) INTO removed
        FROM unnest(released) AS r (content_id)
        WHERE NOT EXISTS (SELECT FROM siglip.images AS i WHERE i.content_id = r.content_id);
        EXIT WHEN is_done OR removed IS NOT NULL;
    END LOOP;
    DELETE FROM siglip.image_embeddings AS e WHERE e.content_id = ANY (removed);
    DELETE FROM siglip.contents AS c WHERE c.content_id = ANY (removed);
    RETURN coalesce(cardinality(removed), 0);
END
$function$;

-- Forget a server that holds no segments, and take away what was prepared there.
CREATE OR REPLACE FUNCTION siglip.remove_server(name text)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
#variable_conflict use_variable
DECLARE
    there constant text := (SELECT s.schema_name FROM siglip.segment_servers AS s WHERE s.name = remove_server.name);
    held  bigint;
    kept  jsonb;
BEGIN
    IF there IS NULL THEN
        RAISE EXCEPTION 'There is no server %.', coalesce(name, 'NULL')
            USING ERRCODE = 'no_data_found', HINT = 'SELECT * FROM siglip.servers shows them.';
    END IF;
    PERFORM pg_advisory_xact_lock(1397311311, 0);
    SELECT count(*) INTO held FROM siglip.segments AS s WHERE s.server = name;
    IF held > 0 THEN
        RAISE EXCEPTION 'The server % holds % segments.', name, held
            USING ERRCODE = 'object_in_use',
                  HINT = format('Move them first: SELECT siglip.move_segment(segment, NULL) FROM siglip.segments WHERE server = %L.', name);
    END IF;
    BEGIN
        PERFORM siglip.settle_server(name);
        PERFORM siglip.connect_server(name);
        SELECT a.* INTO kept FROM siglip.ask_server(name, format('SELECT count(*) AS count FROM %I.tables', there)) AS a;
        IF (kept ->> 'count')::integer = 0 THEN
            PERFORM siglip.run_on_server(name, format('DROP SCHEMA %I CASCADE', there));
        ELSE
            RAISE NOTICE 'The schema % on % stays: it has % tables that this database doesn''t know. A copy of it may use them.',
                there, name, kept ->> 'count';
        END IF;
        PERFORM siglip.disconnect_server(name);
    EXCEPTION WHEN connection_exception OR admin_shutdown OR crash_shutdown THEN
        RAISE NOTICE 'The server % doesn''t answer: its schema % stays.', name, there;
    END;
    EXECUTE format('DROP FOREIGN TABLE siglip.%I', 'search_settings_' || name);
    EXECUTE format('DROP USER MAPPING FOR PUBLIC SERVER %I', name);
    EXECUTE format('DROP SERVER %I', name);
    DELETE FROM siglip.segment_servers AS s WHERE s.name = remove_server.name;
END
$function$;

-- Put a built segment in the place of its sources, between two statements of the others.
CREATE OR REPLACE FUNCTION siglip.replace_segments(parent text, sources regclass[], target regclass, bounds text)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
DECLARE
    source   regclass;
    has_foreign constant boolean := EXISTS (SELECT FROM pg_foreign_table AS f WHERE f.ftrelid = ANY (sources));
    patience constant text := current_setting('lock_timeout');
    gave_up  constant timestamptz := clock_timestamp() + interval '10 minutes';
BEGIN
    LOOP
        BEGIN
            PERFORM set_config('lock_timeout', '25ms', true);
            -- Writers to these ranges wait from here on; readers only from the next lock on.
            IF has_foreign THEN
                EXECUTE format('LOCK TABLE ONLY %s IN SHARE ROW EXCLUSIVE MODE', parent);
            ELSE
                FOREACH source IN ARRAY sources LOOP
                    EXECUTE format('LOCK TABLE ONLY %s IN SHARE ROW EXCLUSIVE MODE', source);
                END LOOP;
            END IF;
            PERFORM siglip.catch_up(target, sources);
            EXECUTE format('LOCK TABLE ONLY %s IN ACCESS EXCLUSIVE MODE', parent);
            FOREACH source IN ARRAY sources LOOP
                EXECUTE format('ALTER TABLE %s DETACH PARTITION %s', parent, source);
                DELETE FROM siglip.segment_builds AS b WHERE b.segment_number = siglip.segment_number(source);
                EXECUTE format('DROP %s %s', CASE WHEN has_foreign THEN 'FOREIGN TABLE' ELSE 'TABLE' END, source);
            END LOOP;
            EXECUTE format('ALTER TABLE %s ATTACH PARTITION %s FOR VALUES %s', parent, target, bounds);
            EXECUTE format('ALTER TABLE %s DROP CONSTRAINT segment_bounds', target);
            PERFORM set_config('lock_timeout', patience, true);
            RETURN;
        EXCEPTION WHEN lock_not_available OR deadlock_detected THEN
            IF clock_timestamp() > gave_up THEN
                RAISE EXCEPTION 'A statement has been reading % for ten minutes: its segments can''t be replaced.', parent
                    USING ERRCODE = 'lock_not_available', HINT = 'pg_stat_activity shows it. Nothing was changed.';
            END IF;
            PERFORM pg_sleep(0.02 + 0.2 * random());
        END;
    END LOOP;
END
$function$;

-- Say which servers don't answer, as an error or as a notice; returns the conditions that leave their segments out.
CREATE OR REPLACE FUNCTION siglip.report_away_servers(model_id integer, reason text, is_partial boolean)
 RETURNS text
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
DECLARE
    servers    text;
    segments   text;
    conditions text;
BEGIN
    SELECT string_agg(a.server, ', '), string_agg(array_to_string(a.segments, ', '), ', '), coalesce(string_agg(a.conditions, ''), '')
    INTO servers, segments, conditions
    FROM siglip.away_servers(model_id) AS a;
    IF NOT is_partial THEN
        RAISE EXCEPTION 'The server % doesn''t answer, which has the segments %: %.',
                coalesce(servers, 'of a segment'), coalesce(segments, 'of this search'), rtrim(reason, '.')
            USING ERRCODE = 'connection_failure',
                  HINT = 'Start it, or tell its new address with siglip.add_server. With siglip.partial_results = on a search leaves it out.';
    ELSIF servers IS NOT NULL THEN
        RAISE NOTICE 'The server % doesn''t answer: its images are not in the result.', servers;
    END IF;
    RETURN conditions;
END
$function$;

-- Create postgres_fdw and dblink where they are missing.
CREATE OR REPLACE FUNCTION siglip.require_extensions()
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
DECLARE
    extension text;
BEGIN
    FOREACH extension IN ARRAY ARRAY['postgres_fdw', 'dblink'] LOOP
        CONTINUE WHEN siglip.extension_schema(extension) IS NOT NULL;
        IF NOT EXISTS (SELECT FROM pg_available_extensions AS a WHERE a.name = extension) THEN
            RAISE EXCEPTION 'This PostgreSQL lacks the extension %, which comes with its contrib modules.', extension
                USING ERRCODE = 'feature_not_supported',
                      HINT = 'Install those (Debian''s postgresql has them; Red Hat''s package is postgresql-contrib). The embedded'
                             ' PostgreSQL of siglip-ingest has none: segments on other servers need one of your own.';
        END IF;
        EXECUTE format('CREATE EXTENSION %I SCHEMA %s', extension, siglip.extension_schema('vector'));
    END LOOP;
END
$function$;

-- How many contents an index of bits proposes: siglip.rerank_candidates, by default as many as ef_search, and four times max_results.
CREATE OR REPLACE FUNCTION siglip.rerank_candidates(max_results integer)
 RETURNS integer
 LANGUAGE sql
 STABLE
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
    SELECT greatest(coalesce(nullif(current_setting('siglip.rerank_candidates', true), ''), current_setting('hnsw.ef_search'))::integer,
                    4 * max_results)
$function$;

-- Of so many rows of a segment one is a landmark, up to 500 of them.
CREATE OR REPLACE FUNCTION siglip.rows_per_landmark()
 RETURNS integer
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
RETURN 400;

-- Run a statement without rows on a connected server; it is committed there at once.
CREATE OR REPLACE FUNCTION siglip.run_on_server(server text, statement text)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
BEGIN
    EXECUTE format('SELECT %s.dblink_exec($1, $2)', siglip.extension_schema('dblink')) USING 'siglip_' || server, statement;
END
$function$;

-- Vectors to measure with, drawn at random: those of images, or of texts that were asked; image_id is what the answer leaves out.
CREATE OR REPLACE FUNCTION siglip.sample_queries(model_id integer, kind text, sample integer, OUT embedding halfvec, OUT image_id bigint)
 RETURNS SETOF record
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
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

-- Rows from which on the open segment is closed and gets its index: siglip.seal_rows, 10,000 by default.
CREATE OR REPLACE FUNCTION siglip.seal_rows()
 RETURNS bigint
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
DECLARE
    value constant text := coalesce(nullif(current_setting('siglip.seal_rows', true), ''), '10000');
BEGIN
    IF value !~ '^[1-9][0-9]{0,8}$' THEN
        RAISE EXCEPTION 'siglip.seal_rows is %, not a whole number from 1 to 999999999.', quote_literal(value)
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'Correct it, for instance: ALTER DATABASE <name> SET siglip.seal_rows = 10000.';
    END IF;
    RETURN value::bigint;
END
$function$;

-- The images that fit a text best where its vector is in the cache; a single row without an image where it isn't.
CREATE OR REPLACE FUNCTION siglip.search_cached_text(query text, max_results integer, collection text, filter jsonb, min_score double precision, image_ids bigint[], skip_results integer, after siglip.search_position, OUT model_id integer, OUT name text, OUT revision text, OUT is_cached boolean, OUT image_id bigint, OUT uri text, OUT similarity double precision, OUT score double precision, OUT metadata jsonb)
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
        FROM siglip.nearest_images(model, found_text.embedding, max_results, collection, filter, min_score, NULL,
            image_ids, skip_results, after) AS n;
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
CREATE OR REPLACE FUNCTION siglip.search_embedded_text(query text, query_embedding halfvec, model_id integer, name text, revision text, warning text, max_rows integer, max_results integer, collection text, filter jsonb, min_score double precision, image_ids bigint[], skip_results integer, after siglip.search_position)
 RETURNS SETOF siglip.image_match
 LANGUAGE plpgsql
 ROWS 10
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
BEGIN
    IF siglip.can_write_texts() THEN
        PERFORM siglip.store_text(query, query_embedding, model_id, name, revision, warning, NULL, max_rows);
    END IF;
    RETURN QUERY SELECT n.* FROM siglip.search_images(
        query_embedding, max_results, collection, filter, min_score, model_id, image_ids, skip_results, after) AS n;
END
$function$;

-- The images that fit a text best, best first. The text comes from the cache or is embedded by a worker.
CREATE OR REPLACE FUNCTION siglip.search_images(query text, max_results integer DEFAULT 10, collection text DEFAULT NULL::text, filter jsonb DEFAULT NULL::jsonb, min_score double precision DEFAULT NULL::double precision, model_id integer DEFAULT NULL::integer, timeout_s double precision DEFAULT NULL::double precision, image_ids bigint[] DEFAULT NULL::bigint[], skip_results integer DEFAULT 0, after siglip.search_position DEFAULT NULL::siglip.search_position)
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
        model, siglip.embed_text(query, model.model_id, timeout_s), max_results, collection, filter, min_score, NULL,
        image_ids, skip_results, after) AS n;
END
$function$;

-- The images nearest to a vector of the active model, or of another, best first.
CREATE OR REPLACE FUNCTION siglip.search_images(query_embedding halfvec, max_results integer DEFAULT 10, collection text DEFAULT NULL::text, filter jsonb DEFAULT NULL::jsonb, min_score double precision DEFAULT NULL::double precision, model_id integer DEFAULT NULL::integer, image_ids bigint[] DEFAULT NULL::bigint[], skip_results integer DEFAULT 0, after siglip.search_position DEFAULT NULL::siglip.search_position)
 RETURNS SETOF siglip.image_match
 LANGUAGE sql
 STABLE ROWS 10
BEGIN ATOMIC
 SELECT n.image_id,
     n.uri,
     n.similarity,
     n.score,
     n.metadata
    FROM siglip.nearest_images(siglip.described_model(search_images.model_id), search_images.query_embedding, search_images.max_results, search_images.collection, search_images.filter, search_images.min_score, NULL::bigint, search_images.image_ids, search_images.skip_results, search_images.after) n(image_id, uri, similarity, score, metadata);
END;

-- The text of the search by the HNSW graphs of a model that begins in two places.
CREATE OR REPLACE FUNCTION siglip.second_graph_query(model_id integer, dimension integer)
 RETURNS text
 LANGUAGE sql
 IMMUTABLE
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
    SELECT format(
        'SELECT i.image_id, e.distance FROM ('
        'SELECT w.content_id, w.distance FROM ('
        '(SELECT e.content_id, e.embedding::public.halfvec(%1$s) OPERATOR(public.<#>) $1 AS distance'
        ' FROM siglip.image_embeddings AS e WHERE e.model_id = %2$s'
        ' ORDER BY e.embedding::public.halfvec(%1$s) OPERATOR(public.<#>) $1 LIMIT current_setting(''hnsw.ef_search'')::bigint)'
        ' UNION '
        '(SELECT e.content_id, e.embedding::public.halfvec(%1$s) OPERATOR(public.<#>) $1 AS distance'
        ' FROM siglip.image_embeddings AS e WHERE e.model_id = %2$s'
        ' ORDER BY e.embedding::public.halfvec(%1$s) OPERATOR(public.<#>) $9 LIMIT current_setting(''hnsw.ef_search'')::bigint)'
        ') AS w ORDER BY w.distance LIMIT current_setting(''hnsw.ef_search'')::bigint) AS e CROSS JOIN LATERAL ('
        'SELECT o.image_id FROM siglip.images AS o WHERE o.content_id = e.content_id AND o.image_id IS DISTINCT FROM $3'
        ' AND ($6 IS NULL OR o.collection = $6) AND ($7 IS NULL OR o.metadata @> $7) AND ($8 IS NULL OR o.image_id IN (SELECT unnest($8)))'
        ' OFFSET 0) AS i ORDER BY e.distance FETCH FIRST $2 ROWS WITH TIES',
        dimension, model_id)
$function$;

-- A unit vector between a query and the three landmarks that are nearest to it; NULL where there are none.
CREATE OR REPLACE FUNCTION siglip.second_start(model_id integer, query_embedding halfvec)
 RETURNS halfvec
 LANGUAGE sql
 STABLE
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
    SELECT public.l2_normalize(query_embedding OPERATOR(public.+) public.avg(n.embedding))
    FROM (
        SELECT l.embedding FROM siglip.landmarks AS l WHERE l.model_id = second_start.model_id
        ORDER BY l.embedding OPERATOR(public.<#>) query_embedding LIMIT 3
    ) AS n
$function$;

-- The number at the end of a segment's name.
CREATE OR REPLACE FUNCTION siglip.segment_number(segment regclass)
 RETURNS integer
 LANGUAGE sql
 STABLE
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
    SELECT substring(c.relname FROM '_([0-9]+)$')::integer FROM pg_class AS c WHERE c.oid = segment
$function$;

-- The closed segments of a model that are next to be built as one; NULL where none need it.
CREATE OR REPLACE FUNCTION siglip.segments_to_rebuild(model_id integer, is_at_rest boolean, is_full boolean)
 RETURNS regclass[]
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
#variable_conflict use_column
DECLARE
    share     constant double precision := CASE WHEN is_full THEN 1e9 WHEN is_at_rest THEN 10 ELSE 2 END;
    most_rows bigint;
    chosen    regclass[];
BEGIN
    -- A segment whose graph fits no memory takes hours to build, and is searched no faster than two halves of it.
    SELECT CASE WHEN is_full THEN 9223372036854775807 ELSE siglip.build_memory() / siglip.graph_bytes(m.dimension, m.index_kind) END
    INTO most_rows FROM siglip.models AS m WHERE m.model_id = segments_to_rebuild.model_id;
    -- A run is a row of neighbours on this server; rows are those of the build, or as the table's size tells.
    WITH closed AS (
        SELECT s.segment, s.from_content_id, s.to_content_id, s.bytes, s.index_kind, s.is_index_valid, m.index_kind AS wanted_kind,
               coalesce(b.built_rows, s.bytes / (64 + 2 * m.dimension)) AS row_count, b.built_rows,
               greatest(pg_stat_get_tuples_deleted(s.segment), b.built_rows - s.estimated_rows) AS deleted_rows,
               s.server IS NOT NULL AS is_remote,
               count(*) FILTER (WHERE s.server IS NOT NULL) OVER (ORDER BY s.from_content_id NULLS FIRST) AS run
        FROM siglip.segments AS s
        JOIN siglip.models AS m ON m.model_id = s.model_id
        LEFT JOIN siglip.segment_builds AS b ON b.segment_number = siglip.segment_number(s.segment)
        WHERE s.model_id = segments_to_rebuild.model_id AND NOT s.is_open
    ), followed AS (
        SELECT c.*,
               coalesce(sum(c.row_count) OVER (PARTITION BY c.run ORDER BY c.from_content_id DESC NULLS LAST
                                               ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS rows_after,
               row_number() OVER (PARTITION BY c.run ORDER BY c.from_content_id DESC NULLS LAST) AS place
        FROM closed AS c WHERE NOT c.is_remote
    ), starts AS (
        -- The first segment that is to be merged with all that follow in its run.
        SELECT f.run, min(coalesce(f.from_content_id, -9223372036854775808)) AS first
        FROM followed AS f
        WHERE f.place > 1 AND f.row_count <= share * greatest(f.rows_after, 1) AND f.row_count + f.rows_after <= most_rows
        GROUP BY f.run
    )
    -- Before a merge of which they are a small part, the new ones at its end get an index of their own: the merge takes long, and until
    -- its end they would be searched exactly.
    SELECT CASE WHEN NOT is_full AND max(f.place) FILTER (WHERE f.built_rows IS NULL) < min(f.place) FILTER (WHERE f.built_rows IS NOT NULL)
                     AND sum(f.bytes) FILTER (WHERE f.built_rows IS NULL) >= siglip.exact_below_bytes()
                     AND 4 * sum(f.row_count) FILTER (WHERE f.built_rows IS NULL) < sum(f.row_count)
                THEN array_agg(f.segment ORDER BY f.from_content_id NULLS FIRST) FILTER (WHERE f.built_rows IS NULL)
                ELSE array_agg(f.segment ORDER BY f.from_content_id NULLS FIRST) END
    INTO chosen
    FROM followed AS f JOIN starts AS s ON s.run = f.run AND coalesce(f.from_content_id, -9223372036854775808) >= s.first
    GROUP BY f.run ORDER BY f.run LIMIT 1;
    IF chosen IS NULL THEN
        SELECT ARRAY[s.segment] INTO chosen
        FROM siglip.segments AS s
        JOIN siglip.models AS m ON m.model_id = s.model_id
        LEFT JOIN siglip.segment_builds AS b ON b.segment_number = siglip.segment_number(s.segment)
        WHERE s.model_id = segments_to_rebuild.model_id AND NOT s.is_open AND s.server IS NULL
          AND (b.segment_number IS NULL
               OR (s.index IS NOT NULL AND s.index_kind <> m.index_kind)
               OR greatest(pg_stat_get_tuples_deleted(s.segment), b.built_rows - s.estimated_rows) > 0.2 * b.built_rows
               OR (s.index IS NULL AND s.bytes >= 2 * siglip.exact_below_bytes()))
        ORDER BY s.from_content_id NULLS FIRST
        LIMIT 1;
    END IF;
    RETURN chosen;
END
$function$;

-- The text of the condition that images AS i are those that are named; $1 to $5 are its parameters.
CREATE OR REPLACE FUNCTION siglip.selection_conditions(image_ids bigint[], uris text[], keys text[], collection text, filter jsonb)
 RETURNS text
 LANGUAGE plpgsql
 IMMUTABLE
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
BEGIN
    IF num_nonnulls(image_ids, uris, keys, collection, filter) = 0 THEN
        RAISE EXCEPTION 'Nothing says which images.'
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Give image_ids, uris, keys, collection or filter.';
    ELSIF jsonb_typeof(filter) <> 'object' THEN
        RAISE EXCEPTION 'filter is a JSON %, not an object.', jsonb_typeof(filter)
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Write for instance filter => ''{"album": "2026"}''.';
    ELSIF num_nonnulls(image_ids, uris, keys, collection) = 0 AND filter = '{}' THEN
        RAISE EXCEPTION 'The filter {} fits every image.'
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Name a collection, or what the metadata contain.';
    END IF;
    RETURN concat_ws(' AND ',
        CASE WHEN image_ids IS NOT NULL THEN 'i.image_id = ANY ($1)' END,
        CASE WHEN uris IS NOT NULL THEN 'i.uri = ANY ($2)' END,
        CASE WHEN keys IS NOT NULL THEN 'i.key = ANY ($3)' END,
        CASE WHEN collection IS NOT NULL THEN 'i.collection = $4' END,
        CASE WHEN filter IS NOT NULL THEN 'i.metadata @> $5' END);
END
$function$;

-- The options of the foreign server for a URL.
CREATE OR REPLACE FUNCTION siglip.server_options(url text)
 RETURNS TABLE(keyword text, value text)
 LANGUAGE sql
 STABLE
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
    WITH given AS (SELECT g.* FROM siglip.read_server_url(url) AS g),
    ours (keyword, value) AS (
        VALUES ('extensions', 'vector'), ('fetch_size', '20'), ('batch_size', '100'), ('async_capable', 'true'),
               ('parallel_commit', 'true'), ('analyze_sampling', 'system'), ('connect_timeout', '5'),
               ('options', siglip.server_session_options()
                           || coalesce((SELECT ' ' || g.value FROM given AS g WHERE g.keyword = 'options'), ''))
    )
    SELECT g.keyword, g.value FROM given AS g WHERE g.keyword NOT IN ('options', 'user', 'password', 'sslcert', 'sslkey', 'sslpassword')
    UNION ALL
    SELECT o.keyword, o.value FROM ours AS o WHERE o.keyword = 'options' OR o.keyword NOT IN (SELECT g.keyword FROM given AS g)
$function$;

-- What a search's session on another server is started with.
CREATE OR REPLACE FUNCTION siglip.server_session_options()
 RETURNS text
 LANGUAGE sql
 STABLE
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
    SELECT format('-c hnsw.ef_search=%s -c hnsw.iterative_scan=relaxed_order -c hnsw.max_scan_tuples=100000 -c cursor_tuple_fraction=0.0001'
                  ' -c enable_sort=off -c jit=off',
                  (SELECT coalesce(max(coalesce(m.ef_search, siglip.default_ef_search())), siglip.default_ef_search()) FROM siglip.models AS m))
$function$;

-- Whether a server answers, and what it holds; unused_tables: left by a move that was killed, or of a copy of this database.
CREATE OR REPLACE FUNCTION siglip.server_state(server text)
 RETURNS TABLE(is_reachable boolean, bytes bigint, unused_tables bigint)
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
DECLARE
    there constant text := (SELECT s.schema_name FROM siglip.segment_servers AS s WHERE s.name = server);
    used  text[];
    found jsonb;
BEGIN
    SELECT coalesce(array_agg(split_part(l.table_name, '.', 2)), '{}') INTO used
    FROM siglip.segments AS s CROSS JOIN LATERAL siglip.locate_segment(s.segment) AS l WHERE s.server = server_state.server;
    PERFORM siglip.connect_server(server);
    SELECT a.* INTO found FROM siglip.ask_server(server, format(
        'SELECT sum(pg_total_relation_size(c.oid)) AS bytes, count(*) FILTER (WHERE c.relname <> ALL (%L::text[])) AS unused'
        ' FROM pg_class AS c WHERE c.relnamespace = %L::regnamespace AND c.relkind = ''r'' AND c.relname <> ''tables''',
        used, quote_ident(there))) AS a;
    PERFORM siglip.disconnect_server(server);
    RETURN QUERY SELECT true, coalesce((found ->> 'bytes')::bigint, 0), (found ->> 'unused')::bigint;
EXCEPTION
    WHEN insufficient_privilege OR prohibited_sql_statement_attempted THEN
        RETURN QUERY SELECT NULL::boolean, NULL::bigint, NULL::bigint;
    WHEN OTHERS THEN
        PERFORM siglip.disconnect_server(server);
        RETURN QUERY SELECT false, NULL::bigint, NULL::bigint;
END
$function$;

-- Make or change the foreign server and the user mapping of a name.
CREATE OR REPLACE FUNCTION siglip.set_server_address(server text, url text)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
DECLARE
    options text;
    has_password constant boolean := EXISTS (SELECT FROM siglip.read_server_url(url) AS u WHERE u.keyword = 'password');
BEGIN
    SELECT string_agg(format('%I %L', o.keyword, o.value), ', ') INTO options FROM siglip.server_options(url) AS o;
    IF EXISTS (SELECT FROM pg_foreign_server AS s WHERE s.srvname = server) THEN
        SELECT string_agg(c.change, ', ') INTO options FROM (
            SELECT format('DROP %I', split_part(o.pair, '=', 1)) AS change
            FROM pg_foreign_server AS s, unnest(s.srvoptions) AS o (pair)
            WHERE s.srvname = server AND split_part(o.pair, '=', 1) NOT IN (SELECT n.keyword FROM siglip.server_options(url) AS n)
            UNION ALL
            SELECT format('%s %I %L', CASE WHEN EXISTS (
                              SELECT FROM pg_foreign_server AS s, unnest(s.srvoptions) AS o (pair)
                              WHERE s.srvname = server AND split_part(o.pair, '=', 1) = n.keyword
                          ) THEN 'SET' ELSE 'ADD' END, n.keyword, n.value)
            FROM siglip.server_options(url) AS n
        ) AS c;
        EXECUTE format('ALTER SERVER %I OPTIONS (%s)', server, options);
        EXECUTE format('DROP USER MAPPING FOR PUBLIC SERVER %I', server);
    ELSE
        EXECUTE format('CREATE SERVER %I FOREIGN DATA WRAPPER postgres_fdw OPTIONS (%s)', server, options);
    END IF;
    SELECT string_agg(format('%I %L', u.keyword, u.value), ', ') INTO options
    FROM siglip.read_server_url(url) AS u WHERE u.keyword IN ('user', 'password', 'sslcert', 'sslkey', 'sslpassword');
    -- Without a password only a superuser may let others through, by his own right.
    EXECUTE format('CREATE USER MAPPING FOR PUBLIC SERVER %I OPTIONS (%s%s)', server, options,
                   CASE WHEN has_password THEN '' ELSE ', password_required ''false''' END);
EXCEPTION WHEN fdw_invalid_option_name OR invalid_parameter_value OR syntax_error OR insufficient_privilege THEN
    RAISE EXCEPTION 'The address of the server % isn''t accepted: %.', server, rtrim(SQLERRM, '.') USING ERRCODE = SQLSTATE;
END
$function$;

-- default, or the name of our setting where it is set.
CREATE OR REPLACE FUNCTION siglip.setting_source(name text)
 RETURNS text
 LANGUAGE sql
 STABLE
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
    SELECT CASE WHEN nullif(current_setting('siglip.' || name, true), '') IS NULL THEN 'default' ELSE 'siglip.' || name END
$function$;

-- Remove from a server the tables that a move gave up, or left when it was killed; returns a sentence, NULL where there are none.
CREATE OR REPLACE FUNCTION siglip.settle_server(server text)
 RETURNS text
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
#variable_conflict use_variable
DECLARE
    there   constant text := (SELECT s.schema_name FROM siglip.segment_servers AS s WHERE s.name = server);
    left_over text;
    dropped text[];
BEGIN
    -- An older snapshot might not show that a table has come into use.
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RETURN NULL;
    END IF;
    PERFORM siglip.connect_server(server);
    FOR left_over IN
        SELECT a.found ->> 'table_name' FROM siglip.ask_server(
            server, format('SELECT table_name FROM %I.tables WHERE NOT is_settled', there)) AS a (found)
    LOOP
        IF EXISTS (SELECT FROM pg_foreign_table AS f JOIN pg_foreign_server AS s ON s.oid = f.ftserver
                   WHERE s.srvname = server AND f.ftoptions @> ARRAY['schema_name=' || there, 'table_name=' || left_over]) THEN
            PERFORM siglip.run_on_server(server, format('UPDATE %I.tables SET is_settled = true WHERE table_name = %L', there, left_over));
        ELSE
            BEGIN
                PERFORM siglip.run_on_server(server, 'SET lock_timeout = ''1s''');
                PERFORM siglip.run_on_server(server, format('DROP TABLE IF EXISTS %I.%I', there, left_over));
                PERFORM siglip.run_on_server(server, format('DELETE FROM %I.tables WHERE table_name = %L', there, left_over));
                dropped := dropped || left_over;
            EXCEPTION WHEN lock_not_available THEN
                NULL;  -- its index is still being built: next time
            END;
        END IF;
    END LOOP;
    PERFORM siglip.disconnect_server(server);
    RETURN CASE WHEN dropped IS NOT NULL
                THEN format('Removed from %s what is no longer used there: %s.', server, array_to_string(dropped, ', ')) END;
EXCEPTION WHEN OTHERS OR query_canceled THEN
    PERFORM siglip.disconnect_server(server);
    RAISE;
END
$function$;

-- The images most similar to one that is indexed, best first, without that one. Only the order of the scores means something.
CREATE OR REPLACE FUNCTION siglip.similar_images(image_id bigint, max_results integer DEFAULT 10, collection text DEFAULT NULL::text, filter jsonb DEFAULT NULL::jsonb, min_score double precision DEFAULT NULL::double precision, model_id integer DEFAULT NULL::integer, image_ids bigint[] DEFAULT NULL::bigint[], skip_results integer DEFAULT 0, after siglip.search_position DEFAULT NULL::siglip.search_position)
 RETURNS SETOF siglip.image_match
 LANGUAGE plpgsql
 STABLE ROWS 10
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
DECLARE
    model           siglip.models := siglip.described_model(model_id);
    own_content_id  bigint;
    query_embedding public.halfvec;
BEGIN
    -- One after the other: a join would ask every server that has segments of the model.
    SELECT i.content_id INTO own_content_id FROM siglip.images AS i WHERE i.image_id = similar_images.image_id;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'There is no image %.', coalesce(similar_images.image_id::text, 'NULL')
            USING ERRCODE = 'no_data_found', HINT = 'SELECT image_id, uri FROM siglip.images shows what there is.';
    END IF;
    SELECT e.embedding INTO query_embedding
    FROM siglip.image_embeddings AS e WHERE e.model_id = model.model_id AND e.content_id = own_content_id;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'Image % is not embedded under the model %.', similar_images.image_id, model.name
            USING ERRCODE = 'no_data_found',
                  HINT = format('SELECT state, error_message FROM siglip.ingest_items WHERE image_id = %s tells why.',
                                similar_images.image_id);
    END IF;
    RETURN QUERY SELECT n.* FROM siglip.nearest_images(
        model, query_embedding, max_results, collection, filter, min_score, similar_images.image_id,
        image_ids, skip_results, after) AS n;
END
$function$;

-- The similarity, in [-1, 1], that belongs to pgvector's <#> of two unit vectors in half precision.
CREATE OR REPLACE FUNCTION siglip.similarity(distance double precision)
 RETURNS double precision
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
RETURN GREATEST((- (1)::double precision), LEAST((1)::double precision, (- distance)));

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

-- Let hnsw.iterative_scan and hnsw.ef_search, as they are now, hold on the servers with segments of a model until the transaction ends.
CREATE OR REPLACE FUNCTION siglip.tell_servers(model_id integer)
 RETURNS void
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
#variable_conflict use_column
DECLARE
    iterative_scan constant text := current_setting('hnsw.iterative_scan');
    ef_search      constant text := current_setting('hnsw.ef_search');
    servers        text[];
    server         text;
BEGIN
    SELECT array_agg(DISTINCT s.srvname::text ORDER BY s.srvname::text) INTO servers
    FROM pg_inherits AS h
    JOIN pg_foreign_table AS f ON f.ftrelid = h.inhrelid
    JOIN pg_foreign_server AS s ON s.oid = f.ftserver
    WHERE h.inhparent = to_regclass('siglip.image_embeddings_' || tell_servers.model_id)
      -- What their sessions were started with need not be said, unless something else was said in this transaction.
      AND (coalesce(current_setting('siglip.told_servers', true), '') <> ''
           OR NOT EXISTS (SELECT FROM unnest(s.srvoptions) AS o (pair)
                          WHERE o.pair LIKE format('options=%%hnsw.ef_search=%s -c hnsw.iterative_scan=%s %%', ef_search, iterative_scan)));
    IF servers IS NULL OR current_setting('siglip.told_servers', true) = concat_ws(' ', iterative_scan, ef_search, servers::text) THEN
        RETURN;
    END IF;
    FOREACH server IN ARRAY servers LOOP
        EXECUTE format('SELECT s.is_set FROM siglip.%I AS s WHERE s.iterative_scan = %L AND s.ef_search = %s',
                       'search_settings_' || server, iterative_scan, ef_search);
    END LOOP;
    PERFORM set_config('siglip.told_servers', concat_ws(' ', iterative_scan, ef_search, servers::text), true);
END
$function$;

-- Let the other servers search with the ef_search of the models.
CREATE OR REPLACE FUNCTION siglip.tell_servers_ef_search()
 RETURNS trigger
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
DECLARE
    server record;
BEGIN
    FOR server IN
        SELECT f.srvname, substr(o.pair, length('options=') + 1) AS options
        FROM siglip.segment_servers AS s JOIN pg_foreign_server AS f ON f.srvname = s.name, unnest(f.srvoptions) AS o (pair)
        WHERE o.pair LIKE 'options=%'
    LOOP
        EXECUTE format('ALTER SERVER %I OPTIONS (SET options %L)', server.srvname, regexp_replace(
            server.options, 'hnsw\.ef_search=\d+', substring(siglip.server_session_options() FROM 'hnsw\.ef_search=\d+')));
    END LOOP;
    RETURN NULL;
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

-- Take all vectors out where siglip.contents was emptied.
CREATE OR REPLACE FUNCTION siglip.truncate_vectors()
 RETURNS trigger
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
BEGIN
    TRUNCATE siglip.image_embeddings;
    RETURN NULL;
END
$function$;

-- Measure recall at growing ef_search, and keep the smallest that reaches target_recall for all searches of the model.
CREATE OR REPLACE FUNCTION siglip.tune_search(target_recall double precision DEFAULT 0.98, sample integer DEFAULT 200, model_id integer DEFAULT NULL::integer, OUT ef_search integer, OUT recall double precision, OUT low double precision, OUT milliseconds double precision, OUT is_chosen boolean)
 RETURNS SETOF record
 LANGUAGE plpgsql
 ROWS 10
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
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
$function$;

-- One row is one setting of a model's searches or indexes: its value, where that comes from, and what it does.
CREATE VIEW siglip.index_settings AS
 SELECT m.model_id,
    m.name AS model,
    s.setting,
    s.value,
    s.source,
    s.why
   FROM (((siglip.models m
     CROSS JOIN LATERAL ( SELECT string_agg(DISTINCT COALESCE(o.m, '16'::text), ', '::text) AS m,
            string_agg(DISTINCT COALESCE(o.ef_construction, '64'::text), ', '::text) AS ef_construction,
            count(*) FILTER (WHERE (i.index_kind <> m.index_kind)) AS other_kind
           FROM ((siglip.segments i
             JOIN pg_class c ON ((c.oid = (i.index)::oid)))
             CROSS JOIN LATERAL ( SELECT max(r.option_value) FILTER (WHERE (r.option_name = 'm'::text)) AS m,
                    max(r.option_value) FILTER (WHERE (r.option_name = 'ef_construction'::text)) AS ef_construction
                   FROM pg_options_to_table(c.reloptions) r(option_name, option_value)) o)
          WHERE (i.model_id = m.model_id)) x)
     LEFT JOIN LATERAL ( SELECT h.measured_at,
            h.target_recall,
            h.recall
           FROM siglip.recall_history h
          WHERE ((h.model_id = m.model_id) AND h.is_chosen AND (h.ef_search = m.ef_search) AND (h.index_kind = m.index_kind))
          ORDER BY h.measured_at DESC, h.recall
         LIMIT 1) t ON (true))
     CROSS JOIN LATERAL ( VALUES (1,'index_kind'::text,m.index_kind,
                CASE m.index_kind
                    WHEN 'halfvec'::text THEN 'default'::text
                    ELSE 'siglip.create_index'::text
                END,(
                CASE m.index_kind
                    WHEN 'halfvec'::text THEN 'HNSW over the vectors as they are stored: finds most, and is larger than the vectors.'::text
                    ELSE 'HNSW over one bit an element, whose candidates are ranked by their vectors: for tables that don''t fit memory.'::text
                END ||
                CASE
                    WHEN (x.other_kind > 0) THEN format(' %s indexes are still of the other kind: siglip.maintain() builds them.'::text, x.other_kind)
                    ELSE ''::text
                END)), (2,'ef_search'::text,(COALESCE(m.ef_search, siglip.default_ef_search()))::text,
                CASE
                    WHEN (m.ef_search IS NULL) THEN 'default'::text
                    WHEN (t.measured_at IS NULL) THEN 'set by hand'::text
                    ELSE format('tuned on %s to reach %s'::text, (t.measured_at)::date, t.target_recall)
                END,
                CASE
                    WHEN (m.ef_search IS NULL) THEN 'Candidates that a search keeps while it walks the graph; siglip.tune_search() measures how many are needed here.'::text
                    WHEN (t.measured_at IS NULL) THEN 'siglip.models.ef_search was written by somebody; siglip.tune_search() measures how many are needed here.'::text
                    ELSE format('The smallest that siglip.tune_search() tried and that reached it; it measured a recall of %s.'::text, round((t.recall)::numeric, 3))
                END), (3,'m'::text,COALESCE(x.m, '16'::text),'default'::text,'Neighbours of a vector in the graph, in each layer: 16 up to 20,000 rows, 24 beyond, where clusters hardly touch with 16.'::text), (4,'ef_construction'::text,COALESCE(x.ef_construction, '64'::text),'default'::text,'Candidates that are looked at for each vector while the graph is built: 64 up to 20,000 rows, 128 beyond.'::text), (5,'iterative_scan'::text,'relaxed_order'::text,'fixed'::text,'A search walks on where filters leave too few rows; the rows are sorted at the end.'::text), (6,'rerank_candidates'::text,
                CASE
                    WHEN (m.index_kind = 'bit_rerank'::text) THEN COALESCE(NULLIF(current_setting('siglip.rerank_candidates'::text, true), ''::text), (COALESCE(m.ef_search, siglip.default_ef_search()))::text)
                    ELSE NULL::text
                END,
                CASE
                    WHEN (m.index_kind <> 'bit_rerank'::text) THEN 'not used'::text
                    ELSE siglip.setting_source('rerank_candidates'::text)
                END,'Candidates of an index of bits that are ranked by their vectors; by default as many as ef_search.'::text), (7,'exact_below_bytes'::text,(siglip.exact_below_bytes())::text,'fixed'::text,'A segment of fewer bytes than this gets no index: to read it all takes no longer.'::text), (8,'seal_rows'::text,(siglip.seal_rows())::text,siglip.setting_source('seal_rows'::text),'Rows from which on the open segment is closed and gets its index.'::text), (9,'build_memory'::text,pg_size_pretty(siglip.build_memory()),
                CASE
                    WHEN (NULLIF(current_setting('siglip.maintenance_work_mem'::text, true), ''::text) IS NOT NULL) THEN 'siglip.maintenance_work_mem'::text
                    WHEN (siglip.build_memory() > '2147483648'::bigint) THEN 'maintenance_work_mem'::text
                    ELSE 'default'::text
                END,'Memory that the build of one index may take; segments don''t grow beyond what fits it.'::text), (10,'pgvector'::text,( SELECT e.extversion
                   FROM pg_extension e
                  WHERE (e.extname = 'vector'::name)),'the database'::text,'siglip-ingest migrate warns of versions with known defects.'::text)) s(place, setting, value, source, why))
  WHERE (m.dimension IS NOT NULL)
  ORDER BY m.model_id, s.place;

-- One row is one segment: its range, rows, bytes, state (open, closed, building, sealed), and whether searches of it are as fast as they can be.
CREATE VIEW siglip.index_status AS
 SELECT m.model_id,
    m.name AS model,
    s.segment,
    s.from_content_id,
    s.to_content_id,
        CASE
            WHEN ((b.built_rows IS NULL) OR s.is_open) THEN NULL::bigint
            ELSE b.built_rows
        END AS built_rows,
        CASE
            WHEN (s.estimated_rows > 0) THEN s.estimated_rows
            ELSE (s.bytes / (64 + (2 * m.dimension)))
        END AS estimated_rows,
    s.bytes AS table_bytes,
    pg_relation_size(s.index) AS index_bytes,
    s.index_kind,
        CASE
            WHEN (s.server IS NOT NULL) THEN ('on '::text || s.server)
            WHEN (p.pid IS NOT NULL) THEN 'building'::text
            WHEN s.is_open THEN 'open'::text
            WHEN ((s.index IS NOT NULL) AND s.is_index_valid) THEN 'sealed'::text
            WHEN (b.segment_number IS NOT NULL) THEN 'sealed without index'::text
            ELSE 'closed'::text
        END AS state,
    ((s.server IS NOT NULL) OR COALESCE(s.is_index_valid, false) OR (s.bytes < siglip.exact_below_bytes())) AS is_complete,
        CASE
            WHEN (p.pid IS NOT NULL) THEN round(((100.0 * (COALESCE(p.blocks_done, (0)::bigint))::numeric) / (GREATEST(p.blocks_total, (1)::bigint))::numeric), 1)
            ELSE NULL::numeric
        END AS progress_percent,
    p.phase,
    b.built_at,
    b.build_s
   FROM (((siglip.segments s
     JOIN siglip.models m USING (model_id))
     LEFT JOIN siglip.segment_builds b ON ((b.segment_number = siglip.segment_number(s.segment))))
     LEFT JOIN LATERAL ( SELECT l.pid,
            i.blocks_done,
            i.blocks_total,
            i.phase
           FROM (pg_locks l
             LEFT JOIN pg_stat_progress_create_index i ON (((i.pid = l.pid) AND (i.phase = 'building index: loading tuples'::text))))
          WHERE ((l.locktype = 'advisory'::text) AND (l.objsubid = 2) AND l.granted AND (l.database = ( SELECT d.oid
                   FROM pg_database d
                  WHERE (d.datname = current_database()))) AND (l.classid = (1397311312)::oid) AND (l.objid = (siglip.segment_number(s.segment))::oid))
         LIMIT 1) p ON (true))
  ORDER BY m.model_id, s.from_content_id NULLS FIRST;

-- How each label decides under each model: an image has it where sigmoid(scale * logit + bias) reaches the threshold.
CREATE VIEW siglip.label_rules AS
 SELECT l.label_id,
    l.label_set_id,
    m.model_id,
    COALESCE(c.scale, (1)::double precision) AS scale,
    COALESCE(c.bias, (0)::double precision) AS bias,
    (COALESCE(c.threshold, l.threshold, (0.5)::real))::double precision AS threshold,
    c.version AS calibration_version
   FROM ((siglip.labels l
     CROSS JOIN siglip.models m)
     LEFT JOIN siglip.label_calibrations c ON (((c.label_id = l.label_id) AND (c.model_id = m.model_id) AND c.is_current)))
  WHERE (m.logit_scale IS NOT NULL);

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
     JOIN siglip.images i USING (content_id))
     CROSS JOIN LATERAL ( SELECT GREATEST((- (1)::double precision), LEAST((1)::double precision, (- (e.embedding <#> v.embedding)))) AS similarity
         OFFSET 0) c)
     CROSS JOIN LATERAL ( SELECT ((exp(m.logit_scale) * c.similarity) + m.logit_bias) AS logit) g)
  WHERE (m.model_id = ( SELECT models.model_id
           FROM siglip.models
          WHERE models.is_active));

-- One row is one measurement of recall beside the mean of those before; has_dropped where the intervals don't meet.
CREATE VIEW siglip.recall_drift AS
 SELECT h.measurement_id,
    h.measured_at,
    h.model_id,
    h.kind,
    h.collection,
    h.filter,
    h.max_results,
    h.index_kind,
    h.ef_search,
    h.queries,
    h.recall,
    h.low,
    h.high,
    h.search_ms,
    h.exact_ms,
    h.estimated_rows,
    h.target_recall,
    h.is_chosen,
    e.measurements AS earlier_measurements,
    e.recall AS earlier_recall,
    e.low AS earlier_low,
    (h.recall - e.recall) AS drift,
    COALESCE((h.high < e.low), false) AS has_dropped
   FROM (siglip.recall_history h
     CROSS JOIN LATERAL siglip.earlier_recall(h.*) e(measurements, recall, low));

-- One row is one segment: a range of contents under one model, from (inclusive) to (exclusive), NULL for no bound.
CREATE VIEW siglip.segments AS
 SELECT (c.oid)::regclass AS segment,
    m.model_id,
    (NULLIF(b.bounds[1], 'MINVALUE'::text))::bigint AS from_content_id,
    (NULLIF(b.bounds[2], 'MAXVALUE'::text))::bigint AS to_content_id,
    (GREATEST(c.reltuples, (0)::real))::bigint AS estimated_rows,
        CASE
            WHEN (c.relkind = 'r'::"char") THEN pg_relation_size((c.oid)::regclass)
            ELSE NULL::bigint
        END AS bytes,
    x.index,
    x.index_kind,
    COALESCE(x.indisvalid, false) AS is_index_valid,
    (b.bounds[2] = 'MAXVALUE'::text) AS is_open,
    (s.srvname)::text AS server
   FROM ((((((siglip.models m
     JOIN pg_inherits h ON ((h.inhparent = (to_regclass(('siglip.image_embeddings_'::text || m.model_id)))::oid)))
     JOIN pg_class c ON ((c.oid = h.inhrelid)))
     CROSS JOIN LATERAL ( SELECT regexp_match(pg_get_expr(c.relpartbound, c.oid), 'FROM \(''?(-?\d+|MINVALUE)''?\) TO \(''?(-?\d+|MAXVALUE)''?\)'::text) AS regexp_match) b(bounds))
     LEFT JOIN LATERAL ( SELECT (i.indexrelid)::regclass AS index,
            i.indisvalid,
                CASE
                    WHEN (a.opcname ~~ 'bit%'::text) THEN 'bit_rerank'::text
                    ELSE 'halfvec'::text
                END AS index_kind
           FROM (((pg_index i
             JOIN pg_class n ON ((n.oid = i.indexrelid)))
             JOIN pg_am am ON (((am.oid = n.relam) AND (am.amname = 'hnsw'::name))))
             JOIN pg_opclass a ON ((a.oid = i.indclass[0])))
          WHERE (i.indrelid = c.oid)
          ORDER BY i.indexrelid
         LIMIT 1) x ON (true))
     LEFT JOIN pg_foreign_table f ON ((f.ftrelid = c.oid)))
     LEFT JOIN pg_foreign_server s ON ((s.oid = f.ftserver)));

-- One row is another server that holds segments: how many, and, from itself, whether it answers (NULL: you may not ask) and its bytes.
CREATE VIEW siglip.servers AS
 SELECT s.name,
    concat(( SELECT substr(o.pair, 6) AS substr
           FROM unnest(f.srvoptions) o(pair)
          WHERE (o.pair ~~ 'host=%'::text)), ':', ( SELECT substr(o.pair, 6) AS substr
           FROM unnest(f.srvoptions) o(pair)
          WHERE (o.pair ~~ 'port=%'::text)), '/', ( SELECT substr(o.pair, 8) AS substr
           FROM unnest(f.srvoptions) o(pair)
          WHERE (o.pair ~~ 'dbname=%'::text))) AS address,
    COALESCE(n.segments, (0)::bigint) AS segments,
    COALESCE(n.estimated_rows, (0)::bigint) AS estimated_rows,
    t.bytes,
    t.unused_tables,
    t.is_reachable
   FROM (((siglip.segment_servers s
     JOIN pg_foreign_server f ON ((f.srvname = s.name)))
     LEFT JOIN ( SELECT g.server,
            count(*) AS segments,
            (sum(COALESCE(b.built_rows, g.estimated_rows)))::bigint AS estimated_rows
           FROM (siglip.segments g
             LEFT JOIN siglip.segment_builds b ON ((b.segment_number = siglip.segment_number(g.segment))))
          WHERE (g.server IS NOT NULL)
          GROUP BY g.server) n ON ((n.server = s.name)))
     LEFT JOIN LATERAL siglip.server_state(s.name) t(is_reachable, bytes, unused_tables) ON (true))
  ORDER BY s.name;
