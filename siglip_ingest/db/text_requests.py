"""Reads the texts that `siglip.embed_text` asks for from `pg_locks`; `siglip.ask_text` says how they are laid out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby

from siglip_ingest.db.connection.connect import Connection
from siglip_ingest.db.connection.statements import load_statements
from siglip_ingest.db.texts import MAX_TEXT_BYTES

SQL = load_statements("text_requests")

BELL = 0x5349474C  # the letters SIGL; the first key of the lock that an asker takes last
LISTENER = BELL + 1  # the first key of the lock that each listening worker shares
ELECTED = BELL + 2  # the first key of the lock that one of them holds: it answers, and the others stand by
_CHUNK_BYTES = 6
_CUT = 1 << 15


@dataclass(frozen=True, slots=True)
class TextRequest:
    """A text that a session waits for.

    Attributes:
        query: At most 1,200 bytes of it.
        is_cut: Whether the text goes on.
    """

    query: str
    is_cut: bool


def announce_listener(connection: Connection, model_id: int) -> None:
    """Let askers know that a worker listens, for as long as the connection lives.

    The server asks the connection now and then whether it lives: the locks of a machine that lost its power would
    otherwise stay for hours.
    """
    connection.execute(SQL.set_keepalives)
    connection.execute(SQL.announce_listener, {"listener": LISTENER, "model_id": model_id})


def try_to_be_elected(connection: Connection, model_id: int) -> bool:
    """Become the one worker that answers for a model here, until the connection ends; False if there is one."""
    parameters = {"elected": ELECTED, "model_id": model_id}
    return connection.execute(SQL.try_to_be_elected, parameters).fetchone() == (True,)


def read_text_requests(connection: Connection, model_id: int) -> list[TextRequest]:
    """The texts that sessions wait for right now; of a text that several ask for, one."""
    rows = connection.execute(SQL.read_text_requests, {"bell": BELL, "model_id": model_id})
    asked = (
        read_locks(model_id, ((high << 32) | low for _, high, low in keys))
        for _, keys in groupby(sorted(rows), key=lambda row: row[0])
    )
    return list(dict.fromkeys(request for request in asked if request is not None))


def read_locks(model_id: int, keys: Iterable[int]) -> TextRequest | None:
    """Put the keys of one session's locks together.

    Args:
        model_id: For which texts are answered.
        keys: Of 64 bits each, in any order.

    Returns:
        None where they are no text for that model: part of it is missing, or another program uses such keys.
    """
    chunks = {(key >> 48) & 0xFF: key & 0xFFFF_FFFF_FFFF for key in keys if key >> 56 == ord("Z")}
    head = chunks.get(0)
    if head is None or head >> 16 != model_id:
        return None
    size = head & (_CUT - 1)
    count = -(-size // _CHUNK_BYTES)
    if len(chunks) != count + 1:
        return None
    try:
        content = b"".join(chunks[index].to_bytes(_CHUNK_BYTES, "big") for index in range(1, count + 1))[:size]
        query = content.decode()
    except (KeyError, UnicodeDecodeError):
        return None
    # siglip.ask_text lays out no others, but any role can take any lock, and must not disturb the rest.
    is_possible = 0 < len(content) <= MAX_TEXT_BYTES and "\0" not in query
    return TextRequest(query, is_cut=bool(head & _CUT)) if is_possible else None
