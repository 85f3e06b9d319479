-- The schema siglip at revision 0010, generated from the migrations by `make schema`; for reading.

-- How rows AS r of an attached table are read: SQL expressions of their key, images and metadata, and names of the columns.
CREATE TYPE siglip.attachment_plan AS (
    row_key text,
    has_image text,
    matches text,
    images text,
    metadata text,
    is_content boolean,
    id_names text[],
    uri_name text,
    metadata_names text[],
    problem text
);

-- A fit: calibrated score = sigmoid(scale * logit + bias), accepted from threshold on; precision and recall are left-one-out estimates, log losses means a mark.
CREATE TYPE siglip.calibration AS (
    scale double precision,
    bias double precision,
    threshold double precision,
    positives integer,
    negatives integer,
    "precision" double precision,
    recall double precision,
    log_loss_before double precision,
    log_loss_after double precision,
    guaranteed_precision double precision,
    version integer,
    note text
);

-- One part of a query: a text, an image or a vector (of a text, where there is one); of model_id where it was said; a weight below 0 means that it isn't wanted.
CREATE TYPE siglip.composed_part AS (
    query text,
    image_id bigint,
    embedding halfvec,
    model_id integer,
    weight double precision
);

-- What siglip.compose returns. Its texts and images become vectors when it is searched for, all under that search's model.
CREATE TYPE siglip.composed_query AS (
    parts siglip.composed_part[]
);

-- One part of a query as a unit vector under the model of a search; a weight below 0 means that it isn't wanted.
CREATE TYPE siglip.embedded_part AS (
    embedding halfvec,
    weight double precision,
    is_image boolean
);

-- One row of a search result; similarity in [-1, 1], score in [0, 1].
CREATE TYPE siglip.image_match AS (
    image_id bigint,
    uri text,
    similarity double precision,
    score double precision,
    metadata jsonb
);

-- A label's vector; the scale and bias that its calibration begins from; logits and marks of its marked images, and whether each is part of the vector.
CREATE TYPE siglip.label_fit AS (
    embedding halfvec,
    prior_scale double precision,
    prior_bias double precision,
    logits double precision[],
    marks boolean[],
    is_used boolean[]
);

-- An image, its score for a combination of labels, and its score for each of them.
CREATE TYPE siglip.label_match AS (
    image_id bigint,
    uri text,
    score double precision,
    metadata jsonb,
    scores jsonb
);

-- What a search found, best first, and how long it took.
CREATE TYPE siglip.measured_search AS (
    similarities double precision[],
    milliseconds double precision
);

-- One measure of two models, over n cases; NULL where there is nothing to compare, and the note says why.
CREATE TYPE siglip.model_comparison AS (
    measure text,
    value_a double precision,
    value_b double precision,
    n bigint,
    note text
);

