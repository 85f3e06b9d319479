"""Puts the parts of a worker together: the one place that reads the environment and loads a model."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from redis.exceptions import RedisError

from siglip_ingest import labeling
from siglip_ingest.active_model import DEFAULT_MODEL, enter_model
from siglip_ingest.broker.tasks import queries_queue
from siglip_ingest.broker.tickets import images_queue
from siglip_ingest.db import Database, items, model_changes, models, workers
from siglip_ingest.db.schema import check_schema
from siglip_ingest.embedders.local import load_embedder
from siglip_ingest.errors import ConfigurationError, DatabaseError, SiglipError
from siglip_ingest.settings import Settings
from siglip_ingest.siglip import verify
from siglip_ingest.siglip.checkpoint.names import model_name
from siglip_workers.batch_size import BatchSize
from siglip_workers.broker import Broker
from siglip_workers.device import Device
from siglip_workers.heartbeat import Heartbeat, SilenceGuard
from siglip_workers.ingest.attached_follower import AttachedFollower
from siglip_workers.ingest.feeder import Feeder
from siglip_workers.ingest.ledger_watcher import LedgerWatcher
from siglip_workers.ingest.stream import Stream
from siglip_workers.label_keeper import LabelKeeper
from siglip_workers.maintenance import Maintainer
from siglip_workers.queries.text_listener import TextListener
from siglip_workers.threads import Repeater, StoppableThread, stop_process

if TYPE_CHECKING:
    from celery import Celery

    from siglip_ingest.siglip.embedder import TorchEmbedder

logger = logging.getLogger(__name__)

TASK_THREADS = 4  # two for queries on the device, two for what only waits
BEATS_PER_LEASE = 3.5
IDLE_LIMIT_S = 5.0  # no transaction of a worker waits for the worker itself
MAX_BEAT_S = 2.0  # siglip.is_alive relies on it
LABELS_EVERY_S = 2.0


class Runtime:
    """What one worker process has: a database, a model on a device, and the threads that bring it work.

    Attributes:
        feeder: Claims images, and takes tickets.
        device: The model.
        broker: Redis; None before `start`.
    """

    def __init__(self, settings: Settings, database: Database, embedder: TorchEmbedder, model_id: int) -> None:
        self.settings = settings
        self.database = database
        self.device = Device(embedder)
        self.model_id = model_id
        self.worker_id = uuid4()
        self._embedder = embedder
        self._batch_size = BatchSize(database, embedder, model_id)
        self._batch_size.choose(settings.batch_size)
        self._node = ""
        self._broker: Broker | None = None
        self._stream = Stream(database, self.device, model_id, settings, cores=count_cores())
        self.feeder = Feeder(database, self._stream, self.worker_id, model_id, settings)
        self._standbys = [Database(url, pooler=settings.pooler) for url in settings.standby_urls.split()]
        self._listeners = [
            TextListener(server, database, self.device, model_id, max_cached_texts=settings.max_cached_texts)
            for server in (database, *self._standbys)
        ]
        self._heartbeat = Heartbeat(self._beat, min(MAX_BEAT_S, settings.lease_s / BEATS_PER_LEASE))
        # Its own connection: those of the others may all be busy.
        self._pulse = Database(
            settings.database_url or "", pooler=settings.pooler, max_connections=1, idle_limit_s=IDLE_LIMIT_S
        )
        self._guard = SilenceGuard([self._pulse, database], self._heartbeat)
        self._labels = Repeater("labels", self._follow_model, LABELS_EVERY_S)
        self._keeper = LabelKeeper(database)
        self._maintainer = [Maintainer(database)] if settings.maintenance == "on" else []
        self._follower = AttachedFollower(database)
        self._watcher: LedgerWatcher | None = None

    @property
    def broker(self) -> Broker:
        """The worker's Redis, once it has started."""
        if self._broker is None:
            raise ConfigurationError("The worker has not started yet.")
        return self._broker

    def start(self, app: Celery, node: str) -> None:
        """Begin to bring work, once the worker takes messages; `node` is what Celery calls it."""
        self._node = node
        self._broker = Broker(app, self.settings.broker_url or "")
        self._watcher = LedgerWatcher(
            self.database,
            self._broker,
            self.feeder,
            self.worker_id,
            self.model_id,
            self.settings,
            on_attached=self._follower.look,
        )
        with contextlib.suppress(DatabaseError):  # the heartbeat tries again
            self._beat()  # others look after what a worker leaves behind once they know it
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Take nothing more. Sets flags only: for signal handlers."""
        for thread in self._threads:
            if thread not in {self._heartbeat, self._guard}:  # what is being handed back is still ours
                thread.stop()

    def close(self) -> None:
        """Finish the batch that is on the device, hand back what is left, and close the connections."""
        self.stop()
        self._stream.close()
        for thread in self._threads:
            thread.close()
        try:
            with self.database.connection() as connection:
                items.release_strays(connection, self.worker_id, [])
            with self.database.connection() as connection:
                workers.delete_worker(connection, self.worker_id)
            if self._broker is not None:
                self._broker.forget_node(self._node)
                self._broker.close()
        except (DatabaseError, RedisError, OSError) as error:
            logger.warning("The worker could not say that it ends; others notice soon. %s", str(error).strip())
        for database in (self.database, self._pulse, *self._standbys):
            database.close()

    @property
    def _threads(self) -> list[StoppableThread]:
        """In the order in which they are closed: what keeps the others from waiting for ever comes last."""
        images = [] if self._watcher is None else [self.feeder, self._watcher]
        return [
            *images,
            self._follower,
            self._labels,
            self._keeper,
            *self._listeners,
            *self._maintainer,
            self._heartbeat,
            self._guard,
        ]

    def _beat(self) -> None:
        with self._pulse.connection() as connection:
            workers.renew_worker(
                connection,
                self.worker_id,
                self.model_id,
                node=self._node,
                lease_s=self.settings.lease_s,
                holds_lock=self._watcher is not None and self._watcher.is_listening,
            )
        self._batch_size.keep()  # a round trip only where it has changed

    def _follow_model(self) -> None:
        """End the worker where its model was dropped; else give new labels their vectors under it."""
        with self.database.connection() as connection:
            is_dropped = model_changes.is_dropped(connection, self.model_id)
        if is_dropped:
            logger.warning("The model %s was dropped; its worker ends.", self._embedder.info.name)
            self._labels.stop()
            stop_process()
            return
        if count := labeling.embed_labels_for_model(self.database, self._embedder, self.model_id):
            logger.info("Embedded %d labels that had no vectors under this model.", count)


_runtime: Runtime | None = None


def current_runtime() -> Runtime:
    """The runtime of this process.

    Raises:
        ConfigurationError: If this process isn't a worker.
    """
    if _runtime is None:
        raise ConfigurationError("Tasks of siglip_workers only run in a worker: `celery -A siglip_workers worker`.")
    return _runtime


def open_runtime() -> Runtime:
    """Read the environment, check the database and load the model, for the whole process.

    Raises:
        SiglipError: With a sentence for the person who started the worker.
    """
    global _runtime  # noqa: PLW0603  # Celery's tasks are functions: this is where they find their worker
    _runtime = make_runtime(read_settings())
    return _runtime


def read_settings() -> Settings:
    """The settings from the environment.

    Raises:
        ConfigurationError: If they don't say where PostgreSQL and Redis are.
    """
    settings = Settings.from_environment(os.environ)
    if settings.database_url is None or settings.broker_url is None:
        missing = " and ".join(
            name
            for name, value in (
                ("SIGLIP_DATABASE_URL", settings.database_url),
                ("SIGLIP_BROKER_URL", settings.broker_url),
            )
            if value is None
        )
        raise ConfigurationError(
            f"A worker needs {missing}: set it. Where neither URL is set, `siglip-ingest worker` uses the embedded "
            "PostgreSQL and Redis."
        )
    return settings


def make_runtime(settings: Settings) -> Runtime:
    """Connect, load the model, and enter it into the database; makes it the active one where there is none.

    Raises:
        DatabaseError: If the database can't be reached or its schema is behind.
        CheckpointError: If the model can't be loaded.
        VerificationError: If it gives other numbers than are published, or than it gave at an earlier start.
        ConfigurationError: If the database's vectors are of another revision of the model, or made with other image
            settings; or if the model is external.
    """
    database = Database(
        settings.database_url or "",
        direct_url=settings.direct_database_url,
        pooler=settings.pooler,
        idle_limit_s=IDLE_LIMIT_S,
    )
    try:
        check_schema(database)
        name = _choose_name(database, settings.model)
        with database.connection() as connection:
            known = models.find_model(connection, name)
        started = time.perf_counter()
        embedder = load_embedder(name, settings, known=known.info if known else None, may_prepare=True)
        embedder.load()
        elapsed_s = time.perf_counter() - started
        logger.info("Loaded the model %s, both towers, onto %s in %.1f s.", name, embedder.device, elapsed_s)
        figures = verify.check_at_start(embedder)
        model_id = enter_model(database, embedder.info, arithmetic=embedder.arithmetic)
        require_earlier_figures(database, name, model_id, figures)
        return Runtime(settings, database, embedder, model_id)
    except BaseException:
        database.close()
        raise


def _choose_name(database: Database, requested: str | None) -> str:
    """The name of the checkpoint to load: what the settings name, else the active model, else the default."""
    with database.connection() as connection:
        active = models.get_active_model(connection)
        name = requested or (active.name if active else DEFAULT_MODEL)
        known = models.find_model(connection, name)
    if known is not None and known.is_external:
        raise ConfigurationError(
            f"A worker can't load the model {name!r}: it is external, its vectors are imported (`siglip-ingest vectors "
            "import`). For a worker of another model, set SIGLIP_MODEL to its name."
        )
    return model_name(name)


def require_earlier_figures(database: Database, name: str, model_id: int, figures: dict[str, Any]) -> None:
    """Compare a model's figures with those of its first start; at that start, store them.

    Raises:
        VerificationError: If they differ: vectors made here wouldn't fit the ones that the database has.
    """
    with database.connection() as connection:
        earlier = models.model_figures(connection, model_id) or models.store_model_figures(
            connection, model_id, figures
        )
    verify.require_same(name, figures, earlier)


@contextmanager
def sentence_on_error() -> Iterator[None]:
    """End the process with exit code 1 and a sentence on stderr where the block raises an error of ours."""
    try:
        yield
    except SiglipError as error:
        print(f"siglip_workers: {error}", file=sys.stderr, flush=True)  # noqa: T201
        raise SystemExit(1) from None


def count_cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def celery_configuration() -> dict[str, Any]:
    """Celery's settings, from the environment; called when Celery first needs them."""
    with sentence_on_error():
        settings = Settings.from_environment(os.environ)
    timeouts = {"socket_connect_timeout": 5.0, "socket_timeout": 30.0, "socket_keepalive": True}
    return {
        "broker_url": settings.broker_url,
        "result_backend": settings.broker_url,
        "accept_content": ["json"],
        "task_serializer": "json",
        "result_serializer": "json",
        "result_expires": 300,
        "task_default_queue": "siglip.default",
        "task_acks_late": False,
        "worker_pool": "threads",  # a device can't be shared by forked processes
        "worker_concurrency": TASK_THREADS,
        "worker_prefetch_multiplier": 1,
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        "worker_hijack_root_logger": False,
        "worker_redirect_stdouts": False,
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        "broker_transport_options": timeouts,
        "redis_socket_connect_timeout": 5.0,
        "redis_socket_timeout": 30.0,
    }


def queues_of_model(model_id: int) -> tuple[str, str]:
    """Names of the queues that the workers of a model take from: queries, and tickets for images."""
    return queries_queue(model_id), images_queue(model_id)
