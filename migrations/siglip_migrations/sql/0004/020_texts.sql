-- Purpose: a cache of texts that stays small whoever writes to it, and that remembers what a model can't read.
-- Parameters: siglip.max_cached_texts, a setting of the database: rows kept for each model, 100,000 by default.
-- A row means: the unit vector of one text under one model; or why the model has none, a sentence (refusal).

-- Texts came to workers through the write-ahead log before.
DROP FUNCTION siglip.request_text(text, integer);
DROP PUBLICATION IF EXISTS siglip_messages;

-- Longer texts are cut; see siglip.cut_text.
DELETE FROM siglip.texts WHERE octet_length(query) > 1200;

ALTER TABLE siglip.texts ALTER COLUMN embedding DROP NOT NULL;
ALTER TABLE siglip.texts ADD COLUMN refusal text;
ALTER TABLE siglip.texts ADD COLUMN warning text;
ALTER TABLE siglip.texts ADD CONSTRAINT texts_refusal_check CHECK (num_nonnulls(embedding, refusal) = 1);
ALTER TABLE siglip.texts ADD CONSTRAINT texts_query_check CHECK (octet_length(query) <= 1200);

COMMENT ON COLUMN siglip.texts.refusal IS 'Why the model can''t embed the text, a sentence; NULL where it can.';
COMMENT ON COLUMN siglip.texts.warning IS 'What the model doesn''t read of the text, a sentence; NULL where it reads all.';

CREATE FUNCTION siglip.trim_texts() RETURNS trigger
LANGUAGE plpgsql
SET search_path = pg_catalog, siglip, pg_temp
AS $$
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
$$;

COMMENT ON FUNCTION siglip.trim_texts() IS 'Forget the texts that were used longest ago, all but siglip.max_cached_texts of a model.';

-- For one row in 128, and whoever wrote it: hashes are as good as a counter, and nothing has to count.
CREATE TRIGGER trim_texts AFTER INSERT ON siglip.texts
    FOR EACH ROW WHEN (get_byte(uuid_send(NEW.text_hash), 0) < 2) EXECUTE FUNCTION siglip.trim_texts();

CREATE FUNCTION siglip.cut_text(query text) RETURNS text
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, siglip, pg_temp
AS $$
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
$$;

COMMENT ON FUNCTION siglip.cut_text(text)
    IS 'The first 1,200 bytes of a text, whole characters: more than any model reads, and all that is kept and sent.';

CREATE FUNCTION siglip.can_write_texts() RETURNS boolean
LANGUAGE sql STABLE
SET search_path = pg_catalog, siglip, pg_temp
AS $$
    SELECT current_setting('transaction_read_only') = 'off'
       AND has_table_privilege('siglip.texts', 'INSERT') AND has_table_privilege('siglip.texts', 'UPDATE')
       AND has_table_privilege('siglip.texts', 'SELECT') AND has_table_privilege('siglip.texts', 'DELETE')
$$;

COMMENT ON FUNCTION siglip.can_write_texts()
    IS 'Whether the caller can add to the cache: a role that only searches may have no right to, and a standby can''t.';

CREATE FUNCTION siglip.touch_text(model_id integer, text_hash uuid) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, siglip, pg_temp
AS $$
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
$$;

COMMENT ON FUNCTION siglip.touch_text(integer, uuid) IS 'Note that a text was used, unless another transaction is just at its row.';

CREATE FUNCTION siglip.store_text(
    query text, embedding @vector@.halfvec, model_id integer, name text, revision text, warning text DEFAULT NULL,
    refusal text DEFAULT NULL, max_rows integer DEFAULT NULL
) RETURNS void
LANGUAGE plpgsql
SET search_path = pg_catalog, siglip, pg_temp
AS $$
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
$$;

COMMENT ON FUNCTION siglip.store_text(text, @vector@.halfvec, integer, text, text, text, text, integer)
    IS 'Remember a text''s vector under the model (name, revision) that made it; one that is there already stays.';
