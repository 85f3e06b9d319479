"""One worker process for each model that the ledger asks for; they come and go with the models."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import FrameType

import psycopg

from siglip_ingest.active_model import DEFAULT_MODEL
from siglip_ingest.db.connection.connect import Connection, add_defaults, connect
from siglip_ingest.db.connection.errors import mapped_errors, parse_url
from siglip_ingest.db.model_changes import limit_statements, list_served_models
from siglip_ingest.db.models import get_active_model
from siglip_ingest.errors import ConfigurationError, DatabaseError
from siglip_ingest.process.children import die_with_parent
from siglip_ingest.services.device_workers import COMMAND, RESTART_PAUSE_S, SHORT_LIFE_S

logger = logging.getLogger(__name__)

LOOK_S = 0.2
ASK_S = 1.0
LONGEST_PAUSE_S = 300.0  # a model that can't be loaded is tried again that often
ANSWER_S = 2.0  # so long an answer is waited for: who asks passes signals on, too


class ServedModels:
    """Asks the database which models need a worker, over one connection, through outages.

    Args:
        database_url: libpq URL; a pooler's will do.
    """

    def __init__(self, database_url: str) -> None:
        silence = {"tcp_user_timeout": f"{1000 * ANSWER_S:.0f}"}  # of the network; unless the URL says otherwise
        self._parameters = add_defaults(silence | parse_url(database_url))
        self._connection: Connection | None = None

    def __call__(self) -> list[str]:
        """Names of the checkpoints, the active one first; the default one where the database has no model yet.

        Raises:
            DatabaseError: If the database can't be asked just now.
            ConfigurationError: If the active model is external, and there is no other to serve.
        """
        return self._ask(self._require_names)

    def list_names(self) -> list[str]:
        """Names of the checkpoints, the active one first; none where there is nothing to serve.

        Raises:
            DatabaseError: If the database can't be asked just now.
        """
        return self._ask(_list_names)

    def close(self) -> None:
        """Close the connection; the next question opens another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _ask(self, question: Callable[[Connection], list[str]]) -> list[str]:
        try:
            if self._connection is None:
                self._connection = connect(self._parameters, is_pooled=None)
            with mapped_errors(self._parameters), self._connection.transaction():
                limit_statements(self._connection, ANSWER_S)
                return question(self._connection)
        except DatabaseError:
            self.close()
            raise

    def _require_names(self, connection: Connection) -> list[str]:
        names = _list_names(connection)
        if names:
            return names
        active = get_active_model(connection)
        if active is None:
            return [DEFAULT_MODEL]
        raise ConfigurationError(
            f"A worker can't load the model {active.name!r}: it is external, its vectors are imported (`siglip-ingest "
            "vectors import`). For a worker of another model, set SIGLIP_MODEL to its name, or add it: `siglip-ingest "
            "models add NAME`."
        )


def _list_names(connection: Connection) -> list[str]:
    return list(dict.fromkeys(model.name for model in list_served_models(connection)))


@dataclass(slots=True)
class _Child:
    """A worker, or the pause before it is started again."""

    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    pause_s: float = RESTART_PAUSE_S
    due_at: float = 0.0
    is_signalled: bool = False


