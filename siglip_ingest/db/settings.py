"""Settings of the database."""

from __future__ import annotations

from dataclasses import dataclass

from siglip_ingest.process.environment import EnvironmentSettings, setting


@dataclass(frozen=True, kw_only=True)
class DatabaseSettings(EnvironmentSettings):
    """Where PostgreSQL is, and what stands in front of it."""

    database_url: str | None = setting(
        is_secret=True, meaning="URL of the PostgreSQL database.", unset="the embedded PostgreSQL"
    )
    direct_database_url: str | None = setting(
        is_secret=True,
        meaning="URL of the server itself, where `SIGLIP_DATABASE_URL` leads to a pooler in transaction mode "
        "(PgBouncer, a hosted database's pooled port). For what needs a session.",
        unset="none",
    )
    standby_urls: str = setting(
        "",
        is_secret=True,
        meaning="URLs of hot standbys on which SQL may ask for new texts too, separated by blanks.",
        unset="none",
    )
    pooler: str = setting(
        "auto",
        choices=("auto", "none", "transaction"),
        meaning="`transaction` where a pooler in transaction mode stands in front of `SIGLIP_DATABASE_URL`, `none` "
        "where there is no pooler; `auto` finds out.",
    )

    @property
    def is_embedded(self) -> bool:
        """True where PostgreSQL and Redis are the embedded ones."""
        return self.database_url is None
