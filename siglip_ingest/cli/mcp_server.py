"""`mcp`: a server through which assistants search the images."""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import os
import signal
import sys

import click

from siglip_ingest.client import SiglipClient
from siglip_ingest.errors import ConfigurationError
from siglip_ingest.process import how_to_install


@click.command()
@click.option("--allow-writes", is_flag=True, help="Let the client index and mark images too.")
@click.option(
    "--http",
    "http_port",
    type=click.IntRange(1, 65535),
    metavar="PORT",
    help="Serve http://127.0.0.1:PORT/mcp to this machine, in place of standard input and output.",
)
def mcp(allow_writes: bool, http_port: int | None) -> None:
    """Serve the Model Context Protocol: assistants search, label and look at the images.

    A client of the protocol starts this command and talks to it over standard input and output; docs/mcp.md has its
    configuration. Messages go to standard error.
    """
    if allow_writes and http_port is not None:
        raise click.UsageError(
            "--allow-writes works over standard input only: whoever reaches the port could index this machine's files."
        )
    if importlib.util.find_spec("mcp") is None:
        raise ConfigurationError(f"The MCP server needs the package mcp. Install it: {how_to_install('mcp')}.")
    from siglip_ingest.mcp.server import serve

    # Before the SDK sets its own. All but the protocol goes to standard error; what the library warns of does already.
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(name)s: %(message)s")
    logging.getLogger("siglip_ingest").propagate = False
    if http_port is None and sys.stdin.isatty():
        click.echo("Waiting for a client of the Model Context Protocol on standard input. Ctrl-C ends it.", err=True)
    if http_port is None:
        # A thread waits for the client's next line, and Python for that thread. Embedded services see that we're gone.
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    with contextlib.suppress(KeyboardInterrupt), SiglipClient.from_environment(os.environ) as client:
        serve(client, allow_writes=allow_writes, http_port=http_port)