class ModelWorkers:
    """Workers as child processes, one for each model and device.

    Args:
        ask: Gives the names of the models that need a worker; see `ServedModels`.
        environment: Of the workers; `SIGLIP_MODEL` is added, and `SIGLIP_DEVICE` where devices are given.
        devices: Names of torch devices; each gets a worker of each model. None for one worker in all.
        command: What a worker is started with.
    """

    def __init__(
        self,
        ask: Callable[[], Iterable[str]],
        environment: Mapping[str, str],
        devices: Sequence[str] | None = None,
        command: Sequence[str] = COMMAND,
    ) -> None:
        self._ask = ask
        self._environment = dict(environment)
        self._places: list[str | None] = [None] if devices is None else list(devices)
        self._command = list(command)
        self._children: dict[tuple[str, int], _Child] = {}  # by model and the device's place in the list
        self._wanted: list[str] = []
        self._ask_at = 0.0
        self._is_away = False
        self._is_stopping = False

    def run(self) -> int:
        """Start and stop workers as the models change, until SIGINT or SIGTERM, which each of them gets.

        A worker that ends is started again, ever more slowly where it ends soon after each start: a model that can't be
        loaded, a misspelt one say, doesn't take the others along.

        Returns:
            The exit status.

        Raises:
            DatabaseError: If the database can't be asked at the start.
            ConfigurationError: If there is no model that could be served.
        """
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._stop)
        self._wanted = list(self._ask())
        self._ask_at = time.monotonic() + ASK_S
        while not self._is_stopping or any(child.process for child in self._children.values()):
            self._follow_models()
            self._look_after_children()
            time.sleep(LOOK_S)
        return 0

    def _follow_models(self) -> None:
        """Ask which models are to be served; while nobody answers, those that were stay."""
        now = time.monotonic()
        if self._is_stopping or now < self._ask_at:
            return
        self._ask_at = now + ASK_S
        try:
            self._wanted = list(self._ask())
        except ConfigurationError:
            self._wanted = []  # the active model has become an external one
        except (DatabaseError, psycopg.Error) as error:
            if not self._is_away:
                logger.warning("Which models to serve can't be asked just now: %s", " ".join(str(error).split()))
            self._is_away = True
            return
        self._is_away = False

    def _look_after_children(self) -> None:
        now = time.monotonic()
        wanted = [] if self._is_stopping else [(name, n) for name in self._wanted for n in range(len(self._places))]
        for key in wanted:
            self._children.setdefault(key, _Child())
        for key, child in list(self._children.items()):
            is_wanted = key in wanted
            if child.process is not None and child.process.poll() is not None:
                self._note_end(key, child, now, is_wanted=is_wanted and not child.is_signalled)
            if child.process is not None and not is_wanted and not child.is_signalled:
                if not self._is_stopping:
                    logger.warning("The model %s needs no worker any more; it is stopped.", key[0])
                child.is_signalled = True
                os.kill(child.process.pid, signal.SIGTERM)
            elif child.process is None and is_wanted and now >= child.due_at:
                self._start(key, child)
            elif child.process is None and not is_wanted:
                del self._children[key]

    def _start(self, key: tuple[str, int], child: _Child) -> None:
        name, place = key
        device = self._places[place]
        environment = {**self._environment, "SIGLIP_MODEL": name}
        environment |= {} if device is None else {"SIGLIP_DEVICE": device}
        if len(self._wanted) > 1:  # it says something of one of them, and the database knows that of each
            environment.pop("SIGLIP_MAX_NUM_PATCHES", None)
        child.started_at = time.monotonic()
        child.is_signalled = False
        child.process = subprocess.Popen(
            self._command,
            env=environment,
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # a Ctrl-C reaches it once, from here
            preexec_fn=die_with_parent(signal.SIGTERM),  # noqa: PLW1509  # no threads here
        )

    def _note_end(self, key: tuple[str, int], child: _Child, now: float, *, is_wanted: bool) -> None:
        """Note that a worker has ended, and when it is due again."""
        status = None if child.process is None else child.process.returncode
        child.process = None
        if not is_wanted:
            child.due_at, child.pause_s = now, RESTART_PAUSE_S
            return
        is_short = now - child.started_at < SHORT_LIFE_S
        child.pause_s = min(LONGEST_PAUSE_S, 2 * child.pause_s) if is_short else RESTART_PAUSE_S
        child.due_at = now + child.pause_s
        logger.warning(
            "The worker of the model %s ended with exit status %s; it is started again in %.0f s.",
            key[0],
            status,
            child.pause_s,
        )

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        """Note a signal; the loop passes it on, also to a worker that is being started just now."""
        self._is_stopping = True
