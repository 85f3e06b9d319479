-- Purpose: the extension and the publication that the rest builds on.
-- Parameters: none.
-- A row means: nothing here has rows. The empty publication lets workers read the messages of siglip.embed_text.

-- Not in the schema siglip, where it would land for a role of that name ("$user" comes first in the search_path): other
-- roles would not find its types.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_extension WHERE extname = 'vector') THEN
        EXECUTE format('CREATE EXTENSION vector SCHEMA %I', coalesce(
            (SELECT s.name FROM unnest(current_schemas(false)) WITH ORDINALITY AS s (name, position)
             WHERE s.name <> 'siglip' ORDER BY s.position LIMIT 1),
            'public'));
    END IF;
END
$$;

COMMENT ON SCHEMA siglip IS 'Image search: images, their SigLIP embeddings, the ledger of work, texts and labels.';

-- pgoutput wants a publication by name. This one has no tables: only logical messages pass it.
CREATE PUBLICATION siglip_messages;
