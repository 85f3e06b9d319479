"""Alembic's entry: connects, lets one migrator in at a time, runs the migrations in one transaction."""

from __future__ import annotations

import os

import psycopg
import sqlalchemy
from alembic import context

from siglip_migrations.lock import take_migration_lock


def run_migrations() -> None:
    """Run what Alembic was asked for against `config.attributes["database_url"]`, or SIGLIP_DATABASE_URL."""
    database_url = context.config.attributes.get("database_url") or os.environ.get("SIGLIP_DATABASE_URL")
    if not database_url:
        raise ValueError(
            "No database was named: set SIGLIP_DATABASE_URL, for instance postgresql://me@localhost/images."
        )
    # psycopg reads the URL, so that every form that libpq takes works here as well.
    engine = sqlalchemy.create_engine(
        "postgresql+psycopg://",
        creator=lambda: psycopg.connect(database_url, application_name="siglip_migrations"),
        poolclass=sqlalchemy.NullPool,
    )
    with psycopg.connect(database_url, autocommit=True, application_name="siglip_migrations lock") as lock_connection:
        take_migration_lock(lock_connection)
        with engine.connect() as connection:
            connection.exec_driver_sql("CREATE SCHEMA IF NOT EXISTS siglip")
            connection.commit()
            context.configure(connection=connection, version_table="alembic_version", version_table_schema="siglip")
            with context.begin_transaction():
                context.run_migrations()


run_migrations()
