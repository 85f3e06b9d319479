"""The supervisor: one process per SIGLIP_HOME that owns PostgreSQL, Redis and the worker until they are unused."""

from __future__ import annotations

import logging
import os
import selectors
import signal
import subprocess
import sys
import time
from types import FrameType
from typing import Any

from siglip_ingest.errors import ServiceError
from siglip_ingest.services.channel import Channel, listen
from siglip_ingest.services.data_folder import DataFolder
from siglip_ingest.services.logs import read_tail
from siglip_ingest.services.supervisor.other_workers import OtherWorkers
from siglip_ingest.services.supervisor.postgres import Postgres
from siglip_ingest.services.supervisor.processes import start_process, stop_orphans
from siglip_ingest.services.supervisor.redis import Redis
from siglip_ingest.services.supervisor.worker import Worker, WorkerState
from siglip_ingest.sources.settings import ALL_STORES, WHOLE_DISK

_TICK_S = 0.1
_FIRST_CLIENT_TIMEOUT_S = 30.0
_MIGRATION_TIMEOUT_S = 600.0
_MOST_RESTARTS = 5  # of PostgreSQL or Redis, in the life of a supervisor

_logger = logging.getLogger(__name__)


class Lease:
    """A client's connection, and what it asked for."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.is_held = False
        self.uses_worker = False


class Supervisor:
    """Serves clients until the last lease is gone (unless it was told to keep on), then stops everything."""

    def __init__(self, folder: DataFolder) -> None:
        self._folder = folder
        self._postgres = Postgres(folder)
        self._redis = Redis(folder)
        self._worker = Worker(folder, self._redis.has_consumer)
        self._others = OtherWorkers(folder, self._worker)
        self._leases: list[Lease] = []
        self._is_kept = False
        self._is_stopping = False
        self._had_lease = False
        self._restarts = 0
        self._failure: str | None = None

    def run(self, ready: Any) -> None:
        """Start the services, serve, stop them.

        Args:
            ready: Called once clients can connect.
        """
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._ask_to_stop)
        with selectors.DefaultSelector() as selector, listen(self._folder.socket) as listener:
            listener.setblocking(False)
            selector.register(listener, selectors.EVENT_READ)
            ready()
            try:
                self._start()
                self._serve(selector, listener)
            finally:
                # A client that comes now finds no socket and starts another supervisor, which waits for this one's end.
                self._folder.socket.unlink(missing_ok=True)
                listener.close()
                self._stop()

    def _ask_to_stop(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        self._is_stopping = True

    def _start(self) -> None:
        state = self._folder.read_state()
        try:
            stop_orphans(state)
            migration = start_process(
                [sys.executable, "-P", "-m", "siglip_ingest.services.supervisor.migrate"],
                folder=self._folder.path,
                log=self._folder.logs / "migrations.log",
                stdin=None,
            )
            try:
                self._postgres.start(state.get("postgres_port"))
                self._write_state()
                self._redis.start(state.get("redis_port"))
                self._write_state()
            finally:
                self._migrate(migration, self._postgres.url if self._redis.is_running() else "")
        except ServiceError as error:
            _logger.error("%s", error)  # noqa: TRY400  # the sentence says it all
            self._failure = str(error)

    def _migrate(self, migration: subprocess.Popen[bytes], url: str) -> None:
        """Hand the database's URL to the process that waits for it, and wait until the schema is up to date."""
        try:
            migration.communicate(url.encode() + b"\n", timeout=_MIGRATION_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            migration.kill()
            migration.wait()
        if url and migration.returncode != 0:
            log = self._folder.logs / "migrations.log"
            raise ServiceError(
                f"The schema could not be brought up to date: {' '.join(read_tail(log, 1))} Its log is {log}"
            )

    def _serve(self, selector: selectors.BaseSelector, listener: Any) -> None:
        first_client_by = time.monotonic() + _FIRST_CLIENT_TIMEOUT_S
        while not self._is_stopping:
            for key, _ in selector.select(_TICK_S):
                if key.data is None:
                    lease = Lease(Channel(listener.accept()[0]))
                    self._leases.append(lease)
                    selector.register(lease.channel.connection, selectors.EVENT_READ, lease)
                else:
                    self._read(selector, key.data)
            self._watch()
            held = self._count_held() > 0
            self._had_lease = self._had_lease or held
            has_waited = self._had_lease or time.monotonic() > first_client_by
            if (not held and not self._is_kept and has_waited) or not self._folder.socket.exists():
                self._is_stopping = True

    def _read(self, selector: selectors.BaseSelector, lease: Lease) -> None:
        try:
            requests = lease.channel.receive_available()
            for request in requests or []:
                lease.channel.send({**self._answer(lease, request), "number": request.get("number")})
        except (OSError, ValueError):  # it is gone, or no client of ours
            requests = None
        if requests is None:
            selector.unregister(lease.channel.connection)
            lease.channel.close()
            self._leases.remove(lease)

    def _answer(self, lease: Lease, request: dict[str, Any]) -> dict[str, Any]:
        answers = {
            "lease": self._grant_lease,
            "release": self._end_lease,
            "keep": self._keep,
            "worker": self._start_worker,
            "worker_state": self._describe_worker,
            "status": self._describe,
            "stop": self._stop_all,
        }
        answer = answers.get(str(request.get("do")))
        if answer is None:
            return {
                "error": "The embedded services were started by another version: stop them with `siglip-ingest down`."
            }
        return answer(lease, request)

    def _grant_lease(self, lease: Lease, request: dict[str, Any]) -> dict[str, Any]:
        self._had_lease = True
        lease.is_held = self._failure is None
        return {"error": self._failure} if self._failure else self._describe(lease, request)

    def _end_lease(self, lease: Lease, _: dict[str, Any]) -> dict[str, Any]:
        lease.is_held = False
        self._is_stopping = not self._is_kept and not self._count_held()
        return {"is_last": self._is_stopping}

    def _keep(self, _: Lease, __: dict[str, Any]) -> dict[str, Any]:
        self._is_kept = True
        return {}

    def _stop_all(self, _: Lease, __: dict[str, Any]) -> dict[str, Any]:
        self._is_stopping = True
        return {"connected": self._count_held()}

    def _count_held(self) -> int:
        return sum(lease.is_held for lease in self._leases)

    def _start_worker(self, lease: Lease, request: dict[str, Any]) -> dict[str, Any]:
        """Start the worker where none runs, and in place of one of another model that only this client uses."""
        environment: dict[str, str] = request["environment"]
        model = environment.get("SIGLIP_MODEL")
        has_other_model = self._worker.is_wanted and model not in {None, self._worker.model, *self._others.models}
        me = lease.channel.peer_pid
        users = sum(other.is_held and other.uses_worker and other.channel.peer_pid != me for other in self._leases)
        if has_other_model and users:
            served = f"the model {self._worker.model!r}" if self._worker.model else "the database's active model"
            return {
                "error": f"{model!r} was asked for, but the worker serves {served} to {users} other program(s). "
                "Close them first, or set SIGLIP_HOME to another folder for this model."
            }
        lease.uses_worker = True
        if has_other_model or not self._worker.is_wanted:
            urls = {"SIGLIP_DATABASE_URL": self._postgres.url, "SIGLIP_BROKER_URL": self._redis.url}
            # A worker reads no local files and no stores unless it is told; this one belongs to the user who asks.
            allowed = {
                "SIGLIP_ALLOWED_ROOTS": os.pathsep.join(map(str, WHOLE_DISK)),
                "SIGLIP_ALLOWED_STORES": ALL_STORES,
            }
            self._worker.start({**allowed, **environment, **urls})
            self._write_state()
        return {"worker": self._worker.state.value}

    def _describe_worker(self, _: Lease, __: dict[str, Any]) -> dict[str, Any]:
        if self._worker.state is not WorkerState.FAILED:
            return {"worker": self._worker.state.value}
        reason = " ".join(self._worker.log_tail[-1:]).removeprefix("siglip_workers: ") or "it wrote nothing."
        return {"error": f"The worker could not start: {reason} Its log is {self._folder.logs / 'worker.log'}"}

    def _watch(self) -> None:
        if self._worker.watch():
            _logger.info("The worker is %s.", self._worker.state.value)
            self._write_state()
        if self._failure is None and self._others.watch(self._postgres.url):
            self._write_state()
        for service in (self._postgres, self._redis):
            if self._failure is None and not service.is_running():
                self._restart(service)

    def _restart(self, service: Postgres | Redis) -> None:
        """Start a server again that ended by itself; give up, and end everything, where that doesn't help."""
        self._restarts += 1
        _logger.error("%s ended by itself.", type(service).__name__)
        if self._restarts > _MOST_RESTARTS:
            self._is_stopping = True
            return
        try:
            service.start(service.port)
            self._write_state()
        except ServiceError as error:
            _logger.error("%s", error)  # noqa: TRY400  # the sentence says it all
            self._is_stopping = True

    def _describe(self, _: Lease, __: dict[str, Any]) -> dict[str, Any]:
        worker = self._worker
        return {
            "state": "running" if self._failure is None else "failed",
            "home": str(self._folder.path),
            "is_kept": self._is_kept,
            "connected": self._count_held(),
            "database_url": self._postgres.url,
            "broker_url": self._redis.url,
            "supervisor_pid": os.getpid(),
            "postgres_pid": None if self._postgres.record is None else self._postgres.record.pid,
            "redis_pid": None if self._redis.record is None else self._redis.record.pid,
            "worker_pid": None if worker.record is None else worker.record.pid,
            "worker": worker.state.value,
            "worker_model": worker.model,
            "other_models": self._others.models,
            "worker_log": [] if worker.state in (WorkerState.READY, WorkerState.STOPPED) else worker.log_tail[-3:],
        }

    def _write_state(self) -> None:
        records = (self._postgres.record, self._redis.record, self._worker.record, *self._others.records)
        self._folder.write_state(
            {
                "postgres_port": self._postgres.port,
                "redis_port": self._redis.port,
                "processes": [record.to_json() for record in records if record is not None],
            }
        )

    def _stop(self) -> None:
        _logger.info("Stopping.")
        self._others.stop()
        self._worker.stop()
        self._redis.stop()
        self._postgres.stop()
        if self._folder.path.exists() and self._failure is None:
            self._write_state()
