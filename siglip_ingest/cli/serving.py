"""`serve`: the gallery and the web API."""

from __future__ import annotations

import contextlib
import dataclasses
import ipaddress
import os
import socket
import threading
import webbrowser
from typing import Any

import click

from siglip_ingest.client import SiglipClient
from siglip_ingest.errors import ConfigurationError, SiglipError
from siglip_ingest.process import how_to_install
from siglip_ingest.settings import Settings


@click.command()
@click.option("--host", metavar="ADDRESS", help="Where to listen; by default SIGLIP_WEB_HOST, 127.0.0.1.")
@click.option("--port", type=click.IntRange(0, 65_535), help="By default SIGLIP_WEB_PORT, or any that is free.")
@click.option("--open/--no-open", "opens", default=None, help="Whether to open a browser; by default on a desktop.")
def serve(host: str | None, port: int | None, opens: bool | None) -> None:
    """Show the gallery in a browser, and answer the web API.

    Without keys only this machine is answered. Ctrl-C ends it.
    """
    try:
        import uvicorn

        from siglip_ingest.web.app import create_app
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            f"The gallery needs {error.name}, which isn't installed: {how_to_install('web')}."
        ) from error
    settings = Settings.from_environment(os.environ)
    chosen: dict[str, Any] = {"web_host": host, "web_port": port}
    settings = dataclasses.replace(settings, **{name: value for name, value in chosen.items() if value is not None})
    listener = _listen(settings.web_host, settings.web_port)
    needs_keys = settings.web_keys == "required" or (settings.web_keys == "auto" and not _is_loopback(listener))
    client = SiglipClient(settings=settings)
    click.echo("Starting ...", err=True)
    client.database  # noqa: B018  # starts the embedded services; what is wrong is said before the address is
    url = _describe(listener)
    server = uvicorn.Server(
        uvicorn.Config(
            create_app(client, needs_keys=needs_keys),
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=5,
        )
    )
    click.echo(f"The gallery is at {url}  (Ctrl-C ends it)")
    threading.Thread(target=_warm_up, args=(client,), name="warm_up", daemon=True).start()
    if opens or (opens is None and _has_desktop()):
        threading.Timer(0.5, webbrowser.open, [url]).start()
    server.run(sockets=[listener])


def _warm_up(client: SiglipClient) -> None:
    """Load what embeds queries before somebody waits for it. Without images there is nothing to find yet."""
    with contextlib.suppress(SiglipError):  # the first query says what is wrong
        if client.list_collections():
            client.embed_query("a photo")


def _listen(host: str, port: int) -> socket.socket:
    """Bind before anything starts: a port that is taken is said at once, and a free one is known."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(128)  # whoever comes before the application is up waits for it
    except OSError as error:
        raise ConfigurationError(
            f"{host} port {port} can't be listened on: {error.strerror or error}. Choose another with --port, or 0 for "
            "any that is free."
        ) from error
    return listener


def _is_loopback(listener: socket.socket) -> bool:
    return ipaddress.ip_address(listener.getsockname()[0].partition("%")[0]).is_loopback


def _describe(listener: socket.socket) -> str:
    address: Any = listener.getsockname()
    host = address[0]
    if ipaddress.ip_address(host.partition("%")[0]).is_unspecified:
        host = socket.gethostname()
    return f"http://[{host}]:{address[1]}/" if ":" in host else f"http://{host}:{address[1]}/"


def _has_desktop() -> bool:
    return os.name == "nt" or os.uname().sysname == "Darwin" or any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY")))
