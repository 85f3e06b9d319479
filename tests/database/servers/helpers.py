"""A database whose segments lie on several servers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import psycopg
from numpy.typing import NDArray
from pgvector import HalfVector
from pgvector.psycopg import register_vector

from tests.database.helpers import unit_vectors
from tests.servers import PostgresServer

DIMENSION = 16
Row = tuple[Any, ...]


@dataclass
class Cluster:
    """Where the database is, and where its segments may be moved to."""

    url: str
    other_urls: list[str]
    servers: list[PostgresServer] = field(repr=False)

    @contextmanager
    def connect(self, url: str | None = None) -> Iterator[Session]:
        with psycopg.connect(url or self.url, autocommit=True) as connection:
            yield Session(connection)

    def stop(self, number: int) -> None:
        """Stop one of the servers, 1 or 2; `start` starts it again."""
        self.servers[number].stop()

    def start(self, number: int) -> None:
        self.servers[number].start()


class Session:
    """A connection, with what the tests do to a database in a word each."""

    def __init__(self, connection: psycopg.Connection[Row]) -> None:
        self.connection = connection
        self.notices: list[str] = []
        connection.add_notice_handler(lambda notice: self.notices.append(notice.message_primary or ""))

    def ask(self, statement: str, *parameters: Any) -> list[Row]:
        cursor = self.connection.execute(statement.encode(), parameters)
        return cursor.fetchall() if cursor.description else []

    def value(self, statement: str, *parameters: Any) -> Any:
        return self.ask(statement, *parameters)[0][0]

    def add_model(self, dimension: int = DIMENSION) -> int:
        register_vector(self.connection)
        model_id = self.value(
            "INSERT INTO siglip.models (name, revision, dimension, logit_scale, logit_bias, described_at, is_active)"
            " VALUES ('fake', '1', %s, 2, -2, now(), true) RETURNING model_id",
            dimension,
        )
        self.ask(
            "SELECT siglip.create_embedding_partition(%s::integer, %s::integer),"
            " siglip.create_nearest_images(%s::integer, %s::integer)",
            *(model_id, dimension) * 2,
        )
        return int(model_id)

    def add_images(self, vectors: NDArray[np.float32], model_id: int = 1) -> list[int]:
        """An image a vector; every tenth is in the collection `tenth`. Returns the content ids."""
        ids = [
            int(row[0])
            for row in self.ask(
                "INSERT INTO siglip.contents (width, height) SELECT 1, 1 FROM generate_series(1, %s)"
                " RETURNING content_id",
                len(vectors),
            )
        ]
        self.ask(
            "INSERT INTO siglip.images (collection, uri, content_id)"
            " SELECT CASE WHEN c %% 10 = 0 THEN 'tenth' ELSE 'most' END, 'file:///' || c, c"
            " FROM unnest(%s::bigint[]) AS c",
            ids,
        )
        self.add_vectors(ids, vectors, model_id)
        return ids

    def add_vectors(self, ids: Sequence[int], vectors: NDArray[np.float32], model_id: int = 1) -> None:
        statement = b"COPY siglip.image_embeddings (model_id, content_id, embedding) FROM STDIN"
        with self.connection.cursor().copy(statement) as copy:
            for content_id, vector in zip(ids, vectors, strict=True):
                copy.write_row((model_id, content_id, HalfVector(vector)))

    def close_segment(self, model_id: int = 1) -> str:
        """Close the open segment and build it; returns its name."""
        boundary = self.value("SELECT siglip.close_segment(%s)", model_id)
        name = self.value(
            "SELECT segment FROM siglip.segments WHERE to_content_id = %s AND model_id = %s", boundary, model_id
        )
        self.ask("SELECT siglip.rebuild_segments(ARRAY[%s::regclass])", name)
        return str(
            self.value(
                "SELECT segment FROM siglip.segments WHERE to_content_id = %s AND model_id = %s", boundary, model_id
            )
        )

    def fill(self, count: int = 300, segments: int = 3, dimension: int = DIMENSION) -> list[str]:
        """A model with `segments` closed segments of `count` images together; returns the segments' names, in order."""
        model_id = self.add_model(dimension)
        names = []
        for vectors in np.array_split(unit_vectors(count, dimension), segments):
            self.add_images(vectors, model_id)
            names.append(self.close_segment(model_id))
        return names

    def move(self, segment: str, server: str | None) -> str:
        """Move a segment; returns its name now."""
        bounds = self.ask("SELECT to_content_id, model_id FROM siglip.segments WHERE segment = %s::regclass", segment)[
            0
        ]
        self.ask("SELECT siglip.move_segment(%s::regclass, %s)", segment, server)
        return str(
            self.value("SELECT segment FROM siglip.segments WHERE to_content_id = %s AND model_id = %s", *bounds)
        )

    def search(self, vector: NDArray[np.float32], limit: int = 10, **narrowing: Any) -> list[tuple[int, float]]:
        words = "".join(f", {name} => %s" for name in narrowing)
        rows = self.ask(
            f"SELECT image_id, similarity FROM siglip.search_images(%s::halfvec, %s{words})",
            HalfVector(vector),
            limit,
            *narrowing.values(),
        )
        return [(int(image_id), round(float(similarity), 4)) for image_id, similarity in rows]

    def content_ids(self) -> list[int]:
        return [int(row[0]) for row in self.ask("SELECT content_id FROM siglip.image_embeddings ORDER BY 1")]

    def maintain(self) -> list[str]:
        """Call siglip.maintain until it has nothing to do; returns its sentences."""
        done = []
        while (sentence := self.value("SELECT siglip.maintain()")) is not None:
            done.append(str(sentence))
            assert len(done) < 50, done
        return done
