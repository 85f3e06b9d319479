"""The embedded services have a worker for each model that is kept."""

from __future__ import annotations

import time
from pathlib import Path
from typing import LiteralString

import psycopg

from siglip_ingest.services import EmbeddedServices, services_status
from siglip_ingest.settings import Settings
from tests.programs import find_processes, wait_until, write_worker


def test_a_worker_for_each_kept_model_comes_and_goes_with_it(embedded_home: Path, tmp_path: Path) -> None:
    settings = Settings(home=embedded_home)
    environment = write_worker(tmp_path / "worker", "print('serves', os.environ['SIGLIP_MODEL'], flush=True)")
    with EmbeddedServices(settings, environment=environment) as services:

        def run(statement: LiteralString) -> None:
            with psycopg.connect(services.database_url) as connection:
                connection.execute(statement)

        run("INSERT INTO siglip.models (name, is_active, is_kept) VALUES ('demo', true, false), ('a/b', false, true)")
        services.ensure_worker(model="demo")
        wait_until(lambda: services_status(settings)["other_models"] == ["a/b"])
        logs = [embedded_home / "logs" / name for name in ("worker.log", "worker-2.log")]
        wait_until(lambda: all(log.exists() for log in logs))
        wait_until(lambda: ["serves demo" in logs[0].read_text(), "serves a/b" in logs[1].read_text()] == [True, True])
        assert services.has_ready_worker("a/b")
        assert not services.has_ready_worker("c/d")

        run("UPDATE siglip.models SET is_kept = false")
        wait_until(lambda: services_status(settings)["other_models"] == [])
        assert services_status(settings)["worker_model"] == "demo"

        # Switched to another model in SQL, and the old one isn't kept: the worker goes on with the new one.
        run("UPDATE siglip.models SET is_active = false")
        run("UPDATE siglip.models SET is_active = true WHERE name = 'a/b'")
        wait_until(lambda: services_status(settings)["worker_model"] == "a/b")
        wait_until(lambda: services_status(settings)["worker"] == "ready")
        assert services_status(settings)["other_models"] == []


def test_a_worker_that_will_not_stop_keeps_nobody_waiting(embedded_home: Path, tmp_path: Path) -> None:
    settings = Settings(home=embedded_home)
    stubborn = "import signal; os.environ['SIGLIP_MODEL'] == 'a/b' and signal.signal(signal.SIGTERM, signal.SIG_IGN)"
    environment = write_worker(tmp_path / "worker", f"{stubborn}; print('serves', flush=True)")
    with EmbeddedServices(settings, environment=environment) as services:
        with psycopg.connect(services.database_url) as connection:
            connection.execute(
                "INSERT INTO siglip.models (name, is_active, is_kept) VALUES ('demo', true, false), "
                "('a/b', false, true)"
            )
        services.ensure_worker(model="demo")
        log = embedded_home / "logs" / "worker-2.log"
        wait_until(lambda: log.exists() and "serves" in log.read_text())
        (process,) = (p for p in find_processes(embedded_home) if p.environ().get("SIGLIP_MODEL") == "a/b")

        with psycopg.connect(services.database_url) as connection:
            connection.execute("UPDATE siglip.models SET is_kept = false")
        slowest = 0.0

        def is_away() -> bool:
            nonlocal slowest
            began = time.monotonic()
            models = services_status(settings)["other_models"]
            slowest = max(slowest, time.monotonic() - began)
            return models == []

        wait_until(is_away)
        assert process.is_running()
        assert slowest < 5
        process.kill()
