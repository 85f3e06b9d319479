"""The command line, `siglip-ingest`: its commands, and how errors are printed."""

from __future__ import annotations

import logging
import os
import sys
import warnings

import click

from siglip_ingest.cli import (
    attaching,
    calibrating,  # noqa: F401  # adds its commands to `label`
    deleting,
    demo,
    exploring,
    extension,
    images,
    keys,
    label_changes,
    labels,
    locating,
    maintenance,
    mcp_server,
    models,
    recall,
    servers,
    services,
    serving,
    train,
    vectors,
)
from siglip_ingest.cli.evaluate import evaluate
from siglip_ingest.cli.output import show_warnings
from siglip_ingest.cli.verify import verify
from siglip_ingest.errors import DatabaseUnavailableError, SiglipError


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="siglip-ingest", prog_name="siglip-ingest")
def cli() -> None:
    """Image search inside PostgreSQL, with SigLIP.

    Without SIGLIP_DATABASE_URL a PostgreSQL, a Redis and a worker of its own start when a command needs them, and stop
    with it; `up` leaves them running. SIGLIP_MODEL names the checkpoint: `demo`, a folder, or a hub name.
    """


for _command in (
    services.up,
    services.down,
    services.status,
    services.psql,
    services.migrate,
    extension.extension,
    services.worker,
    serving.serve,
    keys.keys,
    images.index,
    images.retry,
    images.ingestions,
    images.wait,
    images.search,
    deleting.delete,
    deleting.prune,
    deleting.sync,
    attaching.attach,
    attaching.detach,
    attaching.attached,
    labels.label,
    labels.classify,
    locating.locate,
    exploring.duplicates,
    exploring.representatives,
    models.models,
    maintenance.maintain,
    recall.recall,
    servers.servers,
    vectors.vectors,
    verify,
    evaluate,
    train.train,
    mcp_server.mcp,
    demo.demo,
):
    cli.add_command(_command)
for _command in label_changes.COMMANDS:
    labels.label.add_command(_command)


def main() -> None:
    """Run a command. Exit status: 0 done, 1 an error that a sentence explains, 2 wrong usage, 130 interrupted."""
    logging.getLogger("psycopg.pool").setLevel(logging.CRITICAL)  # the error that follows says it in a sentence
    warnings.filterwarnings("ignore", module=r"PIL\.")  # what it has to say of broken EXIF data helps nobody here
    try:
        with show_warnings():
            result = cli(standalone_mode=False)
    except DatabaseUnavailableError as error:
        if os.environ.get("SIGLIP_DATABASE_URL", "").strip():
            click.echo(f"Error: {error}", err=True)
        else:
            click.echo(
                "Error: The embedded services were stopped. What is queued is kept: run the command again.", err=True
            )
        sys.exit(1)
    except SiglipError as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(1)
    except click.Abort:
        click.echo("Interrupted.", err=True)
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except BrokenPipeError:  # `siglip-ingest search ... | head -1`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    sys.exit(result if isinstance(result, int) else 0)
