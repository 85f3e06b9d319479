"""`siglip-ingest keys`."""

from __future__ import annotations

import json
from typing import Any

import pytest
from click.testing import CliRunner, Result

from siglip_ingest.cli import cli
from siglip_ingest.db import keys
from siglip_ingest.errors import AlreadyExistsError, NotFoundError
from tests.web.conftest import Web


@pytest.fixture
def run(web: Web) -> Any:
    def run(*arguments: str) -> Result:
        environment = {"SIGLIP_DATABASE_URL": web.settings.database_url}
        return CliRunner().invoke(cli, ["keys", *arguments], env=environment, catch_exceptions=False)

    return run


def test_a_key_is_printed_once(run: Any, web: Web) -> None:
    made = run("create", "command line", "--scope", "write", "--expires", "30")
    key = made.stdout.strip()
    assert made.stdout == f"{key}\n"  # KEY=$(siglip-ingest keys create ...) works
    assert "the key of command line, for write until 20" in made.stderr
    with web.database() as database:
        found = keys.find_key(database, key)
    assert found is not None
    assert found.scope == "write"
    listed = run("list")
    assert key not in listed.stdout
    (line,) = [line for line in listed.stdout.splitlines() if line.startswith("command line ")]
    assert "write" in line
    assert "valid" in line
    assert "key_hash" not in run("list", "--json").stdout


def test_a_key_searches_by_default_and_can_be_revoked(run: Any, web: Web) -> None:
    made = json.loads(run("create", "to revoke", "--json").stdout)
    assert (made["scope"], made["expires_at"]) == ("search", None)
    with pytest.raises(AlreadyExistsError, match="Revoke it first"):
        run("create", "to revoke")
    assert run("revoke", "to revoke").stdout == "Revoked the key of to revoke.\n"
    with pytest.raises(NotFoundError, match="keys list"):
        run("revoke", "to revoke")
    with web.database() as database:
        assert keys.find_key(database, made["key"]) is None
    (row,) = [row for row in json.loads(run("list", "--json").stdout) if row["name"] == "to revoke"]
    assert row["revoked_at"]


@pytest.mark.parametrize("arguments", [["x", "--scope", "all"], ["x", "--expires", "0"], []])
def test_wrong_usage_is_told(run: Any, arguments: list[str]) -> None:
    assert run("create", *arguments).exit_code == 2
