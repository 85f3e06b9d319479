"""The embedded services, when programs are killed and files are stale."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import psutil
import psycopg
import pytest

from siglip_ingest.errors import ServiceError
from siglip_ingest.services import EmbeddedServices, services_status, start_services, stop_services
from siglip_ingest.services.data_folder import DataFolder
from siglip_ingest.services.supervisor.postgres import Postgres
from siglip_ingest.services.supervisor.processes import ProcessRecord
from siglip_ingest.services.supervisor.redis import Redis
from siglip_ingest.settings import Settings
from tests.programs import find_processes, start_client, wait_until, write_worker

pytestmark = pytest.mark.faults


@pytest.fixture
def settings(embedded_home: Path) -> Settings:
    return Settings(home=embedded_home, model="one")


def test_a_killed_program_loses_its_lease(settings: Settings) -> None:
    with start_client(settings.home) as program:
        assert program.stdout is not None
        assert program.stdout.readline()
        program.kill()
    wait_until(lambda: services_status(settings)["state"] == "stopped")
    wait_until(lambda: not find_processes(settings.home))


def test_ctrl_c_in_one_terminal_leaves_the_services_to_another(settings: Settings) -> None:
    with start_client(settings.home) as program:
        assert program.stdout is not None
        assert program.stdout.readline()
        with EmbeddedServices(settings) as services:
            os.killpg(program.pid, signal.SIGINT)
            program.wait()
            wait_until(lambda: services_status(settings)["connected"] == 1)
            with psycopg.connect(services.database_url) as connection:
                assert connection.execute("SELECT 1").fetchone() == (1,)


def test_a_killed_supervisor_takes_its_children_along_and_the_next_start_finds_the_data(settings: Settings) -> None:
    with EmbeddedServices(settings) as services:
        url = services.database_url
        with psycopg.connect(url) as connection:
            connection.execute("CREATE TABLE keepsake AS SELECT 42 AS answer")
        _kill(services_status(settings)["supervisor_pid"])
        services.start()
        assert services.database_url == url
        with psycopg.connect(url) as connection:
            assert connection.execute("SELECT answer FROM keepsake").fetchone() == (42,)


def test_servers_that_outlived_their_supervisor_are_stopped(settings: Settings) -> None:
    folder = DataFolder.at(settings.home)
    postgres, redis = Postgres(folder), Redis(folder)
    postgres.start()
    redis.start()
    assert redis.record is not None
    folder.write_state({"redis_port": redis.port, "processes": [redis.record.to_json()]})
    with EmbeddedServices(settings) as services:
        assert not postgres.is_running()
        assert not redis.is_running()
        assert services.database_url
    postgres.stop()
    redis.stop()


def test_down_stops_servers_that_outlived_their_supervisor(settings: Settings) -> None:
    postgres = Postgres(DataFolder.at(settings.home))
    postgres.start()
    assert stop_services(settings) is not None
    assert not postgres.is_running()
    postgres.stop()


def test_stale_files_are_forgotten_and_no_other_process_is_touched(settings: Settings) -> None:
    with EmbeddedServices(settings):
        pass
    folder = DataFolder.at(settings.home)
    # The pids of this very test, as after a reboot that gave them to other programs.
    stale = ProcessRecord.of(os.getpid(), "python")
    assert stale is not None
    folder.write_state({"processes": [{**stale.to_json(), "started_at": stale.started_at - 1000}, "nonsense"]})
    (folder.postgres / "postmaster.pid").write_text(
        f"{os.getpid()}\n{folder.postgres}\n1700000000\n5432\n\n127.0.0.1\n0 0\nready\n"
    )
    folder.socket.touch()
    with EmbeddedServices(settings) as services:
        assert services.database_url
    folder.state.write_text("{")
    folder.socket.unlink(missing_ok=True)
    with EmbeddedServices(settings) as services:
        assert services.database_url


def test_a_server_that_is_killed_is_started_again_at_the_same_url(settings: Settings) -> None:
    with EmbeddedServices(settings) as services:
        before = services_status(settings)
        for name in ("postgres_pid", "redis_pid"):
            _kill(before[name])
            wait_until(lambda name=name: services_status(settings)[name] not in (None, before[name]))
        after = services_status(settings)
        assert (after["database_url"], after["broker_url"]) == (before["database_url"], before["broker_url"])
        assert after["supervisor_pid"] == before["supervisor_pid"]
        with psycopg.connect(services.database_url) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)


def test_a_home_that_is_deleted_ends_its_services(settings: Settings) -> None:
    start_services(settings, worker=False)
    shutil.rmtree(settings.home)
    wait_until(lambda: not find_processes(settings.home))


def test_a_worker_is_waited_for_and_goes_with_the_services(settings: Settings, tmp_path: Path) -> None:
    environment = write_worker(tmp_path / "worker")
    with EmbeddedServices(settings, environment=environment) as services:
        services.ensure_worker()
        services.ensure_worker()
        state = services_status(settings)
        assert (state["worker"], state["worker_model"]) == ("ready", "one")
    wait_until(lambda: not psutil.pid_exists(state["worker_pid"]))


def test_a_worker_that_can_not_start_is_reported_in_its_own_words(settings: Settings, tmp_path: Path) -> None:
    environment = write_worker(tmp_path / "worker", "sys.exit('The checkpoint one is not there.')")
    with EmbeddedServices(settings, environment=environment) as services:
        for _ in range(2):
            with pytest.raises(ServiceError, match=r"The checkpoint one is not there\. Its log is .*worker\.log"):
                services.ensure_worker()
        assert services_status(settings)["worker_log"] == ["serving one", "The checkpoint one is not there."]
        write_worker(tmp_path / "worker")
        services.ensure_worker()


def test_a_worker_that_is_killed_is_started_again(settings: Settings, tmp_path: Path) -> None:
    with EmbeddedServices(settings, environment=write_worker(tmp_path / "worker")) as services:
        services.ensure_worker()
        killed = services_status(settings)["worker_pid"]
        _kill(killed)
        wait_until(lambda: services_status(settings)["worker"] == "restarting")
        services.ensure_worker()
        assert services_status(settings)["worker_pid"] != killed


def test_a_worker_of_another_model_replaces_an_unused_one_only(settings: Settings, tmp_path: Path) -> None:
    environment = write_worker(tmp_path / "worker")
    other = Settings(home=settings.home, model="two")
    any_model = Settings(home=settings.home)
    with EmbeddedServices(settings, environment=environment) as services:
        services.ensure_worker()
        with EmbeddedServices(other, environment=environment) as others:
            others.ensure_worker()
            assert services_status(settings)["worker_model"] == "two"
        with EmbeddedServices(any_model, environment=environment) as others:
            others.ensure_worker()
            assert services_status(settings)["worker_model"] == "two"


def test_a_worker_that_another_program_uses_is_not_replaced(settings: Settings, tmp_path: Path) -> None:
    environment = write_worker(tmp_path / "worker")
    with start_client(settings.home, model="two", environment=environment) as program:
        assert program.stdout is not None
        assert program.stdout.readline()
        with (
            EmbeddedServices(settings, environment=environment) as services,
            pytest.raises(ServiceError, match="'one' was asked for, but the worker serves the model 'two' to 1 other"),
        ):
            services.ensure_worker()
        program.communicate("")


def _kill(pid: int) -> None:
    process = psutil.Process(pid)
    process.kill()
    psutil.wait_procs([process], timeout=10)
