"""Attached tables of every kind: other keys, arrays, bytes, partitions, types of one's own, names that need quotes."""

from __future__ import annotations

import hashlib
from typing import Any

import psycopg
import pytest

from siglip_ingest.db import Connection, Database
from siglip_ingest.db.connection.vectors import half_vector
from tests.database.attached_tables import changes, embed_all, fetch, fetch_one, follow, images_of, rows_of
from tests.database.helpers import text_vector
from tests.database.listeners import listening

UUID = "6f9619ff-8b86-d011-b42d-00c04fc964ff"
NAMES = ['Weird "Table"', "select", "a'; DROP TABLE victim; --", "%s %I $1", "naïve\ttab\\"]


@pytest.fixture
def connection(database: Database, model_id: int) -> Any:
    with database.session() as session:
        yield session


def quote(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


@pytest.mark.parametrize(
    ("type_name", "key"),
    [
        ("uuid", UUID),
        ("text", 'it\'s {a, "b"} \\ ☃'),
        ("varchar(20)", "x y"),
        ("char(5)", "ab"),
        ("bigint", str(2**62)),
        ("numeric", "1.50"),
        ("date", "2026-07-01"),
        ("timestamptz", "2026-07-01 10:00:00+00"),
        ("interval", "1 day 02:00:00"),
        ("bytea", "\\x00ff"),
        ("double precision", "0.30000000000000004"),
        ("inet", "10.0.0.1"),
        ("public.code", "c7"),
    ],
)
def test_keys_of_any_type_are_followed_and_found_again(
    connection: Connection, database: Database, model_id: int, type_name: str, key: str
) -> None:
    connection.execute("CREATE DOMAIN public.code AS text CHECK (VALUE <> '')")
    connection.execute(f"CREATE TABLE public.t (k {type_name} PRIMARY KEY, uri text)".encode())
    connection.execute("SELECT siglip.attach('public.t', 'uri')")
    connection.execute("SET datestyle = 'SQL, DMY'; SET timezone = 'Asia/Tokyo'; SET intervalstyle = 'iso_8601'")
    connection.execute("SET bytea_output = 'escape'; SET extra_float_digits = 0")
    connection.execute("INSERT INTO public.t VALUES (%s, 'https://example.org/1.jpg')", [key])
    connection.execute("RESET ALL")
    follow(connection)
    assert len(rows_of(connection)) == 1
    embed_all(database, model_id)
    query = half_vector(text_vector("x"))
    assert len(fetch(connection, "SELECT * FROM siglip.search('public.t', %s::halfvec)", query)) == 1
    connection.execute("DELETE FROM public.t")
    follow(connection)
    assert images_of(connection, "t") == {}


def test_keys_of_several_columns_are_followed(connection: Connection, database: Database, model_id: int) -> None:
    connection.execute("CREATE TABLE public.t (shop text, number integer, uri text, PRIMARY KEY (shop, number))")
    connection.execute(
        "INSERT INTO public.t VALUES ('a,b', 1, 'https://example.org/1.jpg'), ('\"', 2, 'https://example.org/2.jpg')"
    )
    connection.execute("SELECT siglip.attach('public.t', 'uri', id_columns => '{number,shop}', collection => 'c')")
    follow(connection)
    assert [key for key, _, _ in rows_of(connection)] == ['{1,"a,b"}', '{2,"\\""}']
    embed_all(database, model_id)
    connection.execute("UPDATE public.t SET number = 3 WHERE number = 2")
    query = half_vector(text_vector("https://example.org/1.jpg"))
    found = fetch(
        connection,
        "SELECT t.uri FROM siglip.search('public.t', %s::halfvec) AS s JOIN public.t AS t"
        " ON (t.number, t.shop) = ((s.row_key::text[])[1]::integer, (s.row_key::text[])[2])",
        query,
    )
    assert found == [("https://example.org/1.jpg",)]  # the other one's key is another now, and that isn't followed yet
    follow(connection)
    assert len(fetch(connection, "SELECT * FROM siglip.search('public.t', %s::halfvec)", query)) == 2


def test_keys_of_several_columns_change_with_those_that_they_refer_to(connection: Connection) -> None:
    connection.execute("CREATE TABLE public.shop (id integer PRIMARY KEY)")
    connection.execute(
        "CREATE TABLE public.t (shop integer REFERENCES public.shop ON UPDATE CASCADE ON DELETE CASCADE,"
        " number integer, uri text, PRIMARY KEY (shop, number))"
    )
    connection.execute("INSERT INTO public.shop VALUES (1), (2)")
    connection.execute(
        "INSERT INTO public.t VALUES (1, 1, 'https://a/1'), (2, 1, 'https://a/2'), (2, 2, 'https://a/3')"
    )
    connection.execute("SELECT siglip.attach('public.t', 'uri')")
    follow(connection)
    connection.execute("DELETE FROM public.shop WHERE id = 1")
    connection.execute("UPDATE public.shop SET id = 7 WHERE id = 2")
    follow(connection)
    assert rows_of(connection) == [("{7,1}", 1, "https://a/2"), ("{7,2}", 1, "https://a/3")]
    connection.execute("UPDATE public.t SET uri = NULL")
    follow(connection)
    assert images_of(connection, "t") == {}


@pytest.mark.parametrize("kind", ["numeric", "public.amount"])
def test_keys_that_are_equal_but_for_their_text_are_two(
    connection: Connection, database: Database, model_id: int, kind: str
) -> None:
    connection.execute("CREATE DOMAIN public.amount AS numeric")
    connection.execute(f"CREATE TABLE public.t (id {kind} PRIMARY KEY, uri text)".encode())
    connection.execute("INSERT INTO public.t VALUES (1.0, 'https://a/1')")
    connection.execute("SELECT siglip.attach('public.t', 'uri')")
    follow(connection)
    embed_all(database, model_id)
    connection.execute("UPDATE public.t SET id = 1.00")
    follow(connection)
    assert rows_of(connection) == [("1.00", 1, "https://a/1")]
    query = half_vector(text_vector("https://a/1"))
    assert fetch(connection, "SELECT row_key FROM siglip.search('public.t', %s::halfvec)", query) == [("1.00",)]
    connection.execute("DELETE FROM public.t")
    follow(connection)
    assert images_of(connection, "t") == {}


@pytest.mark.parametrize("name", ["r", "m"])
def test_rows_of_a_table_whose_column_is_called_like_them_are_found(
    connection: Connection, database: Database, model_id: int, name: str
) -> None:
    connection.execute(f"CREATE TABLE public.t ({name} integer PRIMARY KEY, uri text)".encode())
    connection.execute("INSERT INTO public.t VALUES (1, 'https://a/1')")
    connection.execute("SELECT siglip.attach('public.t', 'uri')")
    follow(connection)
    embed_all(database, model_id)
    with listening(database):
        found = fetch(connection, f"SELECT (s.found).{name} FROM siglip.search_rows(NULL::public.t, 'red') AS s")
    assert found == [(1,)]


def test_arrays_are_several_images_of_a_row(connection: Connection, database: Database, model_id: int) -> None:
    connection.execute("CREATE TABLE public.t (id integer PRIMARY KEY, uris text[])")
    connection.execute("SELECT siglip.attach('public.t', 'uris')")
    connection.execute(
        "INSERT INTO public.t VALUES (1, '{https://a/1,NULL,https://a/2,https://a/1}'), (2, '{}'), (3, '{https://a/2}')"
    )
    follow(connection)
    assert rows_of(connection) == [
        ("1", 1, "https://a/1"),
        ("1", 3, "https://a/2"),
        ("1", 4, "https://a/1"),
        ("3", 1, "https://a/2"),
    ]
    embed_all(database, model_id)
    query = half_vector(text_vector("https://a/2"))
    found = fetch(connection, "SELECT row_key, place FROM siglip.search('public.t', %s::halfvec)", query)
    assert found == [("1", 3), ("3", 1)]  # each row once, by its best image
    connection.execute("UPDATE public.t SET uris = uris[1:1] WHERE id = 1")
    connection.execute("DELETE FROM public.t WHERE id = 3")
    follow(connection)
    assert list(images_of(connection, "t")) == ["https://a/1"]


def test_truncate_finds_rows_whose_first_place_has_no_image(connection: Connection) -> None:
    connection.execute("CREATE TABLE public.t (id integer PRIMARY KEY, uris text[])")
    connection.execute("SELECT siglip.attach('public.t', 'uris')")
    connection.execute("INSERT INTO public.t VALUES (1, '{NULL,https://a/1}')")
    follow(connection)
    connection.execute("TRUNCATE public.t")
    follow(connection)
    assert images_of(connection, "t") == {}


@pytest.mark.parametrize("is_array", [False, True])
def test_bytes_are_kept_as_images(connection: Connection, is_array: bool) -> None:
    connection.execute(
        f"CREATE TABLE public.t (id integer PRIMARY KEY, photo bytea{'[]' if is_array else ''})".encode()
    )
    connection.execute("SELECT siglip.attach('public.t', 'photo')")
    for n in range(120):
        content: Any = b"image %d" % (n // 2)
        connection.execute("INSERT INTO public.t VALUES (%s, %s)", [n, [content] if is_array else content])
    connection.execute("INSERT INTO public.t VALUES (1000, NULL), (1001, '')" if not is_array else "SELECT")
    follow(connection)
    stored = dict(
        fetch(
            connection, "SELECT i.uri, b.content FROM siglip.images AS i JOIN siglip.image_bytes AS b USING (image_id)"
        )
    )
    assert stored == {
        f"sha256:{hashlib.sha256(content).hexdigest()}": content for content in (b"image %d" % n for n in range(60))
    }
    assert len(images_of(connection, "t")) == 60
    connection.execute("UPDATE public.t SET photo = %s WHERE id = 1", [[b"other"] if is_array else b"other"])
    connection.execute("DELETE FROM public.t WHERE id = 0")
    follow(connection)
    assert f"sha256:{hashlib.sha256(b'image 0').hexdigest()}" not in images_of(connection, "t")
    assert f"sha256:{hashlib.sha256(b'other').hexdigest()}" in images_of(connection, "t")
    connection.execute("TRUNCATE public.t")
    follow(connection)
    assert fetch_one(connection, "SELECT count(*) FROM siglip.image_bytes") == 0


def test_metadata_of_types_without_equality_are_followed(connection: Connection) -> None:
    connection.execute("CREATE TYPE public.mood AS ENUM ('sad', 'happy')")
    connection.execute("CREATE TYPE public.pair AS (a integer, b text)")
    connection.execute(
        "CREATE TABLE public.t (id integer PRIMARY KEY, uri text, j json, p point, m public.mood, r public.pair,"
        " a integer[], x json, d timestamptz, n numeric)"
    )
    connection.execute("SELECT siglip.attach('public.t', 'uri', metadata_columns => '{j,p,m,r,a,d,n}')")
    connection.execute(
        "INSERT INTO public.t VALUES (1, 'https://a/1', '{\"k\": 1}', '(1,2)', 'sad', '(1,x)', '{1,2}', '{}',"
        " '2026-07-01 10:00+02', 'NaN')"
    )
    connection.execute("INSERT INTO public.t VALUES (2, 'https://a/2')")
    follow(connection)
    assert images_of(connection, "t") == {
        "https://a/1": {
            "j": {"k": 1},
            "p": "(1,2)",
            "m": "sad",
            "r": "(1,x)",
            "a": [1, 2],
            "d": "2026-07-01T08:00:00+00:00",
            "n": "NaN",
        },
        "https://a/2": dict.fromkeys("jpmradn"),
    }
    connection.execute("UPDATE public.t SET x = '[]', j = j, p = p, m = m")
    assert changes(connection) == []
    connection.execute("UPDATE public.t SET j = '{\"k\": 2}', m = 'happy' WHERE id = 1")
    follow(connection)
    assert (images_of(connection, "t")["https://a/1"]["j"], images_of(connection, "t")["https://a/1"]["m"]) == (
        {"k": 2},
        "happy",
    )


@pytest.mark.parametrize("value", [r'{"a": "\u0000"}', r'{"a": "\ud800"}', '{"a": 1e1000000}'])
def test_json_that_jsonb_does_not_take_is_kept_as_text(connection: Connection, value: str) -> None:
    connection.execute("CREATE TABLE public.t (id integer PRIMARY KEY, uri text, j json, several json[])")
    connection.execute("SELECT siglip.attach('public.t', 'uri', metadata_columns => '{j,several}')")
    connection.execute("INSERT INTO public.t VALUES (1, 'https://a/1', '{\"a\": 1}', ARRAY['[2]'::json])")
    connection.execute("INSERT INTO public.t VALUES (2, 'https://a/2', %s, ARRAY[%s::json])", [value, value])
    follow(connection)
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    assert images_of(connection, "t") == {
        "https://a/1": {"j": {"a": 1}, "several": [[2]]},
        "https://a/2": {"j": value, "several": f'{{"{escaped}"}}'},
    }


def test_stored_generated_columns_are_followed(connection: Connection) -> None:
    connection.execute(
        "CREATE TABLE public.t (id integer PRIMARY KEY, name text,"
        " uri text GENERATED ALWAYS AS ('https://a/' || name) STORED)"
    )
    connection.execute("SELECT siglip.attach('public.t', 'uri')")
    connection.execute("INSERT INTO public.t VALUES (1, 'one'), (2, 'two')")
    connection.execute("UPDATE public.t SET name = 'uno' WHERE id = 1")
    follow(connection)
    assert sorted(images_of(connection, "t")) == ["https://a/two", "https://a/uno"]


@pytest.mark.parametrize("arguments", ["'virtual'", "'uri', metadata_columns => '{virtual}'"])
def test_virtual_generated_columns_are_refused(connection: Connection, arguments: str) -> None:
    if connection.info.server_version < 180_000:
        pytest.skip("PostgreSQL has them from 18 on")
    connection.execute("CREATE TABLE public.t (id integer PRIMARY KEY, uri text)")
    connection.execute("ALTER TABLE public.t ADD virtual text GENERATED ALWAYS AS (lower(uri)) VIRTUAL")
    with pytest.raises(
        psycopg.errors.WrongObjectType, match=r"column virtual of public\.t is generated when it is read"
    ):
        connection.execute(f"SELECT siglip.attach('public.t', {arguments})".encode())


def test_a_partitioned_table_is_followed(connection: Connection) -> None:
    connection.execute("CREATE TABLE public.t (id integer, uri text, PRIMARY KEY (id)) PARTITION BY RANGE (id)")
    connection.execute("CREATE TABLE public.t1 PARTITION OF public.t FOR VALUES FROM (0) TO (10)")
    connection.execute("CREATE TABLE public.t2 PARTITION OF public.t FOR VALUES FROM (10) TO (20)")
    connection.execute("SELECT siglip.attach('public.t', 'uri')")
    connection.execute("INSERT INTO public.t SELECT n, 'https://a/' || n FROM generate_series(8, 11) AS n")
    follow(connection)
    connection.execute("UPDATE public.t SET id = id + 8 WHERE id < 10")  # into the other partition
    connection.execute("DELETE FROM public.t WHERE id = 10")
    follow(connection)
    assert rows_of(connection) == [("11", 1, "https://a/11"), ("16", 1, "https://a/8"), ("17", 1, "https://a/9")]
    connection.execute("INSERT INTO public.t1 VALUES (1, 'https://a/1')")  # fires no trigger of the table itself
    connection.execute("DELETE FROM public.t2 WHERE id = 11")
    assert changes(connection) == []
    assert fetch_one(connection, "SELECT siglip.refresh_attached('public.t')") == 3
    follow(connection)
    assert [key for key, _, _ in rows_of(connection)] == ["1", "16", "17"]
    with pytest.raises(psycopg.errors.WrongObjectType, match="a partition of"):
        connection.execute("SELECT siglip.attach('public.t1', 'uri')")


def test_what_replication_writes_is_looked_at_by_refreshing(connection: Connection) -> None:
    connection.execute("CREATE TABLE public.t (id integer PRIMARY KEY, uri text)")
    connection.execute("SELECT siglip.attach('public.t', 'uri')")
    connection.execute("SET session_replication_role = replica")
    connection.execute("INSERT INTO public.t VALUES (1, 'https://a/1')")
    connection.execute("RESET session_replication_role")
    assert follow(connection) == 0
    connection.execute("SELECT siglip.refresh_attached('public.t')")
    follow(connection)
    assert list(images_of(connection, "t")) == ["https://a/1"]


@pytest.mark.parametrize("name", NAMES)
def test_names_of_every_kind_are_safe(connection: Connection, database: Database, model_id: int, name: str) -> None:
    connection.execute("CREATE TABLE public.victim (id integer)")
    schema, table = quote(name), quote(name[::-1])
    connection.execute(f"CREATE SCHEMA {schema}".encode())
    columns = [f"{name} {n}" for n in range(3)]
    connection.execute(
        f"CREATE TABLE {schema}.{table} ({quote(columns[0])} integer PRIMARY KEY, {quote(columns[1])} text,"
        f" {quote(columns[2])} text)".encode()
    )
    statement = (
        "SELECT siglip.attach(%s::text::regclass, %s, id_column => %s, metadata_columns => ARRAY[%s], collection => %s)"
    )
    connection.execute(statement.encode(), [f"{schema}.{table}", columns[1], columns[0], columns[2], name])
    insert = f"INSERT INTO {schema}.{table} VALUES (1, 'https://a/1', 'x'), (2, 'https://a/2', NULL)"
    connection.execute(insert.encode())
    connection.execute(f"UPDATE {schema}.{table} SET {quote(columns[2])} = 'y'".encode())
    follow(connection)
    assert images_of(connection, name) == {f"https://a/{n}": {columns[2]: "y"} for n in (1, 2)}
    embed_all(database, model_id)
    query = half_vector(text_vector("https://a/1"))
    found = fetch(
        connection, "SELECT row_key FROM siglip.search(%s::text::regclass, %s::halfvec)", f"{schema}.{table}", query
    )
    assert found == [("1",), ("2",)]
    assert fetch_one(connection, "SELECT siglip.detach(%s::text::regclass, true)", f"{schema}.{table}") == 2
    assert fetch_one(connection, "SELECT to_regclass('public.victim') IS NOT NULL")


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ("'public.t', 'nothing'", psycopg.errors.UndefinedColumn, "has no column nothing"),
        ("'public.t', 'uri); DROP TABLE t; --'", psycopg.errors.UndefinedColumn, "has no column"),
        ("'public.t', 'ctid'", psycopg.errors.UndefinedColumn, "has no column ctid"),
        ("'public.t', NULL", psycopg.errors.InvalidParameterValue, "uri_column is NULL"),
        ("'public.t', 'uri', collection => ''", psycopg.errors.InvalidParameterValue, "needs a name"),
        ("'public.t', 'uri', 'n'", psycopg.errors.InvalidParameterValue, "don't tell its rows apart"),
        ("'public.t', 'uri', 'u'", psycopg.errors.InvalidParameterValue, "don't tell its rows apart"),
        ("'public.t', 'uri', 'id', id_columns => '{id}'", psycopg.errors.InvalidParameterValue, "are both given"),
        ("'public.t', 'uri', metadata_columns => '{id,NULL}'", psycopg.errors.UndefinedColumn, "has no column NULL"),
        ("'public.t', 'n'", psycopg.errors.DatatypeMismatch, "has the type integer. Images are given as text or bytea"),
        (
            "'public.k', 'uri'",
            psycopg.errors.DatatypeMismatch,
            "Columns that name rows have one of PostgreSQL's own types",
        ),
        ("'public.nokey', 'uri'", psycopg.errors.InvalidParameterValue, "it has no primary key"),
        ("'public.v', 'uri', 'id'", psycopg.errors.WrongObjectType, "not a table of yours"),
        ("'temporary', 'uri'", psycopg.errors.WrongObjectType, "not a table of yours"),
        ("'public.child', 'uri', 'id'", psycopg.errors.WrongObjectType, "inherit"),
        ("'public.parent', 'uri', 'id'", psycopg.errors.WrongObjectType, "inherit"),
        ("'siglip.images', 'uri'", psycopg.errors.WrongObjectType, "not a table of yours"),
        ("'pg_class', 'relname', 'oid'", psycopg.errors.WrongObjectType, "not a table of yours"),
        ("999999::regclass, 'uri'", psycopg.errors.UndefinedTable, "There is no table 999999"),
        ("NULL, 'uri', 'id'", psycopg.errors.UndefinedTable, "There is no table NULL"),
    ],
)
def test_what_cannot_be_attached_is_refused(
    connection: Connection, arguments: str, error: type[psycopg.Error], message: str
) -> None:
    connection.execute("CREATE TYPE public.mood AS ENUM ('sad', 'happy')")
    connection.execute("CREATE TABLE public.t (id integer PRIMARY KEY, uri text, n integer, u integer UNIQUE)")
    connection.execute("CREATE TABLE public.k (k public.mood PRIMARY KEY, uri text)")
    connection.execute("CREATE TABLE public.nokey (id integer, uri text)")
    connection.execute("CREATE VIEW public.v AS SELECT * FROM public.t")
    connection.execute("CREATE TEMPORARY TABLE temporary (id integer PRIMARY KEY, uri text)")
    connection.execute("CREATE TABLE public.parent (id integer PRIMARY KEY, uri text)")
    connection.execute("CREATE TABLE public.child () INHERITS (public.parent)")
    with pytest.raises(error, match=message):
        connection.execute(f"SELECT siglip.attach({arguments})".encode())
    assert fetch_one(connection, "SELECT count(*) FROM siglip.attachments") == 0
