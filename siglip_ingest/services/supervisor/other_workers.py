"""Workers of the other models of the embedded database: those that are kept beside the one that a client asked for."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from siglip_ingest.errors import SiglipError
from siglip_ingest.services.data_folder import DataFolder
from siglip_ingest.services.supervisor.processes import ProcessRecord
from siglip_ingest.services.supervisor.worker import Worker, WorkerState

if TYPE_CHECKING:
    from siglip_ingest.services.model_workers import ServedModels

_ASK_S = 2.0
_LOGS = 8  # so many files at most

_logger = logging.getLogger(__name__)


class OtherWorkers:
    """Follows the models of the database. Nothing here blocks for long: `watch`, called often, moves it on.

    Args:
        folder: Where their logs lie.
        worker: The one that a client asked for; where its model is dropped or isn't kept any more, it goes on with the
            active one.
    """

    def __init__(self, folder: DataFolder, worker: Worker) -> None:
        self._folder = folder
        self._worker = worker
        self._workers: dict[str, Worker] = {}  # by the name of the model
        self._leaving: list[Worker] = []  # no longer wanted, and not gone yet
        self._served: ServedModels | None = None
        self._ask_at = 0.0
        self._count = 0
        self._known: set[str] = set()

    @property
    def models(self) -> list[str]:
        """Names of their models."""
        return sorted(self._workers)

    @property
    def records(self) -> list[ProcessRecord]:
        """Their processes."""
        found = [worker.record for worker in [*self._workers.values(), *self._leaving]]
        return [record for record in found if record is not None]

    def watch(self, database_url: str) -> bool:
        """Start, stop and restart them as the models change; returns whether something has changed."""
        changed = [worker.watch() for worker in [*self._workers.values(), *self._leaving]]
        self._leaving = [worker for worker in self._leaving if worker.state is not WorkerState.STOPPED]
        if self._worker.state is WorkerState.READY and time.monotonic() >= self._ask_at:
            self._ask_at = time.monotonic() + _ASK_S
            changed.append(self._follow(database_url))
        return any(changed)

    def stop(self) -> None:
        """Stop them all and wait until they are gone."""
        for worker in [*self._workers.values(), *self._leaving]:
            worker.stop()
        self._workers.clear()
        self._leaving.clear()
        if self._served is not None:
            self._served.close()

    def _follow(self, database_url: str) -> bool:
        if self._served is None:
            from siglip_ingest.services.model_workers import ServedModels

            self._served = ServedModels(database_url)
        try:
            names = self._served.list_names()
        except SiglipError as error:
            _logger.warning("Which models to serve can't be asked just now: %s", error)
            return False
        mine = self._worker.model or next(iter(names), "")
        if names and mine not in names and mine in self._known:
            _logger.info("%s needs no worker any more; the worker goes on with %s.", mine, names[0])
            self._worker.start(self._environment_of(self._worker.environment, names[0]))
            mine = names[0]
        self._known = set(names)
        wanted = [name for name in names if name != mine]
        unwanted = [name for name in self._workers if name not in wanted]
        for name in unwanted:
            worker = self._workers.pop(name)
            worker.leave()
            self._leaving.append(worker)
        missing = [name for name in wanted if name not in self._workers]
        for worker in self._workers.values():
            if worker.state is WorkerState.FAILED:  # ended before anybody saw it run
                worker.start(worker.environment)
        for name in missing:
            # One that can't be loaded is tried again and again, ever more slowly, as one that ended.
            worker = Worker(self._folder, lambda: True, log=f"worker-{self._count % _LOGS + 2}.log")
            worker.start(self._environment_of(self._worker.environment, name))
            self._workers[name] = worker
            self._count += 1
        return bool(unwanted or missing)

    @staticmethod
    def _environment_of(environment: Mapping[str, str], name: str) -> dict[str, str]:
        # How many patches an image has is the database's to say.
        kept = {key: value for key, value in environment.items() if key != "SIGLIP_MAX_NUM_PATCHES"}
        return {**kept, "SIGLIP_MODEL": name}
