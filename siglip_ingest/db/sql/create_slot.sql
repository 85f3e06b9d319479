-- Purpose: a temporary slot that reads this database's log from now on.
-- Parameters: slot_name.
-- A row means: the slot.
SELECT pg_create_logical_replication_slot(%(slot_name)s, 'pgoutput', true)
