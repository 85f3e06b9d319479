"""The embedded services: PostgreSQL with pgvector, Redis and one worker, from pip packages, as child processes.

One supervisor process per SIGLIP_HOME owns them. Programs hold a lease on them: a connection to the supervisor's
socket. When the last lease is gone everything stops, unless `siglip-ingest up` asked to keep it.
"""

from __future__ import annotations

from siglip_ingest.services.client import (
    EmbeddedServices,
    StoppedServices,
    services_status,
    start_services,
    stop_services,
)

__all__ = ["EmbeddedServices", "StoppedServices", "services_status", "start_services", "stop_services"]
