-- Purpose: the constraints of a table: key, unique, foreign, check.
-- Parameters: oid of the table.
-- A row means: a constraint as SQL.
SELECT format('CONSTRAINT %%I %%s', c.conname, pg_get_constraintdef(c.oid))
FROM pg_constraint AS c
WHERE c.conrelid = %s AND c.contype <> 'n'
ORDER BY array_position('{p,u,f,c}'::"char"[], c.contype), c.conname
