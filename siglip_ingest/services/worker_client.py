"""The workers of a client's database: tells them of work, starts the embedded one, and reports when none runs."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING

from siglip_ingest.broker.tickets import TicketSender
from siglip_ingest.db import Database
from siglip_ingest.db.models import get_model
from siglip_ingest.db.workers import count_workers
from siglip_ingest.services.settings import ServiceSettings

if TYPE_CHECKING:
    from siglip_ingest.services import EmbeddedServices

logger = logging.getLogger(__name__)


class Workers:
    """Starts the embedded services at first use, and sends tickets to workers behind a broker. Thread-safe.

    Args:
        settings: For the embedded services, where they are used.
        is_embedded: Whether the embedded services are used.
        broker_url: URL of the Redis that other workers take tickets from; None where it isn't known.
        environment: Variables that the embedded worker gets besides `SIGLIP_*`, such as HF_TOKEN.
    """

    def __init__(
        self, settings: ServiceSettings, *, is_embedded: bool, broker_url: str | None, environment: Mapping[str, str]
    ) -> None:
        self._settings = settings
        self._is_embedded = is_embedded
        self._broker_url = broker_url
        self._environment = dict(environment)
        self._services: EmbeddedServices | None = None
        self._tickets: TicketSender | None = None
        self._is_none_reported = False
        self._lock = threading.RLock()

    @property
    def has_services(self) -> bool:
        """Whether this client has started, or joined, the embedded services."""
        return self._services is not None

    def start_services(self) -> EmbeddedServices | None:
        """Start the embedded services, or join those that run; None where PostgreSQL is the user's own."""
        if not self._is_embedded:
            return None
        with self._lock:
            if self._services is None:
                from siglip_ingest.services import EmbeddedServices

                services = EmbeddedServices(self._settings, environment=self._environment)
                services.start()
                self._services = services
            return self._services

    def send_tickets(self, model_id: int, images: int) -> None:
        """Tell the workers of a model that images are queued; they find them without that too, only later."""
        if self._broker_url is None:
            return  # the embedded worker hears the database's notification
        with self._lock:
            self._tickets = tickets = self._tickets or TicketSender(self._broker_url)
        tickets.send(model_id, images)

    def ensure_worker(self, database: Database, model_id: int) -> None:
        """Start the embedded worker for a model, without waiting for it; other workers aren't ours to start."""
        services = self.start_services()
        if services is not None:
            with database.connection() as connection:
                model = get_model(connection, model_id)
            services.ensure_worker(model=model.name, wait=False)

    def restore_worker(self, model_name: str) -> None:
        """Have the embedded worker, if this client uses it, serve a model again.

        Raises:
            SiglipError: If it can't.
        """
        if self._services is not None:
            self._services.restore_worker(model_name)

    def check_worker(self, database: Database, model_id: int) -> None:
        """Say why nothing moves: called by a waiting ingestion.

        Of workers that aren't ours to start it is said, once, that none runs.

        Raises:
            SiglipError: If the embedded worker can't start.
        """
        services = self.start_services()
        if services is not None:
            services.check_worker()
        elif not self._is_none_reported:
            with database.connection() as connection:
                model, count = get_model(connection, model_id), count_workers(connection, model_id)
            if count == 0:
                self._is_none_reported = True
                logger.warning(
                    "No worker of the model %r is running: the images stay queued. `siglip-ingest worker` starts one; "
                    "if one was started, its own output says why it ended.",
                    model.name,
                )

    def close(self) -> None:
        """Let go of the embedded services, which stop unless something else keeps them."""
        with self._lock:
            if self._services is not None:
                self._services.close()
                self._services = None
            self._tickets = None

    def forget_inherited(self) -> None:
        """In a forked child: the lease on the embedded services is the parent's, and is taken again."""
        self._lock = threading.RLock()
        self._services = self._tickets = None
