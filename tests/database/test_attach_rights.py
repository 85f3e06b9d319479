"""Who may attach, write, follow and search: roles with few rights, and row-level security."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.types.json import Jsonb

from siglip_ingest.db import Connection, Database
from siglip_ingest.db.connection.vectors import half_vector
from tests.database.attached_tables import (
    ATTACH,
    changes,
    create_products,
    embed_all,
    fetch,
    fetch_one,
    follow,
    images_of,
)
from tests.database.helpers import text_vector
from tests.database.listeners import listening
from tests.programs import wait_until

NOTING = (
    "GRANT USAGE ON SCHEMA siglip TO {role}; GRANT SELECT ON siglip.attachments TO {role};"
    "GRANT INSERT ON siglip.attached_changes TO {role}"
)
SEARCHING = "GRANT USAGE ON SCHEMA siglip TO {role}; GRANT SELECT ON ALL TABLES IN SCHEMA siglip TO {role}"
WORKING = (
    "GRANT USAGE ON SCHEMA siglip TO {role};"
    "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA siglip TO {role}"
)
WRITING = "GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON public.product TO {role}"
OWNING = "ALTER TABLE public.product OWNER TO {role}"


@pytest.fixture
def connection(database: Database, model_id: int) -> Any:
    with database.session() as session:
        create_products(session, 3)
        yield session


@pytest.fixture
def make_role(connection: Connection) -> Iterator[Callable[..., str]]:
    """Makes a role that has what the statements give it."""
    roles = []

    def make(*statements: str) -> str:
        role = f"siglip_role_{uuid.uuid4().hex[:8]}"
        connection.execute(f"CREATE ROLE {role}".encode())
        roles.append(role)
        grant(connection, role, *statements)
        return role

    yield make
    connection.execute("RESET ROLE")
    for role in roles:
        connection.execute(sql.SQL("DROP OWNED BY {0} CASCADE").format(sql.Identifier(role)))
        connection.execute(sql.SQL("DROP ROLE {0}").format(sql.Identifier(role)))


def grant(connection: Connection, role: str, *statements: str) -> None:
    for statement in statements:
        connection.execute(statement.format(role=role).encode())


def act_as(connection: Connection, role: str) -> None:
    connection.execute(f"SET ROLE {role}".encode())


def test_only_the_owner_attaches(connection: Connection, make_role: Callable[..., str]) -> None:
    role = make_role(WORKING, WRITING, "GRANT TRIGGER ON public.product TO {role}")
    act_as(connection, role)
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="it is not the table's owner"):
        connection.execute(ATTACH.encode())
    connection.execute("RESET ROLE")
    grant(connection, role, OWNING)
    act_as(connection, role)
    assert fetch_one(connection, ATTACH) == 3
    assert fetch_one(connection, "SELECT siglip.detach('public.product')") == 0


def test_an_owner_that_may_not_read_it_cannot_attach_it(connection: Connection, make_role: Callable[..., str]) -> None:
    role = make_role(WORKING, OWNING, "REVOKE SELECT ON public.product FROM {role}")
    act_as(connection, role)
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match=r"may not read the column id of public\.product"):
        connection.execute(ATTACH.encode())


def test_a_writer_without_rights_is_told_which(connection: Connection, make_role: Callable[..., str]) -> None:
    connection.execute(ATTACH.encode())
    role = make_role(WRITING)
    statements = (
        "INSERT INTO product (id, photo_url) VALUES (4, 'https://a/4')",
        "UPDATE product SET name = 'x'",
        "DELETE FROM product",
        "TRUNCATE product",
    )
    for given in ("SELECT", "GRANT USAGE ON SCHEMA siglip TO {role}", "GRANT SELECT ON siglip.attachments TO {role}"):
        grant(connection, role, given)
        act_as(connection, role)
        for statement in statements:
            with pytest.raises(
                psycopg.errors.InsufficientPrivilege, match="but not note for siglip what changes"
            ) as raised:
                connection.execute(statement.encode())
            assert (raised.value.diag.message_hint or "").startswith(f"GRANT USAGE ON SCHEMA siglip TO {role};")
        connection.execute("RESET ROLE")
    grant(connection, role, *(raised.value.diag.message_hint or "").split("; "))
    act_as(connection, role)
    for statement in statements[:1]:
        connection.execute(statement.encode())
    connection.execute("RESET ROLE")
    follow(connection)
    assert len(images_of(connection)) == 4


def test_attaching_warns_of_writers_without_rights(connection: Connection, make_role: Callable[..., str]) -> None:
    role, ready = make_role(WRITING), make_role(WRITING, NOTING)
    notices: list[Any] = []
    connection.add_notice_handler(lambda notice: notices.append((notice.message_primary, notice.message_hint)))
    connection.execute(ATTACH.encode())
    ((message, hint),) = notices
    assert role in message
    assert ready not in message
    assert f"GRANT INSERT ON siglip.attached_changes TO {role}" in hint


def test_a_note_lets_nobody_read_or_write_anything_else(connection: Connection, make_role: Callable[..., str]) -> None:
    role = make_role(WRITING, NOTING)
    act_as(connection, role)
    for statement in (
        "SELECT row_keys FROM siglip.attached_changes",
        "DELETE FROM siglip.attached_changes",
        "SELECT * FROM siglip.images",
        "SELECT * FROM siglip.attached_images",
        "INSERT INTO siglip.released_images VALUES (1)",
        "UPDATE siglip.attachments SET collection = 'x'",
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(statement.encode())


def test_a_worker_that_may_not_read_the_table_says_so(connection: Connection, make_role: Callable[..., str]) -> None:
    connection.execute(ATTACH.encode())
    role = make_role(WORKING)
    act_as(connection, role)
    assert follow(connection) == 0
    assert fetch_one(connection, "SELECT problem FROM siglip.attached_tables") == "permission denied for table product"
    connection.execute("RESET ROLE")
    assert changes(connection) == [["1", "2", "3"]]
    grant(connection, role, "GRANT SELECT ON public.product TO {role}")
    connection.execute("UPDATE siglip.attachments SET problem_at = now() - interval '1 minute'")
    act_as(connection, role)
    follow(connection)
    assert fetch_one(connection, "SELECT problem FROM siglip.attached_tables") is None
    assert len(images_of(connection)) == 3


def test_a_worker_that_does_not_see_all_rows_deletes_none(
    connection: Connection, make_role: Callable[..., str]
) -> None:
    connection.execute(ATTACH.encode())
    follow(connection)
    connection.execute("ALTER TABLE product ENABLE ROW LEVEL SECURITY")
    connection.execute("UPDATE product SET price = 9")
    role = make_role(WORKING, WRITING)
    act_as(connection, role)
    assert follow(connection) == 0
    assert "Row-level security hides rows" in fetch_one(connection, "SELECT problem FROM siglip.attached_tables")
    assert len(images_of(connection)) == 3
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="Row-level security hides rows"):
        connection.execute("SELECT siglip.refresh_attached('public.product')")


def test_searches_give_a_role_only_the_rows_that_it_may_see(
    connection: Connection, database: Database, model_id: int, make_role: Callable[..., str]
) -> None:
    connection.execute(ATTACH.encode())
    follow(connection)
    embed_all(database, model_id)
    connection.execute("ALTER TABLE product ENABLE ROW LEVEL SECURITY")
    connection.execute("CREATE POLICY odd ON product USING (id % 2 = 1)")
    search = "SELECT row_key FROM siglip.search('public.product', %s::halfvec, 2) ORDER BY row_key"
    query = half_vector(text_vector("https://example.org/2.jpg"))
    role = make_role(SEARCHING)
    act_as(connection, role)
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="permission denied for table product"):
        connection.execute(search.encode(), [query])
    connection.execute("RESET ROLE")
    grant(connection, role, WRITING)
    act_as(connection, role)
    assert fetch(connection, search, query) == [("1",), ("3",)]
    with listening(database):
        found = fetch(connection, "SELECT (s.found).id FROM siglip.search_rows(NULL::public.product, 'red shoes') AS s")
    assert sorted(found) == [(1,), (3,)]


def test_a_writer_under_row_level_security_is_followed(connection: Connection, make_role: Callable[..., str]) -> None:
    connection.execute(ATTACH.encode())
    follow(connection)
    connection.execute("ALTER TABLE product ENABLE ROW LEVEL SECURITY")
    connection.execute("CREATE POLICY odd ON product USING (id % 2 = 1)")
    act_as(connection, make_role(WRITING, NOTING))
    connection.execute("DELETE FROM product")
    connection.execute("INSERT INTO product (id, photo_url) VALUES (5, 'https://a/5')")
    connection.execute("RESET ROLE")
    follow(connection)
    assert sorted(images_of(connection)) == ["https://a/5", "https://example.org/2.jpg"]


def test_an_attached_column_runs_nobodys_code(connection: Connection, make_role: Callable[..., str]) -> None:
    """A worker reads the table with its own rights: the owner's casts and operators must not run."""
    owner = make_role(WORKING, "GRANT CREATE ON SCHEMA public TO {role}")
    act_as(connection, owner)
    connection.execute("CREATE TYPE public.evil AS ENUM ('a')")
    for result in ("text", "json"):
        connection.execute(
            f"CREATE FUNCTION public.cast_{result}(public.evil) RETURNS {result} LANGUAGE plpgsql AS"
            " $$ BEGIN RAISE 'ran as %', current_user; END $$".encode()
        )
        connection.execute(f"CREATE CAST (public.evil AS {result}) WITH FUNCTION public.cast_{result}".encode())
    connection.execute("CREATE TABLE public.t (id integer PRIMARY KEY, uri text, e public.evil)")
    connection.execute("INSERT INTO public.t VALUES (1, 'https://a/1', 'a')")
    connection.execute("SELECT siglip.attach('public.t', 'uri', metadata_columns => '{e}')")
    connection.execute("UPDATE public.t SET e = 'a'")
    connection.execute("RESET ROLE")
    follow(connection)
    assert images_of(connection, "t") == {"https://a/1": {"e": "a"}}


