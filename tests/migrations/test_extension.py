"""An old pgvector is refused, and one with known defects is warned of."""

from __future__ import annotations

import logging

import psycopg
import pytest

import siglip_migrations
from siglip_ingest.db.schema import migrate
from siglip_ingest.errors import DatabaseError
from siglip_migrations.extension import VectorVersion, parse_version


@pytest.mark.parametrize(
    ("created", "installed", "sentences"),
    [
        pytest.param("0.8.0", "0.8.0", ["CVE-2026-3172", "VACUUM", "Install 0.8.3 or newer"], id="both-defects"),
        pytest.param("0.8.1", "0.8.2", ["CVE-2026-3172", "VACUUM", "Install 0.8.3"], id="the-files-have-one-too"),
        pytest.param("0.8.2", "0.8.2", ["VACUUM"], id="one-defect"),
        pytest.param("0.8.2", "0.8.5", ["Version 0.8.5 is on the server already: run ALTER EXTENSION"], id="files-new"),
        pytest.param(None, "0.8.1", ["pgvector 0.8.1 has", "CVE-2026-3172"], id="not-created-yet"),
        pytest.param("0.8.3", "0.8.3", None, id="none-known"),
        pytest.param("0.10.0", "0.10.0", None, id="ten-is-more-than-eight"),
        pytest.param("0.8.5", None, None, id="files-gone"),
        pytest.param(None, None, None, id="no-pgvector"),
    ],
)
def test_defects_are_described(created: str | None, installed: str | None, sentences: list[str] | None) -> None:
    described = VectorVersion(created, installed).describe_defects()
    if sentences is None:
        assert described is None
    else:
        assert described is not None
        assert [sentence for sentence in sentences if sentence not in described] == []


def test_only_a_defect_that_it_has_is_named() -> None:
    described = VectorVersion("0.8.2", "0.8.2").describe_defects()
    assert described is not None
    assert "CVE" not in described


@pytest.mark.parametrize(
    ("created", "installed", "is_too_old"),
    [("0.7.4", "0.8.5", True), (None, "0.7.4", True), ("0.8.0", "0.8.0", False), (None, None, False)],
)
def test_what_is_created_counts_before_what_is_installed(
    created: str | None, installed: str | None, is_too_old: bool
) -> None:
    assert VectorVersion(created, installed).is_too_old is is_too_old


def test_versions_are_numbers() -> None:
    assert parse_version("0.8.0-1.pgdg12") == (0, 8, 0)
    assert parse_version("0.10") > parse_version("0.8.5")


def _pretend(url: str, version: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute("SET allow_system_table_mods = on")
        connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
        changed = connection.execute("UPDATE pg_extension SET extversion = %s WHERE extname = 'vector'", [version])
        assert changed.rowcount == 1


def test_migrate_refuses_an_old_pgvector_before_it_does_anything(empty_database_url: str) -> None:
    _pretend(empty_database_url, "0.7.4")
    with pytest.raises(
        DatabaseError, match=r"has pgvector 0\.7\.4, and .* needs 0\.8\.0 .* ALTER EXTENSION vector UPDATE"
    ):
        migrate(empty_database_url)
    assert siglip_migrations.current_revision(empty_database_url) is None


def test_migrate_warns_of_defects(empty_database_url: str, caplog: pytest.LogCaptureFixture) -> None:
    _pretend(empty_database_url, "0.8.1")
    with caplog.at_level(logging.WARNING, "siglip_ingest"):
        assert migrate(empty_database_url) == siglip_migrations.head_revision()
    assert len(caplog.messages) == 1
    assert "CVE-2026-3172" in caplog.messages[0]
    assert "ALTER EXTENSION vector UPDATE" in caplog.messages[0]


def test_migrate_is_silent_about_a_good_pgvector(empty_database_url: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "siglip_ingest"):
        migrate(empty_database_url)
    assert caplog.messages == []
