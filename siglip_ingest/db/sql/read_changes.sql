-- Purpose: take what the slot has. The publication has no tables, so that only logical messages pass.
-- Parameters: slot_name.
-- A row means: one message of pgoutput.
SELECT data
FROM pg_logical_slot_get_binary_changes(
    %(slot_name)s, NULL, NULL, 'proto_version', '1', 'publication_names', 'siglip_messages', 'messages', 'true')