@pytest.mark.parametrize(
    "statements",
    [
        (
            "ALTER TABLE public.product RENAME TO old",
            "CREATE VIEW public.product AS SELECT id, public.run(photo_url) AS photo_url, category, price FROM old",
        ),
        ("ALTER TABLE public.product ALTER category TYPE public.evil USING 'a'::public.evil",),
    ],
    ids=["view", "type"],
)
def test_a_table_that_is_replaced_while_a_worker_waits_runs_nobodys_code(
    connection: Connection, database: Database, make_role: Callable[..., str], statements: tuple[str, ...]
) -> None:
    owner = make_role(WORKING, OWNING, "GRANT CREATE ON SCHEMA public TO {role}")
    act_as(connection, owner)
    connection.execute(ATTACH.encode())
    connection.execute("CREATE TABLE public.ran (role text)")
    connection.execute("CREATE TYPE public.evil AS ENUM ('a')")
    for type_name in ("text", "public.evil"):
        connection.execute(
            f"CREATE FUNCTION public.run({type_name}) RETURNS text LANGUAGE plpgsql AS"
            " $$ BEGIN INSERT INTO public.ran VALUES (current_user); RETURN 'x'; END $$".encode()
        )
    connection.execute("CREATE CAST (public.evil AS text) WITH FUNCTION public.run(public.evil)")
    refresh = "SELECT siglip.refresh_attached(a.attached_table) FROM siglip.attachments AS a"
    worker = threading.Thread(target=database.transact, args=[lambda session: session.execute(refresh)])
    with connection.transaction():
        for statement in statements:
            connection.execute(statement.encode())
        worker.start()
        wait_until(lambda: fetch_one(connection, "SELECT count(*) FROM pg_locks WHERE NOT granted") == 1)
        database.transact(follow)  # doesn't wait: the table is left for later
    worker.join()
    connection.execute("RESET ROLE")
    database.transact(follow)
    assert fetch(connection, "SELECT role FROM public.ran") == []
    assert len(images_of(connection)) == 3


