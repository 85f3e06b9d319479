"""Connects Celery's signals to the runtime: load before connecting, start work once ready, hand back at the end."""

from __future__ import annotations

import logging
import warnings
from typing import Any

from celery import signals
from celery.exceptions import CPendingDeprecationWarning
from celery.platforms import SecurityWarning
from kombu.entity import Queue

from siglip_workers import runtime
from siglip_workers.threads import stop_process

logger = logging.getLogger(__name__)

LOG_FORMAT = "%(asctime)s %(levelname)s %(message)s"
LOG_TIME_FORMAT = "%H:%M:%S"


def connect() -> None:
    """Tie them, once for the process."""
    signals.setup_logging.connect(set_up_logging, weak=False)
    signals.celeryd_init.connect(_load, weak=False)
    signals.worker_ready.connect(_start, weak=False)
    signals.worker_shutting_down.connect(_stop, weak=False)
    signals.worker_shutdown.connect(_close, weak=False)


class OneLineFormatter(logging.Formatter):
    """Writes a message on one line, also where it was written on several."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: D102, N802  # logging's
        record.message = " ".join(record.message.split())
        return super().formatMessage(record)


def set_up_logging(loglevel: int | str = logging.INFO, **_: Any) -> None:
    """Log our lines and others' warnings to stderr; more with `--loglevel debug`."""
    is_debugging = loglevel in {logging.DEBUG, "DEBUG"}
    handler = logging.StreamHandler()
    handler.setFormatter(OneLineFormatter(LOG_FORMAT, LOG_TIME_FORMAT))
    logging.basicConfig(handlers=[handler], level=logging.DEBUG if is_debugging else logging.WARNING)
    if not is_debugging:
        for name in ("siglip_workers", "siglip_ingest"):
            logging.getLogger(name).setLevel(logging.INFO)
    for name in ("httpx", "httpcore"):  # they log whole addresses, with the passwords and signatures in them
        logging.getLogger(name).setLevel(logging.WARNING)


def _load(conf: Any, **_: Any) -> None:
    # Celery only logs what a receiver raises: SystemExit is what ends the worker.
    set_up_logging()
    warnings.filterwarnings("ignore", category=SecurityWarning)  # JSON only: nothing that arrives is run
    # About a default that may change: what runs while Redis is away is brought to its end, and its result is kept.
    warnings.filterwarnings("ignore", category=CPendingDeprecationWarning)
    try:
        with runtime.sentence_on_error():
            loaded = runtime.open_runtime()
    except Exception:
        logger.exception("The worker could not start.")
        raise SystemExit(1) from None
    conf.task_queues = [Queue(name, routing_key=name) for name in runtime.queues_of_model(loaded.model_id)]  # type: ignore[no-untyped-call]
    conf.task_create_missing_queues = True


def _start(sender: Any, **_: Any) -> None:
    worker = runtime.current_runtime()
    try:
        worker.start(sender.app, sender.hostname)
    except Exception:  # Celery would log it, and go on with a worker that does nothing
        logger.exception("The worker could not start.")
        stop_process()
        return
    logger.info("Ready: model %s, %d images a batch.", worker.device.info.name, worker.device.max_batch_size)


def _stop(**_: Any) -> None:
    runtime.current_runtime().stop()


def _close(**_: Any) -> None:
    runtime.current_runtime().close()
    logger.info("Stopped.")
