"""Settings of the broker."""

from __future__ import annotations

from dataclasses import dataclass

from siglip_ingest.errors import ConfigurationError
from siglip_ingest.process.environment import EnvironmentSettings, setting


@dataclass(frozen=True, kw_only=True)
class BrokerSettings(EnvironmentSettings):
    """Where Celery's broker is."""

    broker_url: str | None = setting(
        is_secret=True,
        meaning="URL of the Redis that tickets and queries go through: `redis://` or `rediss://`.",
        unset="the embedded Redis; no broker where `SIGLIP_DATABASE_URL` is set",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.broker_url is not None and not self.broker_url.startswith(("redis://", "rediss://")):
            raise ConfigurationError(
                "SIGLIP_BROKER_URL must be the URL of a Redis, such as redis://:password@host:6379/0 or rediss://..."
            )