def test_rows_that_share_an_image_share_no_metadata(
    connection: Connection, database: Database, model_id: int, make_role: Callable[..., str]
) -> None:
    connection.execute("CREATE TABLE public.letter (id integer PRIMARY KEY, owner text, secret text, uri text)")
    connection.execute("SELECT siglip.attach('public.letter', 'uri', metadata_columns => '{owner,secret}')")
    connection.execute("INSERT INTO letter VALUES (1, 'ann', 'a', 'https://a/1'), (2, 'bob', 'b', 'https://a/1')")
    connection.execute("ALTER TABLE letter ENABLE ROW LEVEL SECURITY")
    connection.execute("CREATE POLICY own ON letter USING (owner = 'ann')")
    follow(connection)
    embed_all(database, model_id)
    search = "SELECT row_key, metadata FROM siglip.search('public.letter', %s::halfvec, 5, %s)"
    query = half_vector(text_vector("https://a/1"))
    act_as(connection, make_role(SEARCHING, "GRANT SELECT ON public.letter TO {role}"))
    assert fetch(connection, search, query, None) == [("1", {"owner": "ann", "secret": "a"})]
    assert fetch(connection, search, query, Jsonb({"secret": "b"})) == []
    connection.execute("RESET ROLE")
    act_as(connection, make_role(SEARCHING, "GRANT SELECT (id, owner) ON public.letter TO {role}"))
    assert fetch(connection, search, query, None) == [("1", {})]


def test_a_right_to_the_columns_is_enough_to_search(
    connection: Connection, database: Database, model_id: int, make_role: Callable[..., str]
) -> None:
    connection.execute(ATTACH.encode())
    follow(connection)
    embed_all(database, model_id)
    act_as(connection, make_role(SEARCHING, "GRANT SELECT (id) ON public.product TO {role}"))
    query = half_vector(text_vector("https://example.org/2.jpg"))
    assert fetch(connection, "SELECT row_key FROM siglip.search('public.product', %s::halfvec, 1)", query) == [("2",)]


def test_the_rights_that_the_document_names_are_enough_to_attach(
    connection: Connection, make_role: Callable[..., str]
) -> None:
    tables = "siglip.attachments, siglip.attached_changes, siglip.attached_images, siglip.released_images"
    rights = f"GRANT SELECT, INSERT, UPDATE, DELETE ON {tables} TO {{role}}"
    owner = make_role(OWNING, "GRANT USAGE ON SCHEMA siglip TO {role}", rights)
    act_as(connection, owner)
    connection.execute(ATTACH.encode())
    connection.execute("UPDATE product SET price = 9")
    connection.execute("RESET ROLE")
    follow(connection)
    act_as(connection, owner)
    assert fetch_one(connection, "SELECT siglip.refresh_attached('public.product')") == 3
    assert fetch_one(connection, "SELECT siglip.detach('public.product', true)") == 3
