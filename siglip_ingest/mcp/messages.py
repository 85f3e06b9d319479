"""Says in sentences what a model can do something about: errors, refused arguments, and warnings."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager

from pydantic import ValidationError

from siglip_ingest.errors import (
    AlreadyExistsError,
    DatabaseConflictError,
    DatabaseUnavailableError,
    ImageError,
    InvalidInputError,
    NotFoundError,
    SiglipError,
    WorkerUnavailableError,
)

# Their messages speak of what was asked. Those of the others speak of this machine: servers, folders, roles.
_OF_THE_CALL = (
    InvalidInputError,
    NotFoundError,
    AlreadyExistsError,
    ImageError,
    DatabaseConflictError,
    WorkerUnavailableError,
)

# What people are told to ask in SQL or on the command line, models ask a tool.
_HINT = re.compile(r"(?:SELECT|`siglip-ingest) .+? (shows what there is|tells why)")
_TOOLS = {"shows what there is": "describe_database", "tells why": "describe_image"}


def explain_error(error: SiglipError) -> str:
    """Say what went wrong, without what only the owner of the server should read."""
    if isinstance(error, _OF_THE_CALL):
        return _HINT.sub(lambda hint: f"{_TOOLS[hint[1]]} {hint[1]}", str(error))
    if isinstance(error, DatabaseUnavailableError):
        return "The database can't be reached now. Try again in a minute; if it stays so, ask the user to look at it."
    return (
        f"The server can't do that as it is set up ({type(error).__name__}). Ask the user to look at its log, or to "
        "run `siglip-ingest status`."
    )


def explain_arguments(tool: str, error: ValidationError) -> str:
    """Say which arguments of a call can't be used, and why."""
    problems: dict[str, list[str]] = {}
    given: dict[str, str] = {}
    for found in error.errors(include_url=False):
        where = ".".join(str(part) for part in found["loc"][:2] if part not in {"str", "int"})  # members of a union
        problems.setdefault(where, []).append(found["msg"].rstrip("."))
        if found["type"] not in {"missing", "too_long", "too_short"}:
            given[where] = f", not {_shorten(found['input'])}"
    sentences = [
        f"{where}: {first}{''.join(' or ' + other.removeprefix('Input should be ') for other in others)}"
        f"{given.get(where, '')}."
        for where, (first, *others) in problems.items()
    ]
    return f"{tool} can't be called like that. " + " ".join(sentences)


def refuse_unknown(tool: str, unknown: Collection[str], known: Collection[str]) -> str:
    """Say that a tool has no arguments of some names."""
    names = ", ".join(sorted(known)) or "no arguments"
    wrong = ", ".join(sorted(unknown))
    return f"{tool} has no {'argument' if len(unknown) == 1 else 'arguments'} {wrong}. It takes {names}."


@contextmanager
def collect_warnings() -> Iterator[list[str]]:
    """Collect what the library warns of in this thread: that a text is too long for the model, for instance."""
    collector = _Collector()
    logger = logging.getLogger("siglip_ingest")
    logger.addHandler(collector)
    try:
        yield collector.sentences
    finally:
        logger.removeHandler(collector)


class _Collector(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.sentences: list[str] = []
        self._thread = threading.get_ident()

    def emit(self, record: logging.LogRecord) -> None:  # logging's
        if record.thread == self._thread:
            self.sentences.append(record.getMessage())


def _shorten(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
