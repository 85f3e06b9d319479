"""Client of the embedded services: starts them or joins those that run, and holds a lease on them."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from siglip_ingest import process
from siglip_ingest.errors import ServiceError
from siglip_ingest.services.channel import Channel, connect
from siglip_ingest.services.connection import (
    START_TIMEOUT_S,
    STOP_TIMEOUT_S,
    SupervisorGoneError,
    ask,
    connect_or_start,
    require_packages,
)
from siglip_ingest.services.data_folder import DataFolder, hold_lock
from siglip_ingest.services.settings import ServiceSettings

_ANSWER_TIMEOUT_S = 60.0
_POLL_S = 0.05
_WORKER_TIMEOUT_S = 3600.0  # the first start may download a checkpoint


@dataclass(frozen=True, slots=True)
class StoppedServices:
    """What `stop_services` stopped.

    Attributes:
        connected: Programs that were using the services.
    """

    connected: int


class EmbeddedServices:
    """A lease on the PostgreSQL, Redis and worker of one SIGLIP_HOME. Thread-safe; a context manager.

    The services run for as long as any program holds a lease. A program that is killed loses its lease at once.

    Args:
        settings: `home` says where the services live; the worker gets all of them.
        environment: Variables for the worker on top of those that the first program had (`HF_TOKEN`, for instance).
    """

    def __init__(self, settings: ServiceSettings, *, environment: Mapping[str, str] | None = None) -> None:
        self._settings = settings
        self._folder = DataFolder.at(settings.home)
        self._environment = {
            name: value
            for name, value in {
                **(environment or {}),
                **settings.to_environment(),
                "SIGLIP_HOME": str(self._folder.path),
            }.items()
            if name not in ("SIGLIP_DATABASE_URL", "SIGLIP_BROKER_URL")
        }
        self._lock = threading.RLock()
        self._channel: Channel | None = None
        self._description: dict[str, Any] = {}
        process.register_for_forks(self)

    def __enter__(self) -> EmbeddedServices:
        return self.start()

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def start(self) -> EmbeddedServices:
        """Join the services, starting those that don't run yet; PostgreSQL's schema is up to date afterwards.

        Raises:
            ServiceError: If they can't be started; the message says why and what to do.
            ConfigurationError: If the packages that carry them aren't installed.
        """
        with self._lock:
            if self._channel is None or not self._channel.is_open():
                self._disconnect()
                self._channel, self._description = connect_or_start(self._folder)
        return self

    @property
    def database_url(self) -> str:
        """URL of the embedded database, with its password."""
        return self._describe("database_url")

    @property
    def broker_url(self) -> str:
        """URL of the embedded Redis, with its password."""
        return self._describe("broker_url")

    def ensure_worker(self, *, model: str | None = None, wait: bool = True) -> None:
        """Start the worker if none runs. Cheap where one does, so it may be asked again and again.

        Args:
            model: Name of the checkpoint that it shall serve; one that serves another is started again, unless another
                program needs that. By default the settings' model.
            wait: Whether to wait until it has loaded its model and takes work; the first time that may include a
                download.

        Raises:
            ServiceError: If it stopped before it was ready (the message has the last line of its log), or serves
                another model to another program.
        """
        environment = self._environment if model is None else {**self._environment, "SIGLIP_MODEL": model}
        self._request({"do": "worker", "environment": environment})
        give_up_at = time.monotonic() + _WORKER_TIMEOUT_S
        while wait and self._request({"do": "worker_state"})["worker"] != "ready":
            if time.monotonic() > give_up_at:
                raise ServiceError(f"The worker was not ready within {_WORKER_TIMEOUT_S:.0f} seconds.")
            time.sleep(_POLL_S)

    def restore_worker(self, model: str) -> None:
        """Let the worker serve a model that the database has, in place of whatever it was started for; doesn't wait.

        Where none was started, none is. How many patches an image has is the database's to say, not the settings'.

        Raises:
            ServiceError: If it serves another model to another program.
        """
        if self._request({"do": "status"})["worker"] != "stopped":
            without = {name: value for name, value in self._environment.items() if name != "SIGLIP_MAX_NUM_PATCHES"}
            self._request({"do": "worker", "environment": {**without, "SIGLIP_MODEL": model}})

    def check_worker(self) -> None:
        """Ask how the worker is; cheap, and starts nothing.

        Raises:
            ServiceError: If it stopped before it was ready, with the last line of its log.
        """
        self._request({"do": "worker_state"})

    def has_ready_worker(self, model: str) -> bool:
        """Tell whether the worker takes work now, for this model as far as is known; cheap, and starts nothing."""
        state = self._request({"do": "status"})
        is_served = state["worker_model"] in {None, model} or model in state["other_models"]
        return state["worker"] == "ready" and bool(is_served)

    def keep(self) -> None:
        """Leave the services running when the last lease is gone, until `stop_services`."""
        self._request({"do": "keep"})

    def pass_lease_to_exec(self) -> None:
        """Let the program that this process becomes by `os.exec*` hold the lease, for as long as it runs."""
        with self._lock:
            self.start()
            assert self._channel is not None  # noqa: S101  # start connected it
            self._channel.connection.set_inheritable(True)

    def close(self) -> None:
        """Give up the lease. If it was the last one, the services are stopped when this returns."""
        with self._lock:
            try:
                if self._channel is not None:
                    answer = ask(self._channel, {"do": "release"}, _ANSWER_TIMEOUT_S)
                    if answer["is_last"]:
                        self._channel.receive(STOP_TIMEOUT_S)  # nothing comes but the end of the connection
            except (ServiceError, OSError):
                pass  # the supervisor is gone already
            finally:
                self._disconnect()

    def forget_inherited(self) -> None:
        """In a process that was forked off: leave the lease to the parent. `start` takes a new one."""
        self._lock = threading.RLock()
        self._disconnect()  # closes this process's end only; held open, it would keep a lease that the parent gave up

    def _disconnect(self) -> None:
        if self._channel is not None:
            self._channel.close()
        self._channel = None

    def _request(self, message: dict[str, Any]) -> dict[str, Any]:
        with self._lock:
            self.start()
            assert self._channel is not None  # noqa: S101  # start connected it
            return ask(self._channel, message, _ANSWER_TIMEOUT_S)

    def _describe(self, name: str) -> str:
        if name not in self._description:
            raise ServiceError("The embedded services were not started: call start() first.")
        return str(self._description[name])


def start_services(settings: ServiceSettings, *, keep: bool = True, worker: bool = True) -> bool:
    """Start the services and a worker, and leave them running; returns whether they ran already.

    Raises:
        ServiceError: If they can't be started; the message says why and what to do.
    """
    was_running = bool(services_status(settings)["state"] != "stopped")
    with EmbeddedServices(settings) as services:
        if keep:
            services.keep()
        if worker:
            services.ensure_worker(wait=False)
    return was_running


def services_status(settings: ServiceSettings) -> dict[str, Any]:
    """Describe the services; starts and writes nothing.

    Returns:
        `state` is `stopped`, `running` or `failed`. Where something runs: `database_url`, `broker_url`, the processes'
        ids, how many programs are `connected`, whether they are kept without any, and how the `worker` is, with its
        last log lines where that isn't well.
    """
    folder = DataFolder.at(settings.home)
    try:
        channel = connect(folder.socket)
    except OSError as error:
        raise folder.failure(error) from error
    if channel is not None:
        try:
            return ask(channel, {"do": "status"}, START_TIMEOUT_S)
        except SupervisorGoneError:
            pass  # it was just ending
        finally:
            channel.close()
    return {"state": "stopped", "home": str(folder.path)}


def stop_services(settings: ServiceSettings) -> StoppedServices | None:
    """Stop the services, even if programs use them; returns None if nothing ran. The data stay.

    Raises:
        ServiceError: If they don't stop.
    """
    folder = DataFolder.at(settings.home)
    try:
        if not folder.path.exists():
            return None
    except OSError as error:
        raise folder.failure(error) from error
    folder.prepare()
    require_packages()
    from siglip_ingest.services.supervisor.postgres import Postgres
    from siglip_ingest.services.supervisor.processes import stop_orphans

    with hold_lock(folder.start_lock, timeout_s=START_TIMEOUT_S, waiting_for="starting the services"):
        channel = connect(folder.socket)
        connected: int | None = None
        if channel is not None:
            try:
                connected = int(ask(channel, {"do": "stop"}, START_TIMEOUT_S)["connected"])
                channel.receive(STOP_TIMEOUT_S)
            except SupervisorGoneError:
                connected = 0  # it was just ending
            finally:
                channel.close()
        with hold_lock(folder.supervisor_lock, timeout_s=STOP_TIMEOUT_S, waiting_for="stopping the services"):
            has_orphans = Postgres(folder).stop_orphan() | stop_orphans(folder.read_state())
    return StoppedServices(connected or 0) if connected is not None or has_orphans else None
