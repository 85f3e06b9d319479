"""What a role may do that only searches: the two GRANTs of migrations/README.md and nothing else."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from psycopg import sql

from siglip_ingest import labeling, search
from siglip_ingest.db import Database
from siglip_ingest.db.schema import check_schema
from siglip_ingest.errors import DatabaseError
from tests.database.helpers import index_images, make_fake, unit_vectors
from tests.database.listeners import listening


@pytest.fixture
def image_ids(database: Database, model_id: int) -> list[int]:
    return index_images(database, model_id, unit_vectors(20))


@pytest.fixture
def reader(database_url: str, database: Database, image_ids: list[int]) -> Iterator[Database]:
    role = f"siglip_reader_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'x1'").format(sql.Identifier(role)))
        connection.execute(sql.SQL("GRANT USAGE ON SCHEMA siglip TO {}").format(sql.Identifier(role)))
        connection.execute(sql.SQL("GRANT SELECT ON ALL TABLES IN SCHEMA siglip TO {}").format(sql.Identifier(role)))
        parts = urlsplit(database_url)
        with Database(urlunsplit(parts._replace(netloc=f"{role}:x1@{parts.hostname}:{parts.port}"))) as reader:
            yield reader
        connection.execute(sql.SQL("DROP OWNED BY {}").format(sql.Identifier(role)))
        connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))


def reader_role(reader: Database) -> str:
    with reader.connection() as connection:
        row = connection.execute("SELECT current_user::text").fetchone()
    assert row is not None
    return str(row[0])


def test_a_role_that_only_searches_can_search(reader: Database, database: Database, image_ids: list[int]) -> None:
    check_schema(reader)
    matches = search.search_by_text(reader, make_fake, "cat", limit=3)
    assert matches == search.search_by_text(database, make_fake, "cat", limit=3)
    assert len(search.similar_images(reader, image_ids[0])) == 10
    labeling.create_label_set(database, make_fake, "pets", ["cat"])
    assert len(labeling.label_scores_of_image_id(reader, image_ids[0], "pets")) == 1
    with reader.connection() as connection:
        assert len(connection.execute("SELECT * FROM siglip.images_with_label('pets', 'cat', 0)").fetchall()) == 20


def test_it_reaches_a_worker_from_sql(reader: Database, database: Database) -> None:
    with listening(database), reader.connection() as connection:
        assert len(connection.execute("SELECT * FROM siglip.search_images('dog', 3)").fetchall()) == 3


def test_a_cached_text_that_was_long_unused_is_found_though_its_use_can_t_be_noted(
    reader: Database, database: Database
) -> None:
    search.search_by_text(database, make_fake, "cat")
    with database.connection() as connection:
        connection.execute("UPDATE siglip.texts SET last_used_at = now() - interval '9 days'")
    assert search.search_by_text(reader, make_fake, "cat")
    with reader.connection() as connection:
        assert connection.execute("SELECT * FROM siglip.search_images('cat')").fetchall()


def test_without_the_grants_it_is_told_that_it_needs_rights(reader: Database, database: Database) -> None:
    with database.connection() as connection:
        role = reader_role(reader)
        connection.execute(sql.SQL("REVOKE USAGE ON SCHEMA siglip FROM {}").format(sql.Identifier(role)))
    with pytest.raises(DatabaseError, match=r"permission denied for schema siglip.*needs more rights"):
        search.search_by_text(reader, make_fake, "cat")


def test_it_can_change_nothing(reader: Database) -> None:
    with pytest.raises(DatabaseError, match="permission denied"), reader.connection() as connection:
        connection.execute("DELETE FROM siglip.images")
