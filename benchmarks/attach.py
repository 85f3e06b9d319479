"""What does a bulk load into an attached table cost, beside the same one that isn't, and how fast is it followed?

    python benchmarks/attach.py [--count 100000] [--rounds 5]

Rounds alternate between the two tables, each emptied before; the ratio is that of the medians. Nothing waits for the
disk (fsync = off): its time varies more than what is measured, and would make the ratios look better.
"""

from __future__ import annotations

import argparse
import io
import statistics
import time
from collections.abc import Callable

import psycopg
from engine.server import describe_machine, run_server

from siglip_ingest.db import Database, models
from siglip_migrations import upgrade

PLAIN, ATTACHED = b"public.plain", b"public.attached"
TABLE = b"""
CREATE TABLE %s (
    id integer PRIMARY KEY, name text NOT NULL, photo_url text, category text, price numeric(10, 2),
    created_at timestamptz NOT NULL DEFAULT now()
)
"""
ATTACH = b"""
SELECT siglip.attach('public.attached', 'photo_url', collection => 'shop', metadata_columns => '{category,price}')
"""
COPY = b"COPY %s (id, name, photo_url, category, price) FROM STDIN"
SELECT = b"""
INSERT INTO %s (id, name, photo_url, category, price)
SELECT n, 'product ' || n, 'https://example.org/photos/' || n || '.jpg', 'shoes', n FROM generate_series(1, %d) AS n
"""
UPDATES = {
    "UPDATE of the address": b"UPDATE %s SET photo_url = photo_url || '?2'",
    "UPDATE of another column": b"UPDATE %s SET name = name || '!'",
    "DELETE": b"DELETE FROM %s",
}
SINGLE = b"INSERT INTO %s (id, name, photo_url) VALUES (%%s, 'one', 'https://example.org/one.jpg')"


def main() -> None:
    """Start a server of its own, load, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100_000, help="Rows of a load.")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    settings = {"fsync": "off", "max_wal_size": "4GB"}
    with run_server(settings) as (url, _):
        print(describe_machine(url, settings), flush=True)
        upgrade(url)
        with Database(url) as database, database.connection() as connection:
            models.activate_model(connection, models.register_model(connection, "benchmark"))
        with psycopg.connect(url, autocommit=True) as connection:
            measure(connection, options.count, options.rounds)


def measure(connection: psycopg.Connection, count: int, rounds: int) -> None:
    """Print one line a kind of load, then how fast the last one is followed."""
    for table in (PLAIN, ATTACHED):
        connection.execute(TABLE % table)
    connection.execute(ATTACH)
    text = "".join(
        f"{n}\tproduct {n}\thttps://example.org/photos/{n}.jpg\tshoes\t{n}\n" for n in range(1, count + 1)
    ).encode()

    def copy(table: bytes) -> None:
        with connection.cursor().copy(COPY % table) as stream:
            source = io.BytesIO(text)
            while block := source.read(1 << 16):
                stream.write(block)

    def insert(table: bytes) -> None:
        connection.execute(SELECT % (table, count))

    print(f"{count:,} rows, median of {rounds}:", flush=True)
    compare(connection, "COPY", copy, rounds, before=clear)
    compare(connection, "INSERT ... SELECT", insert, rounds, before=clear)
    for name, statement in UPDATES.items():

        def change(table: bytes, statement: bytes = statement) -> None:
            connection.execute(statement % table)

        def fill(connection: psycopg.Connection, table: bytes) -> None:
            clear(connection, table)
            insert(table)

        compare(connection, name, change, rounds, before=fill)
    singles(connection)
    clear(connection, ATTACHED)
    insert(ATTACHED)
    print_following(connection, count)


def clear(connection: psycopg.Connection, table: bytes) -> None:
    """Empty a table, and forget what was noted of it."""
    for name in (table, b"siglip.attached_changes"):
        connection.execute(b"TRUNCATE " + name)
    connection.execute(b"CHECKPOINT")


def compare(
    connection: psycopg.Connection,
    name: str,
    load: Callable[[bytes], None],
    rounds: int,
    *,
    before: Callable[[psycopg.Connection, bytes], None],
) -> None:
    """Time a load into both tables, in turn, and print the medians and their ratio."""
    times: dict[bytes, list[float]] = {PLAIN: [], ATTACHED: []}
    for number in range(rounds + 1):
        for table, taken in times.items():
            before(connection, table)
            started = time.perf_counter()
            load(table)
            if number:  # the first warms up
                taken.append(time.perf_counter() - started)
    plain, attached = (statistics.median(taken) * 1000 for taken in times.values())
    print(
        f"  {name + ':':26} {plain:7.0f} ms without, {attached:7.0f} ms attached, {attached / plain:.2f} times",
        flush=True,
    )


def singles(connection: psycopg.Connection, count: int = 500) -> None:
    """Print what one row in a transaction of its own takes."""
    medians = []
    for table in (PLAIN, ATTACHED):
        clear(connection, table)
        times = []
        for number in range(count):
            started = time.perf_counter()
            connection.execute(SINGLE % table, [number])
            times.append(time.perf_counter() - started)
        medians.append(statistics.median(times) * 1e6)
    print(f"  {'one row a transaction:':26} {medians[0]:7.0f} µs without, {medians[1]:7.0f} µs attached", flush=True)


def print_following(connection: psycopg.Connection, count: int) -> None:
    """Follow what was noted, and print how many rows a second that is."""
    started = time.perf_counter()
    while connection.execute(b"SELECT siglip.follow_attached()").fetchone() != (0,):
        pass
    print(f"  followed: {count / (time.perf_counter() - started):.0f} rows/s become images that are queued")


if __name__ == "__main__":
    main()