-- A label as a query names it, with what decides: siglip.score(similarity, logit_scale, logit_bias) >= threshold.
CREATE TYPE siglip.named_label AS (
    name text,
    label_set text,
    label text,
    embedding halfvec,
    threshold double precision,
    logit_scale double precision,
    logit_bias double precision,
    least_similarity double precision
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

-- One row of an attached table that a search found, by its best image: place says which of the row's images that is.
CREATE TYPE siglip.row_match AS (
    row_key text,
    place integer,
    image_id bigint,
    uri text,
    similarity double precision,
    score double precision,
    metadata jsonb
);

-- A place in a search result: that of the row with this similarity and image_id.
CREATE TYPE siglip.search_position AS (
    similarity double precision,
    image_id bigint
);

-- One row is one key of the web API. Only the table's owner sees rows: other roles need a policy of their own.
CREATE TABLE siglip.api_keys (
    key_id integer GENERATED ALWAYS AS IDENTITY NOT NULL,
    name text NOT NULL,  -- Who has it; a name that was revoked can be given again.
    key_hash bytea NOT NULL,  -- SHA-256 of the key, which has 256 random bits: nobody can guess one from its hash.
    scope text NOT NULL,  -- What it allows: search; write, which includes search; admin, which includes both.
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    expires_at timestamp with time zone,  -- When it ends by itself; NULL means never.
    revoked_at timestamp with time zone,  -- When it was taken back; NULL while it wasn't.
    last_used_at timestamp with time zone,  -- To about a minute; NULL where it never was.
    CONSTRAINT api_keys_pkey PRIMARY KEY (key_id),
    CONSTRAINT api_keys_key_hash_key UNIQUE (key_hash),
    CONSTRAINT api_keys_key_hash_check CHECK ((octet_length(key_hash) = 32)),
    CONSTRAINT api_keys_name_check CHECK ((name <> ''::text)),
    CONSTRAINT api_keys_scope_check CHECK ((scope = ANY (ARRAY['search'::text, 'write'::text, 'admin'::text])))
);
CREATE UNIQUE INDEX api_keys_name_btree_idx ON siglip.api_keys USING btree (name) WHERE (revoked_at IS NULL);
ALTER TABLE siglip.api_keys ENABLE ROW LEVEL SECURITY;

-- One row is one browser that showed a key: it may do what the key may, for a while. Only the table's owner sees rows.
CREATE TABLE siglip.api_sessions (
    session_hash bytea NOT NULL,  -- SHA-256 of what its cookie holds, 256 random bits.
    key_id integer NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    CONSTRAINT api_sessions_pkey PRIMARY KEY (session_hash),
    CONSTRAINT api_sessions_key_id_fkey FOREIGN KEY (key_id) REFERENCES siglip.api_keys(key_id) ON DELETE CASCADE,
    CONSTRAINT api_sessions_session_hash_check CHECK ((octet_length(session_hash) = 32))
);
CREATE INDEX api_sessions_key_id_btree_idx ON siglip.api_sessions USING btree (key_id);
ALTER TABLE siglip.api_sessions ENABLE ROW LEVEL SECURITY;

-- One row is a list of keys whose rows have changed since a worker looked last; NULL means all that have images.
CREATE TABLE siglip.attached_changes (
    change_id bigint GENERATED ALWAYS AS IDENTITY NOT NULL,
    attachment_id integer NOT NULL,
    row_keys text[],
    CONSTRAINT attached_changes_pkey PRIMARY KEY (attachment_id, change_id)
);

-- One row is one image of one row of an attached table; several rows may share an image.
CREATE TABLE siglip.attached_images (
    attachment_id integer NOT NULL,
    row_key text NOT NULL,  -- The row's key as text; of several columns, an array of them: {7,front}.
    place integer NOT NULL,  -- Which of the row's images it is, from 1.
    image_id bigint NOT NULL,
    CONSTRAINT attached_images_pkey PRIMARY KEY (attachment_id, row_key, place),
    CONSTRAINT attached_images_attachment_id_fkey FOREIGN KEY (attachment_id) REFERENCES siglip.attachments(attachment_id) ON DELETE CASCADE,
    CONSTRAINT attached_images_image_id_fkey FOREIGN KEY (image_id) REFERENCES siglip.images(image_id) ON DELETE CASCADE,
    CONSTRAINT attached_images_place_check CHECK ((place > 0))
);
CREATE INDEX attached_images_image_id_btree_idx ON siglip.attached_images USING btree (image_id);

-- One row is one table that siglip.attach keeps in step with a collection.
CREATE TABLE siglip.attachments (
    attachment_id integer GENERATED ALWAYS AS IDENTITY NOT NULL,
    attached_table regclass NOT NULL,
    table_oid oid NOT NULL,  -- The table's oid as a number: where attached_table has another one, the database was restored, and columns are found by name.
    id_columns text[] NOT NULL,  -- Names of the columns that tell rows apart, as they were when a worker looked last.
    id_numbers smallint[] NOT NULL,  -- Numbers of these columns in pg_attribute, which a renaming leaves as they are.
    uri_column text NOT NULL,
    uri_number smallint NOT NULL,
    metadata_columns text[] DEFAULT '{}'::text[] NOT NULL,
    metadata_numbers smallint[] DEFAULT '{}'::smallint[] NOT NULL,
    metadata_keys text[] DEFAULT '{}'::text[] NOT NULL,  -- What the metadata columns were called when the table was attached, and are called in the metadata.
    collection text NOT NULL,
    problem text,  -- Why its changes can't be followed, a sentence; NULL where they are.
    problem_at timestamp with time zone,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT attachments_pkey PRIMARY KEY (attachment_id),
    CONSTRAINT attachments_attached_table_key UNIQUE (attached_table),
    CONSTRAINT attachments_collection_check CHECK ((collection <> ''::text)),
    CONSTRAINT attachments_id_columns_check CHECK ((cardinality(id_columns) > 0))
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
    model_id integer,  -- The model of the score; without a foreign key, which would cost more than the row. A model that was dropped may be named until it is computed again.
    marked_by text,  -- Who marked it, by default the role; NULL where the model decided.
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT image_labels_pkey PRIMARY KEY (label_id, image_id),
    CONSTRAINT image_labels_image_id_fkey FOREIGN KEY (image_id) REFERENCES siglip.images(image_id) ON DELETE CASCADE,
    CONSTRAINT image_labels_label_id_fkey FOREIGN KEY (label_id) REFERENCES siglip.labels(label_id) ON DELETE CASCADE,
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

-- One row is the rule by which the rows of a kept label are made: new images at once, older ones step by step.
CREATE TABLE siglip.label_progress (
    label_id integer NOT NULL,
    model_id integer NOT NULL,
    embedding halfvec NOT NULL,
    scale double precision NOT NULL,
    bias double precision NOT NULL,
    threshold double precision NOT NULL,
    least_similarity double precision NOT NULL,
    next_content_id bigint DEFAULT 0 NOT NULL,  -- Images of the contents before it are done, and those that came since began_at.
    last_content_id bigint NOT NULL,
    began_at timestamp with time zone DEFAULT now() NOT NULL,
    completed_at timestamp with time zone,  -- When the last of the older images was done; NULL before that.
    CONSTRAINT label_progress_pkey PRIMARY KEY (label_id),
    CONSTRAINT label_progress_label_id_fkey FOREIGN KEY (label_id) REFERENCES siglip.labels(label_id) ON DELETE CASCADE,
    CONSTRAINT label_progress_model_id_fkey FOREIGN KEY (model_id) REFERENCES siglip.models(model_id) ON DELETE CASCADE
);
CREATE INDEX label_progress_model_id_btree_idx ON siglip.label_progress USING btree (model_id);

-- One row is a label that a model can't embed, and why; workers write it, and it goes where the prompts change.
CREATE TABLE siglip.label_refusals (
    model_id integer NOT NULL,
    label_id integer NOT NULL,
    refusal text NOT NULL,  -- What is wrong with the prompts, a sentence.
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT label_refusals_pkey PRIMARY KEY (model_id, label_id),
    CONSTRAINT label_refusals_label_id_fkey FOREIGN KEY (label_id) REFERENCES siglip.labels(label_id) ON DELETE CASCADE,
    CONSTRAINT label_refusals_model_id_fkey FOREIGN KEY (model_id) REFERENCES siglip.models(model_id) ON DELETE CASCADE,
    CONSTRAINT label_refusals_refusal_check CHECK ((refusal <> ''::text))
);
CREATE INDEX label_refusals_label_id_btree_idx ON siglip.label_refusals USING btree (label_id);

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

-- One row is a model that siglip.drop_model takes away; it goes with the model once the last of its space is free.
CREATE TABLE siglip.model_drops (
    model_id integer NOT NULL,
    dropped_at timestamp with time zone DEFAULT now() NOT NULL,
    next_image_id bigint DEFAULT 0 NOT NULL,  -- The ledger has nothing of the model any more for images before this one.
    freed_bytes bigint DEFAULT 0 NOT NULL,  -- Of vectors and indexes, so far.
    CONSTRAINT model_drops_pkey PRIMARY KEY (model_id),
    CONSTRAINT model_drops_model_id_fkey FOREIGN KEY (model_id) REFERENCES siglip.models(model_id) ON DELETE CASCADE
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

-- One row is an image that a row of an attached table no longer has; it is deleted if no other row has it.
CREATE TABLE siglip.released_images (
    image_id bigint NOT NULL,
    after_change bigint DEFAULT 0 NOT NULL  -- The change that is to be followed first: a row that has the image may be among those until it.
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
-- Example: SELECT name, dimension FROM siglip.active_model();
CREATE OR REPLACE FUNCTION siglip.active_model()
 RETURNS siglip.models
 LANGUAGE sql
 STABLE
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
    SELECT siglip.described_model(NULL)
$function$;

-- Add a model whose vectors are imported, and return its model_id; it becomes the active one where none is.
-- Example: SELECT siglip.add_external_model('clip-vit-b-32', dimension => 512);
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

-- Add a label to a label set, at its end; without prompts the set's template makes one. Returns its label_id.
-- Example: SELECT siglip.add_label('scenes', 'beach', prompts => '{"a beach", "sand by the sea"}');
CREATE OR REPLACE FUNCTION siglip.add_label(label_set text, label text, prompts text[] DEFAULT NULL::text[], threshold double precision DEFAULT NULL::double precision)
 RETURNS integer
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
#variable_conflict use_column
DECLARE
    held         siglip.label_sets := siglip.hold_label_set(add_label.label_set);
    new_label_id integer;
BEGIN
    PERFORM siglip.check_threshold(add_label.threshold);
    INSERT INTO siglip.labels AS l (label_set_id, position, label, prompts, threshold)
    VALUES (held.label_set_id,
            (SELECT coalesce(max(o.position) + 1, 0) FROM siglip.labels AS o WHERE o.label_set_id = held.label_set_id),
            add_label.label, siglip.make_prompts(add_label.label, add_label.prompts, held.template), add_label.threshold)
    ON CONFLICT (label_set_id, label) DO NOTHING
    RETURNING l.label_id INTO new_label_id;
    IF new_label_id IS NULL THEN
        RAISE EXCEPTION 'The label set % has a label % already.', quote_literal(add_label.label_set), quote_literal(add_label.label)
            USING ERRCODE = 'unique_violation', HINT = 'siglip.change_label changes it.';
    END IF;
    RETURN new_label_id;
END
$function$;

-- Have all images embedded under another checkpoint too, and new ones under both; searches go on with the active model. Called again, it queues what is missing. Returns the model_id.
-- Example: SELECT siglip.add_model('google/siglip2-base-patch16-384');
CREATE OR REPLACE FUNCTION siglip.add_model(name text)
 RETURNS integer
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
#variable_conflict use_variable
DECLARE
    model siglip.models;
BEGIN
    SELECT m.* INTO model FROM siglip.models AS m
    WHERE m.name = add_model.name
    ORDER BY m.is_active DESC, m.described_at DESC NULLS LAST, m.model_id
    LIMIT 1;
    IF model.is_external THEN
        RAISE EXCEPTION 'The model % is external: its vectors are imported, and no worker can embed an image with it.', quote_literal(name)
            USING ERRCODE = 'invalid_parameter_value', HINT = 'siglip.switch_model switches to it as it is.';
    ELSIF EXISTS (SELECT FROM siglip.model_drops AS d JOIN siglip.models AS m USING (model_id) WHERE m.name = add_model.name) THEN
        RAISE EXCEPTION 'The model % is being dropped.', quote_literal(name)
            USING ERRCODE = 'object_in_use', HINT = 'Add it once that has ended: CALL siglip.finish_drops() waits for it.';
    ELSIF model.model_id IS NULL THEN
        IF coalesce(name, '') !~ '^(demo|/.+|[A-Za-z0-9][A-Za-z0-9_.-]*/[A-Za-z0-9][A-Za-z0-9_.-]*(@[A-Za-z0-9_][A-Za-z0-9_./-]*)?)$'
           OR (name !~ '^/' AND name ~ '\.\.|/$') THEN
            RAISE EXCEPTION '% names no checkpoint.', coalesce(quote_literal(name), 'NULL')
                USING ERRCODE = 'invalid_parameter_value',
                      HINT = 'Give a hub name such as google/siglip2-base-patch16-384, the absolute path of a folder, or demo.';
        END IF;
        INSERT INTO siglip.models AS m (name) VALUES (add_model.name) ON CONFLICT DO NOTHING;  -- another caller's, perhaps
        SELECT m.* INTO STRICT model FROM siglip.models AS m WHERE m.name = add_model.name ORDER BY m.model_id DESC LIMIT 1;
    END IF;
    IF NOT (model.is_kept OR model.is_active) THEN
        PERFORM siglip.queue_missing_images(model.model_id);
    END IF;
    PERFORM pg_advisory_xact_lock('siglip.models'::regclass::oid::bigint);
    IF EXISTS (SELECT FROM siglip.model_drops AS d WHERE d.model_id = model.model_id)
       OR NOT EXISTS (SELECT FROM siglip.models AS m WHERE m.model_id = model.model_id) THEN
        RAISE EXCEPTION 'The model % was dropped meanwhile.', quote_literal(name)
            USING ERRCODE = 'object_in_use', HINT = 'Add it once that has ended: CALL siglip.finish_drops() waits for it.';
    END IF;
    UPDATE siglip.models AS m SET is_kept = true WHERE m.model_id = model.model_id AND NOT m.is_kept;
    PERFORM siglip.queue_missing_images(model.model_id);
    RETURN model.model_id;
END
$function$;

-- Prepare another PostgreSQL server for segments; for a name that is there already, change its address or password.
-- Example: SELECT siglip.add_server('second', 'postgresql://siglip:secret@10.0.0.8/segments');
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

-- The images that have all of some labels, best first; score is the least of their scores. min_score is one for all labels, NULL stands for each label's own rule.
-- Example: SELECT image_id, score FROM siglip.all_of('scenes', '{sunset,forest}', 0.1);
CREATE OR REPLACE FUNCTION siglip.all_of(label_set text, labels text[], min_score double precision DEFAULT NULL::double precision, max_results integer DEFAULT NULL::integer, collection text DEFAULT NULL::text, filter jsonb DEFAULT NULL::jsonb, model_id integer DEFAULT NULL::integer)
 RETURNS SETOF siglip.label_match
 LANGUAGE plpgsql
 ROWS 100
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
BEGIN
    RETURN QUERY SELECT n.* FROM siglip.images_with_labels(
        label_set, labels, NULL, NULL, min_score, max_results, collection, filter, model_id) AS n;
END
$function$;

-- The images that have at least one of some labels, best first; score is the greatest of those they have.
-- Example: SELECT image_id, scores FROM siglip.any_of(NULL, '{scenes/sunset,scenes/forest}', 0.1);
CREATE OR REPLACE FUNCTION siglip.any_of(label_set text, labels text[], min_score double precision DEFAULT NULL::double precision, max_results integer DEFAULT NULL::integer, collection text DEFAULT NULL::text, filter jsonb DEFAULT NULL::jsonb, model_id integer DEFAULT NULL::integer)
 RETURNS SETOF siglip.label_match
 LANGUAGE plpgsql
 ROWS 100
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
BEGIN
    RETURN QUERY SELECT n.* FROM siglip.images_with_labels(
        label_set, NULL, labels, NULL, min_score, max_results, collection, filter, model_id) AS n;
END
$function$;

-- Return what a query finds, each row as JSON, where the segment lies; the query has %s for its table.
-- Example: SELECT siglip.ask_segment('siglip.image_embeddings_1_1', 'SELECT count(*) AS vectors FROM %s');
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
-- Example: SELECT siglip.connect_server('archive'), siglip.ask_server('archive', 'SELECT version()');
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
-- Example: SELECT siglip.ask_text('sunset', 1, is_cut => false);
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

-- Have a collection follow a column of your table: its rows are queued, and inserts, updates and deletes follow by themselves. Returns how many rows have something in that column.
-- Example: SELECT siglip.attach('public.product', id_column => 'id', uri_column => 'photo_url', collection => 'shop', metadata_columns => '{category,price}');
CREATE OR REPLACE FUNCTION siglip.attach(attached_table regclass, uri_column text, id_column text DEFAULT NULL::text, collection text DEFAULT NULL::text, metadata_columns text[] DEFAULT '{}'::text[], id_columns text[] DEFAULT NULL::text[])
 RETURNS bigint
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
DECLARE
    attachment siglip.attachments;
    ids        text[] := coalesce(id_columns, ARRAY[id_column]);
    metadata   text[] := coalesce(metadata_columns, '{}');
    wrong      text;
    event      text;
BEGIN
    PERFORM siglip.check_attachable(attached_table, '{}');
    IF num_nonnulls(id_column, id_columns) = 0 THEN
        ids := ARRAY(
            SELECT a.attname::text FROM pg_index AS x CROSS JOIN unnest(x.indkey::smallint[]) WITH ORDINALITY AS n (number, place)
            JOIN pg_attribute AS a ON a.attrelid = x.indrelid AND a.attnum = n.number
            WHERE x.indrelid = attach.attached_table AND x.indisprimary AND n.place <= x.indnkeyatts ORDER BY n.place);
    END IF;
    IF num_nonnulls(id_column, id_columns) = 2 OR cardinality(ids) = 0 THEN
        RAISE EXCEPTION 'Nothing says which columns tell the rows of % apart%.', attached_table,
            CASE WHEN cardinality(ids) = 0 THEN ': it has no primary key' ELSE '; id_column and id_columns are both given' END
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Give id_column => ''id'', or id_columns => ''{shop,number}'' where it takes several.';
    ELSIF uri_column IS NULL OR attach.collection = '' OR cardinality(metadata) > 45 THEN
        RAISE EXCEPTION '%', CASE WHEN uri_column IS NULL THEN 'uri_column is NULL, not the name of a column.'
                                  WHEN attach.collection = '' THEN 'A collection needs a name.' ELSE 'At most 45 columns become metadata.' END
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    PERFORM siglip.check_attachable(attached_table, ids || uri_column || metadata);
    IF current_setting('transaction_isolation') <> 'read committed' THEN
        RAISE EXCEPTION 'A table is attached in a transaction that is READ COMMITTED, not %.', upper(current_setting('transaction_isolation'))
            USING ERRCODE = 'active_sql_transaction', HINT = 'It must see the rows that were written until then.';
    END IF;
    EXECUTE format('LOCK TABLE %s IN SHARE ROW EXCLUSIVE MODE', attached_table);
    IF EXISTS (SELECT FROM siglip.attachments AS a WHERE a.attached_table = attach.attached_table) THEN
        RAISE EXCEPTION 'The table % is attached already.', attached_table
            USING ERRCODE = 'duplicate_object', HINT = 'siglip.detach first, to attach it in another way; its images may stay meanwhile.';
    END IF;
    SELECT attached_table, attached_table::oid, ids, uri_column, metadata, metadata,
           coalesce(attach.collection, (SELECT c.relname::text FROM pg_class AS c WHERE c.oid = attach.attached_table)),
           ARRAY(SELECT a.attnum FROM unnest(ids) WITH ORDINALITY AS n (name, place) JOIN pg_attribute AS a ON a.attname = n.name
                 WHERE a.attrelid = attach.attached_table ORDER BY n.place),
           (SELECT a.attnum FROM pg_attribute AS a WHERE a.attrelid = attach.attached_table AND a.attname = uri_column),
           ARRAY(SELECT a.attnum FROM unnest(metadata) WITH ORDINALITY AS n (name, place) JOIN pg_attribute AS a ON a.attname = n.name
                 WHERE a.attrelid = attach.attached_table ORDER BY n.place)
    INTO attachment.attached_table, attachment.table_oid, attachment.id_columns, attachment.uri_column, attachment.metadata_columns,
         attachment.metadata_keys, attachment.collection, attachment.id_numbers, attachment.uri_number, attachment.metadata_numbers;
    IF NOT EXISTS (
        SELECT FROM pg_index AS x
        WHERE x.indrelid = attach.attached_table AND x.indisunique AND x.indisvalid AND x.indimmediate AND x.indpred IS NULL
          AND x.indexprs IS NULL AND x.indnkeyatts = cardinality(ids)
          AND ARRAY(SELECT n FROM unnest((x.indkey::smallint[])[0 : x.indnkeyatts - 1]) AS n ORDER BY n)
              = ARRAY(SELECT n FROM unnest(attachment.id_numbers) AS n ORDER BY n)
    ) OR EXISTS (SELECT FROM pg_attribute AS a WHERE a.attrelid = attach.attached_table AND a.attnum = ANY (attachment.id_numbers) AND NOT a.attnotnull) THEN
        RAISE EXCEPTION 'The columns (%) of % don''t tell its rows apart: they need a unique index, and NOT NULL.',
            array_to_string(ARRAY(SELECT quote_ident(n) FROM unnest(ids) AS n), ', '), attached_table
            USING ERRCODE = 'invalid_parameter_value', HINT = 'A primary key has both.';
    END IF;
    wrong := (siglip.plan_attachment(attachment)).problem;
    IF wrong IS NOT NULL THEN
        RAISE EXCEPTION '%', wrong USING ERRCODE = 'datatype_mismatch';
    END IF;
    INSERT INTO siglip.attachments (attached_table, table_oid, id_columns, id_numbers, uri_column, uri_number, metadata_columns, metadata_numbers,
                                    metadata_keys, collection)
    VALUES (attachment.attached_table, attachment.table_oid, attachment.id_columns, attachment.id_numbers, attachment.uri_column,
            attachment.uri_number, attachment.metadata_columns, attachment.metadata_numbers, attachment.metadata_keys, attachment.collection);
    FOREACH event IN ARRAY '{INSERT,UPDATE,DELETE,TRUNCATE}'::text[] LOOP
        EXECUTE format(
            'CREATE TRIGGER siglip_note_%s AFTER %s ON %s %s FOR EACH STATEMENT EXECUTE FUNCTION siglip.note_attached_changes()',
            lower(event), event, attached_table,
            CASE event WHEN 'INSERT' THEN 'REFERENCING NEW TABLE AS new_rows' WHEN 'DELETE' THEN 'REFERENCING OLD TABLE AS old_rows'
                       WHEN 'UPDATE' THEN 'REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows' ELSE '' END);
    END LOOP;
    PERFORM siglip.warn_of_rights(attached_table);
    RETURN siglip.refresh_attached(attached_table);
END
$function$;

-- Trigger: whoever deletes labels waits until nobody writes kept labels, and keeps it so until the transaction ends.
-- Example: DELETE FROM siglip.labels WHERE label = 'sunset';
CREATE OR REPLACE FUNCTION siglip.await_kept_labels()
 RETURNS trigger
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
BEGIN
    PERFORM pg_advisory_xact_lock(siglip.kept_labels_lock());
    RETURN NULL;
END
$function$;

-- Wait until the transactions of this database have ended that are open now, at most so many seconds.
-- Example: SELECT siglip.await_transactions(0.1);
CREATE OR REPLACE FUNCTION siglip.await_transactions(timeout_s double precision)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
DECLARE
    others     text[];
    give_up_at constant timestamptz := clock_timestamp() + make_interval(secs => timeout_s);
BEGIN
    SELECT array_agg(l.virtualxid) INTO others
    FROM pg_locks AS l JOIN pg_stat_activity AS a USING (pid)
    WHERE l.locktype = 'virtualxid' AND l.granted AND l.pid <> pg_backend_pid()
      AND a.datid = (SELECT d.oid FROM pg_database AS d WHERE d.datname = current_database());
    WHILE clock_timestamp() < give_up_at AND EXISTS (
        SELECT FROM pg_locks AS l WHERE l.locktype = 'virtualxid' AND l.virtualxid = ANY (others)
    ) LOOP
        PERFORM pg_sleep(0.02);
    END LOOP;
END
$function$;

-- The servers with segments of a model that don't answer; conditions leaves those out of a query of siglip.image_embeddings AS e.
-- Example: SELECT server, segments FROM siglip.away_servers(1);
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

-- The type that a domain is made of; another type is its own.
-- Example: SELECT siglip.base_type('integer'::regtype)::regtype;
CREATE OR REPLACE FUNCTION siglip.base_type(type oid)
 RETURNS oid
 LANGUAGE sql
 STABLE
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
    WITH RECURSIVE bases (type, base, depth) AS (
        SELECT t.oid, t.typbasetype, 0 FROM pg_type AS t WHERE t.oid = base_type.type
        UNION ALL
        SELECT t.oid, t.typbasetype, b.depth + 1 FROM bases AS b JOIN pg_type AS t ON t.oid = b.base WHERE b.base <> 0
    )
    SELECT b.type FROM bases AS b ORDER BY b.depth DESC LIMIT 1
$function$;

-- The probability of at most so many errors in so many independent trials, each wrong with the same probability between 0 and 1.
-- Example: SELECT siglip.binomial_tail(0, 45, 0.05);
CREATE OR REPLACE FUNCTION siglip.binomial_tail(errors integer, trials integer, error_rate double precision)
 RETURNS double precision
 LANGUAGE plpgsql
 IMMUTABLE
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
DECLARE
    log_term double precision := trials * ln(1 - error_rate);
    total    double precision := 0;
BEGIN
    FOR n IN 0 .. least(errors, trials) LOOP
        IF log_term > -700 THEN
            total := total + exp(log_term);
        END IF;
        log_term := log_term + ln((trials - n + 1e-300) / (n + 1)) + ln(error_rate / (1 - error_rate));
    END LOOP;
    RETURN least(1, total);
END
$function$;

-- Bytes that the build of one index may take: siglip.maintenance_work_mem (2GB by default), or PostgreSQL's own where that is more.
-- Example: SELECT pg_size_pretty(siglip.build_memory());
CREATE OR REPLACE FUNCTION siglip.build_memory()
 RETURNS bigint
 LANGUAGE sql
 STABLE
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
    SELECT greatest(pg_size_bytes(coalesce(nullif(current_setting('siglip.maintenance_work_mem', true), ''), '2GB')),
                    pg_size_bytes(current_setting('maintenance_work_mem')))
$function$;

-- A part of a query: the vector of an image, of any length but 0; with model_id, a search under another model refuses it.
-- Example: SELECT * FROM siglip.search_images(siglip.compose('beach', siglip.by_vector((SELECT embedding FROM siglip.image_embeddings WHERE model_id = 1 LIMIT 1))));
CREATE OR REPLACE FUNCTION siglip.by_vector(embedding halfvec, weight double precision DEFAULT 1, model_id integer DEFAULT NULL::integer)
 RETURNS siglip.query_part
 LANGUAGE plpgsql
 IMMUTABLE
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
BEGIN
    IF embedding IS NULL OR public.l2_norm(embedding) = 0 THEN
        RAISE EXCEPTION 'The vector of a part is NULL or zero.'
            USING ERRCODE = 'invalid_parameter_value', HINT = 'A vector has a direction: any length but 0.';
    END IF;
    RETURN siglip.write_part(
        jsonb_strip_nulls(jsonb_build_object('embedding', embedding::text, 'model_id', model_id)), siglip.check_weight(weight));
END
$function$;

-- Mark images as having or not having a label, and fit its scores to all marks. min_precision is a wish: the threshold then keeps it with the confidence, where the marks suffice.
-- Example: SELECT * FROM siglip.calibrate('scenes', 'sunset', positives => '{1,2}', negatives => '{7}');
CREATE OR REPLACE FUNCTION siglip.calibrate(label_set text, label text, positives bigint[] DEFAULT NULL::bigint[], negatives bigint[] DEFAULT NULL::bigint[], min_precision double precision DEFAULT NULL::double precision, confidence double precision DEFAULT 0.9, model_id integer DEFAULT NULL::integer)
 RETURNS siglip.calibration
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
DECLARE
    model    siglip.models := siglip.described_model(model_id);
    of_label siglip.labels;
    other    siglip.models;
    result   siglip.calibration;
BEGIN
    PERFORM siglip.check_label_set(label_set, NULL, model);
    PERFORM siglip.check_wish(min_precision, confidence);
    of_label := siglip.find_label(label_set, label);
    IF cardinality(positives) > 0 OR cardinality(negatives) > 0 THEN
        PERFORM siglip.mark_images(label_set, label, positives => calibrate.positives, negatives => calibrate.negatives);
    END IF;
    result := siglip.fit_label(of_label, model, min_precision, confidence);
    IF of_label.is_by_example THEN
        -- The vectors under the other models are made of the same marks.
        FOR other IN SELECT m.* FROM siglip.kept_models() AS k JOIN siglip.models AS m ON m.model_id = k WHERE k <> model.model_id LOOP
            IF EXISTS (SELECT FROM siglip.label_marks(of_label.label_id, other.model_id) AS n WHERE n.is_accepted)
               AND other.logit_scale IS NOT NULL AND min_precision IS NULL THEN
                PERFORM siglip.fit_label(of_label, other, NULL, confidence);
            END IF;
        END LOOP;
    END IF;
    RETURN result;
END
$function$;

-- The calibrations of a label under a model, the newest first.
-- Example: SELECT version, is_current, note FROM siglip.calibrations('scenes', 'sunset');
CREATE OR REPLACE FUNCTION siglip.calibrations(label_set text, label text, model_id integer DEFAULT NULL::integer)
 RETURNS TABLE(version integer, is_current boolean, scale double precision, bias double precision, threshold double precision, positives integer, negatives integer, "precision" double precision, recall double precision, guaranteed_precision double precision, note text, created_at timestamp with time zone, created_by text)
 LANGUAGE plpgsql
 STABLE ROWS 10
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
#variable_conflict use_column
DECLARE
    model    siglip.models := siglip.described_model(calibrations.model_id);
    of_label siglip.labels := siglip.find_label(calibrations.label_set, calibrations.label);
BEGIN
    RETURN QUERY
        SELECT c.version, c.is_current, c.scale, c.bias, coalesce(c.threshold, of_label.threshold, 0.5)::double precision,
               (c.figures ->> 'positives')::integer, (c.figures ->> 'negatives')::integer,
               (c.figures ->> 'precision')::double precision, (c.figures ->> 'recall')::double precision,
               (c.figures ->> 'guaranteed_precision')::double precision, c.figures ->> 'note', c.created_at, c.created_by
        FROM siglip.label_calibrations AS c
        WHERE c.label_id = of_label.label_id AND c.model_id = model.model_id
        ORDER BY c.version DESC;
END
$function$;

-- Whether the caller can add to siglip.recall_history: a role that only searches may have no right to, and a standby can't.
-- Example: SELECT siglip.can_write_recall();
CREATE OR REPLACE FUNCTION siglip.can_write_recall()
 RETURNS boolean
 LANGUAGE sql
 STABLE
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
    SELECT current_setting('transaction_read_only') = 'off' AND has_table_privilege('siglip.recall_history', 'INSERT')
$function$;

-- Whether the caller can add to the cache: a role that only searches may have no right to, and a standby can't.
-- Example: SELECT siglip.can_write_texts();
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
-- Example: SELECT siglip.catch_up(siglip.create_segment(1), '{siglip.image_embeddings_1_1}');
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
-- Example: SELECT siglip.catch_up_elsewhere(siglip.create_segment(1), 'siglip.image_embeddings_1_1');
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

-- Give a label another name, other prompts ({} for the template's) or another place in its set, from 0; what isn't given stays, marks and calibrations too.
-- Example: SELECT siglip.change_label('scenes', 'forest', new_label => 'wood', prompts => '{"a forest", "many trees"}');
CREATE OR REPLACE FUNCTION siglip.change_label(label_set text, label text, new_label text DEFAULT NULL::text, prompts text[] DEFAULT NULL::text[], place integer DEFAULT NULL::integer)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
#variable_conflict use_column
DECLARE
    held       siglip.label_sets := siglip.hold_label_set(change_label.label_set);
    old        siglip.labels := siglip.find_label(change_label.label_set, change_label.label);
    is_made    constant boolean := old.prompts = ARRAY[replace(held.template, '{label}', old.label)];
    name       constant text := coalesce(change_label.new_label, old.label);
BEGIN
    PERFORM siglip.check_label_name('A label', name);
    IF name <> old.label AND EXISTS (
        SELECT FROM siglip.labels AS l WHERE l.label_set_id = held.label_set_id AND l.label = name) THEN
        RAISE EXCEPTION 'The label set % has a label % already.', quote_literal(change_label.label_set), quote_literal(name)
            USING ERRCODE = 'unique_violation', HINT = 'Choose another name, or take that label out first (siglip.remove_label).';
    END IF;
    -- A prompt that the template made follows the name.
    UPDATE siglip.labels AS l
    SET label = name,
        is_by_example = l.is_by_example AND change_label.prompts IS NULL,
        prompts = CASE WHEN change_label.prompts IS NOT NULL OR (is_made AND NOT l.is_by_example)
                       THEN siglip.make_prompts(name, change_label.prompts, held.template) ELSE l.prompts END
    WHERE l.label_id = old.label_id;
    IF change_label.place IS NOT NULL THEN
        UPDATE siglip.labels AS l
        SET position = n.position
        FROM (SELECT o.label_id, CASE WHEN o.place < change_label.place THEN o.place ELSE o.place + 1 END AS position
              FROM (SELECT r.label_id, row_number() OVER (ORDER BY r.position, r.label_id) - 1 AS place
                    FROM siglip.labels AS r WHERE r.label_set_id = held.label_set_id AND r.label_id <> old.label_id) AS o
              UNION ALL
              SELECT old.label_id, least(greatest(change_label.place, 0), (
                  SELECT count(*) - 1 FROM siglip.labels AS r WHERE r.label_set_id = held.label_set_id))) AS n
        WHERE l.label_id = n.label_id AND l.position <> n.position;
    END IF;
END
$function$;

-- The kept labels whose rows are made by another rule than the one that counts now, or are no longer to be kept.
-- Example: SELECT * FROM siglip.changed_labels();
CREATE OR REPLACE FUNCTION siglip.changed_labels()
 RETURNS SETOF integer
 LANGUAGE sql
 STABLE ROWS 10
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
    SELECT w.label_id
    FROM siglip.wanted_labels AS w LEFT JOIN siglip.label_progress AS p USING (label_id)
    WHERE p.label_id IS NULL OR p.model_id <> w.model_id OR p.scale <> w.scale OR p.bias <> w.bias OR p.threshold <> w.threshold
       OR p.embedding OPERATOR(public.<>) w.embedding
    UNION ALL
    SELECT p.label_id
    FROM siglip.label_progress AS p JOIN siglip.labels_to_forget() AS n ON n = p.label_id
$function$;

-- An error where a table can't be attached: it is of a kind that can't, or has no such columns, or the role may not.
-- Example: SELECT siglip.check_attachable('public.product', '{id,photo_url}');
CREATE OR REPLACE FUNCTION siglip.check_attachable(attached_table regclass, columns text[])
 RETURNS void
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
DECLARE
    class  pg_class;
    wrong  text;
BEGIN
    SELECT c.* INTO class FROM pg_class AS c WHERE c.oid = attached_table;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'There is no table %.', coalesce(attached_table::text, 'NULL') USING ERRCODE = 'undefined_table';
    -- A role called siglip has its own tables in the schema siglip, too; those that following writes to are ours.
    ELSIF class.relkind NOT IN ('r', 'p') OR class.relpersistence = 't' OR class.oid < 16384 OR (
       class.relnamespace = 'siglip'::regnamespace
       AND class.relname ~ '^(images|image_bytes|image_embeddings.*|ingest_items|contents|attach\w+|released_\w+)$') THEN
        RAISE EXCEPTION '% can''t be attached: it is not a table of yours that all sessions see.', attached_table
            USING ERRCODE = 'wrong_object_type', HINT = 'Tables and partitioned tables can be; views, foreign and temporary tables can''t.';
    ELSIF class.relispartition OR (EXISTS (SELECT FROM pg_inherits AS i WHERE attached_table IN (i.inhrelid, i.inhparent)) AND class.relkind = 'r') THEN
        RAISE EXCEPTION '% can''t be attached: writes to %.', attached_table,
            CASE WHEN class.relispartition THEN 'the table that it is a partition of don''t fire its triggers'
                 ELSE 'tables that inherit from each other don''t fire each other''s triggers' END
            USING ERRCODE = 'wrong_object_type', HINT = 'A partitioned table itself can be attached.';
    ELSIF NOT pg_has_role(class.relowner, 'USAGE') THEN
        RAISE EXCEPTION 'The role % can''t attach %: it is not the table''s owner.', current_user, attached_table
            USING ERRCODE = 'insufficient_privilege', HINT = format('Do it as %s.', pg_get_userbyid(class.relowner));
    END IF;
    SELECT quote_ident(n.name) INTO wrong
    FROM unnest(columns) AS n (name)
    WHERE NOT EXISTS (SELECT FROM pg_attribute AS a WHERE a.attrelid = attached_table AND a.attname = n.name AND a.attnum > 0 AND NOT a.attisdropped)
    LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'The table % has no column %.', attached_table, coalesce(wrong, 'NULL')
            USING ERRCODE = 'undefined_column', HINT = 'Write names as they are stored: photo_url, or Photo URL without quotes of its own.';
    END IF;
    SELECT quote_ident(a.attname) INTO wrong
    FROM pg_attribute AS a WHERE a.attrelid = attached_table AND a.attname = ANY (columns) AND a.attgenerated = 'v' LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'The column % of % is generated when it is read: triggers don''t see it.', wrong, attached_table
            USING ERRCODE = 'wrong_object_type', HINT = 'Columns that are GENERATED ALWAYS AS (...) STORED can be attached.';
    END IF;
    SELECT quote_ident(n.name) INTO wrong
    FROM unnest(columns) AS n (name) WHERE NOT has_column_privilege(attached_table, n.name, 'SELECT') LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'The role % may not read the column % of %, so that it can''t attach it.', current_user, wrong, attached_table
            USING ERRCODE = 'insufficient_privilege', HINT = format('GRANT SELECT ON %s TO %I', attached_table, current_user);
    END IF;
END
$function$;

-- An error in a transaction that doesn't see what others commit meanwhile.
-- Example: SELECT siglip.check_isolation();
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

-- An error where a name or a text is NULL or empty.
-- Example: SELECT siglip.check_label_name('A label', 'sunset');
CREATE OR REPLACE FUNCTION siglip.check_label_name(what text, name text)
 RETURNS void
 LANGUAGE plpgsql
 IMMUTABLE
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
BEGIN
    IF name IS NULL OR btrim(name, E' \t\r\n') = '' THEN
        RAISE EXCEPTION '% is empty.', what USING ERRCODE = 'invalid_parameter_value', HINT = 'Give it a name, or a text that says something.';
    END IF;
END
$function$;

-- An error where there is no such label set, where min_score is no score, or where the model has none.
-- Example: SELECT siglip.check_label_set('scenes', 0.5, m) FROM siglip.active_model() AS m;
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
-- Example: SELECT siglip.check_max_results(10);
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
-- Example: SELECT siglip.check_measuring(200, 10, '{"album": "2026"}');
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
-- Example: SELECT siglip.check_search(m, siglip.embed_text('sunset'), 10, '{"album": "2026"}', 0.5, 0, NULL) FROM siglip.active_model() AS m;
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

-- An error where a similarity is out of its range.
-- Example: SELECT siglip.check_similarity('min_similarity', 0.95, 0.5);
CREATE OR REPLACE FUNCTION siglip.check_similarity(name text, similarity double precision, lowest double precision)
 RETURNS void
 LANGUAGE plpgsql
 IMMUTABLE
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
BEGIN
    IF (similarity BETWEEN check_similarity.lowest AND 1) IS NOT TRUE THEN
        RAISE EXCEPTION '% is %, not a number from % to 1.', name, coalesce(similarity::text, 'NULL'), check_similarity.lowest
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Images that people call the same mostly have a similarity above 0.9.';
    END IF;
END
$function$;

-- An error where a template has no place for the label.
-- Example: SELECT siglip.check_template('a photo of {label}');
CREATE OR REPLACE FUNCTION siglip.check_template(template text)
 RETURNS void
 LANGUAGE plpgsql
 IMMUTABLE
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
BEGIN
    IF template IS NULL OR strpos(template, '{label}') = 0 THEN
        RAISE EXCEPTION 'The template % doesn''t contain {label}, where each label goes.', coalesce(quote_literal(template), 'NULL')
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Write for instance ''This is a photo of {label}.''.';
    END IF;
END
$function$;

-- An error where a threshold is no score.
-- Example: SELECT siglip.check_threshold(0.7);
CREATE OR REPLACE FUNCTION siglip.check_threshold(threshold double precision)
 RETURNS void
 LANGUAGE plpgsql
 IMMUTABLE
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
BEGIN
    IF threshold NOT BETWEEN 0 AND 1 THEN
        RAISE EXCEPTION 'threshold is %, not a number from 0 to 1.', threshold
            USING ERRCODE = 'invalid_parameter_value', HINT = 'A score is a probability; NULL stands for 0.5.';
    END IF;
END
$function$;

-- An error where a weight is not above 0.
-- Example: SELECT siglip.check_weight(0.7);
CREATE OR REPLACE FUNCTION siglip.check_weight(weight double precision)
 RETURNS double precision
 LANGUAGE plpgsql
 IMMUTABLE
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
BEGIN
    IF weight <= 0 THEN
        RAISE EXCEPTION 'The weight of a part is %, not a number from 0.01 to 100.', weight
            USING ERRCODE = 'invalid_parameter_value', HINT = 'siglip.minus says what is not wanted.';
    END IF;
    RETURN weight;
END
$function$;

-- Raise where a wished precision or its confidence is out of range.
-- Example: SELECT siglip.check_wish(0.95, 0.9);
CREATE OR REPLACE FUNCTION siglip.check_wish(min_precision double precision, confidence double precision)
 RETURNS void
 LANGUAGE plpgsql
 IMMUTABLE
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
BEGIN
    IF min_precision NOT BETWEEN 0.01 AND 0.999 THEN
        RAISE EXCEPTION 'min_precision is %, not a number from 0.01 to 0.999.', min_precision
            USING ERRCODE = 'invalid_parameter_value', HINT = '0.95: of the images that are accepted, 95 in 100 have the label.';
    ELSIF confidence IS NULL OR confidence NOT BETWEEN 0.5 AND 0.999 THEN
        RAISE EXCEPTION 'confidence is %, not a number from 0.5 to 0.999.', coalesce(confidence::text, 'NULL')
            USING ERRCODE = 'invalid_parameter_value', HINT = '0.9: of ten such thresholds, at most one misses the wish.';
    END IF;
END
$function$;

-- Close a model's open segment after its last content, and open another; returns the first content_id of that. NULL where it has no rows.
-- Example: SELECT siglip.close_segment(2);
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

-- How alike two models decide which images have which labels, by siglip.label_rules, on a random sample of images.
-- Example: SELECT c.* FROM siglip.described_model(1) AS a, siglip.described_model(2) AS b, siglip.compare_labels(a, b, 100, 1000) AS c;
CREATE OR REPLACE FUNCTION siglip.compare_labels(model_a siglip.models, model_b siglip.models, max_labels integer, max_images integer)
 RETURNS SETOF siglip.model_comparison
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
#variable_conflict use_variable
DECLARE
    percent  double precision;
    contents bigint[];
    counts   record;
    chance   double precision;
    note     text;
BEGIN
    -- Every second image that is drawn may lack a vector under one of them.
    SELECT least(100, 300.0 * max_images / greatest(1, c.reltuples)) INTO percent FROM pg_class AS c WHERE c.oid = 'siglip.images'::regclass;
    LOOP
        SELECT array_agg(s.content_id) INTO contents
        FROM (
            SELECT DISTINCT i.content_id FROM siglip.images AS i TABLESAMPLE BERNOULLI (percent)
            WHERE EXISTS (SELECT FROM siglip.image_embeddings AS e WHERE e.model_id = model_a.model_id AND e.content_id = i.content_id)
              AND EXISTS (SELECT FROM siglip.image_embeddings AS e WHERE e.model_id = model_b.model_id AND e.content_id = i.content_id)
            LIMIT max_images
        ) AS s;
        EXIT WHEN contents IS NOT NULL OR percent >= 100;
        percent := 100;
    END LOOP;
    WITH chosen AS MATERIALIZED (
        SELECT ra.label_id, va.embedding AS vector_a, vb.embedding AS vector_b, ra.scale AS scale_a, ra.bias AS bias_a,
               ra.threshold AS threshold_a, rb.scale AS scale_b, rb.bias AS bias_b, rb.threshold AS threshold_b
        FROM siglip.label_rules AS ra
        JOIN siglip.label_rules AS rb ON rb.label_id = ra.label_id AND rb.model_id = model_b.model_id
        JOIN siglip.label_embeddings AS va ON va.label_id = ra.label_id AND va.model_id = model_a.model_id
        JOIN siglip.label_embeddings AS vb ON vb.label_id = ra.label_id AND vb.model_id = model_b.model_id
        WHERE ra.model_id = model_a.model_id
        ORDER BY ra.label_id LIMIT max_labels
    ), decided AS (
        SELECT siglip.score(siglip.similarity(ea.embedding OPERATOR(public.<#>) c.vector_a),
                            model_a.logit_scale + ln(c.scale_a), c.scale_a * model_a.logit_bias + c.bias_a) >= c.threshold_a AS is_a,
               siglip.score(siglip.similarity(eb.embedding OPERATOR(public.<#>) c.vector_b),
                            model_b.logit_scale + ln(c.scale_b), c.scale_b * model_b.logit_bias + c.bias_b) >= c.threshold_b AS is_b
        FROM siglip.image_embeddings AS ea
        JOIN siglip.image_embeddings AS eb ON eb.model_id = model_b.model_id AND eb.content_id = ea.content_id
        CROSS JOIN chosen AS c
        WHERE ea.model_id = model_a.model_id AND ea.content_id = ANY (contents)
    )
    SELECT count(*) AS n, avg(is_a::integer)::double precision AS a, avg(is_b::integer)::double precision AS b,
           avg((is_a = is_b)::integer)::double precision AS same,
           (SELECT count(*) FROM chosen) AS labels
    INTO counts FROM decided;
    note := CASE WHEN counts.labels = 0 THEN 'No label has vectors under both.'
                 WHEN counts.n = 0 THEN 'No image is embedded under both.' END;
    chance := counts.a * counts.b + (1 - counts.a) * (1 - counts.b);
    RETURN QUERY VALUES
        ('labels of an image', counts.a * counts.labels, counts.b * counts.labels, coalesce(cardinality(contents), 0)::bigint,
         coalesce(note, format('How many of %s labels an image has, at their thresholds.', counts.labels))),
        ('label agreement', counts.same, counts.same, counts.n,
         coalesce(note, 'Share of images x labels that both decide alike.')),
        ('label agreement, kappa', (counts.same - chance) / nullif(1 - chance, 0), (counts.same - chance) / nullif(1 - chance, 0), counts.n,
         coalesce(note, CASE WHEN chance = 1 THEN 'Both decide all alike, which chance would do as well.'
                             ELSE 'Agreement beyond that of chance (Cohen): 1 is all, 0 is none.' END));
END
$function$;

-- How well each of two models finds the images that people marked with labels.
-- Example: SELECT c.* FROM siglip.described_model(1) AS a, siglip.described_model(2) AS b, siglip.compare_marks(a, b, 10, 20) AS c;
CREATE OR REPLACE FUNCTION siglip.compare_marks(model_a siglip.models, model_b siglip.models, k integer, max_labels integer)
 RETURNS SETOF siglip.model_comparison
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
#variable_conflict use_variable
DECLARE
    labels     integer[];
    has_others boolean;
    marked     record;
    none       constant text := 'No image that is embedded under both is marked with a label that has vectors under both.';
BEGIN
    SELECT array_agg(c.label_id), coalesce(bool_or(c.number > max_labels), false) INTO labels, has_others
    FROM (
        SELECT l.label_id, row_number() OVER (ORDER BY count(*) DESC, l.label_id) AS number
        FROM siglip.image_labels AS m JOIN siglip.labels AS l USING (label_id)
        JOIN siglip.label_embeddings AS a ON a.label_id = l.label_id AND a.model_id = model_a.model_id
        JOIN siglip.label_embeddings AS b ON b.label_id = l.label_id AND b.model_id = model_b.model_id
        WHERE m.marked_by IS NOT NULL AND NOT l.is_by_example
        GROUP BY l.label_id
    ) AS c WHERE c.number <= max_labels + 1;
    labels := labels[1:max_labels];
    WITH ranks AS MATERIALIZED (
        SELECT l.label_id, a.image_id, a.is_accepted, a.place AS place_a, b.place AS place_b
        FROM unnest(labels) AS l (label_id)
        CROSS JOIN LATERAL siglip.mark_ranks(model_a, l.label_id) AS a
        JOIN LATERAL siglip.mark_ranks(model_b, l.label_id) AS b ON b.image_id = a.image_id
    )
    SELECT count(*) FILTER (WHERE r.is_accepted) AS n,
           percentile_cont(0.5) WITHIN GROUP (ORDER BY r.place_a) FILTER (WHERE r.is_accepted) AS median_a,
           percentile_cont(0.5) WITHIN GROUP (ORDER BY r.place_b) FILTER (WHERE r.is_accepted) AS median_b,
           avg((r.place_a <= k)::integer) FILTER (WHERE r.is_accepted) AS recall_a,
           avg((r.place_b <= k)::integer) FILTER (WHERE r.is_accepted) AS recall_b,
           p.labels, p.precision_a, p.precision_b
    INTO marked
    FROM ranks AS r
    CROSS JOIN (
        -- Average precision of the marked images alone, of labels that have both kinds of marks.
        SELECT count(*) AS labels, avg(s.precision_a) AS precision_a, avg(s.precision_b) AS precision_b
        FROM (
            SELECT o.label_id, avg(o.hits_a / o.seen_a::double precision) FILTER (WHERE o.is_accepted) AS precision_a,
                   avg(o.hits_b / o.seen_b::double precision) FILTER (WHERE o.is_accepted) AS precision_b
            FROM (
                SELECT q.label_id, q.is_accepted,
                       count(*) FILTER (WHERE q.is_accepted) OVER (PARTITION BY q.label_id ORDER BY q.place_a) AS hits_a,
                       count(*) OVER (PARTITION BY q.label_id ORDER BY q.place_a) AS seen_a,
                       count(*) FILTER (WHERE q.is_accepted) OVER (PARTITION BY q.label_id ORDER BY q.place_b) AS hits_b,
                       count(*) OVER (PARTITION BY q.label_id ORDER BY q.place_b) AS seen_b
                FROM ranks AS q
            ) AS o
            GROUP BY o.label_id
            HAVING bool_or(o.is_accepted) AND NOT bool_and(o.is_accepted)
        ) AS s
    ) AS p
    GROUP BY p.labels, p.precision_a, p.precision_b;
    RETURN QUERY VALUES
        (format('recall@%s of marked images', k), marked.recall_a::double precision, marked.recall_b::double precision, coalesce(marked.n, 0),
         CASE WHEN coalesce(marked.n, 0) = 0 THEN none
              ELSE concat_ws(' ', format('Share of the images marked with a label that are among its first %s.', k),
                             CASE WHEN has_others THEN format('The %s labels with the most marks.', max_labels) END) END),
        ('rank of marked images', marked.median_a, marked.median_b, coalesce(marked.n, 0),
         CASE WHEN coalesce(marked.n, 0) = 0 THEN none ELSE 'The median place among all images; 1 is best.' END),
        ('average precision of marks', marked.precision_a, marked.precision_b, coalesce(marked.labels, 0),
         CASE WHEN coalesce(marked.labels, 0) = 0 THEN 'No label has images marked with yes and images marked with no.'
              ELSE 'Whether images marked with yes come before those marked with no; the mean of the labels.' END);
END
$function$;

-- What would change with another model: its answers to the queries that people asked, the places of images that they marked, and its labels.
-- Example: SELECT * FROM siglip.compare_models(1, 2);
CREATE OR REPLACE FUNCTION siglip.compare_models(a integer, b integer, k integer DEFAULT 10, max_queries integer DEFAULT 100, max_labels integer DEFAULT 20, max_images integer DEFAULT 1000, timeout_s double precision DEFAULT NULL::double precision)
 RETURNS SETOF siglip.model_comparison
 LANGUAGE plpgsql
 ROWS 10
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
#variable_conflict use_variable
DECLARE
    model_a siglip.models := siglip.described_model(coalesce(a, 0));
    model_b siglip.models := siglip.described_model(coalesce(b, 0));
    ranges  constant text := '%s is %s, not a number from 1 to %s.';
BEGIN
    IF a = b THEN
        RAISE EXCEPTION 'The model % is compared with itself.', quote_literal(model_a.name)
            USING ERRCODE = 'invalid_parameter_value', HINT = 'SELECT model_id, name FROM siglip.models shows the others.';
    ELSIF coalesce(k NOT BETWEEN 1 AND 1000, true) THEN
        RAISE EXCEPTION '%', format(ranges, 'k', coalesce(k::text, 'NULL'), 1000) USING ERRCODE = 'invalid_parameter_value';
    ELSIF coalesce(max_queries NOT BETWEEN 1 AND 10000, true) THEN
        RAISE EXCEPTION '%', format(ranges, 'max_queries', coalesce(max_queries::text, 'NULL'), 10000) USING ERRCODE = 'invalid_parameter_value';
    ELSIF coalesce(max_labels NOT BETWEEN 1 AND 10000, true) THEN
        RAISE EXCEPTION '%', format(ranges, 'max_labels', coalesce(max_labels::text, 'NULL'), 10000) USING ERRCODE = 'invalid_parameter_value';
    ELSIF coalesce(max_images NOT BETWEEN 1 AND 1000000, true) THEN
        RAISE EXCEPTION '%', format(ranges, 'max_images', coalesce(max_images::text, 'NULL'), 1000000) USING ERRCODE = 'invalid_parameter_value';
    END IF;
    RETURN QUERY
    SELECT 'images embedded', count(*) FILTER (WHERE ca.content_id IS NOT NULL)::double precision,
           count(*) FILTER (WHERE cb.content_id IS NOT NULL)::double precision, count(*), 'n are all images.'
    FROM siglip.images AS i
    LEFT JOIN siglip.image_embeddings AS ca ON ca.model_id = model_a.model_id AND ca.content_id = i.content_id
    LEFT JOIN siglip.image_embeddings AS cb ON cb.model_id = model_b.model_id AND cb.content_id = i.content_id;
    RETURN QUERY SELECT c.* FROM siglip.compare_queries(model_a, model_b, k, max_queries, timeout_s) AS c;
    IF num_nulls(model_a.logit_scale, model_b.logit_scale) = 0 THEN
        RETURN QUERY SELECT c.* FROM siglip.compare_marks(model_a, model_b, k, max_labels) AS c;
        RETURN QUERY SELECT c.* FROM siglip.compare_labels(model_a, model_b, max_labels, max_images) AS c;
    END IF;
END
$function$;

-- What would change with another model, by the models' names.
-- Example: SELECT * FROM siglip.compare_models('demo', 'other', k => 5);
CREATE OR REPLACE FUNCTION siglip.compare_models(a text, b text, k integer DEFAULT 10, max_queries integer DEFAULT 100, max_labels integer DEFAULT 20, max_images integer DEFAULT 1000, timeout_s double precision DEFAULT NULL::double precision)
 RETURNS SETOF siglip.model_comparison
 LANGUAGE sql
 ROWS 10
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
    SELECT c.* FROM siglip.compare_models(siglip.find_model(a), siglip.find_model(b), k, max_queries, max_labels, max_images, timeout_s) AS c
$function$;

-- How alike two models answer the queries that were asked last of the first one.
-- Example: SELECT c.* FROM siglip.described_model(1) AS a, siglip.described_model(2) AS b, siglip.compare_queries(a, b, 10, 100, 10) AS c;
CREATE OR REPLACE FUNCTION siglip.compare_queries(model_a siglip.models, model_b siglip.models, k integer, max_queries integer, timeout_s double precision)
 RETURNS SETOF siglip.model_comparison
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
#variable_conflict use_variable
DECLARE
    asked    record;
    vector_b public.halfvec;
    found_a  siglip.image_match[];
    found_b  siglip.image_match[];
    can_ask  boolean := NOT model_b.is_external AND siglip.has_text_listener(model_b.model_id);
    left_out bigint := 0;
    compared bigint := 0;
    answered bigint := 0;
    overlap  double precision := 0;
    first    double precision := 0;
    best_a   double precision := 0;
    best_b   double precision := 0;
    note     text;
BEGIN
    FOR asked IN
        SELECT t.query, t.embedding, o.embedding AS embedding_b, o.text_hash IS NOT NULL AS is_known
        FROM siglip.texts AS t
        LEFT JOIN siglip.texts AS o ON o.model_id = model_b.model_id AND o.text_hash = t.text_hash AND o.query = t.query
        WHERE t.model_id = model_a.model_id AND t.refusal IS NULL
        ORDER BY t.last_used_at DESC, t.text_hash
        LIMIT max_queries
    LOOP
        vector_b := asked.embedding_b;
        IF NOT asked.is_known AND can_ask THEN
            BEGIN
                vector_b := siglip.embed_text(asked.query, model_b.model_id, timeout_s);
            EXCEPTION
                WHEN SQLSTATE 'SIG01' THEN can_ask := false;  -- no worker answers
                WHEN invalid_parameter_value THEN NULL;  -- this model reads nothing of it
            END;
        END IF;
        IF vector_b IS NULL THEN
            left_out := left_out + 1;
            CONTINUE;
        END IF;
        SELECT array_agg(f) INTO found_a FROM siglip.nearest_images(model_a, asked.embedding, k, NULL, NULL, NULL, NULL) AS f;
        SELECT array_agg(f) INTO found_b FROM siglip.nearest_images(model_b, vector_b, k, NULL, NULL, NULL, NULL) AS f;
        compared := compared + 1;
        CONTINUE WHEN found_a IS NULL OR found_b IS NULL;
        answered := answered + 1;
        overlap := overlap + (SELECT count(*) FROM unnest(found_a) AS x JOIN unnest(found_b) AS y USING (image_id))::double precision
                             / greatest(cardinality(found_a), cardinality(found_b));
        first := first + (found_a[1].image_id = found_b[1].image_id)::integer;
        best_a := best_a + found_a[1].score;
        best_b := best_b + found_b[1].score;
    END LOOP;
    note := CASE WHEN compared + left_out = 0 THEN format('Nobody has asked %s anything yet.', model_a.name)
                 WHEN left_out > 0 THEN format('%s queries have no vector under %s: %s', left_out, model_b.name,
                     CASE WHEN model_b.is_external THEN 'it is external.' ELSE 'a worker of it embeds them while it runs.' END)
                 WHEN answered = 0 THEN 'No image is embedded under both.' END;
    RETURN QUERY VALUES
        (format('overlap@%s of queries', k), overlap / nullif(answered, 0), overlap / nullif(answered, 0), answered,
         concat_ws(' ', 'Share of the results that both find, over the queries asked last.', note)),
        ('same best result', first / nullif(answered, 0), first / nullif(answered, 0), answered, note),
        ('score of the best result', best_a / nullif(answered, 0), best_b / nullif(answered, 0), answered,
         concat_ws(' ', 'Scores of two models don''t measure the same.', note));
END
$function$;

-- A query of several parts for siglip.search_images: texts, siglip.minus('people'), siglip.like(42, 0.7), siglip.plus('at night', 0.5).
-- Example: SELECT * FROM siglip.search_images(siglip.compose('beach', siglip.minus('people'), siglip.like(1, 0.7), 'at night'));
CREATE OR REPLACE FUNCTION siglip.compose(VARIADIC parts siglip.query_part[])
 RETURNS siglip.composed_query
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
DECLARE
    hint     constant text := 'Say what the images show or are like: siglip.compose(''beach'', siglip.minus(''people'')).';
    composed siglip.composed_part[];
BEGIN
    IF parts IS NULL OR cardinality(parts) NOT BETWEEN 1 AND 100 THEN
        RAISE EXCEPTION 'The query has % parts, not 1 to 100.', coalesce(cardinality(parts), 0)
            USING ERRCODE = 'invalid_parameter_value', HINT = hint;
    END IF;
    SELECT array_agg(ROW(r.part ->> 'query', (r.part ->> 'image_id')::bigint, (r.part ->> 'embedding')::public.halfvec,
                         (r.part ->> 'model_id')::integer, (r.part ->> 'weight')::double precision)::siglip.composed_part
                     ORDER BY p.place)
    INTO composed
    FROM unnest(parts) WITH ORDINALITY AS p (part, place)
    CROSS JOIN LATERAL (SELECT siglip.read_part(p.part)) AS r (part);
    IF NOT EXISTS (SELECT FROM unnest(composed) AS c WHERE c.weight > 0) THEN
        RAISE EXCEPTION 'The query only says what is not wanted.'
            USING ERRCODE = 'invalid_parameter_value', HINT = hint;
    END IF;
    RETURN ROW(composed)::siglip.composed_query;
END
$function$;

-- Images that may fit a query of several parts best: the 500 nearest to up to three sums of them.
-- Example: SELECT siglip.composed_candidates(siglip.embed_parts(siglip.compose('beach', siglip.like(1)), siglip.described_model(1), NULL), siglip.described_model(1), NULL, NULL, NULL);
CREATE OR REPLACE FUNCTION siglip.composed_candidates(parts siglip.embedded_part[], model siglip.models, collection text, filter jsonb, image_ids bigint[])
 RETURNS bigint[]
 LANGUAGE sql
 STABLE
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
    SELECT array_agg(DISTINCT n.image_id)
    FROM (
        SELECT siglip.sum_parts(parts, 0.25)
        UNION
        SELECT siglip.sum_parts(array_agg(p.part), 1)
        FROM (SELECT ROW(p.embedding, p.weight, p.is_image)::siglip.embedded_part, p.is_image FROM unnest(parts) AS p WHERE p.weight > 0)
             AS p (part, is_image)
        GROUP BY p.is_image
    ) AS v (direction)
    CROSS JOIN LATERAL siglip.nearest_images(model, v.direction, 500, collection, filter, NULL, NULL, image_ids) AS n
    WHERE v.direction IS NOT NULL
$function$;

-- The text of the expression for the logarithm of a score, for image_embeddings AS e and the vectors of the parts in $1. See docs/composing.md for the formula.
-- Example: SELECT siglip.composed_log_score(ARRAY[ROW(siglip.embed_text('beach'), 1, false)::siglip.embedded_part], 2.3, -2);
CREATE OR REPLACE FUNCTION siglip.composed_log_score(parts siglip.embedded_part[], logit_scale double precision, logit_bias double precision)
 RETURNS text
 LANGUAGE sql
 IMMUTABLE
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
    WITH part AS (
        SELECT p.place, p.is_image, format('siglip.similarity(e.embedding OPERATOR(public.<#>) ($1)[%s])', p.place) AS similarity, p.weight,
               CASE WHEN p.is_image AND p.weight < 0 THEN 0.25 * p.weight ELSE p.weight END AS image_weight
        FROM unnest(parts) WITH ORDINALITY AS p (embedding, weight, is_image, place)
    )
    SELECT concat_ws(' + ',
        string_agg(format('%L::double precision * siglip.log_score(%L::double precision * (%L::double precision * %s + %L::double precision))',
                          abs(weight), sign(weight), exp(logit_scale), similarity, logit_bias), ' + ' ORDER BY place) FILTER (WHERE NOT is_image),
        CASE WHEN bool_or(is_image) THEN format('%L::double precision * ln(greatest(1e-9, (1 + (%s) / %L::double precision) / 2))',
               4 * sum(abs(image_weight)) FILTER (WHERE is_image),
               string_agg(format('%L::double precision * %s', image_weight, similarity), ' + ' ORDER BY place) FILTER (WHERE is_image),
               sum(abs(image_weight)) FILTER (WHERE is_image)) END)
    FROM part
$function$;

-- The text of the statement that puts images into the order of their score for a query of several parts.
-- Example: SELECT siglip.composed_query_text(1, '0', 'i.collection = $3', true);
CREATE OR REPLACE FUNCTION siglip.composed_query_text(model_id integer, log_score text, conditions text, is_by_keys boolean)
 RETURNS text
 LANGUAGE sql
 IMMUTABLE
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
    SELECT format(
        'SELECT ARRAY(SELECT ROW(i.image_id, i.uri, s.similarity, CASE WHEN $11 IS NOT NULL THEN siglip.score(s.similarity, $11, $12) END, i.metadata)'
        '::siglip.image_match FROM ('
        'SELECT i.image_id, (siglip.logit_of_log(%s) - coalesce($12, 0)) / exp(coalesce($11, 0)) AS similarity'
        ' FROM siglip.images AS i JOIN siglip.image_embeddings AS e ON e.content_id = i.content_id'
        ' WHERE e.model_id = %s AND %s%s OFFSET 0) AS s JOIN siglip.images AS i USING (image_id)'
        ' WHERE ($7 IS NULL OR siglip.score(s.similarity, $11, $12) >= $7)'
        ' AND ($8 IS NULL OR (-s.similarity, s.image_id) > (-($8).similarity, ($8).image_id))'
        ' ORDER BY s.similarity DESC, s.image_id OFFSET $9 LIMIT $10)',
        log_score, model_id, conditions,
        CASE WHEN is_by_keys
             THEN ' AND e.content_id = ANY (ARRAY(SELECT i.content_id FROM siglip.images AS i WHERE ' || conditions || '))' ELSE '' END)
$function$;

-- Connect this session to a server, anew.
-- Example: SELECT siglip.connect_server('archive');
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
-- Example: SELECT siglip.content_conditions('{[1,41)}');
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
-- Example: SELECT siglip.copy_vectors('siglip.image_embeddings_1_1', siglip.create_segment(1), 't.content_id <= 10', 1000);
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

-- How many marks a calibration and a threshold decide otherwise.
-- Example: SELECT siglip.count_errors('{-3,2}', '{false,true}', 1, 0, 0.5);
CREATE OR REPLACE FUNCTION siglip.count_errors(logits double precision[], marks boolean[], scale double precision, bias double precision, threshold double precision)
 RETURNS integer
 LANGUAGE sql
 IMMUTABLE
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
    SELECT (count(*) FILTER (WHERE (siglip.sigmoid(scale * m.x + bias) >= threshold) <> m.y))::integer FROM unnest(logits, marks) AS m (x, y)
$function$;

-- How many images siglip.delete_images would delete.
-- Example: SELECT siglip.count_images(collection => 'holiday');
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

-- How many images have each label of a set: by its own rule (calibrated score >= threshold), or, with min_score, by the model's score.
-- Example: SELECT * FROM siglip.count_labels('scenes');
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
                   CASE WHEN min_score IS NULL
                        THEN -(siglip.least_similarity(r.threshold, model.logit_scale + ln(r.scale), r.scale * model.logit_bias + r.bias) - 1e-9)
                        ELSE -(siglip.least_similarity(min_score, model.logit_scale, model.logit_bias) - 1e-9) END),
                   ', ' ORDER BY l.position) AS columns
        FROM siglip.label_sets AS s
        JOIN siglip.labels AS l USING (label_set_id)
        JOIN siglip.label_rules AS r ON r.label_id = l.label_id AND r.model_id = model.model_id
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
-- Example: SELECT siglip.create_embedding_partition(3, 16);
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
-- Example: SELECT siglip.connect_server('archive'), siglip.create_foreign_segment(1, 'archive', NULL, 41);
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
-- Example: SELECT siglip.create_index('bit_rerank');
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

-- Make a label set of labels, or of labels with prompts of their own. With keep, siglip.image_labels has a row for each image that has one of them. With replace, labels of the same names keep their thresholds, marks and calibrations, and the set is kept as before unless keep says otherwise. Returns its label_set_id.
-- Example: SELECT siglip.create_label_set('weather', '{rain,"clear sky"}', prompts => '{"snow": ["snow", "a snowy day"]}');
CREATE OR REPLACE FUNCTION siglip.create_label_set(name text, labels text[] DEFAULT '{}'::text[], template text DEFAULT 'This is a photo of {label}.'::text, keep boolean DEFAULT NULL::boolean, prompts json DEFAULT NULL::json, replace boolean DEFAULT false)
 RETURNS integer
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
#variable_conflict use_column
DECLARE
    new_labels  text[] := ARRAY(SELECT n.label FROM unnest(create_label_set.labels) WITH ORDINALITY AS n (label, position) ORDER BY n.position);
    new_prompts jsonb := '{}';
    entry       record;
    twice       text;
    set_id      integer;
BEGIN
    PERFORM siglip.check_label_name('The name of a label set', create_label_set.name);
    PERFORM siglip.check_template(create_label_set.template);
    IF json_typeof(create_label_set.prompts) <> 'object' THEN
        RAISE EXCEPTION 'prompts is a JSON %, not an object.', json_typeof(create_label_set.prompts)
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Write for instance prompts => ''{"cat": ["a cat", "a kitten"]}''.';
    END IF;
    FOR entry IN SELECT p.key, p.value, p.position FROM json_each(create_label_set.prompts) WITH ORDINALITY AS p (key, value, position)
                 ORDER BY p.position LOOP
        IF json_typeof(entry.value) NOT IN ('array', 'string') THEN
            RAISE EXCEPTION 'The prompts of the label % are a JSON %, not an array of texts.', quote_literal(entry.key), json_typeof(entry.value)
                USING ERRCODE = 'invalid_parameter_value', HINT = 'Write for instance prompts => ''{"cat": ["a cat", "a kitten"]}''.';
        ELSIF json_typeof(entry.value) = 'array' AND EXISTS (
            SELECT FROM json_array_elements(entry.value) AS e WHERE json_typeof(e) <> 'string') THEN
            RAISE EXCEPTION 'A prompt of the label % is no text: %.', quote_literal(entry.key), entry.value
                USING ERRCODE = 'invalid_parameter_value', HINT = 'Write for instance prompts => ''{"cat": ["a cat", "a kitten"]}''.';
        ELSIF new_prompts ? entry.key THEN
            twice := entry.key;
        ELSIF entry.key <> ALL (new_labels) THEN
            new_labels := new_labels || entry.key;
        END IF;
        new_prompts := new_prompts || jsonb_build_object(entry.key, CASE json_typeof(entry.value)
            WHEN 'string' THEN jsonb_build_array(entry.value) ELSE entry.value::jsonb END);
    END LOOP;
    twice := coalesce(twice, (SELECT l FROM unnest(new_labels) AS l GROUP BY l HAVING count(*) > 1 LIMIT 1));
    IF twice IS NOT NULL THEN
        RAISE EXCEPTION 'The label % is there twice.', quote_literal(twice)
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Leave one out.';
    END IF;

    INSERT INTO siglip.label_sets AS s (name, template, is_kept)
    VALUES (create_label_set.name, create_label_set.template, coalesce(create_label_set.keep, false))
    ON CONFLICT (name) DO UPDATE SET template = excluded.template, is_kept = coalesce(create_label_set.keep, s.is_kept)
    WHERE create_label_set.replace
    RETURNING s.label_set_id INTO set_id;
    IF set_id IS NULL THEN
        RAISE EXCEPTION 'There is a label set % already.', quote_literal(create_label_set.name)
            USING ERRCODE = 'unique_violation', HINT = 'Choose another name, or replace it (replace => true).';
    END IF;
    PERFORM FROM siglip.labels AS l WHERE l.label_set_id = set_id ORDER BY l.label_id FOR NO KEY UPDATE;
    DELETE FROM siglip.labels AS l WHERE l.label_set_id = set_id AND l.label <> ALL (new_labels);
    INSERT INTO siglip.labels AS l (label_set_id, position, label, prompts)
    SELECT set_id, n.position - 1, n.label,
           siglip.make_prompts(n.label, ARRAY(SELECT jsonb_array_elements_text(new_prompts -> n.label)), create_label_set.template)
    FROM unnest(new_labels) WITH ORDINALITY AS n (label, position)
    ORDER BY n.position
    ON CONFLICT (label_set_id, label) DO UPDATE
    SET position = excluded.position, prompts = excluded.prompts, is_by_example = false;
    RETURN set_id;
END
$function$;

-- Make the function that searches a model's graphs, as its segments are indexed now; nothing happens where it fits already.
-- Example: SELECT siglip.create_nearest_images(1, 16);
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
-- Example: SELECT siglip.add_server('second', 'postgresql://siglip:secret@10.0.0.8/segments');
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
-- Example: SELECT siglip.create_segment(1);
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
-- Example: SELECT siglip.create_segment_index('siglip.image_embeddings_1_1', 16, 'halfvec', 40);
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
-- Example: SELECT siglip.cut_text(repeat('a long text ', 200));
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
-- Example: SELECT siglip.decode_percent('p%40ss');
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
-- Example: SELECT siglip.default_ef_search();
CREATE OR REPLACE FUNCTION siglip.default_ef_search()
 RETURNS integer
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
RETURN 200;

-- Delete images with their bytes and ledger, and with content and vectors where no other image has them; returns how many images.
-- Example: SELECT siglip.delete_images(collection => 'holiday', filter => '{"album": "2026"}', max_images => 5);
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
-- Example: SELECT siglip.delete_vectors('siglip.image_embeddings_1_1', '{39,40}');
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

-- A score as a sentence says it, with three digits.
-- Example: SELECT siglip.describe_score(0.00001);
CREATE OR REPLACE FUNCTION siglip.describe_score(score double precision)
 RETURNS text
 LANGUAGE sql
 IMMUTABLE
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
    SELECT CASE WHEN score < 0.0005 THEN 'below 0.001' WHEN score > 0.9995 AND score < 1 THEN 'above 0.999'
                ELSE round(score::numeric, 3)::text END
$function$;

-- The row of a model, or of the active one, whose vectors' length is known; an error where there is none.
-- Example: SELECT name, dimension FROM siglip.described_model(2);
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
        IF EXISTS (SELECT FROM siglip.model_drops AS d WHERE d.model_id = model.model_id) THEN
            RAISE EXCEPTION 'The model % is dropped.', model.name
                USING ERRCODE = 'no_data_found', HINT = 'SELECT model_id, name FROM siglip.models WHERE dimension IS NOT NULL shows the others.';
        END IF;
        RAISE EXCEPTION 'The model % has not been loaded by any worker yet.', model.name
            USING ERRCODE = 'no_data_found',
                  HINT = 'Start a worker (siglip-ingest worker) and wait until it says that it is ready.';
    END IF;
    RETURN model;
END
$function$;

-- Stop following a table. Its images stay, or with delete_images are deleted by a worker, where no other attached row has them; returns how many.
-- Example: SELECT siglip.detach(a.attached_table) FROM siglip.attachments AS a;
CREATE OR REPLACE FUNCTION siglip.detach(attached_table regclass, delete_images boolean DEFAULT false)
 RETURNS bigint
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
DECLARE
    attachment siglip.attachments;
    trigger_name text;
BEGIN
    SELECT a.* INTO attachment FROM siglip.attachments AS a WHERE a.attached_table = detach.attached_table;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'The table % is not attached.', coalesce(attached_table::text, 'NULL')
            USING ERRCODE = 'no_data_found', HINT = 'SELECT * FROM siglip.attached_tables shows which are.';
    END IF;
    FOR trigger_name IN
        SELECT t.tgname FROM pg_trigger AS t
        WHERE t.tgrelid = detach.attached_table AND t.tgfoid = 'siglip.note_attached_changes()'::regprocedure
    LOOP
        EXECUTE format('DROP TRIGGER %I ON %s', trigger_name, attached_table);
    END LOOP;
    RETURN siglip.forget_attachment(attachment.attachment_id, coalesce(delete_images, false));
END
$function$;

-- Close this session's connection to a server, if there is one.
-- Example: SELECT siglip.disconnect_server('archive');
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

-- The images most similar to one that is indexed, without that one, and without those whose similarity to a better one is above max_similarity.
-- Example: SELECT image_id, similarity FROM siglip.diverse_images(1, 5);
CREATE OR REPLACE FUNCTION siglip.diverse_images(image_id bigint, max_results integer DEFAULT 10, max_similarity double precision DEFAULT 0.9, collection text DEFAULT NULL::text, filter jsonb DEFAULT NULL::jsonb, min_score double precision DEFAULT NULL::double precision, model_id integer DEFAULT NULL::integer)
 RETURNS SETOF siglip.image_match
 LANGUAGE plpgsql
 ROWS 10
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
#variable_conflict use_variable
DECLARE
    model           siglip.models := siglip.described_model(diverse_images.model_id);
    query_embedding public.halfvec;
BEGIN
    SELECT e.embedding INTO query_embedding
    FROM siglip.images AS i JOIN siglip.image_embeddings AS e ON e.content_id = i.content_id AND e.model_id = model.model_id
    WHERE i.image_id = diverse_images.image_id;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'There is no image %, or it is not embedded under the model %.',
            coalesce(diverse_images.image_id::text, 'NULL'), model.name
            USING ERRCODE = 'no_data_found', HINT = 'SELECT image_id, uri FROM siglip.images shows what there is.';
    END IF;
    RETURN QUERY SELECT n.* FROM siglip.diverse_matches(
        model, query_embedding, max_results, max_similarity, collection, filter, min_score, diverse_images.image_id) AS n;
END
$function$;

-- The images that fit a text best, best first, without those whose similarity to a better one is above max_similarity.
-- Example: SELECT uri, score FROM siglip.diverse_images('a lake', 5, max_similarity => 0.8);
CREATE OR REPLACE FUNCTION siglip.diverse_images(query text, max_results integer DEFAULT 10, max_similarity double precision DEFAULT 0.9, collection text DEFAULT NULL::text, filter jsonb DEFAULT NULL::jsonb, min_score double precision DEFAULT NULL::double precision, model_id integer DEFAULT NULL::integer, timeout_s double precision DEFAULT NULL::double precision)
 RETURNS SETOF siglip.image_match
 LANGUAGE plpgsql
 ROWS 10
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
DECLARE
    model siglip.models := siglip.described_model(model_id);
BEGIN
    PERFORM siglip.check_max_results(max_results), siglip.check_similarity('max_similarity', max_similarity, 0);
    RETURN QUERY SELECT n.* FROM siglip.diverse_matches(
        model, siglip.embed_text(siglip.plain_text(query), model.model_id, timeout_s), max_results, max_similarity, collection, filter, min_score, NULL) AS n;
END
$function$;

-- The images nearest to a vector, best first, without those whose similarity to a better one is above max_similarity.
-- Example: SELECT image_id FROM siglip.diverse_images(siglip.embed_text('a lake'), 5);
CREATE OR REPLACE FUNCTION siglip.diverse_images(query_embedding halfvec, max_results integer DEFAULT 10, max_similarity double precision DEFAULT 0.9, collection text DEFAULT NULL::text, filter jsonb DEFAULT NULL::jsonb, min_score double precision DEFAULT NULL::double precision, model_id integer DEFAULT NULL::integer)
 RETURNS SETOF siglip.image_match
 LANGUAGE plpgsql
 ROWS 10
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
BEGIN
    RETURN QUERY SELECT n.* FROM siglip.diverse_matches(
        siglip.described_model(model_id), query_embedding, max_results, max_similarity, collection, filter, min_score, NULL) AS n;
END
$function$;

-- The search that the functions siglip.diverse_images share: best first, without those too similar to a better one, among the best 10,000.
-- Example: SELECT * FROM siglip.diverse_matches(siglip.active_model(), siglip.embed_text('a lake'), 5, 0.9, NULL, NULL, NULL, NULL);
CREATE OR REPLACE FUNCTION siglip.diverse_matches(model siglip.models, query_embedding halfvec, max_results integer, max_similarity double precision, collection text, filter jsonb, min_score double precision, excluded_image_id bigint)
 RETURNS SETOF siglip.image_match
 LANGUAGE plpgsql
 ROWS 10
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
#variable_conflict use_column
DECLARE
    most constant integer := 10000;
    asked  integer;
    seen   integer;
    chosen siglip.image_match[];
    taken  public.halfvec[];
    found  record;
BEGIN
    PERFORM siglip.check_max_results(max_results), siglip.check_similarity('max_similarity', max_similarity, 0);
    asked := least(most, greatest(50, 5 * max_results));
    LOOP
        chosen := '{}';
        taken := '{}';
        seen := 0;
        FOR found IN EXECUTE format(
            'SELECT ROW(n.image_id, n.uri, n.similarity, n.score, n.metadata)::siglip.image_match AS match, e.embedding'
            ' FROM siglip.nearest_images($1, $2, $3, $4, $5, $6, $7)'
            '     WITH ORDINALITY AS n (image_id, uri, similarity, score, metadata, place)'
            ' JOIN siglip.images AS i ON i.image_id = n.image_id'
            ' JOIN siglip.image_embeddings AS e ON e.model_id = %s AND e.content_id = i.content_id ORDER BY n.place', model.model_id)
            USING model, query_embedding, asked, collection, filter, min_score, excluded_image_id
        LOOP
            seen := seen + 1;
            -- Two with the same file are one, whatever rounding makes of their similarity.
            CONTINUE WHEN EXISTS (
                SELECT FROM unnest(taken) AS t (embedding)
                WHERE siglip.similarity(t.embedding OPERATOR(public.<#>) found.embedding) > max_similarity
                   OR t.embedding OPERATOR(public.=) found.embedding);
            chosen := chosen || found.match;
            taken := taken || found.embedding;
            EXIT WHEN cardinality(chosen) = max_results;
        END LOOP;
        EXIT WHEN cardinality(chosen) = max_results OR seen < asked OR asked = most;
        asked := least(most, 4 * asked);
    END LOOP;
    RETURN QUERY SELECT c.* FROM unnest(chosen) AS c;
END
$function$;

-- Draw the landmarks of a segment anew.
-- Example: SELECT siglip.draw_landmarks('siglip.image_embeddings_1_1', 40, 1, NULL, 41);
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

-- Delete a label set with its labels, their vectors, marks and calibrations.
-- Example: SELECT siglip.drop_label_set('scenes');
CREATE OR REPLACE FUNCTION siglip.drop_label_set(label_set text)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
DECLARE
    held siglip.label_sets := siglip.hold_label_set(label_set);
BEGIN
    DELETE FROM siglip.label_sets AS s WHERE s.label_set_id = held.label_set_id;
END
$function$;

-- Take a model away that isn't active, by its name.
-- Example: SELECT siglip.drop_model('other');
CREATE OR REPLACE FUNCTION siglip.drop_model(model text)
 RETURNS text
 LANGUAGE sql
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
    SELECT siglip.drop_model(siglip.find_model(model))
$function$;

-- Take a model away that isn't active. From the commit on nothing uses it; its space is freed step by step, by the workers or by CALL siglip.finish_drops(), while searches go on.
-- Example: SELECT siglip.drop_model(2);
CREATE OR REPLACE FUNCTION siglip.drop_model(model_id integer)
 RETURNS text
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
#variable_conflict use_variable
DECLARE
    model siglip.models;
BEGIN
    PERFORM pg_advisory_xact_lock('siglip.models'::regclass::oid::bigint);
    SELECT m.* INTO model FROM siglip.models AS m WHERE m.model_id = drop_model.model_id FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'There is no model %.', coalesce(drop_model.model_id::text, 'NULL')
            USING ERRCODE = 'no_data_found', HINT = 'SELECT model_id, name FROM siglip.models shows what there is.';
    ELSIF model.is_active THEN
        RAISE EXCEPTION 'The model % is the active one.', quote_literal(model.name)
            USING ERRCODE = 'object_in_use', HINT = 'Switch to another one first: SELECT siglip.switch_model(name).';
    END IF;
    INSERT INTO siglip.model_drops AS d (model_id) VALUES (drop_model.model_id) ON CONFLICT DO NOTHING;
    IF NOT FOUND THEN
        RETURN format('The model %s is being dropped already.', model.name);
    END IF;
    UPDATE siglip.models AS m
    SET is_kept = false, dimension = NULL, logit_scale = NULL, logit_bias = NULL, described_at = NULL
    WHERE m.model_id = drop_model.model_id;
    RETURN format('The model %s is dropped. The workers free its space; CALL siglip.finish_drops() does so at once.', model.name);
END
$function$;

-- Drop a segment that is no part of siglip.image_embeddings any more; returns the bytes that are free here. One on another server is removed there by the next siglip.maintain().
-- Example: SELECT siglip.drop_segment(segment) FROM siglip.segments WHERE model_id IN (SELECT model_id FROM siglip.model_drops);
CREATE OR REPLACE FUNCTION siglip.drop_segment(segment regclass)
 RETURNS bigint
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
#variable_conflict use_variable
DECLARE
    place record;
    bytes bigint := 0;
BEGIN
    SELECT l.* INTO place FROM siglip.locate_segment(segment) AS l;
    DELETE FROM siglip.segment_builds AS b WHERE b.segment_number = siglip.segment_number(segment);
    IF place.server IS NULL THEN
        bytes := pg_total_relation_size(segment);
        EXECUTE format('DROP TABLE %s', segment);
        RETURN bytes;
    END IF;
    -- What isn't settled there and isn't known here is removed by siglip.settle_server, which siglip.maintain calls.
    PERFORM siglip.connect_server(place.server);
    BEGIN
        PERFORM siglip.run_on_server(place.server, format(
            'UPDATE %I.tables SET is_settled = false WHERE table_name = %L',
            (SELECT s.schema_name FROM siglip.segment_servers AS s WHERE s.name = place.server), split_part(place.table_name, '.', 2)));
        EXECUTE format('DROP FOREIGN TABLE %s', segment);
    EXCEPTION WHEN OTHERS OR query_canceled THEN
        PERFORM siglip.disconnect_server(place.server);
        RAISE;
    END;
    PERFORM siglip.disconnect_server(place.server);
    RETURN 0;
END
$function$;

-- Groups of images that pairs of siglip.near_duplicates connect, files that are the same included, largest first. The first of image_ids, that with the most pixels, represents the group; least_similarity is that of its least similar pair.
-- Example: SELECT representative_id, image_ids FROM siglip.duplicate_groups(0.95);
CREATE OR REPLACE FUNCTION siglip.duplicate_groups(min_similarity double precision DEFAULT 0.95, collection text DEFAULT NULL::text, filter jsonb DEFAULT NULL::jsonb, model_id integer DEFAULT NULL::integer)
 RETURNS TABLE(representative_id bigint, images bigint, image_ids bigint[], least_similarity double precision)
 LANGUAGE plpgsql
 ROWS 100
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
 SET jit TO 'off'
AS $function$
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
$function$;

-- The mean of up to 20 measurements before one, of the same kind, filter, ef_search and index kind.
-- Example: SELECT h.recall, e.recall AS earlier FROM siglip.recall_history AS h, siglip.earlier_recall(h) AS e;
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

-- Make the vectors of labels by example that have none under a model, once their marked images are embedded under it; returns how many. Workers call it.
-- Example: SELECT siglip.embed_example_labels(2);
CREATE OR REPLACE FUNCTION siglip.embed_example_labels(model_id integer)
 RETURNS integer
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
DECLARE
    model  siglip.models;
    lacks  siglip.labels;
    made   integer := 0;
BEGIN
    FOR lacks IN
        SELECT l.* FROM siglip.labels AS l
        WHERE l.is_by_example
          AND NOT EXISTS (SELECT FROM siglip.label_embeddings AS v WHERE v.label_id = l.label_id AND v.model_id = embed_example_labels.model_id)
          AND NOT EXISTS (
              SELECT FROM siglip.image_labels AS m JOIN siglip.ingest_items AS q ON q.image_id = m.image_id
              WHERE m.label_id = l.label_id AND m.marked_by IS NOT NULL
                AND q.model_id = embed_example_labels.model_id AND q.state IN ('queued', 'claimed'))
          AND EXISTS (SELECT FROM siglip.label_marks(l.label_id, embed_example_labels.model_id) AS m WHERE m.is_accepted)
    LOOP
        model := coalesce(model, siglip.described_model(model_id));
        CONTINUE WHEN model.logit_scale IS NULL;
        PERFORM siglip.fit_label(lacks, model, NULL, 0.9);
        made := made + 1;
    END LOOP;
    RETURN made;
END
$function$;

-- The parts of a query as unit vectors, all under one model; new texts are embedded by a worker.
-- Example: SELECT siglip.embed_parts(siglip.compose('beach', siglip.like(1)), siglip.described_model(1), NULL);
CREATE OR REPLACE FUNCTION siglip.embed_parts(query siglip.composed_query, model siglip.models, timeout_s double precision)
 RETURNS siglip.embedded_part[]
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
#variable_conflict use_column
DECLARE
    part           siglip.composed_part;
    vector         public.halfvec;
    own_content_id bigint;
    embedded       siglip.embedded_part[] := '{}';
BEGIN
    FOREACH part IN ARRAY coalesce((query).parts, '{}') LOOP
        IF part.model_id <> model.model_id THEN
            RAISE EXCEPTION 'A vector of the query is of the model %, and the search is under the model %.', part.model_id, model.model_id
                USING ERRCODE = 'invalid_parameter_value', HINT = 'Vectors of two models can''t be compared. Search with model_id => that of the vector.';
        ELSIF part.query IS NOT NULL AND model.logit_scale IS NULL THEN
            RAISE EXCEPTION 'The model % has no scores: its logit_scale and logit_bias are not known.', model.name
                USING ERRCODE = 'invalid_parameter_value', HINT = 'Compose images and vectors only.';
        END IF;
        vector := part.embedding;
        IF part.image_id IS NOT NULL THEN
            SELECT i.content_id INTO own_content_id FROM siglip.images AS i WHERE i.image_id = part.image_id;
            IF NOT FOUND THEN
                RAISE EXCEPTION 'There is no image %.', part.image_id
                    USING ERRCODE = 'no_data_found', HINT = 'SELECT image_id, uri FROM siglip.images shows what there is.';
            END IF;
            SELECT e.embedding INTO vector
            FROM siglip.image_embeddings AS e WHERE e.model_id = model.model_id AND e.content_id = own_content_id;
            IF NOT FOUND THEN
                RAISE EXCEPTION 'Image % is not embedded under the model %.', part.image_id, model.name
                    USING ERRCODE = 'no_data_found',
                          HINT = format('SELECT state, error_message FROM siglip.ingest_items WHERE image_id = %s tells why.', part.image_id);
            END IF;
        ELSIF vector IS NULL THEN
            vector := siglip.embed_text(part.query, model.model_id, timeout_s);
        END IF;
        vector := siglip.check_search(model, vector, 1, NULL, NULL, 0, NULL);
        embedded := embedded || ROW(vector, part.weight, part.query IS NULL)::siglip.embedded_part;
    END LOOP;
    RETURN embedded;
END
$function$;

-- The unit vector of a text under the active model (or another): from the cache, or from a worker.
-- Example: SELECT siglip.embed_text('sunset over water');
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

-- Queue one image by its bytes, the content of an image file, which the database keeps; returns its image_id.
-- Example: SELECT siglip.enqueue_image(decode('iVBORw0KGgo=', 'base64'), 'holiday', key => 'first');
CREATE OR REPLACE FUNCTION siglip.enqueue_image(content bytea, collection text DEFAULT 'default'::text, key text DEFAULT NULL::text, metadata jsonb DEFAULT '{}'::jsonb, reads_exif boolean DEFAULT false)
 RETURNS bigint
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
#variable_conflict use_variable
DECLARE
    stored bigint;
BEGIN
    IF coalesce(octet_length(content), 0) = 0 THEN
        RAISE EXCEPTION 'An image was given as bytes, but there are none.'
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Give the content of an image file, such as pg_read_binary_file returns.';
    END IF;
    SELECT e.image_id INTO stored
    FROM siglip.enqueue_images(
        ARRAY['sha256:' || encode(sha256(content), 'hex')], collection, CASE WHEN key IS NOT NULL THEN ARRAY[key] END, metadata,
        reads_exif => reads_exif) AS e (image_id);
    INSERT INTO siglip.image_bytes (image_id, content) VALUES (stored, content) ON CONFLICT DO NOTHING;
    RETURN stored;
END
$function$;

-- Queue images by their addresses; workers embed them. Returns the image_id of each, in the order of uris; known ones keep theirs, and new metadata are merged in.
-- Example: SELECT siglip.enqueue_images('{https://example.org/1.jpg,https://example.org/2.jpg}', 'holiday', metadata => '{"album": "2026"}');
CREATE OR REPLACE FUNCTION siglip.enqueue_images(uris text[], collection text DEFAULT 'default'::text, keys text[] DEFAULT NULL::text[], metadata jsonb DEFAULT '{}'::jsonb, each_metadata jsonb[] DEFAULT NULL::jsonb[], source_versions text[] DEFAULT NULL::text[], reads_exif boolean DEFAULT false)
 RETURNS SETOF bigint
 LANGUAGE plpgsql
 ROWS 100
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
#variable_conflict use_variable
DECLARE
    wrong text;
BEGIN
    IF cardinality(uris) = 0 THEN
        RETURN;
    ELSIF uris IS NULL OR array_ndims(uris) > 1 THEN
        RAISE EXCEPTION 'uris is %, not a list of addresses.', CASE WHEN uris IS NULL THEN 'NULL' ELSE 'an array of arrays' END
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Write uris => ''{https://example.org/1.jpg}'', or array_agg(your_column).';
    ELSIF coalesce(collection, '') = '' THEN
        RAISE EXCEPTION 'A collection needs a name, not %.', coalesce(quote_literal(collection), 'NULL')
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Leave it out for the collection ''default''.';
    ELSIF metadata IS NULL OR jsonb_typeof(metadata) <> 'object' THEN
        RAISE EXCEPTION 'metadata is %, not a JSON object.', coalesce('a JSON ' || jsonb_typeof(metadata), 'NULL')
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Write for instance metadata => ''{"album": "2026"}''.';
    ELSIF cardinality(keys) <> cardinality(uris) OR cardinality(each_metadata) <> cardinality(uris)
       OR cardinality(source_versions) <> cardinality(uris) THEN
        RAISE EXCEPTION 'There are % uris, but % keys, % each_metadata and % source_versions.', cardinality(uris),
            coalesce(cardinality(keys)::text, 'no'), coalesce(cardinality(each_metadata)::text, 'no'), coalesce(cardinality(source_versions)::text, 'no')
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Give as many of each as there are uris, or leave them out.';
    END IF;
    SELECT coalesce(quote_literal(left(u.uri, 60)), 'NULL') INTO wrong
    FROM unnest(uris) AS u (uri) WHERE (u.uri ~ '^[A-Za-z][A-Za-z0-9+.-]*:.' AND octet_length(u.uri) <= 2000) IS NOT TRUE LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION '% can''t be the address of an image.', wrong
            USING ERRCODE = 'invalid_parameter_value',
                  HINT = 'Give complete addresses of at most 2,000 bytes: https://example.org/1.jpg, file:///photos/1.jpg, s3://bucket/1.jpg.';
    END IF;
    SELECT jsonb_typeof(e.metadata) INTO wrong
    FROM unnest(each_metadata) AS e (metadata) WHERE jsonb_typeof(e.metadata) <> 'object' LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'each_metadata has a JSON %, where each is an object.', wrong
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Write for instance each_metadata => array_agg(jsonb_build_object(''price'', price)).';
    END IF;
    RETURN QUERY SELECT unnest(siglip.store_images(
        collection, uris, keys,
        ARRAY(SELECT metadata || coalesce(e.own, '{}') FROM unnest(uris, each_metadata) WITH ORDINALITY AS e (uri, own, place) ORDER BY e.place),
        source_versions, coalesce(reads_exif, false), true, siglip.models_to_queue()));
END
$function$;

-- How many images the exact answer to each query has, up to max_results, and the similarity of the last; no row for none.
-- Example: SELECT r.number, r.result_count, r.last_similarity FROM siglip.active_model() AS m, siglip.exact_answers(m, ARRAY[siglip.embed_text('sunset')], '{NULL}', ARRAY[ROW('{}', 1)::siglip.measured_search], 10, NULL, NULL) AS r;
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
-- Example: SELECT siglip.exact_answers_query(1, query_count => 2, has_content_ids => false, conditions => '');
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
-- Example: SELECT siglip.exact_below_bytes();
CREATE OR REPLACE FUNCTION siglip.exact_below_bytes()
 RETURNS bigint
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
RETURN ((8 * 1024) * 1024);

-- The exact answer of a search, as one array of matches.
-- Example: SELECT r.image_id, r.score FROM siglip.active_model() AS m, unnest(siglip.exact_images(m, siglip.embed_text('sunset'), 5, NULL, NULL, NULL, NULL, NULL)) AS r;
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
-- Example: SELECT siglip.exact_query(1, 'true', has_content_ids => false, is_after => false);
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
-- Example: SELECT siglip.exact_rows_elsewhere();
CREATE OR REPLACE FUNCTION siglip.exact_rows_elsewhere()
 RETURNS integer
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
RETURN 20000;

-- The unit vector from what negatives and a sample of images have in common to the mean of the positives; NULL without a positive.
-- Example: SELECT siglip.example_vector(sum(embedding::vector), 3, NULL, 0, NULL) FROM siglip.label_marks(1, 1) WHERE is_accepted;
CREATE OR REPLACE FUNCTION siglip.example_vector(yes_sum vector, yes_count integer, no_sum vector, no_count integer, sample_mean vector)
 RETURNS halfvec
 LANGUAGE plpgsql
 IMMUTABLE
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
DECLARE
    dimension constant integer := coalesce(public.vector_dims(yes_sum), 1);
    direction public.vector;
BEGIN
    IF yes_count = 0 THEN
        RETURN NULL;
    END IF;
    direction := yes_sum OPERATOR(public.*) array_fill((1.0 / yes_count)::real, ARRAY[dimension])::public.vector;
    IF no_count > 0 THEN
        direction := direction OPERATOR(public.-) (
            no_sum OPERATOR(public.*) array_fill((0.25 / no_count)::real, ARRAY[dimension])::public.vector);
    END IF;
    IF sample_mean IS NOT NULL THEN
        direction := direction OPERATOR(public.-) (
            sample_mean OPERATOR(public.*) array_fill(CASE WHEN no_count > 0 THEN 0.75 ELSE 1 END::real, ARRAY[dimension])::public.vector);
    END IF;
    RETURN CASE WHEN public.vector_norm(direction) > 1e-4 THEN public.l2_normalize(direction)::public.halfvec END;
END
$function$;

-- Why an image has a label or not: similarity, scores, threshold, its place among all images (of up to 20,000 exact, else of a sample of 5,000), the label's rank for the image, and the nearest marked images.
-- Example: SELECT score, percentile, explanation FROM siglip.explain_score(4, 'scenes', 'sunset');
CREATE OR REPLACE FUNCTION siglip.explain_score(image_id bigint, label_set text, label text, model_id integer DEFAULT NULL::integer, OUT similarity double precision, OUT logit double precision, OUT score double precision, OUT calibrated_score double precision, OUT threshold double precision, OUT is_accepted boolean, OUT mark boolean, OUT percentile double precision, OUT is_percentile_exact boolean, OUT label_rank integer, OUT label_count integer, OUT nearest_marked jsonb, OUT explanation text)
 RETURNS record
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
 SET jit TO 'off'
AS $function$
#variable_conflict use_column
DECLARE
    exact_up_to   constant integer := 20000;
    sample_size   constant integer := 5000;
    model         siglip.models := siglip.described_model(explain_score.model_id);
    of_label      siglip.labels;
    rule          record;
    label_vector  public.halfvec;
    own_content   bigint;
    own_vector    public.halfvec;
    marker        text;
BEGIN
    PERFORM siglip.check_label_set(label_set, NULL, model);
    of_label := siglip.find_label(explain_score.label_set, explain_score.label);
    SELECT i.content_id INTO own_content FROM siglip.images AS i WHERE i.image_id = explain_score.image_id;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'There is no image %.', coalesce(explain_score.image_id::text, 'NULL')
            USING ERRCODE = 'no_data_found', HINT = 'SELECT image_id, uri FROM siglip.images shows what there is.';
    END IF;
    SELECT e.embedding INTO own_vector FROM siglip.image_embeddings AS e WHERE e.model_id = model.model_id AND e.content_id = own_content;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'Image % is not embedded under the model %.', explain_score.image_id, model.name
            USING ERRCODE = 'no_data_found',
                  HINT = format('SELECT state, error_message FROM siglip.ingest_items WHERE image_id = %s tells why.', explain_score.image_id);
    END IF;
    SELECT v.embedding INTO label_vector
    FROM siglip.label_embeddings AS v WHERE v.label_id = of_label.label_id AND v.model_id = model.model_id;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'The label % has no vector under the model % yet.', quote_literal(of_label.label), model.name
            USING ERRCODE = 'no_data_found', HINT = siglip.vector_hint(label_set, of_label.label, model.model_id);
    END IF;
    SELECT r.scale, r.bias, r.threshold, r.calibration_version INTO rule
    FROM siglip.label_rules AS r WHERE r.label_id = of_label.label_id AND r.model_id = model.model_id;

    similarity := siglip.similarity(own_vector OPERATOR(public.<#>) label_vector);
    logit := exp(model.logit_scale) * similarity + model.logit_bias;
    score := siglip.sigmoid(logit);
    calibrated_score := siglip.sigmoid(rule.scale * logit + rule.bias);
    threshold := rule.threshold;
    is_accepted := calibrated_score >= threshold;

    -- Of the other images that the caller may see: those that score less, and half of those that score the same.
    is_percentile_exact := (SELECT count(*) FROM (
        SELECT FROM siglip.image_embeddings AS e WHERE e.model_id = model.model_id LIMIT exact_up_to + 1) AS c) <= exact_up_to;
    SELECT 100 * (count(*) FILTER (WHERE c.similarity < explain_score.similarity)
                  + count(*) FILTER (WHERE c.similarity = explain_score.similarity) / 2.0) / nullif(count(*), 0)
    INTO percentile
    FROM (
        SELECT siglip.similarity(s.embedding OPERATOR(public.<#>) label_vector) AS similarity
        FROM siglip.sample_contents(model.model_id, CASE WHEN is_percentile_exact THEN exact_up_to ELSE sample_size END) AS s
        JOIN siglip.images AS i ON i.content_id = s.content_id
        WHERE i.image_id <> explain_score.image_id
    ) AS c;

    -- By the calibrated score, which can be compared: a label by example has a similarity of another kind than one of words.
    SELECT count(*), 1 + count(*) FILTER (WHERE l.label_id <> of_label.label_id AND c.calibrated_logit > rule.scale * explain_score.logit + rule.bias)
    INTO label_count, label_rank
    FROM siglip.labels AS l
    JOIN siglip.label_embeddings AS v ON v.label_id = l.label_id AND v.model_id = model.model_id
    JOIN siglip.label_rules AS r ON r.label_id = l.label_id AND r.model_id = model.model_id
    CROSS JOIN LATERAL (
        SELECT r.scale * (exp(model.logit_scale) * siglip.similarity(own_vector OPERATOR(public.<#>) v.embedding) + model.logit_bias) + r.bias
    ) AS c (calibrated_logit)
    WHERE l.label_set_id = of_label.label_set_id;

    SELECT coalesce(jsonb_agg(jsonb_build_object('image_id', n.image_id, 'similarity', round(n.similarity::numeric, 4), 'mark', n.is_accepted)
                              ORDER BY n.similarity DESC, n.image_id), '[]')
    INTO nearest_marked
    FROM (
        SELECT m.image_id, m.is_accepted, siglip.similarity(m.embedding OPERATOR(public.<#>) own_vector) AS similarity
        FROM siglip.label_marks(of_label.label_id, model.model_id) AS m
        WHERE m.content_id <> own_content
        ORDER BY similarity DESC, m.image_id LIMIT 5
    ) AS n;

    SELECT m.is_accepted, m.marked_by INTO mark, marker
    FROM siglip.image_labels AS m
    WHERE m.label_id = of_label.label_id AND m.image_id = explain_score.image_id AND m.marked_by IS NOT NULL;
    explanation := format('%s: the %s %s %s the threshold %s%s.',
        CASE WHEN is_accepted THEN 'Accepted' ELSE 'Not accepted' END,
        CASE WHEN rule.calibration_version IS NULL THEN 'score' ELSE 'calibrated score' END,
        siglip.describe_score(calibrated_score), CASE WHEN is_accepted THEN 'reaches' ELSE 'is below' END, siglip.describe_score(threshold),
        CASE WHEN rule.calibration_version IS NULL THEN '; the label is not calibrated'
             ELSE format(' of calibration %s; the model''s own score is %s', rule.calibration_version, siglip.describe_score(score)) END)
        || CASE WHEN mark IS NULL THEN ''
                ELSE format(' %s has marked that the image %s the label, and that counts.', marker, CASE WHEN mark THEN 'has' ELSE 'has not' END) END;
END
$function$;

-- The schema of an extension, quoted; NULL where it isn't installed.
-- Example: SELECT siglip.extension_schema('vector');
CREATE OR REPLACE FUNCTION siglip.extension_schema(extension text)
 RETURNS text
 LANGUAGE sql
 STABLE
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
    SELECT quote_ident(n.nspname) FROM pg_extension AS e JOIN pg_namespace AS n ON n.oid = e.extnamespace WHERE e.extname = extension
$function$;

-- For 0, 1, 2, ... errors the fewest trials of which so many show, with a risk to be wrong, that the error rate is lower than a given one.
-- Example: SELECT siglip.fewest_trials(0.05, 0.1, 200);
CREATE OR REPLACE FUNCTION siglip.fewest_trials(error_rate double precision, risk double precision, max_trials integer, min_length integer DEFAULT 1)
 RETURNS integer[]
 LANGUAGE plpgsql
 IMMUTABLE
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
DECLARE
    fewest integer[] := '{}';
    errors integer := 0;
    trials integer := 0;
    tail   double precision := 1;
    exact  double precision := 1;  -- the probability of just so many errors
BEGIN
    WHILE trials <= max_trials OR errors < min_length LOOP
        IF tail <= risk THEN
            fewest := fewest || trials;
            exact := exact * (trials - errors) / (errors + 1) * error_rate / (1 - error_rate);
            tail := tail + exact;
            errors := errors + 1;
        ELSE
            tail := tail - error_rate * exact;
            exact := exact * (trials + 1) / (trials + 1 - errors) * (1 - error_rate);
            trials := trials + 1;
        END IF;
    END LOOP;
    RETURN fewest;
END
$function$;

-- The row of a label by the names of its set and its own; an error where there is none.
-- Example: SELECT label_id, prompts FROM siglip.find_label('scenes', 'sunset');
CREATE OR REPLACE FUNCTION siglip.find_label(label_set text, label text)
 RETURNS siglip.labels
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
DECLARE
    found_label siglip.labels;
BEGIN
    SELECT l.* INTO found_label
    FROM siglip.label_sets AS s JOIN siglip.labels AS l USING (label_set_id)
    WHERE s.name = find_label.label_set AND l.label = find_label.label;
    IF FOUND THEN
        RETURN found_label;
    ELSIF EXISTS (SELECT FROM siglip.label_sets AS s WHERE s.name = find_label.label_set) THEN
        RAISE EXCEPTION 'The label set % has no label %.', quote_literal(label_set), coalesce(quote_literal(label), 'NULL')
            USING ERRCODE = 'no_data_found', HINT = 'SELECT label FROM siglip.labels shows what there is.';
    END IF;
    RAISE EXCEPTION 'There is no label set %.', coalesce(quote_literal(label_set), 'NULL')
        USING ERRCODE = 'no_data_found', HINT = 'SELECT name FROM siglip.label_sets shows what there is.';
END
$function$;

-- The model_id of a name: of several revisions the active one, else the one loaded last. Also takes a number.
-- Example: SELECT siglip.find_model('other');
CREATE OR REPLACE FUNCTION siglip.find_model(model text)
 RETURNS integer
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
DECLARE
    found_id integer;
BEGIN
    SELECT m.model_id INTO found_id FROM siglip.models AS m
    WHERE m.name = find_model.model
    ORDER BY m.is_active DESC, m.described_at DESC NULLS LAST, m.model_id
    LIMIT 1;
    IF NOT FOUND AND find_model.model ~ '^[1-9][0-9]{0,8}$' THEN
        SELECT m.model_id INTO found_id FROM siglip.models AS m WHERE m.model_id = find_model.model::integer;
    END IF;
    IF found_id IS NULL THEN
        RAISE EXCEPTION 'There is no model %.', coalesce(quote_literal(find_model.model), 'NULL')
            USING ERRCODE = 'no_data_found', HINT = 'SELECT model_id, name FROM siglip.models shows what there is.';
    END IF;
    RETURN found_id;
END
$function$;

-- After a search that failed for a server that is away: its result without that server where siglip.partial_results is on, else an error.
-- Example: SELECT set_config('siglip.partial_results', 'on', true), siglip.find_without_servers(1, siglip.matches_query(siglip.exact_query(1, 'true', false, false)), 'timeout', siglip.embed_text('sunset'), 5, NULL, 2.3, -2, NULL, NULL, NULL, NULL, NULL);
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

-- Free the space of dropped models, a transaction for each step; it can't be called inside another transaction where there is something to free.
-- Example: CALL siglip.finish_drops();
CREATE OR REPLACE PROCEDURE siglip.finish_drops()
 LANGUAGE plpgsql
AS $procedure$
DECLARE
    step text;
BEGIN
    LOOP
        step := siglip.free_dropped();
        EXIT WHEN step IS NULL;
        RAISE INFO '%', step;
        COMMIT;
    END LOOP;
END
$procedure$;

-- The vector of a label out of the images that are marked with it, half of them where the others are held out to test it; NULL without a positive.
-- Example: SELECT f.prior_scale FROM siglip.models AS m, siglip.fit_examples(1, m, false) AS f WHERE m.is_active;
CREATE OR REPLACE FUNCTION siglip.fit_examples(label_id integer, model siglip.models, has_held_out boolean)
 RETURNS siglip.label_fit
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
DECLARE
    fit         siglip.label_fit;
    vectors     public.vector[];
    yes_sum     public.vector;
    no_sum      public.vector;
    sample_mean public.vector;
    sampled     public.halfvec[];
    yes_count   integer;
    no_count    integer;
    factor      constant double precision := exp(model.logit_scale);
    middle      double precision;
    high        double precision;
    upper       double precision;
    marked_middle double precision;
BEGIN
    SELECT array_agg(m.embedding::public.vector ORDER BY m.content_id), array_agg(m.is_accepted ORDER BY m.content_id),
           array_agg(NOT has_held_out OR hashint8extended(m.content_id, 5) % 2 = 0 ORDER BY m.content_id)
    INTO vectors, fit.marks, fit.is_used
    FROM siglip.label_marks(label_id, model.model_id) AS m;
    SELECT public.sum(u.v) FILTER (WHERE u.y), public.sum(u.v) FILTER (WHERE NOT u.y), count(*) FILTER (WHERE u.y), count(*) FILTER (WHERE NOT u.y)
    INTO yes_sum, no_sum, yes_count, no_count
    FROM unnest(vectors, fit.marks, fit.is_used) AS u (v, y, is_used) WHERE u.is_used;
    IF yes_count = 0 THEN
        RETURN NULL;
    END IF;
    SELECT array_agg(s.embedding), public.avg(s.embedding::public.vector) INTO sampled, sample_mean
    FROM siglip.sample_contents(model.model_id, 500) AS s
    WHERE s.content_id NOT IN (SELECT m.content_id FROM siglip.label_marks(label_id, model.model_id) AS m);
    fit.embedding := siglip.example_vector(yes_sum, yes_count, no_sum, no_count, sample_mean);
    IF fit.embedding IS NULL THEN
        RETURN NULL;
    END IF;
    SELECT array_agg(model.logit_bias - factor * (w.v OPERATOR(public.<#>) w.without_it) ORDER BY w.number) INTO fit.logits
    FROM (
        SELECT u.number, u.v::public.halfvec AS v,
               CASE WHEN NOT u.is_used THEN fit.embedding
                    WHEN u.y THEN siglip.example_vector(yes_sum OPERATOR(public.-) u.v, yes_count - 1, no_sum, no_count, sample_mean)
                    ELSE siglip.example_vector(yes_sum, yes_count, no_sum OPERATOR(public.-) u.v, no_count - 1, sample_mean)
               END AS without_it
        FROM unnest(vectors, fit.marks, fit.is_used) WITH ORDINALITY AS u (v, y, is_used, number)
    ) AS w;
    SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY s.logit), percentile_cont(0.98) WITHIN GROUP (ORDER BY s.logit) INTO middle, high
    FROM (SELECT model.logit_bias + factor * siglip.similarity(v OPERATOR(public.<#>) fit.embedding) AS logit FROM unnest(sampled) AS v) AS s;
    SELECT avg(u.logit) FILTER (WHERE NOT u.mark), avg(u.logit) FILTER (WHERE u.mark), count(u.logit) FILTER (WHERE u.mark)
    INTO marked_middle, upper, yes_count
    FROM unnest(fit.logits, fit.marks) AS u (logit, mark);
    IF coalesce(cardinality(sampled), 0) < 10 THEN  -- nearly all images are marked
        middle := coalesce(marked_middle, model.logit_bias);
        high := middle + 0.2 * factor;
    END IF;
    upper := greatest((coalesce(upper, 0) * yes_count + high) / (yes_count + 1), middle + greatest((high - middle) / 2, 0.02 * factor));
    fit.prior_scale := 6 / (upper - middle);
    fit.prior_bias := -fit.prior_scale * middle - 6 * 0.7;
    RETURN fit;
END
$function$;

-- Fit a label to its marks under a model and make that its current calibration: what siglip.calibrate does once the marks are there.
-- Example: SELECT f.note FROM siglip.models AS m, siglip.fit_label(siglip.find_label('scenes', 'sunset'), m, NULL, 0.9) AS f WHERE m.is_active;
CREATE OR REPLACE FUNCTION siglip.fit_label(of_label siglip.labels, model siglip.models, min_precision double precision, confidence double precision)
 RETURNS siglip.calibration
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
DECLARE
    result        siglip.calibration;
    own_threshold constant double precision := coalesce(of_label.threshold, 0.5);
    examples      siglip.label_fit;
    label_vector  public.halfvec;
    fit           record;
    wish          record;
    loo           record;
    kept_threshold real;
    tested        double precision[];
    tested_marks  boolean[];
    positive_weight double precision;
    lowest        double precision;
    next_lower    double precision;
    errors_before integer;
    errors_after  integer;
    is_border_kept boolean;
BEGIN
    -- Two that fit the same label wait for each other here.
    PERFORM FROM siglip.labels AS l WHERE l.label_id = of_label.label_id FOR NO KEY UPDATE;
    IF of_label.is_by_example THEN
        examples := siglip.fit_examples(of_label.label_id, model, min_precision IS NOT NULL);
        IF examples IS NULL THEN
            RAISE EXCEPTION 'No image that is marked with the label % has a vector under the model %.', quote_literal(of_label.label), model.name
                USING ERRCODE = 'no_data_found',
                      HINT = 'A label by example needs a positive that is embedded, and with min_precision more, half of which test the others.';
        END IF;
    ELSE
        SELECT v.embedding INTO label_vector
        FROM siglip.label_embeddings AS v WHERE v.label_id = of_label.label_id AND v.model_id = model.model_id;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'The label % has no vector under the model % yet.', quote_literal(of_label.label), model.name
                USING ERRCODE = 'no_data_found', HINT = 'A worker of that model adds it within seconds (siglip-ingest worker).';
        END IF;
        SELECT label_vector, 1, 0, array_agg(s.logit ORDER BY s.content_id), array_agg(s.is_accepted ORDER BY s.content_id),
               array_agg(false)
        INTO examples.embedding, examples.prior_scale, examples.prior_bias, examples.logits, examples.marks, examples.is_used
        FROM (
            SELECT m.content_id, m.is_accepted,
                   exp(model.logit_scale) * siglip.similarity(m.embedding OPERATOR(public.<#>) label_vector) + model.logit_bias AS logit
            FROM siglip.label_marks(of_label.label_id, model.model_id) AS m
        ) AS s;
        IF examples.logits IS NULL THEN
            RAISE EXCEPTION 'No image with a vector under the model % is marked for the label %.', model.name, quote_literal(of_label.label)
                USING ERRCODE = 'no_data_found', HINT = 'Give positives or negatives: siglip.suggest_examples names images whose marks teach most.';
        END IF;
    END IF;
    -- In the prior's own logits, so that (1, 0) is where the fit begins. A single positive of a label by example has no logit without itself.
    SELECT array_agg(examples.prior_scale * m.logit + examples.prior_bias ORDER BY m.number) FILTER (WHERE m.logit IS NOT NULL),
           array_agg(m.mark ORDER BY m.number) FILTER (WHERE m.logit IS NOT NULL),
           count(*) FILTER (WHERE m.mark), count(*) FILTER (WHERE NOT m.mark),
           array_agg(m.logit ORDER BY m.number) FILTER (WHERE NOT m.is_used), array_agg(m.mark ORDER BY m.number) FILTER (WHERE NOT m.is_used)
    INTO examples.logits, examples.marks, result.positives, result.negatives, tested, tested_marks
    FROM unnest(examples.logits, examples.marks, examples.is_used) WITH ORDINALITY AS m (logit, mark, is_used, number);
    examples.logits := coalesce(examples.logits, '{}');
    examples.marks := coalesce(examples.marks, '{}');

    -- The positives of a label by example are in its prior already; and somebody who marks as many of each would have one image in two
    -- have the label.
    positive_weight := CASE WHEN of_label.is_by_example THEN CASE WHEN result.negatives > 0 THEN 0.2 ELSE 0 END ELSE 1 END;
    SELECT f.* INTO fit FROM siglip.fit_logistic(examples.logits, examples.marks, positive_weight => positive_weight) AS f;
    result.log_loss_before := siglip.log_loss(examples.logits, examples.marks, 1, 0);
    errors_before := siglip.count_errors(examples.logits, examples.marks, 1, 0, own_threshold);
    errors_after := siglip.count_errors(examples.logits, examples.marks, fit.scale, fit.bias, own_threshold);
    IF errors_after > errors_before AND own_threshold > 0 AND own_threshold < 1 THEN
        -- The same images as before are accepted: those above the old border, whose calibrated score is this.
        kept_threshold := siglip.sigmoid(fit.scale * ln(own_threshold / (1 - own_threshold)) + fit.bias);
        errors_after := siglip.count_errors(examples.logits, examples.marks, fit.scale, fit.bias, kept_threshold);
    END IF;
    IF siglip.log_loss(examples.logits, examples.marks, fit.scale, fit.bias) > result.log_loss_before OR errors_after > errors_before THEN
        fit.scale := 1;
        fit.bias := 0;
        kept_threshold := NULL;
        errors_after := errors_before;
    END IF;
    result.note := format('%s mark%s%s', result.positives + result.negatives,
        CASE WHEN result.positives + result.negatives = 1 THEN '' ELSE 's' END,
        CASE WHEN of_label.is_by_example AND result.positives < 10 THEN ': a sample of all images counts as negatives.'
             WHEN result.positives + result.negatives < 10 THEN ': the model''s own scores still count most.'
             WHEN result.positives = 0 THEN ', none of them positive.'
             WHEN result.negatives = 0 THEN ', none of them negative.' ELSE '.' END
        || CASE WHEN of_label.is_by_example OR result.positives + result.negatives >= 10 THEN ''
                WHEN result.positives = 0 THEN ' None of them is positive: mark images with the label, too.'
                WHEN result.negatives = 0 THEN ' None of them is negative: mark images without the label, too, or too many may be accepted.' ELSE '' END);
    is_border_kept := kept_threshold IS NOT NULL;
    IF min_precision IS NOT NULL THEN
        SELECT g.* INTO wish FROM siglip.guaranteed_marks(coalesce(tested, '{}'), coalesce(tested_marks, '{}'), min_precision, 1 - confidence) AS g;
        IF wish.accepted IS NULL THEN
            result.note := format('%s Not enough marks yet for a precision of %s: it takes at least %s more of images that score highest.',
                result.note, round(min_precision::numeric, 4)::double precision, wish.missing);
        ELSE
            SELECT s.sorted[wish.accepted], s.sorted[wish.accepted + 1] INTO lowest, next_lower
            FROM (SELECT array_agg(t ORDER BY t DESC) AS sorted FROM unnest(tested) AS t) AS s;
            SELECT siglip.sigmoid(fit.scale * (examples.prior_scale * b.logit + examples.prior_bias) + fit.bias)::real INTO kept_threshold
            FROM (SELECT CASE WHEN next_lower IS NULL THEN lowest ELSE (lowest + next_lower) / 2 END AS logit) AS b;
            -- Rounded to single precision it must not let the next one in.
            WHILE kept_threshold < 1 AND next_lower IS NOT NULL
                  AND siglip.sigmoid(fit.scale * (examples.prior_scale * next_lower + examples.prior_bias) + fit.bias) >= kept_threshold LOOP
                kept_threshold := least(1, kept_threshold + 1e-7::real);
            END LOOP;
            result.guaranteed_precision := wish.lower_bound;
            result.note := format('%s %s of the %s marked images that are accepted have the label: the precision is at least %s, with a confidence of %s.',
                result.note, wish.accepted - wish.errors, wish.accepted, round(wish.lower_bound::numeric, 3), confidence);
        END IF;
    END IF;
    IF is_border_kept AND result.guaranteed_precision IS NULL THEN
        result.note := result.note || ' The same images are accepted as before: at another border more of the marks would be wrong.';
    END IF;
    result.scale := fit.scale * examples.prior_scale;
    result.bias := fit.scale * examples.prior_bias + fit.bias;
    result.threshold := coalesce(kept_threshold, own_threshold);
    errors_after := siglip.count_errors(examples.logits, examples.marks, fit.scale, fit.bias, result.threshold);
    result.log_loss_after := siglip.log_loss(examples.logits, examples.marks, fit.scale, fit.bias);
    SELECT l.* INTO loo FROM siglip.leave_one_out(examples.logits, examples.marks, fit.scale, fit.bias, result.threshold, positive_weight) AS l;
    result.precision := loo.right_accepted / nullif(loo.accepted, 0)::double precision;
    result.recall := loo.right_accepted / nullif((SELECT count(*) FROM unnest(examples.marks) AS m WHERE m), 0)::double precision;

    IF of_label.is_by_example THEN
        INSERT INTO siglip.label_embeddings AS v (model_id, label_id, embedding)
        VALUES (model.model_id, of_label.label_id, examples.embedding)
        ON CONFLICT (model_id, label_id) DO UPDATE SET embedding = excluded.embedding;
    END IF;
    SELECT coalesce(max(c.version), 0) + 1 INTO result.version
    FROM siglip.label_calibrations AS c WHERE c.label_id = of_label.label_id AND c.model_id = model.model_id;
    UPDATE siglip.label_calibrations AS c SET is_current = false
    WHERE c.label_id = of_label.label_id AND c.model_id = model.model_id AND c.is_current;
    INSERT INTO siglip.label_calibrations (label_id, model_id, version, scale, bias, threshold, figures)
    VALUES (of_label.label_id, model.model_id, result.version, result.scale, result.bias, kept_threshold,
            to_jsonb(result) - '{scale,bias,threshold,version}'::text[]
            || jsonb_build_object('errors_before', errors_before, 'errors_after', errors_after, 'accepted', loo.accepted,
                                  'right_accepted', loo.right_accepted, 'min_precision', min_precision, 'confidence', confidence)
            || CASE WHEN of_label.is_by_example THEN jsonb_build_object('embedding', examples.embedding::text) ELSE '{}' END);
    RETURN result;
END
$function$;

-- The scale and the bias under which sigmoid(scale * logit + bias) fits marks best, near 1 and 0 where few marks say otherwise.
-- Example: SELECT * FROM siglip.fit_logistic('{-3,-2.5,-6}', '{true,true,false}');
CREATE OR REPLACE FUNCTION siglip.fit_logistic(logits double precision[], marks boolean[], start_scale double precision DEFAULT 1, start_bias double precision DEFAULT 0, positive_weight double precision DEFAULT 1, OUT scale double precision, OUT bias double precision, OUT log_loss double precision)
 RETURNS record
 LANGUAGE plpgsql
 IMMUTABLE
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
DECLARE
    scale_precision constant double precision := 4;
    bias_precision  constant double precision := 1 / 2.25;
    least_scale     constant double precision := 0.05;
    trial_scale     double precision := start_scale;
    trial_bias      double precision := start_bias;
    scale_step      double precision := 0;
    bias_step       double precision := 0;
    lowest          double precision;
    cost            double precision;
    slope_scale     double precision;
    determinant     double precision;
    sums            record;
BEGIN
    FOR attempt IN 1 .. 100 LOOP
        SELECT coalesce(sum(c.w * (greatest(c.u, 0) + ln(1 + exp(-least(abs(c.u), 700))) - CASE WHEN c.y THEN c.u ELSE 0 END)), 0) AS loss,
               coalesce(sum(c.w * (c.p - c.y::integer)), 0) AS slope, coalesce(sum(c.w * (c.p - c.y::integer) * c.x), 0) AS slope_x,
               coalesce(sum(c.w * c.p * (1 - c.p)), 0) AS bend, coalesce(sum(c.w * c.p * (1 - c.p) * c.x), 0) AS bend_x,
               coalesce(sum(c.w * c.p * (1 - c.p) * c.x * c.x), 0) AS bend_xx
        INTO sums
        FROM (
            SELECT m.x, m.y, CASE WHEN m.y THEN positive_weight ELSE 1 END AS w, trial_scale * m.x + trial_bias AS u,
                   siglip.sigmoid(greatest(-200, least(200, trial_scale * m.x + trial_bias))) AS p  -- products of less would underflow
            FROM (SELECT CASE WHEN abs(a.x) < 1e-9 THEN 0 ELSE a.x END AS x, a.y FROM unnest(logits, marks) AS a (x, y)) AS m
        ) AS c;
        cost := sums.loss + scale_precision / 2 * (trial_scale - 1) ^ 2 + bias_precision / 2 * trial_bias ^ 2;
        IF cost < lowest OR lowest IS NULL THEN
            EXIT WHEN lowest - cost < 1e-10 * (1 + cost) AND attempt > 2;
            lowest := cost;
            scale := trial_scale;
            bias := trial_bias;
            log_loss := sums.loss;
            slope_scale := sums.slope_x + scale_precision * (scale - 1);
            sums.slope := sums.slope + bias_precision * bias;
            sums.bend := sums.bend + bias_precision;
            sums.bend_xx := sums.bend_xx + scale_precision;
            determinant := sums.bend_xx * sums.bend - sums.bend_x ^ 2;
            scale_step := (sums.bend_x * sums.slope - sums.bend * slope_scale) / determinant;
            bias_step := (sums.bend_x * slope_scale - sums.bend_xx * sums.slope) / determinant;
            IF scale <= least_scale + 1e-12 AND scale_step <= 0 THEN  -- along the border
                scale_step := 0;
                bias_step := -sums.slope / sums.bend;
            ELSIF scale + scale_step < least_scale THEN  -- to the border
                bias_step := bias_step * (least_scale - scale) / scale_step;
                scale_step := least_scale - scale;
            END IF;
        ELSE
            scale_step := scale_step / 2;
            bias_step := bias_step / 2;
        END IF;
        EXIT WHEN abs(scale_step) + abs(bias_step) < 1e-9;
        trial_scale := greatest(least_scale, scale + scale_step);
        trial_bias := bias + bias_step;
    END LOOP;
END
$function$;

-- Turn some changes of attached tables into images that are queued or deleted; returns about how many rows that were, 0 where nothing is left. Workers call it.
-- Example: SELECT siglip.follow_attached();
CREATE OR REPLACE FUNCTION siglip.follow_attached(max_rows integer DEFAULT 2000)
 RETURNS bigint
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
DECLARE
    contents_at_once constant integer := 50;
    retry_s     constant double precision := 10;
    attachment  siglip.attachments;
    row_keys    text[];
    released    bigint[];
    followed    bigint;  -- changes before this one
    at_once     integer;
BEGIN
    IF max_rows IS NULL OR max_rows NOT BETWEEN 1 AND 100000 THEN
        RAISE EXCEPTION 'max_rows is %, not a number from 1 to 100000.', coalesce(max_rows::text, 'NULL') USING ERRCODE = 'invalid_parameter_value';
    ELSIF NOT pg_try_advisory_xact_lock('siglip.attached_changes'::regclass::oid::bigint) THEN
        RETURN 0;  -- another session is at it
    END IF;
    SELECT a.* INTO attachment
    FROM siglip.attachments AS a WHERE NOT EXISTS (SELECT FROM pg_class AS c WHERE c.oid = a.attached_table) LIMIT 1;
    IF FOUND THEN  -- its table was dropped, and with it the rows
        RETURN 1 + siglip.forget_attachment(attachment.attachment_id, true);
    END IF;

    SELECT min(f.change_id) INTO followed
    FROM siglip.attachments AS a
    CROSS JOIN LATERAL (SELECT min(c.change_id) AS change_id FROM siglip.attached_changes AS c WHERE c.attachment_id = a.attachment_id) AS f
    WHERE a.problem IS NULL;
    WITH taken AS (
        DELETE FROM siglip.released_images AS r
        WHERE r.ctid = ANY (ARRAY(SELECT o.ctid FROM siglip.released_images AS o
            WHERE o.after_change < followed OR followed IS NULL LIMIT follow_attached.max_rows)) RETURNING r.image_id
    )
    SELECT array_agg(DISTINCT t.image_id) INTO released FROM taken AS t;
    IF released IS NOT NULL THEN
        released := ARRAY(SELECT u.image_id FROM unnest(released) AS u (image_id)
                          WHERE NOT EXISTS (SELECT FROM siglip.attached_images AS m WHERE m.image_id = u.image_id));
        PERFORM siglip.delete_images(image_ids => released);
        RETURN greatest(1, cardinality(released));
    END IF;

    FOR attachment IN
        SELECT a.* FROM siglip.attachments AS a
        CROSS JOIN LATERAL (SELECT min(c.change_id) AS change_id FROM siglip.attached_changes AS c WHERE c.attachment_id = a.attachment_id) AS f
        WHERE f.change_id IS NOT NULL AND (a.problem IS NULL OR a.problem_at < clock_timestamp() - make_interval(secs => retry_s))
          AND EXISTS (SELECT FROM siglip.kept_models())
        ORDER BY f.change_id
    LOOP
        BEGIN
            at_once := CASE WHEN (siglip.plan_attachment(attachment)).is_content THEN least(max_rows, contents_at_once) ELSE max_rows END;
            row_keys := siglip.take_changes(attachment.attachment_id, at_once);
            PERFORM siglip.follow_rows(attachment, row_keys);
            IF attachment.problem IS NOT NULL THEN
                UPDATE siglip.attachments AS a SET problem = NULL, problem_at = NULL WHERE a.attachment_id = attachment.attachment_id;
            END IF;
            RETURN greatest(1, cardinality(row_keys));
        EXCEPTION WHEN lock_not_available THEN
            CONTINUE;  -- the table is locked, and the others don't wait for it
        WHEN OTHERS THEN
            -- A lost connection, a deadlock or a full disk is no trait of the table.
            IF left(SQLSTATE, 2) IN ('08', '40', '53', '55', '57', '58', 'XX') AND SQLSTATE <> '55000' THEN
                RAISE;
            END IF;
            UPDATE siglip.attachments AS a SET problem = SQLERRM, problem_at = clock_timestamp() WHERE a.attachment_id = attachment.attachment_id;
        END;
    END LOOP;
    RETURN 0;
END
$function$;

-- Make images what some rows of an attached table are now, whether they are new, changed or gone.
-- Example: SELECT siglip.follow_rows(a, '{1,2}') FROM siglip.attachments AS a;
CREATE OR REPLACE FUNCTION siglip.follow_rows(attachment siglip.attachments, row_keys text[])
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
 SET "TimeZone" TO 'UTC'
 SET "DateStyle" TO 'ISO, YMD'
 SET "IntervalStyle" TO 'postgres'
AS $function$
#variable_conflict use_variable
DECLARE
    plan      siglip.attachment_plan;
    model_ids constant integer[] := siglip.models_to_queue();
    rows_from text;
    keys      text[];
    places    integer[];
    uris      text[];
    metadata  jsonb[];
    image_ids bigint[];
    released  bigint[];
BEGIN
    PERFORM siglip.hold_attached(attachment.attached_table, waits => false);
    plan := siglip.plan_attachment(attachment);
    IF plan.problem IS NOT NULL THEN
        RAISE EXCEPTION '%', plan.problem USING ERRCODE = 'object_not_in_prerequisite_state';
    ELSIF row_security_active(attachment.attached_table::oid) THEN
        RAISE EXCEPTION 'Row-level security hides rows of % from the worker''s role %. Give it BYPASSRLS, or membership in the table''s owner.',
            attachment.attached_table, current_user USING ERRCODE = 'insufficient_privilege';
    ELSIF NOT EXISTS (
        SELECT FROM pg_trigger AS t
        WHERE t.tgrelid = attachment.attached_table AND t.tgfoid = 'siglip.note_attached_changes()'::regprocedure
    ) THEN
        RAISE EXCEPTION 'The triggers of % are gone: nothing is followed. siglip.detach, and attach it again.', attachment.attached_table
            USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    IF (plan.id_names, plan.uri_name, attachment.table_oid) IS DISTINCT FROM (attachment.id_columns, attachment.uri_column, attachment.attached_table::oid)
       OR EXISTS (SELECT FROM unnest(plan.metadata_names, attachment.metadata_columns) AS n (now, before) WHERE n.now <> n.before) THEN
        PERFORM siglip.note_names(attachment, plan);
    END IF;
    rows_from := format(
        'unnest($1) WITH ORDINALITY AS g (row_key, turn) CROSS JOIN LATERAL (SELECT g.row_key, %s AS parts) AS k JOIN %s AS r ON %s'
        ' CROSS JOIN LATERAL (%s) AS v',
        CASE WHEN cardinality(plan.id_names) = 1 THEN 'ARRAY[g.row_key]'
             ELSE 'CASE WHEN pg_input_is_valid(g.row_key, ''text[]'') THEN g.row_key::text[] END' END,
        attachment.attached_table, plan.matches, plan.images);
    EXECUTE format(
        'SELECT array_agg(s.row_key), array_agg(s.place), array_agg(s.uri), array_agg(s.metadata) FROM ('
        'SELECT g.row_key, v.place::integer, v.uri, %s AS metadata FROM %s ORDER BY g.turn, v.place) AS s', plan.metadata, rows_from)
        INTO keys, places, uris, metadata USING row_keys;
    image_ids := siglip.store_images(attachment.collection, coalesce(uris, '{}'), NULL, metadata, NULL, false, false, model_ids);
    IF plan.is_content THEN
        EXECUTE format(
            'INSERT INTO siglip.image_bytes (image_id, content) SELECT DISTINCT ON (n.image_id) n.image_id, v.content'
            ' FROM %s JOIN unnest($2, $3) AS n (image_id, uri) ON n.uri = v.uri'
            ' WHERE NOT EXISTS (SELECT FROM siglip.image_bytes AS b WHERE b.image_id = n.image_id) ORDER BY n.image_id ON CONFLICT DO NOTHING',
            rows_from) USING row_keys, image_ids, uris;
    END IF;

    WITH gone AS (
        DELETE FROM siglip.attached_images AS m
        USING (
            SELECT o.row_key, o.place, o.image_id FROM siglip.attached_images AS o
            WHERE o.attachment_id = attachment.attachment_id AND o.row_key = ANY (row_keys)
            EXCEPT SELECT n.row_key, n.place, n.image_id FROM unnest(keys, places, image_ids) AS n (row_key, place, image_id)
        ) AS e
        WHERE m.attachment_id = attachment.attachment_id AND m.row_key = e.row_key AND m.place = e.place
        RETURNING m.image_id
    )
    SELECT array_agg(DISTINCT g.image_id) INTO released FROM gone AS g;
    INSERT INTO siglip.attached_images (attachment_id, row_key, place, image_id)
    SELECT attachment.attachment_id, n.row_key, n.place, n.image_id
    FROM unnest(keys, places, image_ids) AS n (row_key, place, image_id)
    ON CONFLICT DO NOTHING;
    IF released IS NOT NULL THEN
        -- A row whose key has changed may have the image again, by a key that waits.
        INSERT INTO siglip.released_images (image_id, after_change)
        SELECT u.image_id, coalesce((SELECT max(c.change_id) FROM siglip.attached_changes AS c
                                     WHERE c.attachment_id = attachment.attachment_id), 0)
        FROM unnest(released) AS u (image_id);
        -- Where another row has the image, its metadata are that row's now.
        INSERT INTO siglip.attached_changes (attachment_id, row_keys)
        SELECT o.attachment_id, array_agg(o.row_key) FROM (
            SELECT DISTINCT ON (m.image_id) m.attachment_id, m.row_key
            FROM siglip.attached_images AS m WHERE m.image_id = ANY (released) ORDER BY m.image_id, m.attachment_id, m.row_key
        ) AS o GROUP BY o.attachment_id;
    END IF;
END
$function$;

-- Take out an attachment with all that is known of its rows; with delete_images its images go, where no other attached row has them. Returns how many.
-- Example: SELECT siglip.forget_attachment(a.attachment_id, false) FROM siglip.attachments AS a;
CREATE OR REPLACE FUNCTION siglip.forget_attachment(attachment_id integer, delete_images boolean)
 RETURNS bigint
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
DECLARE
    released bigint := 0;
BEGIN
    IF delete_images THEN
        INSERT INTO siglip.released_images (image_id)
        SELECT DISTINCT m.image_id FROM siglip.attached_images AS m WHERE m.attachment_id = forget_attachment.attachment_id;
        GET DIAGNOSTICS released = ROW_COUNT;
    END IF;
    DELETE FROM siglip.attached_changes AS c WHERE c.attachment_id = forget_attachment.attachment_id;
    DELETE FROM siglip.attachments AS a WHERE a.attachment_id = forget_attachment.attachment_id;
    PERFORM pg_notify('siglip_ingest_items', 'attached');
    RETURN released;
END
$function$;

-- Trigger: a label with other prompts loses its vectors, and its workers make new ones.
-- Example: UPDATE siglip.labels SET prompts = '{"a red evening sky"}' WHERE label = 'sunset';
CREATE OR REPLACE FUNCTION siglip.forget_label_vectors()
 RETURNS trigger
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
BEGIN
    DELETE FROM siglip.label_embeddings AS v WHERE v.label_id = NEW.label_id;
    DELETE FROM siglip.label_refusals AS r WHERE r.label_id = NEW.label_id;
    IF OLD.is_by_example AND NOT NEW.is_by_example THEN
        UPDATE siglip.label_calibrations AS c SET is_current = false WHERE c.label_id = NEW.label_id AND c.is_current;
    END IF;
    RETURN NULL;
END
$function$;

-- Do the next step of freeing the space of dropped models, and return a sentence; NULL where nothing is left, or the rest has to wait. Each call is to be a transaction of its own.
-- Example: SELECT siglip.free_dropped();
CREATE OR REPLACE FUNCTION siglip.free_dropped()
 RETURNS text
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
#variable_conflict use_variable
DECLARE
    chosen    siglip.model_drops;
    name      text;
    vectors   text;
    segment   regclass;
    beyond    bigint;
    bytes     bigint;
    deleted   bigint;
    patience  constant text := current_setting('lock_timeout');
    gave_up   timestamptz;
BEGIN
    IF NOT pg_try_advisory_xact_lock(1397311311, 1) THEN
        RAISE NOTICE 'Another session frees the space of dropped models just now.';
        RETURN NULL;
    END IF;
    SELECT d.* INTO chosen FROM siglip.model_drops AS d ORDER BY d.dropped_at, d.model_id LIMIT 1;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    SELECT m.name INTO name FROM siglip.models AS m WHERE m.model_id = chosen.model_id;
    vectors := format('siglip.image_embeddings_%s', chosen.model_id);

    SELECT min(s.image_id) + 20000 INTO beyond
    FROM (SELECT t.image_id FROM siglip.ingest_items AS t
          WHERE t.image_id >= chosen.next_image_id ORDER BY t.image_id LIMIT 1) AS s;
    IF beyond IS NOT NULL THEN
        PERFORM FROM siglip.ingest_items AS t
        WHERE t.model_id = chosen.model_id AND t.image_id >= chosen.next_image_id AND t.image_id < beyond
        ORDER BY t.image_id, t.model_id FOR UPDATE;
        DELETE FROM siglip.ingest_items AS t
        WHERE t.model_id = chosen.model_id AND t.image_id >= chosen.next_image_id AND t.image_id < beyond;
        GET DIAGNOSTICS deleted = ROW_COUNT;
        UPDATE siglip.model_drops AS d SET next_image_id = beyond WHERE d.model_id = chosen.model_id;
        RETURN format('Took %s images out of the ledger of %s.', deleted, name);
    END IF;

    IF EXISTS (SELECT FROM pg_inherits AS h WHERE h.inhrelid = to_regclass(vectors)) THEN
        PERFORM siglip.await_transactions(10);
        gave_up := clock_timestamp() + interval '1 minute';
        LOOP
            BEGIN
                PERFORM set_config('lock_timeout', '25ms', true);
                EXECUTE format('LOCK TABLE ONLY %s IN ACCESS EXCLUSIVE MODE', vectors);
                LOCK TABLE ONLY siglip.image_embeddings IN ACCESS EXCLUSIVE MODE;
                EXECUTE format('ALTER TABLE siglip.image_embeddings DETACH PARTITION %s', vectors);
                PERFORM set_config('lock_timeout', patience, true);
                RETURN format('Took the vectors of %s out of siglip.image_embeddings.', name);
            EXCEPTION WHEN lock_not_available OR deadlock_detected THEN
                IF clock_timestamp() > gave_up THEN
                    RAISE NOTICE 'A statement has been reading the vectors for a minute; those of % stay for now.', name;
                    RETURN NULL;
                END IF;
                PERFORM pg_sleep(0.02 + 0.2 * random());
            END;
        END LOOP;
    END IF;

    SELECT h.inhrelid::regclass INTO segment FROM pg_inherits AS h WHERE h.inhparent = to_regclass(vectors) ORDER BY h.inhrelid LIMIT 1;
    IF segment IS NOT NULL THEN
        PERFORM set_config('lock_timeout', '1s', true);
        bytes := siglip.drop_segment(segment);
        PERFORM set_config('lock_timeout', patience, true);
        UPDATE siglip.model_drops AS d SET freed_bytes = d.freed_bytes + bytes WHERE d.model_id = chosen.model_id;
        RETURN format('Dropped a segment of %s: %s are free.', name, pg_size_pretty(bytes));
    END IF;
    EXECUTE format('DROP TABLE IF EXISTS %s', vectors);
    EXECUTE format('DROP FUNCTION IF EXISTS siglip.nearest_images_%s', chosen.model_id);

    DELETE FROM siglip.texts AS t
    WHERE t.model_id = chosen.model_id
      AND t.text_hash IN (SELECT o.text_hash FROM siglip.texts AS o WHERE o.model_id = chosen.model_id LIMIT 10000);
    GET DIAGNOSTICS deleted = ROW_COUNT;
    IF deleted > 0 THEN
        RETURN format('Deleted %s cached texts of %s.', deleted, name);
    END IF;
    DELETE FROM siglip.ingestions AS g
    WHERE g.ingestion_id IN (SELECT o.ingestion_id FROM siglip.ingestions AS o WHERE o.model_id = chosen.model_id LIMIT 1000);
    GET DIAGNOSTICS deleted = ROW_COUNT;
    IF deleted > 0 THEN
        RETURN format('Deleted %s ingestions of %s.', deleted, name);
    END IF;
    DELETE FROM siglip.models AS m WHERE m.model_id = chosen.model_id;
    RETURN format('The model %s is gone; %s are free.', name, pg_size_pretty(chosen.freed_bytes));
EXCEPTION
    WHEN lock_not_available THEN
        RAISE NOTICE 'The vectors of % are in use just now, by a build of an index perhaps; they stay for now.', name;
        RETURN NULL;
    WHEN connection_exception OR admin_shutdown OR crash_shutdown THEN
        RAISE NOTICE 'Segments of % stay until their server answers: %', name, SQLERRM;
        RETURN NULL;
END
$function$;

-- Bytes of memory that one row takes while its index is built, about.
-- Example: SELECT siglip.graph_bytes(768, 'halfvec');
CREATE OR REPLACE FUNCTION siglip.graph_bytes(dimension integer, index_kind text)
 RETURNS bigint
 LANGUAGE sql
 IMMUTABLE
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
    SELECT 1200 + CASE index_kind WHEN 'bit_rerank' THEN dimension / 8 ELSE 2 * dimension END
$function$;

-- The text of the search by the HNSW graphs of a model.
-- Example: SELECT siglip.graph_query(1, 16);
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

-- The groups that pairs of numbers connect, each named by its least member.
-- Example: SELECT * FROM siglip.group_pairs('{1,2,7}', '{2,3,8}');
CREATE OR REPLACE FUNCTION siglip.group_pairs(first_ids bigint[], other_ids bigint[])
 RETURNS TABLE(member_id bigint, group_id bigint)
 LANGUAGE plpgsql
 IMMUTABLE
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
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
$function$;

-- How many of the marks that score best may be accepted so that the precision reaches a wish with a risk; else how many more marks it takes at least.
-- Example: SELECT * FROM siglip.guaranteed_marks('{3,2,1}', '{true,true,false}', 0.5, 0.3);
CREATE OR REPLACE FUNCTION siglip.guaranteed_marks(logits double precision[], marks boolean[], min_precision double precision, risk double precision, OUT accepted integer, OUT errors integer, OUT lower_bound double precision, OUT missing integer)
 RETURNS record
 LANGUAGE plpgsql
 IMMUTABLE
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
DECLARE
    error_rate  constant double precision := 1 - min_precision;
    total       constant integer := cardinality(logits);
    wrong       integer[];
    fewest      integer[];
    sorted      double precision[];
    allowed     integer;
    has_second  boolean;
    own_risk    double precision;
    rank        integer;
    high        double precision := 1;
    middle      double precision;
BEGIN
    SELECT array_agg(s.wrong ORDER BY s.number), array_agg(s.logit ORDER BY s.number) INTO wrong, sorted
    FROM (
        SELECT m.logit, row_number() OVER w AS number, (count(*) FILTER (WHERE NOT m.mark) OVER w)::integer AS wrong
        FROM unnest(logits, marks) AS m (logit, mark)
        WINDOW w AS (ORDER BY m.logit DESC, m.mark ROWS UNBOUNDED PRECEDING)
    ) AS s;
    SELECT count(*) - 1 INTO allowed FROM unnest(siglip.fewest_trials(error_rate, risk / 2, total / 2)) AS f WHERE f <= total / 2;
    has_second := allowed > 0;
    own_risk := CASE WHEN has_second THEN risk / 2 ELSE risk END;
    fewest := siglip.fewest_trials(error_rate, own_risk, total);
    FOR start IN 0 .. CASE WHEN has_second THEN 1 ELSE 0 END LOOP
        FOR allowed_errors IN CASE WHEN start = 0 THEN 0 ELSE allowed END .. total LOOP
            rank := fewest[allowed_errors + 1];
            EXIT WHEN rank IS NULL OR rank > total;
            WHILE rank < total AND sorted[rank] = sorted[rank + 1] LOOP  -- the same score is accepted with it
                rank := rank + 1;
            END LOOP;
            EXIT WHEN wrong[rank] > allowed_errors
                AND (rank = fewest[allowed_errors + 1] OR siglip.binomial_tail(wrong[rank], rank, error_rate) > own_risk);
            IF rank > coalesce(accepted, 0) THEN
                accepted := rank;
                errors := wrong[rank];
            END IF;
        END LOOP;
    END LOOP;
    IF accepted IS NULL THEN
        SELECT greatest(1, min(f.trials - (SELECT count(*) FROM unnest(wrong) AS w WHERE w < f.number)::integer)) INTO missing
        FROM unnest(siglip.fewest_trials(error_rate, own_risk, 0, 20)) WITH ORDINALITY AS f (trials, number)
        WHERE f.number <= coalesce(wrong[total], 0) + 1;
        RETURN;
    END IF;
    lower_bound := min_precision;
    FOR step IN 1 .. 40 LOOP
        middle := (lower_bound + high) / 2;
        IF siglip.binomial_tail(errors, accepted, 1 - middle) <= own_risk THEN
            lower_bound := middle;
        ELSE
            high := middle;
        END IF;
    END LOOP;
END
$function$;

-- Whether segments of a model lie on other servers.
-- Example: SELECT siglip.has_foreign_segments(1);
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

-- Whether more than so many images pass a collection, a filter and image_ids.
-- Example: SELECT siglip.has_more_images('holiday', NULL, NULL, 10000);
CREATE OR REPLACE FUNCTION siglip.has_more_images(collection text, filter jsonb, image_ids bigint[], count integer)
 RETURNS boolean
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
DECLARE
    found integer;
BEGIN
    EXECUTE 'SELECT count(*) FROM (SELECT FROM siglip.images AS i WHERE i.content_id IS NOT NULL'
        || CASE WHEN collection IS NOT NULL THEN ' AND i.collection = $1' ELSE '' END
        || CASE WHEN filter IS NOT NULL THEN ' AND i.metadata @> $2' ELSE '' END
        || CASE WHEN image_ids IS NOT NULL THEN ' AND i.image_id = ANY ($3)' ELSE '' END
        || ' LIMIT $4 + 1) AS n' INTO found USING collection, filter, image_ids, count;
    RETURN found > count;
END
$function$;

-- Whether a worker of a model answers texts on this server.
-- Example: SELECT siglip.has_text_listener(1);
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

-- Keep an attached table from being renamed, altered or replaced until the transaction ends; before its rows are read by a plan.
-- Example: SELECT siglip.hold_attached(a.attached_table) FROM siglip.attachments AS a;
CREATE OR REPLACE FUNCTION siglip.hold_attached(attached_table regclass, waits boolean DEFAULT true)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
DECLARE
    called text;
BEGIN
    LOOP
        called := attached_table::text;
        EXECUTE format('LOCK TABLE %s IN ACCESS SHARE MODE%s', called, CASE WHEN NOT waits THEN ' NOWAIT' END);
        EXIT WHEN to_regclass(called) = attached_table;
    END LOOP;
END
$function$;

-- The row of a label set, which nobody else changes until the transaction ends, nor its labels; an error where there is none.
-- Example: SELECT template FROM siglip.hold_label_set('scenes');
CREATE OR REPLACE FUNCTION siglip.hold_label_set(label_set text)
 RETURNS siglip.label_sets
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
DECLARE
    found_set siglip.label_sets;
BEGIN
    SELECT s.* INTO found_set FROM siglip.label_sets AS s WHERE s.name = hold_label_set.label_set FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'There is no label set %.', coalesce(quote_literal(label_set), 'NULL')
            USING ERRCODE = 'no_data_found', HINT = 'SELECT name FROM siglip.label_sets shows what there is.';
    END IF;
    PERFORM FROM siglip.labels AS l WHERE l.label_set_id = found_set.label_set_id ORDER BY l.label_id FOR NO KEY UPDATE;
    RETURN found_set;
END
$function$;

-- The text of the conditions that narrow a search.
-- Example: SELECT siglip.image_conditions(has_collection => true, has_filter => false, has_image_ids => false);
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

-- All images whose score for a vector of the model reaches min_score, best first.
-- Example: SELECT * FROM siglip.images_above(siglip.active_model(), siglip.embed_text('a lake'), 0.1, NULL, NULL);
CREATE OR REPLACE FUNCTION siglip.images_above(model siglip.models, query_embedding halfvec, min_score double precision, collection text, filter jsonb)
 RETURNS SETOF siglip.image_match
 LANGUAGE plpgsql
 ROWS 100
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
 SET jit TO 'off'
 SET parallel_setup_cost TO '0'
 SET parallel_tuple_cost TO '0'
 SET min_parallel_table_scan_size TO '0'
AS $function$
#variable_conflict use_column
DECLARE
    best_rows integer;
    found     siglip.image_match[];
BEGIN
    IF min_score IS NULL THEN
        RAISE EXCEPTION 'min_score is NULL, not a number from 0 to 1.'
            USING ERRCODE = 'invalid_parameter_value', HINT = 'siglip.search_images finds the best whatever their score.';
    END IF;
    query_embedding := siglip.check_search(model, query_embedding, 1, filter, min_score, 0, NULL);
    FOREACH best_rows IN ARRAY ARRAY[50, 500] LOOP
        found := ARRAY(
            SELECT ROW(n.image_id, n.uri, n.similarity, n.score, n.metadata)::siglip.image_match
            FROM siglip.nearest_images(model, query_embedding, best_rows, collection, filter, images_above.min_score, NULL) AS n);
        IF cardinality(found) < best_rows THEN
            RETURN QUERY SELECT f.* FROM unnest(found) AS f;
            RETURN;
        END IF;
    END LOOP;
    RETURN QUERY EXECUTE format(
        'SELECT i.image_id, i.uri, s.similarity, siglip.score(s.similarity, $3, $4), i.metadata FROM ('
        'SELECT e.content_id, e.embedding OPERATOR(public.<#>) $1 AS distance FROM siglip.image_embeddings AS e'
        ' WHERE e.model_id = %s AND e.embedding OPERATOR(public.<#>) $1 <= $5'
        ') AS n JOIN siglip.images AS i ON i.content_id = n.content_id'
        ' CROSS JOIN LATERAL (SELECT siglip.similarity(n.distance)) AS s (similarity)'
        ' WHERE siglip.score(s.similarity, $3, $4) >= $2%s ORDER BY s.similarity DESC, i.image_id',
        model.model_id, siglip.narrowing('i', collection, filter))
        USING query_embedding, min_score, model.logit_scale, model.logit_bias,
              -(siglip.least_similarity(min_score, model.logit_scale, model.logit_bias) - 1e-6);  -- a hair below: the score decides
END
$function$;

-- The images that have a label, best first: by its own rule (calibrated score >= threshold), or, with min_score, those whose score reaches that.
-- Example: SELECT * FROM siglip.images_with_label('scenes', 'sunset');
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
    scale           double precision;
    bias            double precision;
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
    SELECT v.embedding, coalesce(min_score, r.threshold), CASE WHEN min_score IS NULL THEN r.scale ELSE 1 END,
           CASE WHEN min_score IS NULL THEN r.bias ELSE 0 END
    INTO label_embedding, least_score, scale, bias
    FROM siglip.label_sets AS s
    JOIN siglip.labels AS l USING (label_set_id)
    JOIN siglip.label_rules AS r ON r.label_id = l.label_id AND r.model_id = model.model_id
    LEFT JOIN siglip.label_embeddings AS v ON v.label_id = l.label_id AND v.model_id = model.model_id
    WHERE s.name = images_with_label.label_set AND l.label = images_with_label.label;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'The label set % has no label %.', quote_literal(label_set), coalesce(quote_literal(label), 'NULL')
            USING ERRCODE = 'no_data_found', HINT = 'SELECT label FROM siglip.labels shows what there is.';
    ELSIF label_embedding IS NULL THEN
        RAISE EXCEPTION 'The label % of the label set % has no vectors under the model % yet.', quote_literal(label), quote_literal(label_set), model.name
            USING ERRCODE = 'no_data_found', HINT = siglip.vector_hint(label_set, label, model.model_id);
    END IF;
    -- A hair below, for rounding; the score itself decides in the end.
    bound := -(siglip.least_similarity(least_score, model.logit_scale + ln(scale), scale * model.logit_bias + bias) - 1e-6);
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
        ' WHERE siglip.sigmoid($12 * (exp($4) * s.similarity + $5) + $13) >= $2 AND ' || conditions ||
        ' ORDER BY s.similarity DESC, i.image_id LIMIT $10'
        USING label_embedding, least_score, NULL::bigint, model.logit_scale, model.logit_bias, collection, filter, bound,
              content_ids, max_results, distances, scale, bias;
END
$function$;

-- The images that have all labels of all_of, one of any_of and none of none_of, best first. score is the least of the required ones and of the best optional one; scores has each label's. Without a label set, a label is written 'scenes/sunset'.
-- Example: SELECT image_id, score, scores FROM siglip.images_with_labels('scenes', all_of => '{forest}', none_of => '{"night sky"}');
CREATE OR REPLACE FUNCTION siglip.images_with_labels(label_set text, all_of text[] DEFAULT '{}'::text[], any_of text[] DEFAULT '{}'::text[], none_of text[] DEFAULT '{}'::text[], min_score double precision DEFAULT NULL::double precision, max_results integer DEFAULT NULL::integer, collection text DEFAULT NULL::text, filter jsonb DEFAULT NULL::jsonb, model_id integer DEFAULT NULL::integer)
 RETURNS SETOF siglip.label_match
 LANGUAGE plpgsql
 ROWS 100
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
 SET jit TO 'off'
 SET "hnsw.iterative_scan" TO 'relaxed_order'
 SET "hnsw.ef_search" TO '700'
AS $function$
#variable_conflict use_variable
DECLARE
    model     siglip.models := siglip.described_model(images_with_labels.model_id);
    required  siglip.named_label[];
    optional  siglip.named_label[];
    excluded  siglip.named_label[];
    labels    siglip.named_label[];
    image_ids bigint[];
    row_query constant text :=
        'SELECT i.image_id, i.uri, c.score, i.metadata, c.scores'
        ' FROM siglip.images AS i JOIN siglip.image_embeddings AS e ON e.content_id = i.content_id AND e.model_id = %s'
        ' CROSS JOIN LATERAL ('
        '    SELECT jsonb_object_agg(u.name, u.score) AS scores, bool_and(u.score >= u.threshold) FILTER (WHERE u.place <= $3) AS has_all,'
        '           bool_or(u.score >= u.threshold) FILTER (WHERE u.place > $3 AND u.place <= $4) AS has_any,'
        '           bool_or(u.score >= u.threshold) FILTER (WHERE u.place > $4) AS has_excluded,'
        '           least(min(u.score) FILTER (WHERE u.place <= $3),'
        '                 max(u.score) FILTER (WHERE u.place > $3 AND u.place <= $4 AND u.score >= u.threshold)) AS score'
        '    FROM (SELECT l.name, l.threshold, l.place,'
        '                 siglip.score(siglip.similarity(e.embedding OPERATOR(public.<#>) l.embedding), l.logit_scale, l.logit_bias) AS score'
        '          FROM unnest($2) WITH ORDINALITY'
        '               AS l (name, label_set, label, embedding, threshold, logit_scale, logit_bias, least_similarity, place)'
        '          OFFSET 0) AS u'
        ' ) AS c'
        ' WHERE i.image_id = ANY (ARRAY(SELECT unnest($1)))%s'
        ' AND c.has_all IS NOT FALSE AND c.has_any IS NOT FALSE AND c.has_excluded IS NOT TRUE'
        ' ORDER BY c.score DESC, i.image_id LIMIT $5';
BEGIN
    IF label_set IS NOT NULL THEN
        PERFORM siglip.check_label_set(label_set, min_score, model);
    ELSE
        PERFORM siglip.check_label_set(s.name, min_score, model) FROM siglip.label_sets AS s LIMIT 1;
    END IF;
    IF max_results IS NOT NULL THEN
        PERFORM siglip.check_max_results(max_results);
    END IF;
    required := ARRAY(SELECT n FROM siglip.named_labels(model, label_set, coalesce(all_of, '{}'), min_score) AS n);
    optional := ARRAY(SELECT n FROM siglip.named_labels(model, label_set, coalesce(any_of, '{}'), min_score) AS n);
    excluded := ARRAY(SELECT n FROM siglip.named_labels(model, label_set, coalesce(none_of, '{}'), min_score) AS n);
    labels := required || optional || excluded;
    IF cardinality(required) + cardinality(optional) = 0 THEN
        RAISE EXCEPTION 'No label is named that the images have.'
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Give labels in all_of or in any_of; none_of alone would be nearly all images.';
    END IF;
    -- The scores of a label that is calibrated are others; their order is the same. A hair less, for rounding: the row's own score decides.
    SELECT array_agg(DISTINCT f.image_id) INTO image_ids
    FROM unnest(CASE WHEN cardinality(required) > 0 THEN ARRAY[siglip.rarest_label(model, required)] ELSE optional END) AS l
    CROSS JOIN LATERAL siglip.images_with_label(
        label_set => l.label_set, label => l.label, collection => images_with_labels.collection, filter => images_with_labels.filter,
        min_score => siglip.score(l.least_similarity - 1e-5, model.logit_scale, model.logit_bias), model_id => model.model_id) AS f;
    RETURN QUERY EXECUTE format(row_query, model.model_id, siglip.narrowing('i', collection, filter))
        USING image_ids, labels, cardinality(required), cardinality(required) + cardinality(optional), max_results;
END
$function$;

-- How CREATE INDEX goes on after the name of the table.
-- Example: SELECT siglip.index_definition(768, 'halfvec', 100000);
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
-- Example: SELECT siglip.connect_server('archive'), siglip.index_foreign_segment(siglip.create_foreign_segment(1, 'archive', NULL, 41), 16, 'halfvec', 40);
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
-- Example: SELECT kind, queries, recall, search_ms FROM siglip.index_recall(sample => 20);
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
-- Example: SELECT w.node, siglip.is_alive(w) FROM siglip.workers AS w;
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
-- Example: SELECT siglip.is_exact_quicker(1, NULL, 'holiday', NULL, NULL);
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
-- Example: SELECT siglip.is_loading(1);
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

-- Write the kept labels of images whose vectors this transaction has brought; returns how many rows are new.
-- Example: SELECT siglip.keep_arrived(1, '{1,2,3}');
CREATE OR REPLACE FUNCTION siglip.keep_arrived(model_id integer, content_ids bigint[])
 RETURNS bigint
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
#variable_conflict use_column
DECLARE
    other_id integer;
    moved    bigint[];
    changed  bigint := 0;
BEGIN
    PERFORM pg_advisory_xact_lock_shared(siglip.kept_labels_lock());
    FOR other_id IN SELECT DISTINCT p.model_id FROM siglip.label_progress AS p ORDER BY p.model_id LOOP
        IF other_id = keep_arrived.model_id THEN
            moved := keep_arrived.content_ids;
        ELSE
            moved := ARRAY(SELECT i.content_id FROM siglip.images AS i
                           JOIN siglip.image_embeddings AS e ON e.model_id = other_id AND e.content_id = i.content_id
                           WHERE i.content_id = ANY (keep_arrived.content_ids) AND i.updated_at = now());
            CONTINUE WHEN moved = '{}';
        END IF;
        changed := changed + siglip.keep_contents(other_id, moved);
    END LOOP;
    RETURN changed;
END
$function$;

-- Write which images of these contents have which kept labels, by the rules of siglip.label_progress; returns how many rows are new.
-- Example: SELECT siglip.keep_contents(1, '{1,2,3}');
CREATE OR REPLACE FUNCTION siglip.keep_contents(model_id integer, content_ids bigint[], label_ids integer[] DEFAULT NULL::integer[])
 RETURNS bigint
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
 SET jit TO 'off'
 SET enable_seqscan TO 'off'
AS $function$
#variable_conflict use_column
DECLARE
    model     siglip.models;
    image_ids constant bigint[] := ARRAY(SELECT i.image_id FROM siglip.images AS i WHERE i.content_id = ANY (keep_contents.content_ids));
    news      record;
    changed   bigint := 0;
BEGIN
    SELECT m.* INTO model FROM siglip.models AS m WHERE m.model_id = keep_contents.model_id;
    FOR news IN
        WITH near AS MATERIALIZED (
            SELECT p.label_id, e.content_id,
                   siglip.sigmoid(p.scale * (exp(model.logit_scale) * siglip.similarity(d.distance) + model.logit_bias) + p.bias) AS score,
                   p.threshold
            FROM siglip.image_embeddings AS e
            CROSS JOIN siglip.label_progress AS p
            CROSS JOIN LATERAL (SELECT e.embedding OPERATOR(public.<#>) p.embedding AS distance OFFSET 0) AS d
            WHERE e.model_id = keep_contents.model_id AND e.content_id = ANY (keep_contents.content_ids)
              AND p.model_id = keep_contents.model_id AND (keep_contents.label_ids IS NULL OR p.label_id = ANY (keep_contents.label_ids))
              AND d.distance <= -p.least_similarity + 1e-9
        ), reached AS MATERIALIZED (
            SELECT n.label_id, i.image_id, n.score
            FROM near AS n JOIN siglip.images AS i ON i.content_id = n.content_id
            WHERE n.score >= n.threshold
        ), outdated AS (
            DELETE FROM siglip.image_labels AS r
            USING siglip.label_progress AS p
            WHERE r.image_id = ANY (image_ids) AND r.label_id = p.label_id
              AND p.model_id = keep_contents.model_id AND (keep_contents.label_ids IS NULL OR p.label_id = ANY (keep_contents.label_ids))
              AND r.marked_by IS NULL
              AND NOT EXISTS (SELECT FROM reached AS n WHERE n.label_id = r.label_id AND n.image_id = r.image_id)
        ), added AS (
            INSERT INTO siglip.image_labels AS r (label_id, image_id, is_accepted, score, model_id)
            SELECT n.label_id, n.image_id, true, n.score, keep_contents.model_id FROM reached AS n ORDER BY n.image_id, n.label_id
            ON CONFLICT (label_id, image_id) DO UPDATE SET score = excluded.score, model_id = excluded.model_id, updated_at = now()
            WHERE (r.score, r.model_id) IS DISTINCT FROM (excluded.score, excluded.model_id)
            RETURNING r.label_id, r.image_id, (r.xmax = 0) AS is_new
        )
        SELECT s.name AS label_set, l.label, array_agg(a.image_id ORDER BY a.image_id) AS image_ids
        FROM added AS a
        JOIN siglip.labels AS l ON l.label_id = a.label_id
        JOIN siglip.label_sets AS s ON s.label_set_id = l.label_set_id
        WHERE a.is_new
        GROUP BY s.name, l.label
    LOOP
        changed := changed + cardinality(news.image_ids);
        PERFORM siglip.notify_labels(news.label_set, news.label, news.image_ids);
    END LOOP;
    RETURN changed;
END
$function$;

-- Whether siglip.image_labels keeps a row for each image that has a label of this set; workers fill it, and siglip.label_coverage says how far that is.
-- Example: SELECT siglip.keep_labels('scenes');
CREATE OR REPLACE FUNCTION siglip.keep_labels(label_set text, keep boolean DEFAULT true)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
DECLARE
    held siglip.label_sets := siglip.hold_label_set(label_set);
BEGIN
    UPDATE siglip.label_sets AS s SET is_kept = coalesce(keep, false) WHERE s.label_set_id = held.label_set_id;
END
$function$;

-- Add a measurement to siglip.recall_history where the caller may; warns of a drop, and returns whether there is one.
-- Example: SELECT siglip.keep_measurement(m, ROW('texts', 200, 50, 0.99, 0.97, 1, 1.5, 20)::siglip.recall_measurement, 10, NULL, NULL, 0.95, is_chosen => true) FROM siglip.active_model() AS m;
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

-- The key of the advisory lock around the kept labels.
-- Example: SELECT siglip.kept_labels_lock();
CREATE OR REPLACE FUNCTION siglip.kept_labels_lock()
 RETURNS bigint
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
RETURN '6001433177'::bigint;

-- The models that a new image is queued for: the active one, and those that are kept beside it.
-- Example: SELECT * FROM siglip.kept_models();
CREATE OR REPLACE FUNCTION siglip.kept_models()
 RETURNS SETOF integer
 LANGUAGE sql
 STABLE ROWS 2
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
    SELECT m.model_id FROM siglip.models AS m WHERE (m.is_active OR m.is_kept) AND NOT m.is_external ORDER BY m.model_id
$function$;

-- Make a label out of images that have it, and images that have not, without words; or teach it more. New marks change it by siglip.calibrate, too.
-- Example: SELECT * FROM siglip.label_from_images('scenes', 'like our holiday', positives => '{1,2,3}', negatives => '{21,22}');
CREATE OR REPLACE FUNCTION siglip.label_from_images(label_set text, label text, positives bigint[] DEFAULT NULL::bigint[], negatives bigint[] DEFAULT NULL::bigint[], model_id integer DEFAULT NULL::integer)
 RETURNS siglip.calibration
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
#variable_conflict use_column
BEGIN
    IF label_set IS NULL OR label_set = '' OR label IS NULL OR label = '' THEN
        RAISE EXCEPTION 'A label set and a label need names, not % and %.', coalesce(quote_literal(label_set), 'NULL'), coalesce(quote_literal(label), 'NULL')
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Write for instance siglip.label_from_images(''pets'', ''our dog'', ''{1,5}'').';
    END IF;
    INSERT INTO siglip.label_sets (name, template) VALUES (label_from_images.label_set, 'This is a photo of {label}.')
    ON CONFLICT (name) DO NOTHING;
    INSERT INTO siglip.labels (label_set_id, position, label, prompts, is_by_example)
    SELECT s.label_set_id, (SELECT coalesce(max(l.position) + 1, 0) FROM siglip.labels AS l WHERE l.label_set_id = s.label_set_id),
           label_from_images.label, '{}', true
    FROM siglip.label_sets AS s WHERE s.name = label_from_images.label_set
    ON CONFLICT (label_set_id, label) DO NOTHING;
    IF NOT (siglip.find_label(label_from_images.label_set, label_from_images.label)).is_by_example THEN
        RAISE EXCEPTION 'The label % has prompts: it is not by example.', quote_literal(label_from_images.label)
            USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'siglip.calibrate fits it to marked images; or choose another name.';
    END IF;
    RETURN siglip.calibrate(label_from_images.label_set, label_from_images.label, label_from_images.positives, label_from_images.negatives,
                            model_id => label_from_images.model_id);
END
$function$;

-- For each label of a set, how many images have a score in each of so many bins of equal width.
-- Example: SELECT label, from_score, to_score, images FROM siglip.label_histogram('scenes', bins => 5);
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

-- The marked images of a label that have a vector under a model; the same content under several URIs counts once.
-- Example: SELECT image_id, is_accepted FROM siglip.label_marks(1, 1);
CREATE OR REPLACE FUNCTION siglip.label_marks(label_id integer, model_id integer)
 RETURNS TABLE(content_id bigint, image_id bigint, is_accepted boolean, embedding halfvec)
 LANGUAGE sql
 STABLE ROWS 100
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
    SELECT DISTINCT ON (i.content_id, m.is_accepted) i.content_id, i.image_id, m.is_accepted, e.embedding
    FROM siglip.image_labels AS m
    JOIN siglip.images AS i ON i.image_id = m.image_id
    JOIN siglip.image_embeddings AS e ON e.model_id = label_marks.model_id AND e.content_id = i.content_id
    WHERE m.label_id = label_marks.label_id AND m.marked_by IS NOT NULL
    ORDER BY i.content_id, m.is_accepted, i.image_id
$function$;

-- The labels of which only marks are kept: of sets that aren't, and those that the active model can't embed.
-- Example: SELECT count(*) FROM siglip.labels_to_forget();
CREATE OR REPLACE FUNCTION siglip.labels_to_forget()
 RETURNS SETOF integer
 LANGUAGE sql
 STABLE ROWS 10
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
    SELECT l.label_id
    FROM siglip.labels AS l JOIN siglip.label_sets AS s USING (label_set_id)
    WHERE NOT s.is_kept
    UNION
    SELECT f.label_id
    FROM siglip.label_refusals AS f JOIN siglip.models AS m ON m.model_id = f.model_id AND m.is_active
    WHERE NOT EXISTS (SELECT FROM siglip.label_embeddings AS v WHERE v.label_id = f.label_id AND v.model_id = f.model_id)
$function$;

-- The similarity that has this score, (ln(score / (1 - score)) - logit_bias) / exp(logit_scale): siglip.score the other way round.
-- Example: SELECT siglip.least_similarity(score => 0.5, logit_scale => 4.7, logit_bias => -16.5);
CREATE OR REPLACE FUNCTION siglip.least_similarity(score double precision, logit_scale double precision, logit_bias double precision)
 RETURNS double precision
 LANGUAGE sql
 IMMUTABLE
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
    SELECT CASE WHEN score <= 0 THEN -1.01 WHEN score >= 1 THEN (37 - logit_bias) / exp(logit_scale)
                ELSE (ln(score / (1 - score)) - logit_bias) / exp(logit_scale) END
$function$;

-- How many marked images are accepted by a fit that was made without them, and how many of those rightly: estimates of precision and recall.
-- Example: SELECT * FROM siglip.leave_one_out('{-3,-2.5,-6}', '{true,true,false}', 1, 2, 0.5);
CREATE OR REPLACE FUNCTION siglip.leave_one_out(logits double precision[], marks boolean[], scale double precision, bias double precision, threshold double precision, positive_weight double precision DEFAULT 1, OUT accepted integer, OUT right_accepted integer)
 RETURNS record
 LANGUAGE plpgsql
 IMMUTABLE
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
BEGIN
    IF cardinality(logits) <= 100 THEN
        SELECT count(*) FILTER (WHERE p.is_accepted), count(*) FILTER (WHERE p.is_accepted AND p.mark) INTO accepted, right_accepted
        FROM (
            SELECT m.mark, siglip.sigmoid(f.scale * m.logit + f.bias) >= threshold AS is_accepted
            FROM unnest(logits, marks) WITH ORDINALITY AS m (logit, mark, number)
            CROSS JOIN LATERAL siglip.fit_logistic(
                logits[: m.number - 1] || logits[m.number + 1 :], marks[: m.number - 1] || marks[m.number + 1 :],
                leave_one_out.scale, leave_one_out.bias, positive_weight) AS f
        ) AS p;
        RETURN;
    END IF;
    SELECT count(*) FILTER (WHERE p.is_accepted), count(*) FILTER (WHERE p.is_accepted AND p.mark) INTO accepted, right_accepted
    FROM (
        SELECT l.mark, siglip.sigmoid(
                   greatest(0.05, leave_one_out.scale + l.g * (l.bend * l.logit - l.bend_x) / l.determinant) * l.logit
                   + leave_one_out.bias + l.g * (l.bend_xx - l.bend_x * l.logit) / l.determinant) >= threshold AS is_accepted
        FROM (
            SELECT h.*, h.bend * h.bend_xx - h.bend_x ^ 2 AS determinant
            FROM (
                SELECT c.logit, c.mark, c.weight * (c.p - c.mark::integer) AS g,
                       1 / 2.25 + sum(c.w) OVER () - c.w AS bend, sum(c.w * c.logit) OVER () - c.w * c.logit AS bend_x,
                       4 + sum(c.w * c.logit ^ 2) OVER () - c.w * c.logit ^ 2 AS bend_xx
                FROM (
                    SELECT m.logit, m.mark, m.weight, s.p, m.weight * s.p * (1 - s.p) AS w
                    FROM (SELECT CASE WHEN abs(u.logit) < 1e-9 THEN 0 ELSE u.logit END AS logit, u.mark,
                                 CASE WHEN u.mark THEN positive_weight ELSE 1 END AS weight
                          FROM unnest(logits, marks) AS u (logit, mark)) AS m
                    CROSS JOIN LATERAL (
                        SELECT siglip.sigmoid(greatest(-200, least(200, leave_one_out.scale * m.logit + leave_one_out.bias)))) AS s (p)
                ) AS c
            ) AS h
        ) AS l
    ) AS p;
END
$function$;

-- A part of a query: like this indexed image. It is not among the results itself.
-- Example: SELECT * FROM siglip.search_images(siglip.compose(siglip.like(1), siglip.like(2), siglip.like(3), siglip.minus(siglip.like(4))));
CREATE OR REPLACE FUNCTION siglip."like"(image_id bigint, weight double precision DEFAULT 1)
 RETURNS siglip.query_part
 LANGUAGE plpgsql
 IMMUTABLE
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
BEGIN
    IF image_id IS NULL THEN
        RAISE EXCEPTION 'The image_id of a part is NULL.'
            USING ERRCODE = 'invalid_parameter_value', HINT = 'SELECT image_id, uri FROM siglip.images shows what there is.';
    END IF;
    RETURN siglip.write_part(jsonb_build_object('image_id', image_id), siglip.check_weight(weight));
END
$function$;

-- The server that has a segment's rows, NULL for this one, and the name of their table there. Here: connect_server must have been called.
-- Example: SELECT server, table_name FROM siglip.locate_segment('siglip.image_embeddings_1_1');
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

-- The mean of -ln(the probability that sigmoid(scale * logit + bias) gives to what was marked); NULL without marks.
-- Example: SELECT siglip.log_loss('{-3,2}', '{false,true}', 1, 0);
CREATE OR REPLACE FUNCTION siglip.log_loss(logits double precision[], marks boolean[], scale double precision, bias double precision)
 RETURNS double precision
 LANGUAGE sql
 IMMUTABLE
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
    SELECT avg(greatest(c.u, 0) + ln(1 + exp(-least(abs(c.u), 700))) - CASE WHEN c.y THEN c.u ELSE 0 END)
    FROM (SELECT scale * m.x + bias AS u, m.y FROM unnest(logits, marks) AS m (x, y)) AS c
$function$;

-- The natural logarithm of the score that belongs to a logit.
-- Example: SELECT siglip.log_score(-3);
CREATE OR REPLACE FUNCTION siglip.log_score(logit double precision)
 RETURNS double precision
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN (logit < ('-700'::integer)::double precision) THEN logit ELSE (- ln(((1)::double precision + exp((- logit))))) END;

-- The logit that belongs to the natural logarithm of a score.
-- Example: SELECT siglip.logit_of_log(ln(0.5));
CREATE OR REPLACE FUNCTION siglip.logit_of_log(log_score double precision)
 RETURNS double precision
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN (log_score > ('-0.000000001'::numeric)::double precision) THEN (- ln(GREATEST((- log_score), (0.0000000000000001)::double precision))) WHEN (log_score < ('-700'::integer)::double precision) THEN log_score ELSE (log_score - ln(((1)::double precision - exp(log_score)))) END;

-- Do the next step that the segments need, and return a sentence; NULL where there is nothing to do. With is_full one segment remains.
-- Example: SELECT siglip.maintain();
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

-- The prompts of a label: its own, or the one that the template makes.
-- Example: SELECT siglip.make_prompts('sunset', NULL, 'This is a photo of {label}.');
CREATE OR REPLACE FUNCTION siglip.make_prompts(label text, prompts text[], template text)
 RETURNS text[]
 LANGUAGE plpgsql
 IMMUTABLE
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
DECLARE
    prompt text;
BEGIN
    PERFORM siglip.check_label_name('A label', label);
    IF coalesce(cardinality(prompts), 0) = 0 THEN
        RETURN ARRAY[replace(template, '{label}', label)];
    END IF;
    FOREACH prompt IN ARRAY prompts LOOP
        PERFORM siglip.check_label_name(format('A prompt of the label %s', quote_literal(label)), prompt);
    END LOOP;
    RETURN prompts;
END
$function$;

-- Say which images have a label and which don't, or take that back (unmark); a mark wins over the model. Returns how many changed: one that says what an earlier one said stays that one's.
-- Example: SELECT siglip.mark_images('scenes', 'sunset', positives => '{6}', negatives => '{7,8}');
CREATE OR REPLACE FUNCTION siglip.mark_images(label_set text, label text, positives bigint[] DEFAULT NULL::bigint[], negatives bigint[] DEFAULT NULL::bigint[], unmark bigint[] DEFAULT NULL::bigint[], marked_by text DEFAULT CURRENT_USER)
 RETURNS integer
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
#variable_conflict use_column
DECLARE
    of_label  siglip.labels := siglip.find_label(mark_images.label_set, mark_images.label);
    named     constant bigint[] := coalesce(mark_images.positives, '{}') || coalesce(mark_images.negatives, '{}') || coalesce(mark_images.unmark, '{}');
    wrong     bigint;
    new_ids   bigint[];
    marked    integer;
    unmarked  bigint[];
BEGIN
    PERFORM siglip.check_label_name('marked_by', mark_images.marked_by);
    IF cardinality(mark_images.unmark) > 0 THEN
        PERFORM pg_advisory_xact_lock_shared(siglip.kept_labels_lock());  -- before any row: siglip.refresh_labels takes it first, too
    END IF;
    SELECT n INTO wrong FROM (SELECT DISTINCT unnest(a) AS n FROM (VALUES (mark_images.positives), (mark_images.negatives), (mark_images.unmark)) AS v (a)
                              WHERE a IS NOT NULL) AS u
    WHERE (SELECT count(*) FROM (VALUES (mark_images.positives), (mark_images.negatives), (mark_images.unmark)) AS v (a) WHERE u.n = ANY (v.a)) > 1 LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'The image % is in two of positives, negatives and unmark.', wrong
            USING ERRCODE = 'invalid_parameter_value', HINT = 'An image has the label or has it not.';
    END IF;
    IF has_table_privilege('siglip.images', 'UPDATE') THEN
        PERFORM FROM siglip.images AS i WHERE i.image_id = ANY (named) ORDER BY i.collection, i.uri FOR KEY SHARE;
    END IF;
    SELECT n INTO wrong FROM unnest(named) AS n
    WHERE n IS NULL OR NOT EXISTS (SELECT FROM siglip.images AS i WHERE i.image_id = n) LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'There is no image %.', coalesce(wrong::text, 'NULL')
            USING ERRCODE = 'no_data_found', HINT = 'SELECT image_id, uri FROM siglip.images shows what there is.';
    END IF;

    -- All rows in one order, so that two who mark the same images can't wait for each other.
    PERFORM FROM siglip.image_labels AS r WHERE r.label_id = of_label.label_id AND r.image_id = ANY (named) ORDER BY r.image_id FOR NO KEY UPDATE;
    new_ids := ARRAY(SELECT DISTINCT n FROM unnest(mark_images.positives) AS n WHERE NOT EXISTS (
        SELECT FROM siglip.image_labels AS r WHERE r.label_id = of_label.label_id AND r.image_id = n AND r.is_accepted) ORDER BY n);
    INSERT INTO siglip.image_labels AS r (label_id, image_id, is_accepted, marked_by)
    SELECT DISTINCT ON (n.image_id) of_label.label_id, n.image_id, n.is_accepted, mark_images.marked_by
    FROM (SELECT unnest(mark_images.positives), true UNION ALL SELECT unnest(mark_images.negatives), false) AS n (image_id, is_accepted)
    ORDER BY n.image_id
    ON CONFLICT (label_id, image_id) DO UPDATE
    SET is_accepted = excluded.is_accepted, marked_by = excluded.marked_by, updated_at = now()
    WHERE r.marked_by IS NULL OR r.is_accepted <> excluded.is_accepted;
    GET DIAGNOSTICS marked = ROW_COUNT;
    IF cardinality(new_ids) > 0 AND EXISTS (SELECT FROM siglip.label_sets AS s WHERE s.label_set_id = of_label.label_set_id AND s.is_kept) THEN
        PERFORM siglip.notify_labels(mark_images.label_set, of_label.label, new_ids);
    END IF;
    WITH gone AS (
        DELETE FROM siglip.image_labels AS r
        WHERE r.label_id = of_label.label_id AND r.image_id = ANY (mark_images.unmark) AND r.marked_by IS NOT NULL
        RETURNING r.image_id
    )
    SELECT array_agg(g.image_id) INTO unmarked FROM gone AS g;
    IF unmarked IS NOT NULL THEN  -- now the model decides: of this label alone, and its rows are locked
        PERFORM siglip.keep_contents(p.model_id, ARRAY(
            SELECT i.content_id FROM siglip.images AS i WHERE i.image_id = ANY (unmarked) AND i.content_id IS NOT NULL), ARRAY[p.label_id])
        FROM siglip.label_progress AS p WHERE p.label_id = of_label.label_id;
    END IF;
    RETURN marked + coalesce(cardinality(unmarked), 0);
END
$function$;

-- The images that people marked with a label, each with its place among all images by the similarity with the label under a model.
-- Example: SELECT r.* FROM siglip.described_model(1) AS m, siglip.labels AS l, siglip.mark_ranks(m, l.label_id) AS r WHERE l.label = 'sunset';
CREATE OR REPLACE FUNCTION siglip.mark_ranks(model siglip.models, label_id integer)
 RETURNS TABLE(image_id bigint, is_accepted boolean, place bigint)
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
 SET jit TO 'off'
AS $function$
#variable_conflict use_column
DECLARE
    label_embedding public.halfvec;
BEGIN
    SELECT v.embedding INTO label_embedding FROM siglip.label_embeddings AS v
    WHERE v.model_id = model.model_id AND v.label_id = mark_ranks.label_id;
    RETURN QUERY EXECUTE format(
        'SELECT l.image_id, l.is_accepted, r.place FROM ('
        '  SELECT e.content_id, rank() OVER (ORDER BY e.embedding OPERATOR(public.<#>) $1) AS place'
        '  FROM siglip.image_embeddings AS e WHERE e.model_id = %s'
        ') AS r JOIN siglip.images AS i ON i.content_id = r.content_id'
        ' JOIN siglip.image_labels AS l ON l.image_id = i.image_id'
        ' WHERE l.label_id = $2 AND l.marked_by IS NOT NULL', model.model_id)
        USING label_embedding, label_id;
END
$function$;

-- The text of the query that makes one array of matches, best first, of what a search finds.
-- Example: SELECT siglip.matches_query(siglip.graph_query(1, 16));
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
-- Example: SELECT siglip.measure_in_passing(m) FROM siglip.active_model() AS m;
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
-- Example: SELECT r.kind, r.ef_search, r.recall FROM siglip.active_model() AS m, siglip.measure_recall(m, 20, 10, NULL, NULL, '{40,100}', 0.95) AS r;
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
-- Example: SELECT siglip.measure_searches(m, ARRAY[siglip.embed_text('sunset')], '{NULL}', 10, NULL, NULL) FROM siglip.active_model() AS m;
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

-- A part of a query that is not wanted: a text, or siglip.like(17) for "less like that image".
-- Example: SELECT * FROM siglip.search_images(siglip.compose('beach', siglip.minus('people')));
CREATE OR REPLACE FUNCTION siglip.minus(part siglip.query_part, weight double precision DEFAULT 1)
 RETURNS siglip.query_part
 LANGUAGE sql
 IMMUTABLE
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
    SELECT siglip.write_part(p.part, -siglip.check_weight(weight) * (p.part ->> 'weight')::double precision)
    FROM (SELECT siglip.read_part(part)) AS p (part)
$function$;

-- What the active model has and another one lacks, images and labels, in words; NULL where siglip.switch_model would switch at once.
-- Example: SELECT siglip.missing_under_model(2);
CREATE OR REPLACE FUNCTION siglip.missing_under_model(model_id integer)
 RETURNS text
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
#variable_conflict use_variable
DECLARE
    active siglip.models;
    other  siglip.models;
    counts record;
    absent record;
BEGIN
    SELECT m.* INTO active FROM siglip.models AS m WHERE m.is_active;
    SELECT m.* INTO other FROM siglip.models AS m WHERE m.model_id = missing_under_model.model_id;
    IF other.model_id = active.model_id THEN
        RETURN NULL;
    END IF;
    -- Images that the active model hasn't either are no reason to stay with it. The ledger knows nothing of vectors that are imported.
    IF other.is_external THEN
        SELECT count(*) AS images, 0 AS queued, 0 AS failed, count(*) - count(e.content_id) AS absent, count(e.content_id) AS embedded
        INTO counts
        FROM siglip.ingest_items AS t
        JOIN siglip.images AS i ON i.image_id = t.image_id
        LEFT JOIN siglip.image_embeddings AS e ON e.model_id = missing_under_model.model_id AND e.content_id = i.content_id
        WHERE t.model_id = active.model_id AND t.state = 'done';
    ELSE
        SELECT count(*) AS images,
               count(*) FILTER (WHERE o.state IN ('queued', 'claimed')) AS queued,
               count(*) FILTER (WHERE o.state = 'failed') AS failed,
               count(*) FILTER (WHERE o.state IS NULL) AS absent,
               count(*) FILTER (WHERE o.state = 'done') AS embedded
        INTO counts
        FROM siglip.ingest_items AS t
        LEFT JOIN siglip.ingest_items AS o ON o.image_id = t.image_id AND o.model_id = missing_under_model.model_id
        WHERE t.model_id = active.model_id AND t.state = 'done';
    END IF;
    -- A label that the active model has no vector of either (it may read nothing of it) is missing nowhere. An external model has none of any.
    SELECT count(*) FILTER (WHERE NOT l.is_refused) AS labels, min(l.label) FILTER (WHERE NOT l.is_refused) AS label,
           count(*) FILTER (WHERE l.is_refused) AS refused, min(l.label) FILTER (WHERE l.is_refused) AS refused_label INTO absent
    FROM (SELECT o.label_id, o.label, EXISTS (
              SELECT FROM siglip.label_refusals AS r WHERE r.label_id = o.label_id AND r.model_id = missing_under_model.model_id) AS is_refused
          FROM siglip.labels AS o) AS l
    WHERE NOT EXISTS (SELECT FROM siglip.label_embeddings AS v WHERE v.label_id = l.label_id AND v.model_id = missing_under_model.model_id)
      AND EXISTS (SELECT FROM siglip.label_embeddings AS v WHERE v.label_id = l.label_id AND v.model_id = active.model_id)
      AND NOT other.is_external;
    RETURN nullif(concat_ws('; ',
        CASE WHEN counts.embedded < counts.images
             THEN format('%s of the %s images that the active model has are embedded under it (%s)', counts.embedded, counts.images,
                         concat_ws(', ', CASE WHEN counts.queued > 0 THEN counts.queued || ' queued' END,
                                   CASE WHEN counts.failed > 0 THEN counts.failed || ' failed' END,
                                   CASE WHEN counts.absent > 0
                                        THEN counts.absent || CASE WHEN other.is_external THEN ' not imported' ELSE ' not queued' END END)) END,
        CASE WHEN absent.labels > 0
             THEN format('%s labels have no vector under it yet, %s for instance', absent.labels, quote_literal(absent.label)) END,
        CASE WHEN absent.refused > 0
             THEN format('%s labels can''t be embedded under it, %s for instance (siglip.label_status says why)',
                         absent.refused, quote_literal(absent.refused_label)) END), '');
END
$function$;

-- The models that new images are queued for, which stay so until the transaction ends; an error where there are none.
-- Example: SELECT siglip.models_to_queue();
CREATE OR REPLACE FUNCTION siglip.models_to_queue()
 RETURNS integer[]
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
DECLARE
    model_ids integer[];
BEGIN
    -- They stay what they are until the images are written: a switch then queues what it lacks.
    PERFORM pg_advisory_xact_lock_shared('siglip.models'::regclass::oid::bigint);
    model_ids := ARRAY(SELECT siglip.kept_models());
    IF cardinality(model_ids) = 0 THEN
        RAISE EXCEPTION 'Images can''t be queued: no model that a worker can load is active in this database.'
            USING ERRCODE = 'object_not_in_prerequisite_state',
                  HINT = 'Start a worker (siglip-ingest worker): it activates its model; or name one: siglip-ingest models use NAME.';
    END IF;
    RETURN model_ids;
END
$function$;

-- Move a closed segment to another server, or, with NULL, back to this one, while searches and workers go on; returns how many rows it has.
-- Example: SELECT siglip.move_segment('siglip.image_embeddings_1_1', 'archive');
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

-- The labels that a query names, each with its vector and its rule; an error where one is not there.
-- Example: SELECT name, threshold FROM siglip.named_labels(siglip.active_model(), 'scenes', '{sunset,forest}', NULL);
CREATE OR REPLACE FUNCTION siglip.named_labels(model siglip.models, label_set text, names text[], min_score double precision)
 RETURNS SETOF siglip.named_label
 LANGUAGE plpgsql
 STABLE ROWS 3
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
DECLARE
    given text;
    found siglip.named_label[];
BEGIN
    FOREACH given IN ARRAY names LOOP
        found := ARRAY(
            SELECT ROW(given, s.name, l.label, v.embedding, c.threshold, c.logit_scale, c.logit_bias,
                       siglip.least_similarity(c.threshold, c.logit_scale, c.logit_bias))::siglip.named_label
            FROM siglip.label_sets AS s
            JOIN siglip.labels AS l USING (label_set_id)
            LEFT JOIN siglip.label_rules AS r ON r.label_id = l.label_id AND r.model_id = model.model_id
            LEFT JOIN siglip.label_embeddings AS v ON v.label_id = l.label_id AND v.model_id = model.model_id
            CROSS JOIN LATERAL (
                SELECT model.logit_scale, model.logit_bias, named_labels.min_score WHERE named_labels.min_score IS NOT NULL
                UNION ALL
                SELECT model.logit_scale + ln(r.scale), r.scale * model.logit_bias + r.bias, r.threshold
                WHERE named_labels.min_score IS NULL
            ) AS c (logit_scale, logit_bias, threshold)
            WHERE (named_labels.label_set IS NULL AND s.name || '/' || l.label = given)
               OR (s.name = named_labels.label_set AND l.label = given));
        IF cardinality(found) = 0 AND label_set IS NULL THEN
            RAISE EXCEPTION 'There is no label %.', coalesce(quote_literal(given), 'NULL')
                USING ERRCODE = 'no_data_found',
                      HINT = 'Without a label set, write the set and the label with a stroke between them: ''scenes/sunset''.';
        ELSIF cardinality(found) = 0 THEN
            RAISE EXCEPTION 'The label set % has no label %.', quote_literal(label_set), coalesce(quote_literal(given), 'NULL')
                USING ERRCODE = 'no_data_found', HINT = 'SELECT label FROM siglip.labels shows what there is.';
        ELSIF cardinality(found) > 1 THEN
            RAISE EXCEPTION '% is the name of several labels: %.', quote_literal(given),
                (SELECT string_agg(format('%L of the label set %L', f.label, f.label_set), ', ' ORDER BY f.label_set) FROM unnest(found) AS f)
                USING ERRCODE = 'invalid_parameter_value', HINT = 'Name the label set in the first argument.';
        ELSIF found[1].embedding IS NULL THEN
            RAISE EXCEPTION 'The label % has no vector under the model % yet.', quote_literal(given), model.name
                USING ERRCODE = 'no_data_found', HINT = siglip.vector_hint(found[1].label_set, found[1].label, model.model_id);
        END IF;
        RETURN NEXT found[1];
    END LOOP;
END
$function$;

-- The text of the conditions that a collection and a filter are, for images of that name in a query.
-- Example: SELECT siglip.narrowing('i', 'holiday', '{"album": "2026"}');
CREATE OR REPLACE FUNCTION siglip.narrowing(name text, collection text, filter jsonb)
 RETURNS text
 LANGUAGE plpgsql
 IMMUTABLE
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
BEGIN
    IF jsonb_typeof(filter) <> 'object' THEN
        RAISE EXCEPTION 'filter is a JSON %, not an object.', jsonb_typeof(filter)
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Write for instance filter => ''{"album": "2026"}''.';
    END IF;
    RETURN CASE WHEN collection IS NULL THEN '' ELSE format(' AND %I.collection = %L', name, collection) END
        || CASE WHEN filter IS NULL THEN '' ELSE format(' AND %I.metadata @> %L', name, filter) END;
END
$function$;

-- Pairs of different contents whose similarity under a model reaches min_similarity, each once, in no order.
-- Example: SELECT * FROM siglip.near_duplicate_contents(siglip.active_model(), 0.9, 'holiday', NULL, NULL, NULL);
CREATE OR REPLACE FUNCTION siglip.near_duplicate_contents(model siglip.models, min_similarity double precision, collection text, filter jsonb, after_content_id bigint, up_to_content_id bigint)
 RETURNS TABLE(content_id bigint, other_content_id bigint, similarity double precision)
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
 SET jit TO 'off'
 SET work_mem TO '64MB'
 SET "hnsw.iterative_scan" TO 'off'
 SET "hnsw.ef_search" TO '100'
AS $function$
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
            ') SELECT a.content_id, b.content_id, siglip.similarity(a.embedding OPERATOR(public.<#>) b.embedding)'
            ' FROM passing AS a JOIN passing AS b ON b.content_id > a.content_id'
            ' WHERE a.content_id > coalesce($2, 0) AND ($3 IS NULL OR a.content_id <= $3)'
            ' AND a.embedding OPERATOR(public.<#>) b.embedding <= $4', model.model_id)
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
            'SELECT e.content_id, e.embedding::public.halfvec(%1$s) OPERATOR(public.<#>) c.embedding AS distance'
            ' FROM siglip.image_embeddings AS e WHERE e.model_id = %2$s'
            ' ORDER BY e.embedding::public.halfvec(%1$s) OPERATOR(public.<#>) c.embedding LIMIT %3$s'
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
            'SELECT a.content_id, b.content_id AS other_id, a.embedding OPERATOR(public.<#>) b.embedding AS distance'
            ' FROM siglip.image_embeddings AS b JOIN siglip.image_embeddings AS a ON a.content_id < b.content_id'
            ' WHERE a.model_id = %1$s AND a.content_id = ANY (ARRAY(SELECT unnest($1))) AND b.model_id = %1$s'
            ' AND a.embedding OPERATOR(public.<#>) b.embedding <= $2) AS n', model.model_id)
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
$function$;

-- Pairs of images whose similarity reaches min_similarity, each once, most alike first; is_same_content where the files are the same. A large collection is gone through in ranges of siglip.images.content_id.
-- Example: SELECT * FROM siglip.near_duplicates(0.95, collection => 'holiday');
CREATE OR REPLACE FUNCTION siglip.near_duplicates(min_similarity double precision DEFAULT 0.95, collection text DEFAULT NULL::text, filter jsonb DEFAULT NULL::jsonb, max_pairs integer DEFAULT 1000, after_content_id bigint DEFAULT NULL::bigint, up_to_content_id bigint DEFAULT NULL::bigint, model_id integer DEFAULT NULL::integer)
 RETURNS TABLE(image_id bigint, other_image_id bigint, similarity double precision, is_same_content boolean)
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
 SET jit TO 'off'
AS $function$
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
$function$;

-- The vector search that search_images and similar_images share.
-- Example: SELECT n.image_id, n.score FROM siglip.active_model() AS m, siglip.nearest_images(m, siglip.embed_text('sunset'), 5, 'holiday', NULL, NULL, NULL) AS n;
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
-- Example: SELECT siglip.needs_measuring(m) FROM siglip.active_model() AS m;
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

-- Note which rows of an attached table got, lost or changed an image or metadata; siglip.attach makes the triggers that call it.
-- Example: UPDATE public.product SET photo_url = 'https://example.org/new.jpg' WHERE id = 1;
CREATE OR REPLACE FUNCTION siglip.note_attached_changes()
 RETURNS trigger
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
 SET "DateStyle" TO 'ISO, YMD'
 SET "IntervalStyle" TO 'postgres'
 SET "TimeZone" TO 'UTC'
 SET bytea_output TO 'hex'
 SET extra_float_digits TO '1'
AS $function$
DECLARE
    keys_at_once constant integer := 250000;  -- an array of the longest keys that an index takes has less than 1 GB
    is_allowed boolean := has_schema_privilege('siglip', 'USAGE');
    table_row  record;
    old_key    text;
    new_key    text;
    same_key   text;
    changed    text;
    row_keys   text[];
    noted      bigint := 1;
BEGIN
    IF is_allowed THEN  -- a statement of its own: without a right to the schema, its tables can't even be asked about
        is_allowed := has_table_privilege('siglip.attachments', 'SELECT') AND has_table_privilege('siglip.attached_changes', 'INSERT');
    END IF;
    IF NOT is_allowed THEN
        RAISE EXCEPTION 'The role % may write to %, but not note for siglip what changes: that table is attached.',
            current_user, TG_RELID::regclass
            USING ERRCODE = 'insufficient_privilege',
                  HINT = format('GRANT USAGE ON SCHEMA siglip TO %1$I; GRANT SELECT ON siglip.attachments TO %1$I; '
                                'GRANT INSERT ON siglip.attached_changes TO %1$I', current_user);
    END IF;
    -- Names of the columns as they are now: those of the key, that of the image, those of the metadata.
    SELECT a.attachment_id, cardinality(a.id_columns) AS ids, c.names, c.are_plain, c.are_by_text INTO table_row
    FROM siglip.attachments AS a
    CROSS JOIN LATERAL (
        SELECT array_agg(quote_ident(c.attname) ORDER BY n.place) AS names,
               -- Types that IS DISTINCT FROM surely works for.
               array_agg(c.atttypid < 16384 AND t.typcategory IN ('N', 'S', 'D', 'B') ORDER BY n.place) AS are_plain,
               -- Types whose values may be equal but for their text, as 1.0 and 1.00 are; or domains, which may be over these.
               array_agg(c.atttypid = 'numeric'::regtype OR c.atttypid >= 16384 ORDER BY n.place) AS are_by_text
        FROM unnest(a.id_columns || a.uri_column || a.metadata_columns, a.id_numbers || a.uri_number || a.metadata_numbers)
             WITH ORDINALITY AS n (name, number, place)
        LEFT JOIN pg_attribute AS c ON c.attrelid = TG_RELID AND c.attnum > 0 AND NOT c.attisdropped
             AND CASE WHEN a.table_oid = TG_RELID THEN c.attnum = n.number ELSE c.attname = n.name END
        LEFT JOIN pg_type AS t ON t.oid = c.atttypid
    ) AS c
    WHERE a.attached_table = TG_RELID;
    IF NOT FOUND AND NOT EXISTS (
        SELECT FROM pg_trigger AS t WHERE t.tgrelid = TG_RELID AND t.tgfoid = 'siglip.note_attached_changes()'::regprocedure
    ) THEN  -- what the transaction sees is older than the trigger that called this
        RAISE EXCEPTION 'could not serialize access: % was attached after this transaction began', TG_RELID::regclass
            USING ERRCODE = 'serialization_failure', HINT = 'Run the transaction again.';
    ELSIF NOT FOUND OR array_position(table_row.names[1 : table_row.ids + 1], NULL) IS NOT NULL THEN
        -- It was restored without the data of siglip, or a column is gone. Whoever writes to it can't help it; siglip.attached_tables shows it.
        RETURN NULL;
    ELSIF TG_OP = 'TRUNCATE' THEN
        INSERT INTO siglip.attached_changes (attachment_id) VALUES (table_row.attachment_id);
    ELSE
        FOR n IN 1 .. table_row.ids LOOP
            old_key := concat_ws(', ', old_key, format('o.%s::text', table_row.names[n]));
            new_key := concat_ws(', ', new_key, format('r.%s::text', table_row.names[n]));
            same_key := concat_ws(' AND ', same_key, format(
                CASE WHEN table_row.are_by_text[n] THEN 'o.%1$s::text = r.%1$s::text' ELSE 'o.%1$s = r.%1$s' END, table_row.names[n]));
        END LOOP;
        IF table_row.ids > 1 THEN
            old_key := format('ARRAY[%s]::text', old_key);
            new_key := format('ARRAY[%s]::text', new_key);
        END IF;
        IF TG_OP = 'INSERT' THEN
            changed := format('SELECT %s FROM new_rows AS r WHERE r.%s IS NOT NULL', new_key, table_row.names[table_row.ids + 1]);
        ELSIF TG_OP = 'DELETE' THEN
            changed := format('SELECT %s FROM old_rows AS o WHERE o.%s IS NOT NULL', old_key, table_row.names[table_row.ids + 1]);
        ELSE
            FOR n IN table_row.ids + 1 .. cardinality(table_row.names) LOOP
                -- By their bytes (*<>), which needs no operator of the type, where it isn't known to have one.
                changed := concat_ws(' OR ', changed, CASE
                    WHEN table_row.are_plain[n] THEN format('o.%1$s IS DISTINCT FROM r.%1$s', table_row.names[n])
                    WHEN table_row.names[n] IS NOT NULL
                    THEN format('ROW(o.%1$s)::record OPERATOR(pg_catalog.*<>) ROW(r.%1$s)::record', table_row.names[n]) END);
            END LOOP;
            -- A key that is gone, or new, stands beside NULLs: it differs where there is anything to see.
            changed := format('SELECT CASE WHEN r.%s IS NULL THEN %s ELSE %s END FROM old_rows AS o FULL JOIN new_rows AS r ON %s WHERE %s',
                              table_row.names[1], old_key, new_key, same_key, changed);
        END IF;
        EXECUTE format('SELECT array_agg(c.row_key) FROM (%s LIMIT %s) AS c (row_key)', changed, keys_at_once) INTO row_keys;
        noted := coalesce(cardinality(row_keys), 0);
        IF noted = keys_at_once THEN
            -- All of them by one query: another one may be planned otherwise, have the keys in another order, and so miss some.
            EXECUTE format(
                'INSERT INTO siglip.attached_changes (attachment_id, row_keys) SELECT $1, array_agg(c.row_key) FROM ('
                'SELECT d.row_key, row_number() OVER () / 1000 AS part FROM (%s) AS d (row_key)) AS c GROUP BY c.part ORDER BY c.part',
                changed) USING table_row.attachment_id;
        ELSIF noted > 0 THEN
            INSERT INTO siglip.attached_changes (attachment_id, row_keys) VALUES (table_row.attachment_id, row_keys);
        END IF;
    END IF;
    IF noted > 0 THEN
        PERFORM pg_notify('siglip_ingest_items', 'attached');
    END IF;
    RETURN NULL;
END
$function$;

-- Note what the columns of an attached table are called now, and their numbers: a restored dump knows them by name.
-- Example: SELECT siglip.note_names(a, siglip.plan_attachment(a)) FROM siglip.attachments AS a;
CREATE OR REPLACE FUNCTION siglip.note_names(attachment siglip.attachments, plan siglip.attachment_plan)
 RETURNS void
 LANGUAGE sql
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
    UPDATE siglip.attachments AS a
    SET table_oid = a.attached_table::oid, id_columns = plan.id_names, uri_column = plan.uri_name,
        metadata_columns = ARRAY(
            SELECT coalesce(n.now, n.before) FROM unnest(plan.metadata_names, a.metadata_columns) WITH ORDINALITY AS n (now, before, place) ORDER BY n.place),
        id_numbers = ARRAY(SELECT c.attnum FROM unnest(plan.id_names) WITH ORDINALITY AS n (name, place)
                           JOIN pg_attribute AS c ON c.attrelid = a.attached_table AND c.attname = n.name ORDER BY n.place),
        uri_number = (SELECT c.attnum FROM pg_attribute AS c WHERE c.attrelid = a.attached_table AND c.attname = plan.uri_name),
        metadata_numbers = ARRAY(SELECT coalesce(c.attnum, 0) FROM unnest(plan.metadata_names) WITH ORDINALITY AS n (name, place)
                                 LEFT JOIN pg_attribute AS c ON c.attrelid = a.attached_table AND c.attname = n.name ORDER BY n.place)
    WHERE a.attachment_id = attachment.attachment_id
$function$;

-- Tell who listens to siglip_image_labels which images are new with a label: JSON with label_set, label and up to 250 image_ids a message.
-- Example: SELECT siglip.notify_labels('scenes', 'sunset', '{1,2}');
CREATE OR REPLACE FUNCTION siglip.notify_labels(label_set text, label text, image_ids bigint[])
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
DECLARE
    most constant integer := 250;
BEGIN
    IF octet_length(to_json(label_set)::text) + octet_length(to_json(label)::text) > 2000 THEN
        RETURN;  -- no message has room for such names
    END IF;
    FOR part IN 0 .. (cardinality(image_ids) - 1) / most LOOP
        PERFORM pg_notify('siglip_image_labels', json_build_object(
            'label_set', label_set, 'label', label, 'image_ids', image_ids[part * most + 1 : (part + 1) * most])::text);
    END LOOP;
END
$function$;

-- A text as it stands; an error where it is a part of a composed query.
-- Example: SELECT siglip.plain_text('a lake');
CREATE OR REPLACE FUNCTION siglip.plain_text(query text)
 RETURNS text
 LANGUAGE plpgsql
 IMMUTABLE
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
BEGIN
    IF starts_with(query, E'\x1f') THEN
        RAISE EXCEPTION 'The query is a part of a composed query, not a text.'
            USING ERRCODE = 'invalid_parameter_value', HINT = 'siglip.search_images takes siglip.like(42) and siglip.compose(...).';
    END IF;
    RETURN plain_text.query;
END
$function$;

-- How the rows of an attached table are read now, with the names that its columns have; or why they can't be.
-- Example: SELECT (siglip.plan_attachment(a)).row_key FROM siglip.attachments AS a;
CREATE OR REPLACE FUNCTION siglip.plan_attachment(attachment siglip.attachments)
 RETURNS siglip.attachment_plan
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
DECLARE
    plan         siglip.attachment_plan;
    is_restored  constant boolean := attachment.attached_table::oid <> attachment.table_oid;
    first_of_user constant oid := 16384;
    numbers      smallint[];
    names        text[];
    types        oid[];
    ids          constant integer := cardinality(attachment.id_columns);
    metadata_n   constant integer := cardinality(attachment.metadata_columns);
    uri_type     oid;
    element_type oid;
    item         text;
BEGIN
    IF is_restored THEN
        SELECT array_agg(a.attnum ORDER BY n.place), array_agg(a.attname::text ORDER BY n.place),
               array_agg(CASE WHEN a.atttypid < first_of_user THEN a.atttypid ELSE siglip.base_type(a.atttypid) END ORDER BY n.place)
        INTO numbers, names, types
        FROM unnest(attachment.id_columns || attachment.uri_column || attachment.metadata_columns) WITH ORDINALITY AS n (name, place)
        LEFT JOIN pg_attribute AS a ON a.attrelid = attachment.attached_table AND a.attname = n.name AND NOT a.attisdropped AND a.attnum > 0;
    ELSE
        SELECT array_agg(a.attnum ORDER BY n.place), array_agg(a.attname::text ORDER BY n.place),
               array_agg(CASE WHEN a.atttypid < first_of_user THEN a.atttypid ELSE siglip.base_type(a.atttypid) END ORDER BY n.place)
        INTO numbers, names, types
        FROM unnest(attachment.id_numbers || attachment.uri_number || attachment.metadata_numbers) WITH ORDINALITY AS n (number, place)
        LEFT JOIN pg_attribute AS a ON a.attrelid = attachment.attached_table AND a.attnum = n.number AND NOT a.attisdropped;
    END IF;
    plan.id_names := names[1 : ids];
    plan.uri_name := names[ids + 1];
    plan.metadata_names := names[ids + 2 :];
    IF array_position(plan.id_names, NULL) IS NOT NULL OR plan.uri_name IS NULL THEN
        plan.problem := format(
            'The column %I of %s, which names its rows or images, is gone: nothing is followed. siglip.detach, and attach it again.',
            CASE WHEN plan.uri_name IS NULL THEN attachment.uri_column
                 ELSE attachment.id_columns[array_position(plan.id_names, NULL)] END, attachment.attached_table);
        RETURN plan;
    END IF;
    uri_type := types[ids + 1];
    SELECT CASE WHEN t.typelem <> 0 AND t.typlen = -1 AND t.typcategory = 'A' THEN siglip.base_type(t.typelem) END INTO element_type
    FROM pg_type AS t WHERE t.oid = uri_type;
    plan.is_content := coalesce(element_type, uri_type) = 'bytea'::regtype;
    FOR i IN 1 .. ids LOOP
        IF types[i] >= first_of_user THEN
            plan.problem := format('The column %I of %s has the type %s. Columns that name rows have one of PostgreSQL''s own types.',
                                   names[i], attachment.attached_table, types[i]::regtype);
            RETURN plan;
        END IF;
    END LOOP;
    IF coalesce(element_type, uri_type) NOT IN ('text'::regtype, 'varchar'::regtype, 'bpchar'::regtype, 'bytea'::regtype) THEN
        plan.problem := format('The column %I of %s has the type %s. Images are given as text or bytea, or as an array of one of them.',
                               plan.uri_name, attachment.attached_table, uri_type::regtype);
        RETURN plan;
    END IF;

    SELECT CASE ids WHEN 1 THEN string_agg(format('r.%I::text', names[n]), '')
           ELSE format('ARRAY[%s]::text', string_agg(format('r.%I::text', names[n]), ', ' ORDER BY n)) END,
           string_agg(format('r.%I = CASE WHEN pg_input_is_valid(k.parts[%s], %L) THEN k.parts[%s]::%s END',
                             names[n], n, format_type(types[n], -1), n, format_type(types[n], -1))
                      -- 1.0 and 1.00 are equal, but two keys: a row has the one that it is written with.
                      || CASE WHEN types[n] = 'numeric'::regtype THEN format(' AND r.%I::text = k.parts[%s]', names[n], n) ELSE '' END,
                      ' AND ' ORDER BY n)
    INTO plan.row_key, plan.matches
    FROM generate_series(1, ids) AS n;
    plan.has_image := format('r.%I IS NOT NULL', plan.uri_name);

    item := CASE WHEN plan.is_content THEN 'CASE WHEN octet_length(v.item) > 0 THEN ''sha256:'' || encode(sha256(v.item), ''hex'') END'
                 ELSE 'btrim(v.item::text, E'' \t\r\n'')' END;
    plan.images := format(
        'SELECT v.place, u.uri, %s AS content FROM (SELECT %s) AS v (item, place) CROSS JOIN LATERAL (SELECT %s) AS u (uri)'
        ' WHERE u.uri <> '''' AND octet_length(u.uri) <= 2000',
        CASE WHEN plan.is_content THEN 'v.item' ELSE 'NULL::bytea' END,
        CASE WHEN element_type IS NULL THEN format('r.%I, 1', plan.uri_name)
             ELSE format('w.item, w.place FROM unnest(r.%I) WITH ORDINALITY AS w (item, place)', plan.uri_name) END, item);
    SELECT format('jsonb_build_object(%s)', string_agg(format('%L::text, %s', attachment.metadata_keys[n - ids - 1], CASE
               -- json takes what jsonb doesn't, such as \u0000: that becomes metadata as its text.
               WHEN types[n] IN ('json'::regtype, 'json[]'::regtype) THEN format(
                   'CASE WHEN pg_input_is_valid(to_json(r.%1$I::%2$s)::text, ''jsonb'') THEN to_jsonb(r.%1$I::%2$s) ELSE to_jsonb(r.%1$I::%2$s::text) END',
                   names[n], format_type(types[n], -1))
               WHEN types[n] < first_of_user THEN format('to_jsonb(r.%I::%s)', names[n], format_type(types[n], -1))
               ELSE format('CASE WHEN r.%1$I IS NOT NULL THEN to_jsonb(concat(r.%1$I)) END', names[n]) END), ', ' ORDER BY n))
    INTO plan.metadata
    FROM generate_series(ids + 2, ids + 1 + metadata_n) AS n WHERE names[n] IS NOT NULL;
    plan.metadata := coalesce(plan.metadata, '''{}''::jsonb');
    RETURN plan;
END
$function$;

-- A part of a query with a weight: more or less than the 1 of a plain text.
-- Example: SELECT * FROM siglip.search_images(siglip.compose('beach', siglip.plus('at night', 0.5)));
CREATE OR REPLACE FUNCTION siglip.plus(part siglip.query_part, weight double precision DEFAULT 1)
 RETURNS siglip.query_part
 LANGUAGE sql
 IMMUTABLE
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
    SELECT siglip.write_part(p.part, siglip.check_weight(weight) * (p.part ->> 'weight')::double precision)
    FROM (SELECT siglip.read_part(part)) AS p (part)
$function$;

-- The contents whose segments have an index of bits, as ranges of content_id.
-- Example: SELECT siglip.quantised_contents(1);
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
-- Example: SELECT siglip.quantised_query(1, 16, '{[1,41)}');
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

-- Queue every image that the ledger doesn't have under a model, and wake its workers; returns how many. None under an external model.
-- Example: SELECT siglip.queue_missing_images(2);
CREATE OR REPLACE FUNCTION siglip.queue_missing_images(model_id integer)
 RETURNS bigint
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
#variable_conflict use_column
DECLARE
    attempts constant integer := 10;
    queued   bigint;
BEGIN
    FOR attempt IN 1 .. attempts LOOP
        BEGIN
            INSERT INTO siglip.ingest_items AS t (image_id, model_id)
            SELECT i.image_id, queue_missing_images.model_id
            FROM siglip.images AS i
            WHERE NOT EXISTS (
                SELECT FROM siglip.ingest_items AS o WHERE o.image_id = i.image_id AND o.model_id = queue_missing_images.model_id
            )
              AND NOT EXISTS (SELECT FROM siglip.models AS m WHERE m.model_id = queue_missing_images.model_id AND m.is_external)
              AND NOT EXISTS (SELECT FROM siglip.model_drops AS d WHERE d.model_id = queue_missing_images.model_id)
            ORDER BY i.image_id
            ON CONFLICT (image_id, model_id) DO NOTHING;
            GET DIAGNOSTICS queued = ROW_COUNT;
            EXIT;
        EXCEPTION WHEN foreign_key_violation THEN  -- some of them have been deleted meanwhile
            IF attempt = attempts THEN
                RAISE;
            END IF;
        END;
    END LOOP;
    IF queued > 0 THEN
        PERFORM pg_notify('siglip_ingest_items', queue_missing_images.model_id::text);
    END IF;
    RETURN queued;
END
$function$;

-- The label that the fewest images have, as a sample of the vectors tells; the first where there is no sample.
-- Example: SELECT (siglip.rarest_label(siglip.active_model(), ARRAY(SELECT n FROM siglip.named_labels(siglip.active_model(), 'scenes', '{sunset,forest}', NULL) AS n))).label;
CREATE OR REPLACE FUNCTION siglip.rarest_label(model siglip.models, labels siglip.named_label[])
 RETURNS siglip.named_label
 LANGUAGE sql
 STABLE
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
    SELECT u
    FROM unnest(labels) WITH ORDINALITY
         AS p (name, label_set, label, embedding, threshold, logit_scale, logit_bias, least_similarity, place)
    CROSS JOIN LATERAL (
        SELECT count(*) FILTER (WHERE d.excess >= 0) AS hits, max(d.excess) AS excess
        FROM siglip.landmarks AS m
        CROSS JOIN LATERAL (SELECT siglip.similarity(m.embedding OPERATOR(public.<#>) p.embedding) - p.least_similarity) AS d (excess)
        WHERE m.model_id = model.model_id
    ) AS c
    CROSS JOIN LATERAL (
        SELECT ROW(p.name, p.label_set, p.label, p.embedding, p.threshold, p.logit_scale, p.logit_bias, p.least_similarity)::siglip.named_label
    ) AS r (u)
    ORDER BY c.hits, c.excess, p.place LIMIT 1
$function$;

-- A part of a query as JSON: query, image_id or embedding, and weight.
-- Example: SELECT siglip.read_part(siglip.minus('people'));
CREATE OR REPLACE FUNCTION siglip.read_part(part siglip.query_part)
 RETURNS jsonb
 LANGUAGE plpgsql
 IMMUTABLE
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
BEGIN
    IF part IS NULL OR btrim(part, E' \t\n\r') = '' THEN
        RAISE EXCEPTION 'A part of the query is %.', CASE WHEN part IS NULL THEN 'NULL' ELSE 'an empty text' END
            USING ERRCODE = 'invalid_parameter_value', HINT = 'A part is a text, or siglip.minus(''people''), siglip.like(42), ...';
    ELSIF NOT starts_with(part, E'\x1f') THEN
        RETURN jsonb_build_object('query', part, 'weight', 1);
    END IF;
    RETURN substr(part, 2)::jsonb;
EXCEPTION WHEN invalid_text_representation THEN
    RAISE EXCEPTION 'A part of the query begins with the character U+001F.'
        USING ERRCODE = 'invalid_parameter_value', HINT = 'Take it out of the text: it says nothing.';
END
$function$;

-- The parameters of a libpq URL, by libpq's keywords.
-- Example: SELECT keyword, value FROM siglip.read_server_url('postgresql://siglip:secret@10.0.0.8/segments');
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
-- Example: SELECT siglip.rebuild_segments('{siglip.image_embeddings_1_1}');
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

-- Fit each label that is calibrated under another model, and not yet under this one, to its marks: before the model becomes the active one. Without a version, note says why not.
-- Example: SELECT * FROM siglip.recalibrate(2);
CREATE OR REPLACE FUNCTION siglip.recalibrate(model_id integer)
 RETURNS TABLE(label_set text, label text, version integer, note text)
 LANGUAGE plpgsql
 ROWS 100
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
#variable_conflict use_column
DECLARE
    model  siglip.models := siglip.described_model(recalibrate.model_id);
    old    record;
    result siglip.calibration;
BEGIN
    IF model.logit_scale IS NULL THEN
        RAISE EXCEPTION 'The model % has no scores: its logit_scale and logit_bias are not known.', model.name
            USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'Labels need a model that embeds texts.';
    END IF;
    FOR old IN
        SELECT DISTINCT ON (c.label_id) s.name, l AS of_label, c.figures
        FROM siglip.label_calibrations AS c
        JOIN siglip.labels AS l ON l.label_id = c.label_id
        JOIN siglip.label_sets AS s ON s.label_set_id = l.label_set_id
        WHERE c.is_current AND c.model_id <> model.model_id AND NOT EXISTS (
            SELECT FROM siglip.label_calibrations AS o WHERE o.label_id = c.label_id AND o.model_id = model.model_id AND o.is_current)
        ORDER BY c.label_id, c.created_at DESC, c.model_id
    LOOP
        BEGIN
            result := siglip.fit_label(old.of_label, model, (old.figures ->> 'min_precision')::double precision,
                                       coalesce((old.figures ->> 'confidence')::double precision, 0.9));
            IF result.guaranteed_precision IS NOT NULL THEN  -- of the images that this model accepts, the marks are no random sample
                result.note := format('%s marks, chosen by the scores of another model. With this threshold the wish is likely to be kept, but not '
                                      'guaranteed: mark images that siglip.suggest_examples names with only_accepted, and calibrate again.',
                                      result.positives + result.negatives);
                UPDATE siglip.label_calibrations AS c
                SET figures = c.figures || jsonb_build_object('guaranteed_precision', NULL, 'note', result.note)
                WHERE c.label_id = (old.of_label).label_id AND c.model_id = model.model_id AND c.version = result.version;
            END IF;
            RETURN QUERY SELECT old.name, (old.of_label).label, result.version, result.note;
        EXCEPTION WHEN no_data_found THEN
            RETURN QUERY SELECT old.name, (old.of_label).label, NULL::integer, SQLERRM;
        END;
    END LOOP;
END
$function$;

-- The mean of the queries' recalls and its 95 % interval: normal, over these recalls and one more of 0.5. NULLs don't count.
-- Example: SELECT queries, recall, low, high FROM siglip.recall_interval('{1,0.9,1}');
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

-- Have all rows of an attached table looked at again, after changes that fire no triggers (replication, partitions); returns how many have something in the image's column.
-- Example: SELECT siglip.refresh_attached(a.attached_table) FROM siglip.attachments AS a;
CREATE OR REPLACE FUNCTION siglip.refresh_attached(attached_table regclass)
 RETURNS bigint
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
 SET "DateStyle" TO 'ISO, YMD'
 SET "IntervalStyle" TO 'postgres'
 SET "TimeZone" TO 'UTC'
 SET bytea_output TO 'hex'
 SET extra_float_digits TO '1'
AS $function$
DECLARE
    attachment siglip.attachments;
    plan       siglip.attachment_plan;
    noted      bigint;
BEGIN
    SELECT a.* INTO attachment FROM siglip.attachments AS a WHERE a.attached_table = refresh_attached.attached_table;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'The table % is not attached.', coalesce(attached_table::text, 'NULL')
            USING ERRCODE = 'no_data_found', HINT = 'SELECT * FROM siglip.attached_tables shows which are; siglip.attach attaches one.';
    END IF;
    PERFORM siglip.hold_attached(attached_table);
    plan := siglip.plan_attachment(attachment);
    IF plan.problem IS NOT NULL THEN
        RAISE EXCEPTION '%', plan.problem USING ERRCODE = 'object_not_in_prerequisite_state';
    ELSIF row_security_active(attached_table::oid) THEN
        RAISE EXCEPTION 'Row-level security hides rows of % from the role %.', attached_table, current_user
            USING ERRCODE = 'insufficient_privilege', HINT = 'Let the table''s owner do it, or a role with BYPASSRLS.';
    END IF;
    INSERT INTO siglip.attached_changes (attachment_id)
    SELECT attachment.attachment_id WHERE EXISTS (SELECT FROM siglip.attached_images AS m WHERE m.attachment_id = attachment.attachment_id);
    EXECUTE format(
        'WITH noted AS (INSERT INTO siglip.attached_changes (attachment_id, row_keys)'
        ' SELECT $1, array_agg(c.row_key) FROM (SELECT %s AS row_key, row_number() OVER () / 1000 AS part FROM %s AS r WHERE %s) AS c'
        ' GROUP BY c.part ORDER BY c.part RETURNING row_keys) SELECT coalesce(sum(cardinality(n.row_keys)), 0) FROM noted AS n',
        plan.row_key, attached_table, plan.has_image) INTO noted USING attachment.attachment_id;
    PERFORM pg_notify('siglip_ingest_items', 'attached');
    RETURN noted;
END
$function$;

-- One step of bringing kept labels up to date after a change of labels, rules or model; 0 where nothing is left, or somebody else does it. Workers call it.
-- Example: SELECT siglip.refresh_labels();
CREATE OR REPLACE FUNCTION siglip.refresh_labels(max_contents integer DEFAULT 2000)
 RETURNS bigint
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
 SET lock_timeout TO '1s'
AS $function$
#variable_conflict use_column
DECLARE
    steps     bigint;
    gone      bigint;
    behind    record;
    contents  bigint[];
    next_id   bigint;
BEGIN
    IF max_contents IS NULL OR max_contents NOT BETWEEN 1 AND 100000 THEN
        RAISE EXCEPTION 'max_contents is %, not a number from 1 to 100000.', coalesce(max_contents::text, 'NULL')
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Leave it out for 2000.';
    ELSIF NOT EXISTS (SELECT FROM siglip.label_sets AS s WHERE s.is_kept) AND NOT EXISTS (SELECT FROM siglip.label_progress)
          AND NOT EXISTS (SELECT FROM siglip.image_labels AS r WHERE r.marked_by IS NULL) THEN
        RETURN 0;  -- nobody uses it
    ELSIF NOT pg_try_advisory_xact_lock(siglip.kept_labels_lock() + 1) THEN
        RETURN 0;  -- somebody else does it
    END IF;
    IF EXISTS (SELECT FROM siglip.changed_labels()) THEN
        PERFORM pg_advisory_xact_lock(siglip.kept_labels_lock());
        DELETE FROM siglip.label_progress AS p WHERE p.label_id IN (SELECT siglip.labels_to_forget());
        GET DIAGNOSTICS gone = ROW_COUNT;
        INSERT INTO siglip.label_progress AS p (label_id, model_id, embedding, scale, bias, threshold, least_similarity, last_content_id)
        SELECT w.label_id, w.model_id, w.embedding, w.scale, w.bias, w.threshold, w.least_similarity,
               (SELECT coalesce(max(c.content_id), 0) FROM siglip.contents AS c)
        FROM siglip.wanted_labels AS w JOIN siglip.changed_labels() AS n ON n = w.label_id
        ON CONFLICT (label_id) DO UPDATE
        SET model_id = excluded.model_id, embedding = excluded.embedding, scale = excluded.scale, bias = excluded.bias,
            threshold = excluded.threshold, least_similarity = excluded.least_similarity, next_content_id = 0,
            last_content_id = excluded.last_content_id, began_at = now(), completed_at = NULL;
        GET DIAGNOSTICS steps = ROW_COUNT;
        RETURN greatest(1, steps + gone);
    END IF;
    -- Rows of labels that are no longer kept; so many at a time.
    DELETE FROM siglip.image_labels AS r
    WHERE (r.label_id, r.image_id) IN (
        SELECT o.label_id, o.image_id
        FROM siglip.labels_to_forget() AS n JOIN siglip.image_labels AS o ON o.label_id = n AND o.marked_by IS NULL
        LIMIT 10 * max_contents);
    GET DIAGNOSTICS gone = ROW_COUNT;
    IF gone > 0 THEN
        RETURN gone;
    END IF;
    SELECT p.model_id, p.next_content_id, max(p.last_content_id) AS last_content_id, array_agg(p.label_id) AS label_ids INTO behind
    FROM siglip.label_progress AS p
    WHERE p.completed_at IS NULL
    GROUP BY p.model_id, p.next_content_id ORDER BY p.next_content_id LIMIT 1;
    IF NOT FOUND THEN
        RETURN 0;
    END IF;
    SELECT array_agg(c.content_id), max(c.content_id) + 1 INTO contents, next_id
    FROM (SELECT c.content_id FROM siglip.contents AS c WHERE c.content_id >= behind.next_content_id ORDER BY c.content_id LIMIT max_contents) AS c;
    IF contents IS NOT NULL THEN
        PERFORM pg_advisory_xact_lock(siglip.kept_labels_lock());
        PERFORM FROM siglip.images AS i WHERE i.content_id = ANY (contents) ORDER BY i.collection, i.uri FOR KEY SHARE;
        -- In the order of siglip.mark_images, so that nobody who marks waits for this one while this one waits for them.
        PERFORM FROM siglip.image_labels AS r
        WHERE r.label_id = ANY (behind.label_ids)
          AND r.image_id = ANY (ARRAY(SELECT i.image_id FROM siglip.images AS i WHERE i.content_id = ANY (contents)))
        ORDER BY r.image_id, r.label_id FOR NO KEY UPDATE;
        PERFORM siglip.keep_contents(behind.model_id, contents, behind.label_ids);
        PERFORM siglip.score_marks(behind.model_id, contents, behind.label_ids);
    END IF;
    UPDATE siglip.label_progress AS p
    SET next_content_id = coalesce(next_id, p.next_content_id),
        completed_at = CASE WHEN next_id IS NULL OR next_id > p.last_content_id THEN now() END
    WHERE p.label_id = ANY (behind.label_ids) AND p.completed_at IS NULL;
    RETURN greatest(1, coalesce(cardinality(contents), 0));
EXCEPTION WHEN lock_not_available THEN
    RETURN 0;
END
$function$;

-- Note which contents lost an image.
-- Example: DELETE FROM siglip.images WHERE image_id = 40;
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

-- All images whose score for a text reaches min_score, however many, best first: to be put in another order.
-- Example: SELECT uri, score FROM siglip.relevant_images('a lake', 0.1) ORDER BY metadata->>'taken_at' DESC LIMIT 10;
CREATE OR REPLACE FUNCTION siglip.relevant_images(query text, min_score double precision DEFAULT 0.5, collection text DEFAULT NULL::text, filter jsonb DEFAULT NULL::jsonb, model_id integer DEFAULT NULL::integer, timeout_s double precision DEFAULT NULL::double precision)
 RETURNS SETOF siglip.image_match
 LANGUAGE plpgsql
 ROWS 100
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
DECLARE
    model siglip.models := siglip.described_model(model_id);
BEGIN
    RETURN QUERY SELECT n.* FROM siglip.images_above(
        model, siglip.embed_text(siglip.plain_text(query), model.model_id, timeout_s), min_score, collection, filter) AS n;
END
$function$;

-- All images whose score for a vector of the active model, or of another, reaches min_score, best first.
-- Example: SELECT image_id, score FROM siglip.relevant_images(siglip.embed_text('a lake'), 0.1, 'holiday');
CREATE OR REPLACE FUNCTION siglip.relevant_images(query_embedding halfvec, min_score double precision DEFAULT 0.5, collection text DEFAULT NULL::text, filter jsonb DEFAULT NULL::jsonb, model_id integer DEFAULT NULL::integer)
 RETURNS SETOF siglip.image_match
 LANGUAGE plpgsql
 ROWS 100
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
BEGIN
    RETURN QUERY SELECT n.* FROM siglip.images_above(
        siglip.described_model(model_id), query_embedding, min_score, collection, filter) AS n;
END
$function$;

-- Take a label out of a label set, with its vectors, marks and calibrations.
-- Example: SELECT siglip.remove_label('scenes', 'forest');
CREATE OR REPLACE FUNCTION siglip.remove_label(label_set text, label text)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
DECLARE
    held    siglip.label_sets := siglip.hold_label_set(label_set);
    removed siglip.labels := siglip.find_label(label_set, label);
BEGIN
    DELETE FROM siglip.labels AS l WHERE l.label_id = removed.label_id;
END
$function$;

-- Take out up to max_rows contents that have lost their last image, with their vectors; returns how many that were.
-- Example: SELECT siglip.remove_released_contents(1000);
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
-- Example: SELECT siglip.remove_server('archive');
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

-- Give a label set another name.
-- Example: SELECT siglip.rename_label_set('scenes', 'places');
CREATE OR REPLACE FUNCTION siglip.rename_label_set(label_set text, new_name text)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
DECLARE
    held siglip.label_sets := siglip.hold_label_set(label_set);
BEGIN
    PERFORM siglip.check_label_name('The name of a label set', new_name);
    UPDATE siglip.label_sets AS s SET name = new_name WHERE s.label_set_id = held.label_set_id;
EXCEPTION WHEN unique_violation THEN
    RAISE EXCEPTION 'There is a label set % already.', quote_literal(new_name)
        USING ERRCODE = 'unique_violation', HINT = 'Choose another name.';
END
$function$;

-- Put a built segment in the place of its sources, between two statements of the others.
-- Example: SELECT siglip.rebuild_segments('{siglip.image_embeddings_1_1}');
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
-- Example: SELECT siglip.report_away_servers(1, 'timeout', is_partial => true);
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

-- Images that stand for all of a collection: for each, how many images it is the nearest of them to, and their mean similarity to it. Those numbers are counted on a sample, and scaled up where there are more.
-- Example: SELECT uri, images FROM siglip.representatives(5, collection => 'holiday');
CREATE OR REPLACE FUNCTION siglip.representatives(count integer DEFAULT 20, collection text DEFAULT NULL::text, filter jsonb DEFAULT NULL::jsonb, sample_size integer DEFAULT 2000, seed integer DEFAULT 0, model_id integer DEFAULT NULL::integer)
 RETURNS TABLE(image_id bigint, uri text, images bigint, similarity double precision, metadata jsonb)
 LANGUAGE plpgsql
 STABLE ROWS 20
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
 SET jit TO 'off'
 SET work_mem TO '64MB'
AS $function$
#variable_conflict use_column
DECLARE
    rounds      constant integer := 8;
    model       siglip.models := siglip.described_model(representatives.model_id);
    wanted      constant integer := representatives.count;
    conditions  constant text := siglip.narrowing('i', collection, filter);
    content_ids bigint[];
    weights     bigint[];
    embeddings  public.halfvec[];
    centres     public.halfvec[];
    nearest     double precision[];
    places      bigint[];
    contents    bigint;
    total       bigint;
    target      double precision;
    place       bigint;
BEGIN
    IF (wanted BETWEEN 1 AND 200) IS NOT TRUE THEN
        RAISE EXCEPTION 'count is %, not a number from 1 to 200.', coalesce(wanted::text, 'NULL')
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Twenty fit on a page.';
    ELSIF (sample_size BETWEEN 1 AND 20000) IS NOT TRUE THEN
        RAISE EXCEPTION 'sample_size is %, not a number from 1 to 20000.', coalesce(sample_size::text, 'NULL')
            USING ERRCODE = 'invalid_parameter_value', HINT = '2000 are enough for twenty representatives.';
    ELSIF seed IS NULL THEN
        RAISE EXCEPTION 'seed is NULL, not a number.'
            USING ERRCODE = 'invalid_parameter_value', HINT = 'With the same seed the same images come back.';
    END IF;
    -- Twice as many as wanted, in case that some have no vector under this model.
    EXECUTE format(
        'SELECT array_agg(s.content_id ORDER BY s.place), array_agg(s.images ORDER BY s.place), array_agg(s.embedding ORDER BY s.place),'
        ' max(s.contents), max(s.total) FROM ('
        'SELECT n.*, e.embedding FROM ('
        'SELECT i.content_id, count(*) AS images, hashint8extended(i.content_id, $1) AS place, count(*) OVER () AS contents,'
        ' sum(count(*)) OVER () AS total'
        ' FROM siglip.images AS i WHERE i.content_id IS NOT NULL%2$s GROUP BY i.content_id ORDER BY place, i.content_id LIMIT 2 * $2'
        ') AS n JOIN siglip.image_embeddings AS e ON e.model_id = %1$s AND e.content_id = n.content_id ORDER BY n.place, n.content_id LIMIT $2'
        ') AS s', model.model_id, conditions)
        INTO content_ids, weights, embeddings, contents, total USING seed::bigint, sample_size;
    IF content_ids IS NULL THEN
        RETURN;
    END IF;

    centres := embeddings[1 : 1];
    nearest := array_fill(2::double precision, ARRAY[cardinality(embeddings)]);
    FOR number IN 2 .. wanted LOOP
        SELECT array_agg(least(u.distance, greatest(0, 0.999 + (u.embedding OPERATOR(public.<#>) centres[number - 1]))) ORDER BY u.place)
        INTO nearest FROM unnest(embeddings, nearest) WITH ORDINALITY AS u (embedding, distance, place);
        SELECT sum(u.distance) INTO target FROM unnest(nearest) AS u (distance);
        EXIT WHEN target <= 0;
        target := target * ((hashint8extended(number, seed) & 2147483647) / 2147483648.0);
        SELECT s.place INTO place
        FROM (SELECT u.place, sum(u.distance) OVER (ORDER BY u.place) AS reached FROM unnest(nearest) WITH ORDINALITY AS u (distance, place)) AS s
        WHERE s.reached > target ORDER BY s.place LIMIT 1;
        EXIT WHEN place IS NULL;
        centres := centres || embeddings[place];
    END LOOP;

    FOR round IN 1 .. rounds LOOP
        SELECT array_agg(n.centre) INTO centres FROM (
            SELECT public.l2_normalize(public.avg(u.embedding)) AS centre
            FROM unnest(embeddings) AS u (embedding) CROSS JOIN LATERAL (
                SELECT c.number FROM unnest(centres) WITH ORDINALITY AS c (centre, number)
                ORDER BY u.embedding OPERATOR(public.<#>) c.centre, c.number LIMIT 1
            ) AS a GROUP BY a.number ORDER BY a.number
        ) AS n;
    END LOOP;
    SELECT array_agg(n.place ORDER BY n.number) INTO places FROM (
        SELECT DISTINCT ON (a.number) a.number, u.place
        FROM unnest(embeddings) WITH ORDINALITY AS u (embedding, place) CROSS JOIN LATERAL (
            SELECT c.number, u.embedding OPERATOR(public.<#>) c.centre AS distance FROM unnest(centres) WITH ORDINALITY AS c (centre, number)
            ORDER BY distance, c.number LIMIT 1
        ) AS a ORDER BY a.number, a.distance, u.place
    ) AS n;

    RETURN QUERY EXECUTE format(
        'SELECT f.image_id, f.uri, greatest(1, round(n.images * $5))::bigint AS images, n.similarity, f.metadata FROM ('
        'SELECT a.place, sum(u.weight) AS images, sum(u.weight * siglip.similarity(a.distance)) / sum(u.weight) AS similarity'
        ' FROM unnest($2, $3) AS u (embedding, weight) CROSS JOIN LATERAL ('
        'SELECT p.place, u.embedding OPERATOR(public.<#>) ($2)[p.place] AS distance FROM unnest($4) AS p (place)'
        ' ORDER BY distance, p.place LIMIT 1) AS a GROUP BY a.place'
        ') AS n CROSS JOIN LATERAL ('
        'SELECT i.image_id, i.uri, i.metadata FROM siglip.images AS i WHERE i.content_id = ($1)[n.place]%s ORDER BY i.image_id LIMIT 1'
        ') AS f ORDER BY images DESC, f.image_id', conditions)
        USING content_ids, embeddings, weights, places,
              CASE WHEN contents > sample_size THEN total::numeric / (SELECT sum(w) FROM unnest(weights) AS w) ELSE 1 END;
END
$function$;

-- Create postgres_fdw and dblink where they are missing.
-- Example: SELECT siglip.require_extensions();
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
-- Example: SELECT set_config('hnsw.ef_search', '100', true), siglip.rerank_candidates(10);
CREATE OR REPLACE FUNCTION siglip.rerank_candidates(max_results integer)
 RETURNS integer
 LANGUAGE sql
 STABLE
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
    SELECT greatest(coalesce(nullif(current_setting('siglip.rerank_candidates', true), ''), current_setting('hnsw.ef_search'))::integer,
                    4 * max_results)
$function$;

-- Queue what failed under the active model and the kept ones once more, of one collection or of all; returns how many.
-- Example: SELECT siglip.retry_failed('holiday');
CREATE OR REPLACE FUNCTION siglip.retry_failed(collection text DEFAULT NULL::text)
 RETURNS bigint
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
DECLARE
    model_ids constant integer[] := siglip.models_to_queue();
    failed    bigint[];
BEGIN
    SELECT array_agg(f.item_id) INTO failed FROM (
        SELECT t.item_id
        FROM siglip.ingest_items AS t JOIN siglip.images AS i USING (image_id)
        WHERE t.state = 'failed' AND t.model_id = ANY (model_ids)
          AND (retry_failed.collection IS NULL OR i.collection = retry_failed.collection)
        ORDER BY t.image_id, t.model_id
        FOR NO KEY UPDATE OF t
    ) AS f;
    UPDATE siglip.ingest_items AS t
    SET state = 'queued', attempts = 0, is_suspect = false, not_before = now(), error_code = NULL, error_message = NULL,
        updated_at = now()
    WHERE t.item_id = ANY (failed);
    IF failed IS NOT NULL THEN
        PERFORM pg_notify('siglip_ingest_items', m.model_id::text) FROM unnest(model_ids) AS m (model_id);
    END IF;
    RETURN coalesce(cardinality(failed), 0);
END
$function$;

-- The text of the query that turns matches of images into matches of rows, so that a test can see its plan.
-- Example: SELECT siglip.row_matches_query(a, siglip.plan_attachment(a)) FROM siglip.attachments AS a;
CREATE OR REPLACE FUNCTION siglip.row_matches_query(attachment siglip.attachments, plan siglip.attachment_plan)
 RETURNS text
 LANGUAGE sql
 STABLE
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
    SELECT format(
        'SELECT array_agg(ROW(b.row_key, b.place, b.image_id, b.uri, b.similarity, b.score, b.metadata)::siglip.row_match ORDER BY b.turn) FROM ('
        'SELECT * FROM ('
        'SELECT DISTINCT ON (a.row_key) a.row_key, a.place, n.image_id, n.uri, n.similarity, n.score, %s AS metadata, n.turn'
        ' FROM unnest($1) WITH ORDINALITY AS n (image_id, uri, similarity, score, metadata, turn)'
        ' JOIN siglip.attached_images AS a ON a.image_id = n.image_id AND a.attachment_id = $2'
        ' CROSS JOIN LATERAL (SELECT %s AS parts) AS k'
        ' JOIN %s AS r ON %s ORDER BY a.row_key, n.turn, a.place) AS d'
        ' WHERE $4 IS NULL OR %s ORDER BY d.turn, d.row_key LIMIT $3) AS b',
        CASE WHEN p.may_read THEN plan.metadata ELSE '''{}''::jsonb' END,
        CASE WHEN cardinality(plan.id_names) = 1 THEN 'ARRAY[a.row_key]' ELSE 'a.row_key::text[]' END,
        attachment.attached_table, plan.matches, CASE WHEN p.may_read THEN 'd.metadata @> $4' ELSE 'true' END)
    FROM (SELECT coalesce(bool_and(has_column_privilege(attachment.attached_table, n.name, 'SELECT')), true)
          FROM unnest(plan.metadata_names) AS n (name) WHERE n.name IS NOT NULL) AS p (may_read)
$function$;

-- Of so many rows of a segment one is a landmark, up to 500 of them.
-- Example: SELECT siglip.rows_per_landmark();
CREATE OR REPLACE FUNCTION siglip.rows_per_landmark()
 RETURNS integer
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
RETURN 400;

-- Run a statement without rows on a connected server; it is committed there at once.
-- Example: SELECT siglip.connect_server('archive'), siglip.run_on_server('archive', 'ANALYZE');
CREATE OR REPLACE FUNCTION siglip.run_on_server(server text, statement text)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
BEGIN
    EXECUTE format('SELECT %s.dblink_exec($1, $2)', siglip.extension_schema('dblink')) USING 'siglip_' || server, statement;
END
$function$;

-- Up to so many vectors under a model, spread over all contents; the same ones while no contents come or go.
-- Example: SELECT content_id FROM siglip.sample_contents(1, 5);
CREATE OR REPLACE FUNCTION siglip.sample_contents(model_id integer, size integer)
 RETURNS TABLE(content_id bigint, embedding halfvec)
 LANGUAGE plpgsql
 STABLE ROWS 500
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
#variable_conflict use_column
DECLARE
    last_id constant bigint := (SELECT max(c.content_id) FROM siglip.contents AS c);
    found   bigint;
BEGIN
    IF last_id > 4 * size THEN
        RETURN QUERY EXECUTE format(
            'SELECT e.content_id, e.embedding FROM siglip.image_embeddings AS e'
            ' WHERE e.model_id = %s AND e.content_id = ANY (ARRAY(SELECT unnest($1)))'
            ' ORDER BY hashint8extended(e.content_id, 1) LIMIT $2', model_id)
            USING ARRAY(SELECT DISTINCT 1 + (hashint8extended(n, 7) & 9223372036854775807) % last_id
                        FROM generate_series(1, 3 * size) AS n), size;
        GET DIAGNOSTICS found = ROW_COUNT;
        IF found > size / 4 THEN
            RETURN;
        END IF;
    END IF;
    RETURN QUERY EXECUTE format(  -- few contents, or few of them have a vector
        'SELECT e.content_id, e.embedding FROM (SELECT o.* FROM siglip.image_embeddings AS o WHERE o.model_id = %s LIMIT %s) AS e'
        ' ORDER BY hashint8extended(e.content_id, 1) LIMIT $1', model_id, 4 * size)
        USING size;
END
$function$;

-- Vectors to measure with, drawn at random: those of images, or of texts that were asked; image_id is what the answer leaves out.
-- Example: SELECT image_id, embedding FROM siglip.sample_queries(1, 'vectors', 5);
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
-- Example: SELECT siglip.score(0.12, logit_scale => 4.7, logit_bias => -16.5);
CREATE OR REPLACE FUNCTION siglip.score(similarity double precision, logit_scale double precision, logit_bias double precision)
 RETURNS double precision
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN (((exp(logit_scale) * similarity) + logit_bias) > (700)::double precision) THEN (1)::double precision WHEN (((exp(logit_scale) * similarity) + logit_bias) < ('-700'::integer)::double precision) THEN (0)::double precision ELSE ((1)::double precision / ((1)::double precision + exp((- ((exp(logit_scale) * similarity) + logit_bias))))) END;

-- A model's score of a similarity; by default the active model's.
-- Example: SELECT siglip.score(0.12);
CREATE OR REPLACE FUNCTION siglip.score(similarity double precision, model_id integer DEFAULT NULL::integer)
 RETURNS double precision
 LANGUAGE sql
 STABLE
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
    SELECT siglip.score(similarity, m.logit_scale, m.logit_bias) FROM siglip.described_model(model_id) AS m
$function$;

-- The scores of an image vector for each label of a set, best first: an image that isn't indexed.
-- Example: SELECT s.label, s.score FROM siglip.image_embeddings AS e, siglip.score_labels(e.embedding, 'scenes') AS s WHERE e.model_id = 1 AND e.content_id = 1;
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

-- Give the marked images of these contents the model's score for kept labels, whatever it is; returns how many changed.
-- Example: SELECT siglip.score_marks(1, '{1,2,3}', '{1}');
CREATE OR REPLACE FUNCTION siglip.score_marks(model_id integer, content_ids bigint[], label_ids integer[])
 RETURNS bigint
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
 SET jit TO 'off'
 SET enable_seqscan TO 'off'
AS $function$
#variable_conflict use_column
DECLARE
    scored bigint;
BEGIN
    UPDATE siglip.image_labels AS r SET score = n.score, model_id = n.model_id, updated_at = now()
    FROM (
        SELECT m.label_id, m.image_id, p.model_id,
               siglip.sigmoid(p.scale * (exp(o.logit_scale) * siglip.similarity(e.embedding OPERATOR(public.<#>) p.embedding) + o.logit_bias)
                              + p.bias)::real AS score
        FROM siglip.images AS i
        JOIN siglip.image_labels AS m ON m.image_id = i.image_id AND m.marked_by IS NOT NULL AND m.label_id = ANY (score_marks.label_ids)
        JOIN siglip.label_progress AS p ON p.label_id = m.label_id AND p.model_id = score_marks.model_id
        JOIN siglip.models AS o ON o.model_id = p.model_id
        JOIN siglip.image_embeddings AS e ON e.model_id = p.model_id AND e.content_id = i.content_id
        WHERE i.content_id = ANY (score_marks.content_ids)
    ) AS n
    WHERE r.label_id = n.label_id AND r.image_id = n.image_id AND (r.score, r.model_id) IS DISTINCT FROM (n.score, n.model_id);
    GET DIAGNOSTICS scored = ROW_COUNT;
    RETURN scored;
END
$function$;

-- Rows from which on the open segment is closed and gets its index: siglip.seal_rows, 10,000 by default.
-- Example: SELECT siglip.seal_rows();
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

-- The rows of an attached table whose images fit a text best, best first; each row once. Join on the key: ON p.id = s.row_key::integer.
-- Example: SELECT p.*, s.score FROM siglip.search('public.product', 'red shoes') AS s JOIN public.product AS p ON p.id = s.row_key::integer WHERE EXISTS (SELECT FROM siglip.attachments);
CREATE OR REPLACE FUNCTION siglip.search(attached_table regclass, query text, max_results integer DEFAULT 10, filter jsonb DEFAULT NULL::jsonb, min_score double precision DEFAULT NULL::double precision, model_id integer DEFAULT NULL::integer, timeout_s double precision DEFAULT NULL::double precision)
 RETURNS SETOF siglip.row_match
 LANGUAGE plpgsql
 ROWS 10
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
#variable_conflict use_variable
DECLARE
    model constant siglip.models := siglip.described_model(model_id);
BEGIN
    PERFORM siglip.check_max_results(max_results);
    IF NOT EXISTS (SELECT FROM siglip.attachments AS a WHERE a.attached_table = search.attached_table) THEN
        RAISE EXCEPTION 'The table % is not attached.', coalesce(attached_table::text, 'NULL')
            USING ERRCODE = 'no_data_found', HINT = 'siglip.attach attaches it; siglip.search_images searches images that belong to no table.';
    END IF;
    RETURN QUERY SELECT s.* FROM siglip.search(
        attached_table, siglip.embed_text(siglip.plain_text(query), model.model_id, timeout_s), max_results, filter, min_score, model.model_id) AS s;
END
$function$;

-- The rows of an attached table whose images are nearest to a vector, best first; each row once.
-- Example: SELECT s.row_key, s.score FROM siglip.search('public.product', siglip.embed_text('red shoes')) AS s WHERE EXISTS (SELECT FROM siglip.attachments);
CREATE OR REPLACE FUNCTION siglip.search(attached_table regclass, query_embedding halfvec, max_results integer DEFAULT 10, filter jsonb DEFAULT NULL::jsonb, min_score double precision DEFAULT NULL::double precision, model_id integer DEFAULT NULL::integer)
 RETURNS SETOF siglip.row_match
 LANGUAGE plpgsql
 ROWS 10
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
#variable_conflict use_variable
DECLARE
    model      constant siglip.models := siglip.described_model(model_id);
    attachment siglip.attachments;
    plan       siglip.attachment_plan;
    asked      integer := max_results;
    matches    siglip.image_match[];
    found_rows siglip.row_match[];
BEGIN
    PERFORM siglip.check_max_results(max_results);
    SELECT a.* INTO attachment FROM siglip.attachments AS a WHERE a.attached_table = search.attached_table;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'The table % is not attached.', coalesce(attached_table::text, 'NULL')
            USING ERRCODE = 'no_data_found', HINT = 'siglip.attach attaches it; siglip.search_images searches images that belong to no table.';
    END IF;
    IF has_table_privilege(attached_table, 'SELECT') THEN  -- a right to some columns is enough to search, but not to lock
        PERFORM siglip.hold_attached(attached_table);
    END IF;
    plan := siglip.plan_attachment(attachment);
    IF plan.problem IS NOT NULL THEN
        RAISE EXCEPTION '%', plan.problem USING ERRCODE = 'object_not_in_prerequisite_state';
    END IF;
    -- More images are asked for where those found are of other tables, or of rows that are gone, hidden, or there by another image.
    LOOP
        matches := ARRAY(
            SELECT ROW(n.image_id, n.uri, n.similarity, n.score, n.metadata)::siglip.image_match
            FROM siglip.nearest_images(model, query_embedding, asked, attachment.collection, filter, min_score, NULL) AS n);
        EXECUTE siglip.row_matches_query(attachment, plan) INTO found_rows USING matches, attachment.attachment_id, max_results, filter;
        EXIT WHEN cardinality(found_rows) >= max_results OR cardinality(matches) < asked OR asked = 10000;
        asked := least(10000, 4 * asked);
    END LOOP;
    RETURN QUERY SELECT f.* FROM unnest(found_rows) AS f;
END
$function$;

-- The images that fit a text best where its vector is in the cache; a single row without an image where it isn't.
-- Example: SELECT is_cached, image_id FROM siglip.search_cached_text('sunset', 5, NULL, NULL, NULL, NULL, 0, NULL);
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
-- Example: SELECT s.image_id, s.score FROM siglip.active_model() AS m, siglip.search_embedded_text('sunset', siglip.embed_text('sunset'), m.model_id, m.name, m.revision, NULL, NULL, 5, NULL, NULL, NULL, NULL, 0, NULL) AS s;
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

-- The images that fit a query of several parts best, best first, without those that stand in it. similarity is the one that a single text would need for the score.
-- Example: SELECT * FROM siglip.search_images(siglip.compose('beach', siglip.minus('people'), siglip.like(1, 0.7), 'at night'), 5, min_score => 0.01);
CREATE OR REPLACE FUNCTION siglip.search_images(query siglip.composed_query, max_results integer DEFAULT 10, collection text DEFAULT NULL::text, filter jsonb DEFAULT NULL::jsonb, min_score double precision DEFAULT NULL::double precision, model_id integer DEFAULT NULL::integer, timeout_s double precision DEFAULT NULL::double precision, image_ids bigint[] DEFAULT NULL::bigint[], skip_results integer DEFAULT 0, after siglip.search_position DEFAULT NULL::siglip.search_position)
 RETURNS SETOF siglip.image_match
 LANGUAGE plpgsql
 ROWS 10
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
 SET jit TO 'off'
AS $function$
#variable_conflict use_column
DECLARE
    exact_images constant integer := 10000;
    model        constant siglip.models := siglip.described_model(model_id);
    parts        siglip.embedded_part[];
    is_wide      boolean;
    candidates   bigint[];
    matches      siglip.image_match[];
BEGIN
    IF query IS NULL OR NOT EXISTS (SELECT FROM unnest((query).parts) AS p WHERE p.weight > 0) THEN
        RAISE EXCEPTION 'The query says nothing that is wanted.'
            USING ERRCODE = 'invalid_parameter_value', HINT = 'siglip.compose(''beach'', siglip.minus(''people'')) makes one.';
    END IF;
    -- Looked at first: a wrong number should not wait for a worker. Any vector of the right length stands for the query's.
    PERFORM siglip.check_search(model, array_fill(1::real, ARRAY[model.dimension])::public.halfvec,
                                max_results, filter, min_score, skip_results, after);
    parts := siglip.embed_parts(query, model, timeout_s);
    is_wide := siglip.has_more_images(collection, filter, image_ids, exact_images);
    -- Pages are exact: candidates of different calls miss different images, and pages of them would repeat some.
    IF is_wide AND max_results <= 250 AND skip_results = 0 AND after IS NULL THEN
        candidates := coalesce(siglip.composed_candidates(parts, model, collection, filter, image_ids), '{}');
    END IF;
    EXECUTE siglip.composed_query_text(
            model.model_id, siglip.composed_log_score(parts, model.logit_scale, model.logit_bias),
            'i.image_id <> ALL ($2)'
            || CASE WHEN collection IS NOT NULL THEN ' AND i.collection = $3' ELSE '' END
            || CASE WHEN filter IS NOT NULL THEN ' AND i.metadata @> $4' ELSE '' END
            || CASE WHEN image_ids IS NOT NULL THEN ' AND i.image_id = ANY ($5)' ELSE '' END
            || CASE WHEN candidates IS NOT NULL THEN ' AND i.image_id = ANY ($6)' ELSE '' END,
            candidates IS NOT NULL
            OR (NOT is_wide AND (num_nonnulls(collection, filter, image_ids) > 0 OR row_security_active('siglip.images'))))
        INTO matches
        USING (SELECT array_agg(p.embedding ORDER BY p.place) FROM unnest(parts) WITH ORDINALITY AS p (embedding, weight, is_image, place)),
              ARRAY(SELECT p.image_id FROM unnest((query).parts) AS p WHERE p.image_id IS NOT NULL),
              collection, filter, image_ids, candidates, min_score, after, skip_results, max_results, model.logit_scale, model.logit_bias;
    RETURN QUERY SELECT m.* FROM unnest(matches) AS m;
END
$function$;

-- The images that fit a text best, best first. The text comes from the cache or is embedded by a worker.
-- Example: SELECT image_id, uri, score FROM siglip.search_images('sunset over water', 5, collection => 'holiday');
CREATE OR REPLACE FUNCTION siglip.search_images(query text, max_results integer DEFAULT 10, collection text DEFAULT NULL::text, filter jsonb DEFAULT NULL::jsonb, min_score double precision DEFAULT NULL::double precision, model_id integer DEFAULT NULL::integer, timeout_s double precision DEFAULT NULL::double precision, image_ids bigint[] DEFAULT NULL::bigint[], skip_results integer DEFAULT 0, after siglip.search_position DEFAULT NULL::siglip.search_position)
 RETURNS SETOF siglip.image_match
 LANGUAGE plpgsql
 ROWS 10
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
DECLARE
    model siglip.models;
BEGIN
    IF starts_with(query, E'\x1f') THEN
        RETURN QUERY SELECT s.* FROM siglip.search_images(
            siglip.compose(query), max_results, collection, filter, min_score, model_id, timeout_s, image_ids, skip_results, after) AS s;
        RETURN;
    END IF;
    model := siglip.described_model(model_id);
    -- Looked at first: a wrong number should not wait for a worker.
    PERFORM siglip.check_max_results(max_results);
    RETURN QUERY SELECT n.* FROM siglip.nearest_images(
        model, siglip.embed_text(query, model.model_id, timeout_s), max_results, collection, filter, min_score, NULL,
        image_ids, skip_results, after) AS n;
END
$function$;

-- The images nearest to a vector of the active model, or of another, best first.
-- Example: SELECT image_id, score FROM siglip.search_images(siglip.embed_text('sunset'), filter => '{"album": "2026"}');
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

-- The same as siglip.search with the rows themselves, typed as the table is: the table is named by a NULL of its row type.
-- Example: SELECT (s.found).name, s.score FROM siglip.search_rows(NULL::public.product, 'red shoes') AS s WHERE EXISTS (SELECT FROM siglip.attachments);
CREATE OR REPLACE FUNCTION siglip.search_rows(table_row anyelement, query text, max_results integer DEFAULT 10, filter jsonb DEFAULT NULL::jsonb, min_score double precision DEFAULT NULL::double precision, model_id integer DEFAULT NULL::integer, timeout_s double precision DEFAULT NULL::double precision)
 RETURNS TABLE(found anyelement, image_id bigint, place integer, similarity double precision, score double precision)
 LANGUAGE plpgsql
 ROWS 10
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
#variable_conflict use_variable
DECLARE
    searched   constant regclass := (SELECT t.typrelid FROM pg_type AS t WHERE t.oid = pg_typeof(table_row));
    attachment siglip.attachments;
    plan       siglip.attachment_plan;
    found_rows siglip.row_match[];
BEGIN
    found_rows := ARRAY(SELECT s FROM siglip.search(searched, query, max_results, filter, min_score, model_id, timeout_s) AS s);
    SELECT a.* INTO attachment FROM siglip.attachments AS a WHERE a.attached_table = searched;
    plan := siglip.plan_attachment(attachment);
    RETURN QUERY EXECUTE format(
        'SELECT (r.*)::%s, m.image_id, m.place, m.similarity, m.score'
        ' FROM unnest($1) WITH ORDINALITY AS m (row_key, place, image_id, uri, similarity, score, metadata, turn)'
        ' CROSS JOIN LATERAL (SELECT %s AS parts) AS k JOIN %s AS r ON %s ORDER BY m.turn',
        searched,  -- of the type of the table, else r could be a column of that name
        CASE WHEN cardinality(plan.id_names) = 1 THEN 'ARRAY[m.row_key]' ELSE 'm.row_key::text[]' END,
        searched, plan.matches) USING found_rows;
END
$function$;

-- The text of the search by the HNSW graphs of a model that begins in two places.
-- Example: SELECT siglip.second_graph_query(1, 16);
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
-- Example: SELECT siglip.second_start(1, siglip.embed_text('sunset'));
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
-- Example: SELECT siglip.segment_number('siglip.image_embeddings_1_1');
CREATE OR REPLACE FUNCTION siglip.segment_number(segment regclass)
 RETURNS integer
 LANGUAGE sql
 STABLE
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
    SELECT substring(c.relname FROM '_([0-9]+)$')::integer FROM pg_class AS c WHERE c.oid = segment
$function$;

-- The closed segments of a model that are next to be built as one; NULL where none need it.
-- Example: SELECT siglip.segments_to_rebuild(1, is_at_rest => true, is_full => false);
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
-- Example: SELECT siglip.selection_conditions('{1,2}', NULL, NULL, 'holiday', NULL);
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
-- Example: SELECT keyword, value FROM siglip.server_options('postgresql://siglip:secret@10.0.0.8/segments');
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
-- Example: SELECT siglip.server_session_options();
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
-- Example: SELECT is_reachable, bytes FROM siglip.server_state('archive');
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
-- Example: SELECT siglip.set_server_address('archive', 'postgresql://siglip:secret@10.0.0.8/segments');
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

-- Change what makes the prompts of a set's labels; those with prompts of their own stay. Returns how many labels follow.
-- Example: SELECT siglip.set_template('scenes', 'a painting of {label}');
CREATE OR REPLACE FUNCTION siglip.set_template(label_set text, template text)
 RETURNS integer
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
DECLARE
    held    siglip.label_sets := siglip.hold_label_set(label_set);
    changed integer;
BEGIN
    PERFORM siglip.check_template(set_template.template);
    UPDATE siglip.label_sets AS s SET template = set_template.template WHERE s.label_set_id = held.label_set_id;
    UPDATE siglip.labels AS l
    SET prompts = ARRAY[replace(set_template.template, '{label}', l.label)]
    WHERE l.label_set_id = held.label_set_id AND l.prompts = ARRAY[replace(held.template, '{label}', l.label)];
    GET DIAGNOSTICS changed = ROW_COUNT;
    RETURN changed;
END
$function$;

-- The calibrated score from which images have a label, in [0, 1]; NULL for 0.5. Where a calibration has a threshold of its own, its fit goes on without it as a new version.
-- Example: SELECT siglip.set_threshold('scenes', 'sunset', 0.7);
CREATE OR REPLACE FUNCTION siglip.set_threshold(label_set text, label text, threshold double precision)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
DECLARE
    held    siglip.label_sets := siglip.hold_label_set(label_set);
    changed siglip.labels := siglip.find_label(label_set, label);
    old     siglip.label_calibrations;
BEGIN
    PERFORM siglip.check_threshold(set_threshold.threshold);
    UPDATE siglip.labels AS l SET threshold = set_threshold.threshold WHERE l.label_id = changed.label_id;
    -- A calibration may have a threshold of its own, which would win over this one. What was promised and estimated holds for that threshold:
    -- the fit goes on without it as a version of its own, and the old one can be used again.
    FOR old IN
        UPDATE siglip.label_calibrations AS c SET is_current = false
        WHERE c.label_id = changed.label_id AND c.is_current AND c.threshold IS NOT NULL
        RETURNING c.*
    LOOP
        INSERT INTO siglip.label_calibrations (label_id, model_id, version, scale, bias, figures)
        SELECT old.label_id, old.model_id, max(c.version) + 1, old.scale, old.bias,
               old.figures - '{precision,recall,errors_after,accepted,right_accepted,guaranteed_precision,min_precision,confidence}'::text[]
               || jsonb_build_object('note', format('The fit of calibration %s; the threshold was set by hand.', old.version))
        FROM siglip.label_calibrations AS c WHERE c.label_id = old.label_id AND c.model_id = old.model_id;
    END LOOP;
END
$function$;

-- default, or the name of our setting where it is set.
-- Example: SELECT siglip.setting_source('seal_rows');
CREATE OR REPLACE FUNCTION siglip.setting_source(name text)
 RETURNS text
 LANGUAGE sql
 STABLE
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
    SELECT CASE WHEN nullif(current_setting('siglip.' || name, true), '') IS NULL THEN 'default' ELSE 'siglip.' || name END
$function$;

-- Remove from a server the tables that a move gave up, or left when it was killed; returns a sentence, NULL where there are none.
-- Example: SELECT siglip.settle_server('archive');
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

-- 1 / (1 + exp(-logit)), in [0, 1].
-- Example: SELECT siglip.sigmoid(0);
CREATE OR REPLACE FUNCTION siglip.sigmoid(logit double precision)
 RETURNS double precision
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN (logit > (700)::double precision) THEN (1)::double precision WHEN (logit < ('-700'::integer)::double precision) THEN (0)::double precision ELSE ((1)::double precision / ((1)::double precision + exp((- logit)))) END;

-- The images most similar to one that is indexed, best first, without that one. Only the order of the scores means something.
-- Example: SELECT image_id, similarity FROM siglip.similar_images(7, 5);
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
-- Example: SELECT siglip.similarity(-0.12);
CREATE OR REPLACE FUNCTION siglip.similarity(distance double precision)
 RETURNS double precision
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
RETURN GREATEST((- (1)::double precision), LEAST((1)::double precision, (- distance)));

-- Write images and their ledger items; returns the image_id of each URI, in their order. siglip.enqueue_images checks its arguments first.
-- Example: SELECT siglip.store_images('holiday', '{https://example.org/1.jpg}', NULL, NULL, NULL, false, true, ARRAY(SELECT siglip.kept_models()));
CREATE OR REPLACE FUNCTION siglip.store_images(collection text, uris text[], keys text[], metadata jsonb[], source_versions text[], reads_exif boolean, retries_failed boolean, model_ids integer[])
 RETURNS bigint[]
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
#variable_conflict use_column
DECLARE
    versions constant jsonb := CASE WHEN source_versions IS NOT NULL THEN jsonb_object(uris, source_versions) END;  -- the last of a URI
    existing bigint[];
    changed  bigint[];
    stored   bigint[];
BEGIN
    -- A lookup, not a join: of the length of arrays the planner knows nothing, and would compare each with each.
    SELECT array_agg(l.image_id),
           array_agg(l.image_id) FILTER (
               WHERE versions ->> l.uri <> coalesce(l.source_version, '') OR (store_images.reads_exif AND NOT l.reads_exif))
    INTO existing, changed
    FROM (
        SELECT i.image_id, i.uri, i.source_version, i.reads_exif
        FROM siglip.images AS i
        WHERE i.collection = store_images.collection AND i.uri = ANY (uris)
        ORDER BY i.collection, i.uri
        FOR NO KEY UPDATE
    ) AS l;

    INSERT INTO siglip.images AS i (collection, uri, key, source_version, metadata, reads_exif)
    SELECT DISTINCT ON (g.uri) store_images.collection, g.uri, g.key, g.source_version, coalesce(g.metadata, '{}'), store_images.reads_exif
    FROM unnest(uris, keys, source_versions, metadata) WITH ORDINALITY AS g (uri, key, source_version, metadata, place)
    ORDER BY g.uri, g.place DESC
    ON CONFLICT (collection, uri) DO UPDATE
    SET key = coalesce(excluded.key, i.key),
        source_version = coalesce(excluded.source_version, i.source_version),
        metadata = i.metadata || excluded.metadata,
        reads_exif = i.reads_exif OR excluded.reads_exif,
        updated_at = now()
    WHERE (i.key, i.source_version, i.metadata, i.reads_exif)
        IS DISTINCT FROM (coalesce(excluded.key, i.key), coalesce(excluded.source_version, i.source_version),
                          i.metadata || excluded.metadata, i.reads_exif OR excluded.reads_exif);

    PERFORM FROM siglip.ingest_items AS t WHERE t.image_id = ANY (existing) ORDER BY t.image_id, t.model_id FOR NO KEY UPDATE;
    UPDATE siglip.ingest_items AS t
    SET state = 'queued', attempts = 0, is_suspect = false, not_before = now(), lease_token = NULL, worker_id = NULL,
        error_code = NULL, error_message = NULL, updated_at = now()
    WHERE t.image_id = ANY (changed);

    SELECT array_agg(i.image_id ORDER BY g.place) INTO stored
    FROM unnest(uris) WITH ORDINALITY AS g (uri, place)
    JOIN siglip.images AS i ON i.collection = store_images.collection AND i.uri = g.uri;
    INSERT INTO siglip.ingest_items AS t (image_id, model_id)
    SELECT DISTINCT s.image_id, m.model_id
    FROM unnest(stored) AS s (image_id) CROSS JOIN unnest(model_ids) AS m (model_id)
    ORDER BY s.image_id, m.model_id
    ON CONFLICT (image_id, model_id) DO UPDATE
    SET state = 'queued', attempts = 0, is_suspect = false, not_before = now(), error_code = NULL, error_message = NULL,
        updated_at = now()
    WHERE t.state = 'failed' AND retries_failed;
    PERFORM pg_notify('siglip_ingest_items', m.model_id::text) FROM unnest(model_ids) AS m (model_id);
    RETURN stored;
END
$function$;

-- Remember a text's vector under the model (name, revision) that made it; one that is there already stays.
-- Example: SELECT siglip.store_text('harbour', siglip.embed_text('port'), m.model_id, m.name, m.revision) FROM siglip.active_model() AS m;
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

-- Unmarked images whose marks would teach a label most: near the border, none like another, and some that are accepted; or only a random sample of those that are accepted, which a wished precision needs.
-- Example: SELECT image_id, calibrated_score, reason FROM siglip.suggest_examples('scenes', 'sunset', 5);
CREATE OR REPLACE FUNCTION siglip.suggest_examples(label_set text, label text, max_results integer DEFAULT 10, only_accepted boolean DEFAULT false, model_id integer DEFAULT NULL::integer)
 RETURNS TABLE(image_id bigint, uri text, score double precision, calibrated_score double precision, is_accepted boolean, reason text)
 LANGUAGE plpgsql
 ROWS 10
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
 SET jit TO 'off'
AS $function$
#variable_conflict use_column
DECLARE
    model        siglip.models := siglip.described_model(suggest_examples.model_id);
    of_label     siglip.labels;
    rule         record;
    border       double precision;
    label_vector public.halfvec;
    chosen       public.halfvec[] := '{}';
    chosen_ids   bigint[] := '{}';
    candidate    record;
    wanted       integer;
    accepted     integer := 0;
BEGIN
    PERFORM siglip.check_label_set(label_set, NULL, model);
    IF max_results IS NULL OR max_results NOT BETWEEN 1 AND 100 THEN
        RAISE EXCEPTION 'max_results is %, not a number from 1 to 100.', coalesce(max_results::text, 'NULL')
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Ten marks teach much; ask again when they are made.';
    END IF;
    of_label := siglip.find_label(suggest_examples.label_set, suggest_examples.label);
    SELECT r.scale, r.bias, r.threshold INTO rule
    FROM siglip.label_rules AS r WHERE r.label_id = of_label.label_id AND r.model_id = model.model_id;
    SELECT v.embedding INTO label_vector
    FROM siglip.label_embeddings AS v WHERE v.label_id = of_label.label_id AND v.model_id = model.model_id;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'The label % has no vector under the model % yet.', quote_literal(of_label.label), model.name
            USING ERRCODE = 'no_data_found', HINT = siglip.vector_hint(label_set, of_label.label, model.model_id);
    END IF;
    border := ln(greatest(rule.threshold, 1e-9) / greatest(1 - rule.threshold, 1e-9));
    wanted := CASE WHEN only_accepted THEN 0 ELSE max_results - max_results / 3 END;
    FOR candidate IN
        WITH near AS MATERIALIZED (
            SELECT i.content_id, n.similarity
            FROM siglip.nearest_images(model, label_vector, 500, NULL, NULL, NULL, NULL) AS n
            JOIN siglip.images AS i ON i.image_id = n.image_id
        ), spread AS MATERIALIZED (
            SELECT s.content_id, siglip.similarity(s.embedding OPERATOR(public.<#>) label_vector) AS similarity
            FROM siglip.sample_contents(model.model_id, 5000) AS s
        ), unmarked AS (
            SELECT DISTINCT ON (i.content_id) i.image_id, i.uri, i.content_id, c.similarity, c.is_near, g.logit,
                   siglip.sigmoid(rule.scale * g.logit + rule.bias) AS calibrated_score
            FROM (
                SELECT n.content_id, n.similarity, true AS is_near FROM near AS n
                UNION ALL SELECT s.content_id, s.similarity, false FROM spread AS s
            ) AS c
            JOIN siglip.images AS i ON i.content_id = c.content_id
            CROSS JOIN LATERAL (SELECT exp(model.logit_scale) * c.similarity + model.logit_bias AS logit) AS g
            WHERE i.content_id NOT IN (
                SELECT o.content_id FROM siglip.image_labels AS m JOIN siglip.images AS o ON o.image_id = m.image_id
                WHERE m.label_id = of_label.label_id AND m.marked_by IS NOT NULL AND o.content_id IS NOT NULL)
            -- Of the walk all that are accepted are a sample only where it saw them all.
            ORDER BY i.content_id, c.is_near = (SELECT min(siglip.sigmoid(rule.scale * (exp(model.logit_scale) * n.similarity + model.logit_bias)
                                                                         + rule.bias)) < rule.threshold FROM near AS n) DESC, i.image_id
        ), ranked AS (
            SELECT u.*, u.calibrated_score >= rule.threshold AS is_accepted,
                   row_number() OVER (ORDER BY abs(rule.scale * u.logit + rule.bias - border), u.content_id) AS place,
                   (SELECT min(siglip.sigmoid(rule.scale * (exp(model.logit_scale) * n.similarity + model.logit_bias) + rule.bias))
                           < rule.threshold FROM near AS n) AS has_all
            FROM unmarked AS u
        ), pool AS (
            (SELECT r.*, 'uncertain' AS reason, r.place AS turn FROM ranked AS r WHERE wanted > 0 ORDER BY r.place LIMIT 20 * max_results)
            UNION ALL
            (SELECT r.*, 'accepted', 1000000 + row_number() OVER (ORDER BY hashint8extended(r.content_id, 11))
             FROM ranked AS r WHERE r.is_accepted AND r.is_near = r.has_all
             ORDER BY hashint8extended(r.content_id, 11) LIMIT 20 * max_results)
        )
        SELECT p.image_id, p.uri, p.logit, p.calibrated_score, p.is_accepted, p.reason, e.embedding
        FROM pool AS p
        JOIN siglip.image_embeddings AS e ON e.model_id = model.model_id AND e.content_id = p.content_id
        ORDER BY p.turn
    LOOP
        CONTINUE WHEN candidate.image_id = ANY (chosen_ids) OR (candidate.reason = 'uncertain' AND cardinality(chosen_ids) >= wanted);
        -- A random sample keeps what is alike: it stands for all that the label accepts.
        CONTINUE WHEN NOT only_accepted
            AND EXISTS (SELECT FROM unnest(chosen) AS v WHERE -(v OPERATOR(public.<#>) candidate.embedding) > 0.95);
        chosen := chosen || candidate.embedding;
        chosen_ids := chosen_ids || candidate.image_id;
        image_id := candidate.image_id;
        uri := candidate.uri;
        score := siglip.sigmoid(candidate.logit);
        calibrated_score := candidate.calibrated_score;
        is_accepted := candidate.is_accepted;
        reason := candidate.reason;
        RETURN NEXT;
        EXIT WHEN cardinality(chosen_ids) >= max_results;
    END LOOP;
END
$function$;

-- The direction of the sum of the parts by their weights, for the graph; NULL where there is none. Parts that aren't wanted weigh negative_weight as much.
-- Example: SELECT siglip.sum_parts(siglip.embed_parts(siglip.compose('beach', siglip.minus('people')), siglip.described_model(1), NULL), 0.25);
CREATE OR REPLACE FUNCTION siglip.sum_parts(parts siglip.embedded_part[], negative_weight double precision)
 RETURNS halfvec
 LANGUAGE sql
 IMMUTABLE
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
    SELECT public.l2_normalize(s.total) FROM (
        SELECT public.sum(p.embedding OPERATOR(public.*) array_fill(
                   (CASE WHEN p.weight < 0 THEN negative_weight ELSE 1 END * p.weight / l.largest)::real,
                   ARRAY[public.vector_dims(p.embedding)])::public.halfvec)
        FROM unnest(parts) AS p, (SELECT max(abs(p.weight)) FROM unnest(parts) AS p) AS l (largest)
    ) AS s (total) WHERE public.l2_norm(s.total) > 0
$function$;

-- Make a model the one that searches, labels and new images use, by its name.
-- Example: SELECT siglip.switch_model('other');
CREATE OR REPLACE FUNCTION siglip.switch_model(model text, force boolean DEFAULT false, keep_old boolean DEFAULT true, timeout_s double precision DEFAULT 0)
 RETURNS text
 LANGUAGE sql
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
    SELECT siglip.switch_model(siglip.find_model(model), force, keep_old, timeout_s)
$function$;

-- Make a model the one that searches, labels and new images use, in one transaction; each query is of the one model or of the other. Refuses where something is missing under it, unless force. The old one is kept, so that it can be switched back.
-- Example: SELECT siglip.switch_model(2);
CREATE OR REPLACE FUNCTION siglip.switch_model(model_id integer, force boolean DEFAULT false, keep_old boolean DEFAULT true, timeout_s double precision DEFAULT 0)
 RETURNS text
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
#variable_conflict use_variable
DECLARE
    model   siglip.models;
    before  siglip.models;
    missing text;
    give_up_at timestamptz := clock_timestamp() + make_interval(secs => coalesce(timeout_s, 0));
    queued  bigint;
BEGIN
    SELECT m.* INTO model FROM siglip.models AS m WHERE m.model_id = switch_model.model_id;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'There is no model % in the database.', coalesce(switch_model.model_id::text, 'NULL')
            USING ERRCODE = 'no_data_found', HINT = 'SELECT model_id, name FROM siglip.models shows what there is.';
    ELSIF timeout_s < 0 OR timeout_s = 'NaN' THEN
        RAISE EXCEPTION 'timeout_s is %, not a number of seconds.', timeout_s USING ERRCODE = 'invalid_parameter_value';
    ELSIF NOT force THEN
        PERFORM siglip.described_model(model.model_id);
        LOOP
            missing := siglip.missing_under_model(model.model_id);
            EXIT WHEN missing IS NULL OR clock_timestamp() >= give_up_at;
            PERFORM pg_sleep(least(1, greatest(0.01, extract(epoch FROM give_up_at - clock_timestamp()))));
        END LOOP;
        IF missing IS NOT NULL THEN
            RAISE EXCEPTION 'The model % is not complete: %.', quote_literal(model.name), missing
                USING ERRCODE = 'object_not_in_prerequisite_state',
                      HINT = CASE WHEN model.is_external THEN 'Import what is missing. '
                            ELSE format('SELECT siglip.add_model(%L) queues what is not; siglip.model_coverage shows how far its workers are; ',
                                        model.name) END
                            || format('siglip.switch_model(%L, force => true) switches all the same.', model.name);
        END IF;
    END IF;

    -- As siglip_ingest.db.models.lock_models does it: those who enqueue have ended, or wait and write under the new model.
    PERFORM pg_advisory_xact_lock('siglip.models'::regclass::oid::bigint);
    IF EXISTS (SELECT FROM siglip.model_drops AS d WHERE d.model_id = switch_model.model_id) THEN
        RAISE EXCEPTION 'The model % is dropped.', quote_literal(model.name)
            USING ERRCODE = 'object_in_use', HINT = 'SELECT siglip.add_model(name) begins anew with it, once CALL siglip.finish_drops() has ended.';
    END IF;
    SELECT m.* INTO before FROM siglip.models AS m WHERE m.is_active;
    IF before.model_id IS DISTINCT FROM model.model_id THEN
        -- One after the other: a unique index allows one active model at any time.
        UPDATE siglip.models AS m SET is_active = false, is_kept = (coalesce(keep_old, m.is_kept) AND NOT m.is_external) WHERE m.is_active;
        UPDATE siglip.models AS m SET is_active = true WHERE m.model_id = switch_model.model_id;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'There is no model % in the database.', switch_model.model_id USING ERRCODE = 'no_data_found';
        END IF;
        IF model.logit_scale IS NOT NULL AND EXISTS (SELECT FROM siglip.label_calibrations AS c WHERE c.is_current) THEN
            PERFORM siglip.recalibrate(model.model_id);
        END IF;
    END IF;
    queued := siglip.queue_missing_images(model.model_id);
    RETURN CASE WHEN before.model_id = model.model_id THEN format('%s is the active model already.', model.name)
                ELSE format('The active model is %s now.', model.name) END
        || CASE WHEN queued > 0 THEN format(' %s images are queued under it.', queued) ELSE '' END;
END
$function$;

-- Take keys of rows to look at out of siglip.attached_changes; none where only large notes were split.
-- Example: SELECT siglip.take_changes(1, 100);
CREATE OR REPLACE FUNCTION siglip.take_changes(attachment_id integer, max_rows integer)
 RETURNS text[]
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
#variable_conflict use_column
DECLARE
    is_split boolean;
    keys     text[];
BEGIN
    WITH large AS (
        DELETE FROM siglip.attached_changes AS c
        WHERE c.attachment_id = take_changes.attachment_id AND c.change_id IN (
            SELECT o.change_id FROM siglip.attached_changes AS o
            WHERE o.attachment_id = take_changes.attachment_id AND (o.row_keys IS NULL OR cardinality(o.row_keys) > max_rows)
            ORDER BY o.change_id LIMIT 1)
        RETURNING c.row_keys
    ), split AS (
        INSERT INTO siglip.attached_changes (attachment_id, row_keys)
        SELECT take_changes.attachment_id, array_agg(k.row_key ORDER BY k.place) FROM (
            SELECT u.row_key, u.place, (u.place - 1) / max_rows AS part FROM large AS l CROSS JOIN unnest(l.row_keys) WITH ORDINALITY AS u (row_key, place)
            UNION ALL
            SELECT m.row_key, row_number() OVER (), (row_number() OVER () - 1) / max_rows
            FROM (SELECT DISTINCT a.row_key FROM siglip.attached_images AS a
                  WHERE a.attachment_id = take_changes.attachment_id AND EXISTS (SELECT FROM large AS l WHERE l.row_keys IS NULL)) AS m
        ) AS k WHERE k.row_key IS NOT NULL GROUP BY k.part ORDER BY k.part
    )
    SELECT EXISTS (SELECT FROM large) INTO is_split;
    IF is_split THEN
        RETURN '{}';
    END IF;

    WITH counted AS MATERIALIZED (
        SELECT c.change_id, sum(cardinality(c.row_keys)) OVER (ORDER BY c.change_id) AS total
        FROM (SELECT c.change_id, c.row_keys FROM siglip.attached_changes AS c
              WHERE c.attachment_id = take_changes.attachment_id ORDER BY c.change_id LIMIT least(max_rows, 500)) AS c
    ), taken AS (
        DELETE FROM siglip.attached_changes AS c
        WHERE c.attachment_id = take_changes.attachment_id AND c.change_id IN (SELECT n.change_id FROM counted AS n WHERE n.total <= max_rows)
        RETURNING c.change_id, c.row_keys
    )
    SELECT ARRAY(SELECT u.row_key FROM taken AS o CROSS JOIN unnest(o.row_keys) WITH ORDINALITY AS u (row_key, place)
                 WHERE u.row_key IS NOT NULL GROUP BY u.row_key ORDER BY min(o.change_id), min(u.place))
    INTO keys;
    RETURN keys;
END
$function$;

-- Tell the workers that which models they are to serve may have changed: NOTIFY siglip_models.
-- Example: UPDATE siglip.models SET is_kept = true WHERE name = 'other';
CREATE OR REPLACE FUNCTION siglip.tell_of_models()
 RETURNS trigger
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
BEGIN
    PERFORM pg_notify('siglip_models', '');
    RETURN NULL;
END
$function$;

-- Let hnsw.iterative_scan and hnsw.ef_search, as they are now, hold on the servers with segments of a model until the transaction ends.
-- Example: SELECT set_config('hnsw.iterative_scan', 'relaxed_order', true), set_config('hnsw.ef_search', '100', true), siglip.tell_servers(1);
CREATE OR REPLACE FUNCTION siglip.tell_servers(model_id integer)
 RETURNS void
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
#variable_conflict use_column
DECLARE
    iterative_scan constant text := coalesce(current_setting('hnsw.iterative_scan', true), 'off');
    ef_search      constant text := coalesce(current_setting('hnsw.ef_search', true), '40');
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
-- Example: UPDATE siglip.models SET ef_search = 100 WHERE model_id = 1;
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
-- Example: SELECT siglip.touch_text(t.model_id, t.text_hash) FROM siglip.texts AS t;
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
-- Example: INSERT INTO siglip.texts (model_id, query, embedding) SELECT 1, 'text ' || n, siglip.embed_text('sunset') FROM generate_series(1, 500) AS n;
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
-- Example: TRUNCATE siglip.contents /* empties the database */ CASCADE;
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
-- Example: SELECT ef_search, recall, is_chosen FROM siglip.tune_search(target_recall => 0.95, sample => 20);
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

-- Make an earlier calibration the current one again, or a later one; 0 is the model's own scores.
-- Example: SELECT siglip.use_calibration('scenes', 'sunset', 0);
CREATE OR REPLACE FUNCTION siglip.use_calibration(label_set text, label text, version integer, model_id integer DEFAULT NULL::integer)
 RETURNS void
 LANGUAGE plpgsql
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
DECLARE
    model    siglip.models := siglip.described_model(model_id);
    of_label siglip.labels := siglip.find_label(label_set, label);
    chosen   siglip.label_calibrations;
BEGIN
    PERFORM FROM siglip.labels AS l WHERE l.label_id = of_label.label_id FOR NO KEY UPDATE;
    SELECT c.* INTO chosen FROM siglip.label_calibrations AS c
    WHERE c.label_id = of_label.label_id AND c.model_id = model.model_id AND c.version = use_calibration.version;
    IF version = 0 AND of_label.is_by_example THEN
        RAISE EXCEPTION 'The label % is by example: the model has no scores of its own for it.', quote_literal(label)
            USING ERRCODE = 'invalid_parameter_value', HINT = 'SELECT * FROM siglip.calibrations(label_set, label) shows what there is.';
    ELSIF version IS DISTINCT FROM 0 AND chosen.version IS NULL THEN
        RAISE EXCEPTION 'The label % has no calibration % under the model %.', quote_literal(label), coalesce(version::text, 'NULL'), model.name
            USING ERRCODE = 'no_data_found',
                  HINT = 'SELECT * FROM siglip.calibrations(label_set, label) shows what there is; 0 is the model''s own scores.';
    ELSIF chosen.figures ? 'embedding' AND NOT of_label.is_by_example THEN
        RAISE EXCEPTION 'The calibration % is of when the label % was by example; now it has prompts.', version, quote_literal(label)
            USING ERRCODE = 'object_not_in_prerequisite_state', HINT = 'siglip.calibrate fits the prompts to the same marks.';
    END IF;
    UPDATE siglip.label_calibrations AS c SET is_current = false
    WHERE c.label_id = of_label.label_id AND c.model_id = model.model_id AND c.is_current AND c.version <> use_calibration.version;
    UPDATE siglip.label_calibrations AS c SET is_current = true
    WHERE c.label_id = of_label.label_id AND c.model_id = model.model_id AND NOT c.is_current AND c.version = use_calibration.version;
    IF chosen.figures ? 'embedding' THEN  -- a label by example had another vector then
        UPDATE siglip.label_embeddings AS v SET embedding = (chosen.figures ->> 'embedding')::public.halfvec
        WHERE v.label_id = of_label.label_id AND v.model_id = model.model_id;
    END IF;
END
$function$;

-- Why a label has no vector under a model: what is wrong with it, or that a worker adds it.
-- Example: SELECT siglip.vector_hint('scenes', 'sunset', 1);
CREATE OR REPLACE FUNCTION siglip.vector_hint(label_set text, label text, model_id integer)
 RETURNS text
 LANGUAGE sql
 STABLE
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
    SELECT coalesce((
        SELECT format('%s can''t embed it. %s Give it other prompts (siglip.change_label).', m.name, r.refusal)
        FROM siglip.label_refusals AS r
        JOIN siglip.models AS m USING (model_id)
        JOIN siglip.labels AS l USING (label_id)
        JOIN siglip.label_sets AS s USING (label_set_id)
        WHERE s.name = vector_hint.label_set AND l.label = vector_hint.label AND m.model_id = vector_hint.model_id
    ), 'A worker of that model adds it within seconds (siglip-ingest worker).')
$function$;

-- Warn of roles whose writes to an attached table would fail, with the GRANTs that help, and of row-level security on it.
-- Example: SELECT siglip.warn_of_rights('public.product');
CREATE OR REPLACE FUNCTION siglip.warn_of_rights(attached_table regclass)
 RETURNS void
 LANGUAGE plpgsql
 STABLE
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
DECLARE
    class   pg_class;
    writers text;
BEGIN
    SELECT c.* INTO class FROM pg_class AS c WHERE c.oid = attached_table;
    SELECT string_agg(DISTINCT CASE w.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(w.grantee)) END, ', ') INTO writers
    FROM (
        SELECT x.grantee, x.privilege_type FROM aclexplode(class.relacl) AS x
        UNION ALL SELECT class.relowner, 'INSERT'
    ) AS w
    WHERE w.privilege_type IN ('INSERT', 'UPDATE', 'DELETE', 'TRUNCATE')
      AND CASE w.grantee WHEN 0 THEN true
          ELSE NOT (has_schema_privilege(w.grantee, 'siglip', 'USAGE') AND has_table_privilege(w.grantee, 'siglip.attachments', 'SELECT')
                    AND has_table_privilege(w.grantee, 'siglip.attached_changes', 'INSERT')) END;
    IF writers IS NOT NULL THEN
        RAISE WARNING 'Some roles may write to % but not note for siglip what changes: their writes will fail: %.', attached_table, writers
            USING HINT = format('GRANT USAGE ON SCHEMA siglip TO %1$s; GRANT SELECT ON siglip.attachments TO %1$s; '
                                'GRANT INSERT ON siglip.attached_changes TO %1$s', writers);
    END IF;
    IF class.relrowsecurity THEN
        RAISE WARNING '% has row-level security, siglip.images doesn''t follow it: who may read siglip.images sees addresses and metadata of all rows.',
            attached_table USING HINT = 'siglip.search and siglip.search_rows give a role only the rows that it may see.';
    END IF;
END
$function$;

-- A part of a query from JSON, with a weight.
-- Example: SELECT siglip.write_part('{"query": "people"}', -1);
CREATE OR REPLACE FUNCTION siglip.write_part(part jsonb, weight double precision)
 RETURNS siglip.query_part
 LANGUAGE plpgsql
 IMMUTABLE
 SET search_path TO 'pg_catalog', 'siglip', 'pg_temp'
AS $function$
BEGIN
    IF weight IS NULL OR abs(weight) NOT BETWEEN 0.01 AND 100 THEN  -- NaN is above all numbers
        RAISE EXCEPTION 'The weight of a part is %, not a number from 0.01 to 100.', coalesce(abs(weight)::text, 'NULL')
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Weights compare the parts; 1 is usual. siglip.minus says what is not wanted.';
    END IF;
    RETURN E'\x1f' || (part || jsonb_build_object('weight', weight))::text;
END
$function$;

-- One row is one attached table: keys that wait to be looked at, rows with images, and how many images the active model has embedded.
CREATE VIEW siglip.attached_tables AS
 SELECT a.attachment_id,
    a.attached_table,
    a.id_columns,
    a.uri_column,
    a.metadata_columns,
    a.collection,
    COALESCE(c.waiting, (0)::bigint) AS rows_waiting,
    COALESCE(i.rows, (0)::bigint) AS rows,
    COALESCE(i.images, (0)::bigint) AS images,
    COALESCE(i.embedded, (0)::bigint) AS embedded,
    COALESCE(i.failed, (0)::bigint) AS failed,
    COALESCE(a.problem, (siglip.plan_attachment(a.*)).problem) AS problem
   FROM ((siglip.attachments a
     LEFT JOIN ( SELECT c_1.attachment_id,
            sum(COALESCE(cardinality(c_1.row_keys), 1)) AS waiting
           FROM siglip.attached_changes c_1
          GROUP BY c_1.attachment_id) c USING (attachment_id))
     LEFT JOIN ( SELECT m.attachment_id,
            count(DISTINCT m.row_key) AS rows,
            count(DISTINCT m.image_id) AS images,
            count(DISTINCT m.image_id) FILTER (WHERE (t.state = 'done'::text)) AS embedded,
            count(DISTINCT m.image_id) FILTER (WHERE (t.state = 'failed'::text)) AS failed
           FROM (siglip.attached_images m
             LEFT JOIN siglip.ingest_items t ON (((t.image_id = m.image_id) AND (t.model_id = ( SELECT o.model_id
                   FROM siglip.models o
                  WHERE o.is_active)))))
          GROUP BY m.attachment_id) i USING (attachment_id));

-- One row is one collection under one model: how many of its images are embedded, queued and failed.
CREATE VIEW siglip.collection_coverage AS
 SELECT m.model_id,
    m.name AS model,
    n.collection,
    n.images,
    n.embedded,
    n.queued,
    n.failed,
    (((n.images - n.embedded) - n.queued) - n.failed) AS not_queued,
    ((n.embedded)::double precision / (n.images)::double precision) AS share
   FROM (siglip.models m
     CROSS JOIN LATERAL ( SELECT i.collection,
            count(*) AS images,
            count(*) FILTER (WHERE (t.state = 'done'::text)) AS embedded,
            count(*) FILTER (WHERE (t.state = ANY (ARRAY['queued'::text, 'claimed'::text]))) AS queued,
            count(*) FILTER (WHERE (t.state = 'failed'::text)) AS failed
           FROM (siglip.images i
             LEFT JOIN siglip.ingest_items t ON (((t.image_id = i.image_id) AND (t.model_id = m.model_id))))
          GROUP BY i.collection) n)
  WHERE (NOT m.is_external);

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

-- One row is a label of a kept set: whether siglip.image_labels has it as it is now, and what share of the images is done.
CREATE VIEW siglip.label_coverage AS
 SELECT s.name AS label_set,
    l.label,
    m.name AS model,
        CASE
            WHEN m.is_external THEN 'can''t be embedded: the active model is external'::text
            WHEN ((v.label_id IS NULL) AND (f.label_id IS NOT NULL)) THEN 'can''t be embedded: see siglip.label_status'::text
            WHEN (v.label_id IS NULL) THEN 'waits for a worker of the model to embed its prompts'::text
            WHEN ((p.label_id IS NULL) OR (n.label_id IS NOT NULL)) THEN 'waits for a worker'::text
            WHEN (p.completed_at IS NULL) THEN 'in progress'::text
            ELSE 'current'::text
        END AS state,
        CASE
            WHEN ((p.label_id IS NULL) OR (n.label_id IS NOT NULL) OR (v.label_id IS NULL)) THEN (0)::double precision
            WHEN (p.completed_at IS NOT NULL) THEN (1)::double precision
            ELSE LEAST((1)::double precision, ((p.next_content_id)::double precision / (GREATEST((1)::bigint, (p.last_content_id + 1)))::double precision))
        END AS share,
    p.completed_at
   FROM ((((((siglip.label_sets s
     JOIN siglip.labels l USING (label_set_id))
     CROSS JOIN siglip.models m)
     LEFT JOIN siglip.label_embeddings v ON (((v.label_id = l.label_id) AND (v.model_id = m.model_id))))
     LEFT JOIN siglip.label_refusals f ON (((f.label_id = l.label_id) AND (f.model_id = m.model_id))))
     LEFT JOIN siglip.label_progress p ON ((p.label_id = l.label_id)))
     LEFT JOIN ( SELECT DISTINCT c.c AS label_id
           FROM siglip.changed_labels() c(c)) n ON ((n.label_id = l.label_id)))
  WHERE (s.is_kept AND m.is_active);

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
    siglip.score(c.similarity, m.logit_scale, m.logit_bias) AS score,
    siglip.sigmoid(((COALESCE(k.scale, (1)::double precision) * g.logit) + COALESCE(k.bias, (0)::double precision))) AS calibrated_score,
    (COALESCE(k.threshold, l.threshold, (0.5)::real))::double precision AS threshold,
    (siglip.sigmoid(((COALESCE(k.scale, (1)::double precision) * g.logit) + COALESCE(k.bias, (0)::double precision))) >= (COALESCE(k.threshold, l.threshold, (0.5)::real))::double precision) AS is_accepted
   FROM ((((((((siglip.models m
     JOIN siglip.label_embeddings v ON ((v.model_id = m.model_id)))
     JOIN siglip.labels l USING (label_id))
     JOIN siglip.label_sets s USING (label_set_id))
     JOIN siglip.image_embeddings e ON ((e.model_id = m.model_id)))
     JOIN siglip.images i USING (content_id))
     LEFT JOIN ( SELECT a.label_id,
            a.model_id,
            max(a.scale) AS scale,
            max(a.bias) AS bias,
            max(a.threshold) AS threshold
           FROM siglip.label_calibrations a
          WHERE a.is_current
          GROUP BY a.label_id, a.model_id) k ON (((k.label_id = v.label_id) AND (k.model_id = (v.model_id + 0)))))
     CROSS JOIN LATERAL ( SELECT GREATEST((- (1)::double precision), LEAST((1)::double precision, (- (e.embedding <#> v.embedding)))) AS similarity
         OFFSET 0) c)
     CROSS JOIN LATERAL ( SELECT ((exp(m.logit_scale) * c.similarity) + m.logit_bias) AS logit) g)
  WHERE (m.model_id = ( SELECT models.model_id
           FROM siglip.models
          WHERE models.is_active));

-- One row is a label under a model that is kept (the active one, or one beside it): whether it has a vector, and if not, why not.
CREATE VIEW siglip.label_status AS
 SELECT s.name AS label_set,
    l."position",
    l.label,
    l.prompts,
    l.threshold,
    l.is_by_example,
    s.is_kept,
    m.name AS model,
    m.model_id,
    m.is_active,
    (EXISTS ( SELECT
           FROM siglip.label_embeddings v
          WHERE ((v.label_id = l.label_id) AND (v.model_id = m.model_id)))) AS has_vector,
    ( SELECT r.refusal
           FROM siglip.label_refusals r
          WHERE ((r.label_id = l.label_id) AND (r.model_id = m.model_id))) AS refusal,
    l.label_id
   FROM ((siglip.label_sets s
     JOIN siglip.labels l USING (label_set_id))
     LEFT JOIN siglip.models m ON ((m.is_active OR m.is_kept)));

-- One row is a label that an image has, kept by the model or marked by a person, or a mark that it hasn't: siglip.image_labels with names.
CREATE VIEW siglip.labeled_images AS
 SELECT i.image_id,
    i.uri,
    i.collection,
    s.name AS label_set,
    l.label,
    r.is_accepted,
    r.score,
    r.marked_by,
    r.model_id,
    r.updated_at,
    i.metadata
   FROM (((siglip.image_labels r
     JOIN siglip.labels l USING (label_id))
     JOIN siglip.label_sets s USING (label_set_id))
     JOIN siglip.images i USING (image_id));

-- One row is one model: how many of the images it has, how many come, per second of the last minute, and what labels lack a vector.
CREATE VIEW siglip.model_coverage AS
 SELECT m.model_id,
    m.name AS model,
    m.is_active,
    m.is_kept,
    m.is_external,
        CASE
            WHEN (d.model_id IS NOT NULL) THEN 'dropped'::text
            WHEN m.is_active THEN 'active'::text
            WHEN m.is_kept THEN 'kept'::text
            ELSE 'unused'::text
        END AS state,
    n.images,
    e.embedded,
    c.queued,
    c.failed,
    GREATEST((0)::bigint, (((n.images - e.embedded) - c.queued) - c.failed)) AS not_queued,
    ((e.embedded)::double precision / (NULLIF(n.images, 0))::double precision) AS share,
    p.per_s,
        CASE
            WHEN ((p.per_s > (0)::double precision) AND (c.queued > 0)) THEN make_interval(secs => ((c.queued)::double precision / p.per_s))
            ELSE NULL::interval
        END AS remaining,
    l.labels_missing,
    t.texts,
    ( SELECT count(*) AS count
           FROM siglip.workers w
          WHERE ((w.model_id = m.model_id) AND siglip.is_alive(w.*))) AS workers
   FROM (((((((siglip.models m
     LEFT JOIN siglip.model_drops d ON ((d.model_id = m.model_id)))
     CROSS JOIN ( SELECT count(*) AS images
           FROM siglip.images) n)
     CROSS JOIN LATERAL ( SELECT count(*) FILTER (WHERE (t_1.state = 'done'::text)) AS done,
            count(*) FILTER (WHERE (t_1.state = ANY (ARRAY['queued'::text, 'claimed'::text]))) AS queued,
            count(*) FILTER (WHERE (t_1.state = 'failed'::text)) AS failed,
            count(*) FILTER (WHERE ((t_1.state = 'done'::text) AND (t_1.updated_at > (now() - '00:01:00'::interval)))) AS last_minute,
            min(t_1.updated_at) FILTER (WHERE ((t_1.state = 'done'::text) AND (t_1.updated_at > (now() - '00:01:00'::interval)))) AS since
           FROM (siglip.ingest_items t_1
             JOIN siglip.images i USING (image_id))
          WHERE (t_1.model_id = m.model_id)) c)
     CROSS JOIN LATERAL ( SELECT
                CASE
                    WHEN m.is_external THEN ( SELECT count(*) AS count
                       FROM (siglip.image_embeddings v
                         JOIN siglip.images i USING (content_id))
                      WHERE (v.model_id = m.model_id))
                    ELSE c.done
                END AS embedded) e)
     CROSS JOIN LATERAL ( SELECT ((c.last_minute)::double precision / (GREATEST((1)::numeric, EXTRACT(epoch FROM (clock_timestamp() - c.since))))::double precision) AS per_s) p)
     CROSS JOIN LATERAL ( SELECT count(*) AS labels_missing
           FROM siglip.labels l_1
          WHERE ((NOT m.is_external) AND (NOT (EXISTS ( SELECT
                   FROM siglip.label_embeddings v
                  WHERE ((v.model_id = m.model_id) AND (v.label_id = l_1.label_id))))))) l)
     CROSS JOIN LATERAL ( SELECT count(*) AS texts
           FROM siglip.texts x
          WHERE (x.model_id = m.model_id)) t);

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

-- One row is a label of a kept set, with the rule by which images have it now.
CREATE VIEW siglip.wanted_labels AS
 SELECT l.label_id,
    m.model_id,
    v.embedding,
    r.scale,
    r.bias,
    r.threshold,
    siglip.least_similarity(r.threshold, (m.logit_scale + ln(r.scale)), ((r.scale * m.logit_bias) + r.bias)) AS least_similarity
   FROM ((((siglip.label_sets s
     JOIN siglip.labels l ON ((l.label_set_id = s.label_set_id)))
     JOIN siglip.models m ON (m.is_active))
     JOIN siglip.label_rules r ON (((r.label_id = l.label_id) AND (r.model_id = m.model_id))))
     JOIN siglip.label_embeddings v ON (((v.label_id = l.label_id) AND (v.model_id = m.model_id))))
  WHERE s.is_kept;
