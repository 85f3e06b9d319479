"""Disks that are full, and files that can't be read: where the images lie, and where PostgreSQL's data lie."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

import siglip_migrations
from siglip_ingest.services.accounts import find_account
from siglip_ingest.siglip.checkpoint.names import DEMO_NAME
from tests.conftest import replace_database
from tests.faults.ingest.conftest import MakeFleet
from tests.faults.ingest.corpus import Corpus
from tests.faults.ingest.disks import Disk, small_disk
from tests.faults.ingest.fleet import Fleet
from tests.faults.ingest.record import FaultRecord
from tests.faults.ingest.run import Run, Vectors, activate
from tests.servers import PostgresServer

pytestmark = pytest.mark.faults

FULL_S = 5.0
UNREADABLE = Path("/proc/self/mem")  # a regular file whose first byte gives EIO, to root too
UNREADABLE_EVERY = 5


@pytest.fixture
def source_disk(tmp_path: Path) -> Iterator[Disk]:
    with small_disk(tmp_path / "source", "8m") as disk:
        yield disk


def copy_until_full(paths: list[Path], folder: Path) -> list[Path]:
    """Copy files as a camera or a download would, which goes on where the disk is full; returns what is complete."""
    complete = []
    for path in paths:
        try:
            shutil.copyfile(path, folder / path.name)
            complete.append(path)
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
    return complete


def test_the_disk_of_the_images_is_full(
    run: Run,
    fleet: Fleet,
    corpus: Corpus,
    undisturbed: Vectors,
    source_disk: Disk,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The images' disk, and the worker's TMPDIR, full; then room is made."""
    complete = copy_until_full(corpus.paths, source_disk.folder)
    cut = sorted({path.name for path in corpus.paths} - {path.name for path in complete})
    assert 100 < len(cut) < len(corpus.paths) - 1000
    there = [source_disk.folder / path.name for path in corpus.paths if (source_disk.folder / path.name).exists()]
    monkeypatch.setenv("TMPDIR", str(source_disk.folder))
    fleet.start(allowed_roots=source_disk.folder)
    run.queue(there)
    run.wait_until_finished()
    failures = dict(
        run.fetch(
            "SELECT regexp_replace(uri, '.*/', ''), error_code FROM siglip.ingest_items JOIN siglip.images"
            " USING (image_id) WHERE state = 'failed'"
        )
    )
    assert failures.keys() - corpus.broken.keys() <= set(cut), "files that are complete have failed"
    assert set(failures.values()) == {"truncated", "not_an_image"}
    source_disk.grow("32m")
    assert len(copy_until_full(corpus.paths, source_disk.folder)) == len(corpus.paths)
    mark = run.mark()
    run.queue([source_disk.folder / path.name for path in corpus.paths])
    run.measure_recovery(mark)
    run.finish(undisturbed)
    assert run.record.restarts == 0


def test_files_that_give_an_io_error(
    run: Run, fleet: Fleet, corpus: Corpus, undisturbed: Vectors, tmp_path: Path
) -> None:
    """One in 5 files gives EIO for 3 s."""
    folder = tmp_path / "photos"
    folder.mkdir()
    bad = [folder / path.name for path in corpus.paths[::UNREADABLE_EVERY]]
    with pytest.raises(OSError, match="Input/output error"), UNREADABLE.open("rb") as file:
        file.read(1)
    for path in corpus.paths:
        (folder / path.name).symlink_to(UNREADABLE if folder / path.name in bad else path)
    fleet.start(allowed_roots="/")
    run.queue([folder / path.name for path in corpus.paths])
    run.wait_for(done=100)
    time.sleep(3)
    retried = run.fetch("SELECT count(*) FROM siglip.ingest_items WHERE error_code = 'fetch_failed'")
    assert retried != [(0,)], "no file gave an error"
    mark = run.mark()
    for path in bad:
        whole = path.with_suffix(".new")
        whole.symlink_to(corpus.paths[0].parent / path.name)
        whole.replace(path)
    run.measure_recovery(mark)
    run.finish(undisturbed)


@pytest.fixture
def tables_disk(tmp_path: Path) -> Iterator[Disk]:
    with small_disk(tmp_path / "tables", "200m") as disk:
        yield disk


@pytest.fixture
def data_disk(tmp_path: Path) -> Iterator[Disk]:
    with small_disk(tmp_path / "own_postgres" / "data", "400m") as disk:
        yield disk


def test_the_disk_of_the_tables_is_full(
    record: FaultRecord,
    corpus: Corpus,
    undisturbed: Vectors,
    tables_disk: Disk,
    own_postgres: PostgresServer,
    fleet_in: MakeFleet,
) -> None:
    """The disk of PostgreSQL's tables full for 5 s (its WAL is elsewhere)."""
    url = create_database_on(tables_disk, own_postgres)
    run = Run(record, corpus, url, activate(url, DEMO_NAME))
    fleet_in(url).start()
    run.queue(corpus.paths)
    run.wait_for(done=300)
    tables_disk.fill()
    time.sleep(FULL_S)
    assert tables_disk.free_bytes == 0
    mark = run.mark()
    tables_disk.make_room()
    run.measure_recovery(mark)
    assert "No space left on device" in own_postgres.log, "the disk was never missed"
    run.finish(undisturbed)
    assert record.restarts == 0


def create_database_on(disk: Disk, server: PostgresServer) -> str:
    """Make a migrated database whose tables lie on a disk; returns its URL."""
    folder, account = disk.folder / "tables", find_account()
    folder.mkdir(mode=0o700)
    if account is not None:
        os.chown(folder, account.uid, account.gid)
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute(f"CREATE TABLESPACE small LOCATION '{folder}'".encode())
        connection.execute("CREATE DATABASE siglip TABLESPACE small")
    url = replace_database(server.url, "siglip")
    siglip_migrations.upgrade(url)
    return url


def end_wal_segment(url: str) -> None:
    """Make PostgreSQL begin new files of WAL, which takes 16 MB each."""
    with contextlib.suppress(psycopg.OperationalError), psycopg.connect(url, autocommit=True) as connection:
        for _ in range(4):
            connection.execute("SELECT pg_logical_emit_message(true, 'test', ''), pg_switch_wal()")


def test_the_disk_of_postgresql_is_full(
    record: FaultRecord,
    corpus: Corpus,
    undisturbed: Vectors,
    data_disk: Disk,
    own_postgres: PostgresServer,
    fleet_in: MakeFleet,
) -> None:
    """The disk of all of PostgreSQL, WAL too, full for 5 s; its supervisor starts it again."""
    url = own_postgres.url
    run = Run(record, corpus, url, activate(url, DEMO_NAME))
    fleet_in(url).start()
    run.queue(corpus.paths)
    run.wait_for(done=300)
    data_disk.fill()
    end_wal_segment(url)  # the next one finds no room, and PostgreSQL ends
    time.sleep(FULL_S)
    data_disk.make_room()
    own_postgres.ensure_running()
    run.measure_recovery(run.mark())
    assert "PANIC" in own_postgres.log
    assert "No space left on device" in own_postgres.log
    run.finish(undisturbed)
    assert record.restarts == 0
