from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from siglip_ingest.services.accounts import allow_traversal, find_account
from siglip_ingest.services.supervisor.postgres import find_binaries
from tests.conftest import Services
from tests.migrations.extension_servers import Server, write_files
from tests.servers import POSTGRES_16, PostgresServer


@pytest.fixture(scope="module", params=["18", "16"])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    yield from request.getfixturevalue(f"_server_{request.param}")()


@pytest.fixture(scope="module")
def _server_18(services: Services, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The session's server; a setting of the database says where the files are."""

    def serve() -> Iterator[Server]:
        if os.environ.get("SIGLIP_TEST_DATABASE_URL"):
            pytest.skip("the server is somebody else's: the files can't be given to it")
        folder = tmp_path_factory.mktemp("extension")
        write_files(folder / "extension")
        if (account := find_account()) is not None:
            allow_traversal(folder / "extension", account)
            for path in [folder, *folder.rglob("*")]:
                path.chmod(0o755 if path.is_dir() else 0o644)
        yield Server(services.database_url, find_binaries(), f"$system:{folder}")

    return serve


@pytest.fixture(scope="module")
def _server_16(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A copy of PostgreSQL 16, which looks for the files in a folder of its own alone."""

    def serve() -> Iterator[Server]:
        folder = tmp_path_factory.mktemp("postgres_16_with_files")
        package = find_binaries(POSTGRES_16).parents[1]
        programs = folder / package.name / POSTGRES_16 / "bin"
        shutil.copytree(package / POSTGRES_16, programs.parent, symlinks=True)
        if (libraries := package.with_name(f"{package.name}.libs")).exists():  # where its programs look for libpq
            shutil.copytree(libraries, folder / libraries.name)
        write_files(next(programs.parent.rglob("vector.control")).parent)
        postgres = PostgresServer(folder, programs)
        try:
            postgres.initialise()
            postgres.start()
            yield Server(postgres.url, programs, None)
        finally:
            postgres.stop()

    return serve
