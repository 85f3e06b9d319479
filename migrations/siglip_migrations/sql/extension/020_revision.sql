-- Purpose: say which revision the schema is at, where siglip-ingest looks for it.
-- Parameters: @revision@, the newest.
-- A row means: the revision (alembic_version); there is one row.

CREATE TABLE siglip.alembic_version (
    version_num varchar(32) NOT NULL,
    CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);

INSERT INTO siglip.alembic_version (version_num) VALUES ('@revision@');
