-- Purpose: keys of the web API, and sessions of browsers, which can't send a key with each image that a page shows.
-- Parameters: none.
-- A row means: one key that was given out (api_keys); one browser that showed a key (api_sessions).

CREATE TABLE siglip.api_keys (
    key_id       integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name         text NOT NULL CHECK (name <> ''),
    key_hash     bytea NOT NULL UNIQUE CHECK (octet_length(key_hash) = 32),
    scope        text NOT NULL CHECK (scope IN ('search', 'write', 'admin')),
    created_at   timestamptz NOT NULL DEFAULT now(),
    expires_at   timestamptz,
    revoked_at   timestamptz,
    last_used_at timestamptz
);

CREATE UNIQUE INDEX api_keys_name_btree_idx ON siglip.api_keys (name) WHERE revoked_at IS NULL;

COMMENT ON TABLE siglip.api_keys IS 'One row is one key of the web API. Only the table''s owner sees rows: other roles need a policy of their own.';
COMMENT ON COLUMN siglip.api_keys.name IS 'Who has it; a name that was revoked can be given again.';
COMMENT ON COLUMN siglip.api_keys.key_hash IS 'SHA-256 of the key, which has 256 random bits: nobody can guess one from its hash.';
COMMENT ON COLUMN siglip.api_keys.scope IS 'What it allows: search; write, which includes search; admin, which includes both.';
COMMENT ON COLUMN siglip.api_keys.expires_at IS 'When it ends by itself; NULL means never.';
COMMENT ON COLUMN siglip.api_keys.revoked_at IS 'When it was taken back; NULL while it wasn''t.';
COMMENT ON COLUMN siglip.api_keys.last_used_at IS 'To about a minute; NULL where it never was.';

CREATE TABLE siglip.api_sessions (
    session_hash bytea PRIMARY KEY CHECK (octet_length(session_hash) = 32),
    key_id       integer NOT NULL REFERENCES siglip.api_keys ON DELETE CASCADE,
    expires_at   timestamptz NOT NULL
);

CREATE INDEX api_sessions_key_id_btree_idx ON siglip.api_sessions (key_id);

COMMENT ON TABLE siglip.api_sessions IS 'One row is one browser that showed a key: it may do what the key may, for a while. Only the table''s owner sees rows.';
COMMENT ON COLUMN siglip.api_sessions.session_hash IS 'SHA-256 of what its cookie holds, 256 random bits.';

-- GRANT SELECT ON ALL TABLES, which roles that search are given, must not show hashes.
ALTER TABLE siglip.api_keys ENABLE ROW LEVEL SECURITY;
ALTER TABLE siglip.api_sessions ENABLE ROW LEVEL SECURITY;
