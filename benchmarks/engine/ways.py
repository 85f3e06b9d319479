"""The ways to search: the query that one writes by hand, the SQL function, and the Python client."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import psycopg
from numpy.typing import NDArray
from pgvector import HalfVector
from psycopg.types.json import Jsonb

from siglip_ingest.db import Connection, Database
from siglip_ingest.db.connection.vectors import HalfVectorDumper, half_vector
from siglip_ingest.db.search import SearchOptions
from siglip_ingest.search import search_by_embedding

from .vectors import DIMENSION

LIMIT = 10


@dataclass(frozen=True, slots=True)
class Narrowing:
    """What narrows a search; nothing where all are None."""

    collection: str | None = None
    filter: Mapping[str, Any] | None = None
    image_ids: Sequence[int] | None = None

    def to_parameters(self) -> dict[str, Any]:
        """Those that are given, as parameters of a statement."""
        given: dict[str, Any] = {}
        if self.collection is not None:
            given["collection"] = self.collection
        if self.filter is not None:
            given["filter"] = Jsonb(dict(self.filter))
        if self.image_ids is not None:
            given["image_ids"] = list(self.image_ids)
        return given


ALL = Narrowing()


class Way(ABC):
    """One way to search, over one connection. What a search returns are image ids, best first."""

    name: str

    @abstractmethod
    def __init__(self, url: str, ef_search: int) -> None: ...

    @abstractmethod
    def borrow(self) -> AbstractContextManager[Connection]:
        """The connection that the searches go through, as a block."""

    @abstractmethod
    def search(self, query: NDArray[np.float32], narrowing: Narrowing = ALL) -> list[int]:
        """Find the ten nearest images."""

    @abstractmethod
    def close(self) -> None:
        """Close the connection."""


class OverConnection(Way):
    """A way that is a statement on a connection of its own."""

    connection: Connection

    def borrow(self) -> AbstractContextManager[Connection]:
        """The connection that the searches go through, as a block."""
        return nullcontext(self.connection)

    def close(self) -> None:
        """Close the connection."""
        self.connection.close()


class Bare(OverConnection):
    """By hand: prepared, the vector in binary, the settings of the index set once for the connection."""

    name = "bare SQL"
    conditions: Mapping[str, str] = {
        "collection": "i.collection = %(collection)s",
        "filter": "i.metadata @> %(filter)s",
        "image_ids": "i.image_id = ANY (%(image_ids)s::bigint[])",
    }

    def __init__(self, url: str, ef_search: int) -> None:
        self.connection = connect(url)
        self.connection.execute("LOAD 'vector'")
        self.connection.execute("SET hnsw.iterative_scan = relaxed_order")
        self.connection.execute(f"SET hnsw.ef_search = {ef_search}".encode())

    def search(self, query: NDArray[np.float32], narrowing: Narrowing = ALL) -> list[int]:
        """Find the ten nearest images."""
        parameters = narrowing.to_parameters()
        conditions = " AND ".join(self.conditions[name] for name in parameters)
        statement = (
            f"SELECT i.image_id, i.uri, -(v.embedding <#> %(embedding)b) AS similarity, i.metadata"
            f" FROM plain.vectors AS v JOIN plain.images AS i USING (image_id)"
            f" {'WHERE ' + conditions if conditions else ''} ORDER BY v.embedding <#> %(embedding)b LIMIT {LIMIT}"
        )
        return [row[0] for row in fetch(self.connection, statement, {"embedding": half_vector(query), **parameters})]


class SqlFunction(OverConnection):
    """`siglip.search_images`, by a vector."""

    name = "siglip.search_images"
    arguments: Mapping[str, str] = {
        "collection": "collection => %(collection)s::text",
        "filter": "filter => %(filter)s::jsonb",
        "image_ids": "image_ids => %(image_ids)s::bigint[]",
    }

    def __init__(self, url: str, ef_search: int) -> None:  # noqa: ARG002  # the function knows it
        self.connection = connect(url)

    def search(self, query: NDArray[np.float32], narrowing: Narrowing = ALL) -> list[int]:
        """Find the ten nearest images."""
        parameters = narrowing.to_parameters()
        arguments = ["query_embedding => %(embedding)b", f"max_results => {LIMIT}"]
        arguments += [self.arguments[name] for name in parameters]
        statement = f"SELECT * FROM siglip.search_images({', '.join(arguments)})"
        return [row[0] for row in fetch(self.connection, statement, {"embedding": half_vector(query), **parameters})]


class Client(Way):
    """The Python client, by a vector."""

    name = "Python client"

    def __init__(self, url: str, ef_search: int) -> None:  # noqa: ARG002
        self.database = Database(url)

    def borrow(self) -> AbstractContextManager[Connection]:
        """The connection that the searches go through, as a block."""
        return self.database.connection()

    def search(self, query: NDArray[np.float32], narrowing: Narrowing = ALL) -> list[int]:
        """Find the ten nearest images."""
        options = SearchOptions(
            limit=LIMIT, collection=narrowing.collection, filter=narrowing.filter, image_ids=narrowing.image_ids
        )
        return [match.image_id for match in search_by_embedding(self.database, query, options)]

    def close(self) -> None:
        """Close the connection."""
        self.database.close()


WAYS: Mapping[str, type[Way]] = {way.name: way for way in (Bare, SqlFunction, Client)}


def connect(url: str) -> Connection:
    """A connection that prepares each statement at once, and takes vectors as parameters."""
    connection = psycopg.connect(url, autocommit=True, prepare_threshold=0)
    connection.adapters.register_dumper(HalfVector, HalfVectorDumper)
    return connection


def fetch(
    connection: Connection, statement: str, parameters: Mapping[str, Any] | Sequence[Any] | None = None
) -> list[tuple[Any, ...]]:
    """Run a statement, and fetch its rows in binary."""
    return connection.execute(statement.encode(), parameters, binary=True).fetchall()


def build_plain_tables(connection: Connection) -> float:
    """Build what one would by hand: images, vectors, an index on each; returns the seconds that HNSW took."""
    connection.execute("DROP SCHEMA IF EXISTS plain CASCADE")
    connection.execute("CREATE SCHEMA plain")
    connection.execute("CREATE TABLE plain.images AS SELECT image_id, collection, uri, metadata FROM siglip.images")
    connection.execute("ALTER TABLE plain.images ADD PRIMARY KEY (image_id)")
    connection.execute("CREATE INDEX ON plain.images USING gin (metadata jsonb_path_ops)")
    connection.execute("CREATE INDEX ON plain.images (collection)")
    connection.execute(
        f"CREATE TABLE plain.vectors (image_id bigint NOT NULL, embedding halfvec({DIMENSION}) NOT NULL)".encode()
    )
    connection.execute(
        "INSERT INTO plain.vectors SELECT i.image_id, e.embedding FROM siglip.images AS i"
        " JOIN siglip.image_embeddings AS e USING (content_id) ORDER BY i.image_id"
    )
    connection.execute("ALTER TABLE plain.vectors ADD PRIMARY KEY (image_id)")
    started = time.perf_counter()
    connection.execute("CREATE INDEX ON plain.vectors USING hnsw (embedding halfvec_ip_ops)")
    seconds = time.perf_counter() - started
    connection.execute("VACUUM ANALYZE plain.images")
    connection.execute("VACUUM ANALYZE plain.vectors")
    return seconds
