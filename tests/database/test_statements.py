"""Each statement of the library fits the schema: a typo is found here, not by the first caller."""

from __future__ import annotations

import re

import psycopg
import pytest

from siglip_ingest.db import Connection, Database
from siglip_ingest.db.connection.statements import load_statements
from tests.database.helpers import TOPICS

PLANNED = {"SELECT", "WITH", "INSERT", "UPDATE", "DELETE"}


@pytest.mark.parametrize("topic", TOPICS)
def test_each_statement_fits_the_schema(database: Database, topic: str) -> None:
    with database.connection() as connection:
        for name, statement in load_statements(topic).items():
            try:
                _check(connection, statement)
            except psycopg.Error as error:
                pytest.fail(f"{topic}.{name}: {error}")


def _check(connection: Connection, statement: bytes) -> None:
    """Plan a statement, or execute one of a kind that isn't planned: a table is created before it is used."""
    code = re.sub(rb"^--.*\n", b"", statement, flags=re.MULTILINE)
    kind = code.split(maxsplit=1)[0].decode()
    if kind == "COPY":
        with connection.cursor().copy(statement):
            pass
    elif kind in PLANNED:
        parameters = dict.fromkeys(re.findall(r"%\((\w+)\)", code.decode()))
        connection.execute(b"EXPLAIN " + statement, parameters)
    else:
        connection.execute(statement)
