"""`extension`: the schema as files for CREATE EXTENSION."""

from __future__ import annotations

import click

from siglip_ingest.cli.output import local_path
from siglip_ingest.errors import InvalidInputError


@click.command()
@click.argument("folder", metavar="DIR")
def extension(folder: str) -> None:
    """Write the schema to DIR as files of a PostgreSQL extension, for CREATE EXTENSION siglip.

    The server looks for them in `$(pg_config --sharedir)/extension`, and from PostgreSQL 18 on where its setting
    extension_control_path says.
    """
    from siglip_migrations.extension_files import write_extension

    path = local_path(folder)
    try:
        written = write_extension(path)
    except OSError as error:
        raise InvalidInputError(f"{error.filename or path} can't be written: {error.strerror}.") from error
    for file in written:
        click.echo(file)
