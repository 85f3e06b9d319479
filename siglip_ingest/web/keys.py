"""Who asks: keys of requests and sessions of browsers, looked up in the database and remembered for some seconds."""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

from starlette.requests import cookie_parser

from siglip_ingest.client import SiglipClient
from siglip_ingest.db import keys
from siglip_ingest.db.keys import ValidKey
from siglip_ingest.errors import SiglipError
from siglip_ingest.web.asgi import Scope, read_headers

logger = logging.getLogger(__name__)

COOKIE = "siglip_session"
KEPT_S = 5.0  # for so long a key that was revoked may still be taken
MAX_KEPT = 10_000
MAX_SECRET = 200  # characters; longer ones are none of ours


class Credentials(NamedTuple):
    """What a request shows. `secret` is empty where it shows something that is no key."""

    secret: str
    is_session: bool = False


class _Kept(NamedTuple):
    key: ValidKey | None
    until: float


class KeyRing:
    """Looks keys up, and remembers for some seconds what it found. Thread-safe.

    Args:
        client: Has the database.
        clock: Seconds that only grow.
    """

    def __init__(self, client: SiglipClient, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._clock = clock
        # Apart: somebody who tries keys isn't to push out those that are valid.
        self._kept: dict[bool, OrderedDict[bytes, _Kept]] = {True: OrderedDict(), False: OrderedDict()}
        self._lock = threading.Lock()
        self._cant_note = False

    def peek(self, shown: Credentials) -> tuple[bool, ValidKey | None]:
        """Whether it is known here who that is, and who."""
        prefix = keys.SESSION_PREFIX if shown.is_session else keys.KEY_PREFIX
        if not shown.secret.startswith(prefix) or len(shown.secret) > MAX_SECRET:
            return True, None
        name = keys.hash_secret(shown.secret)
        now = self._clock()
        with self._lock:
            for kept in self._kept.values():
                found = kept.get(name)
                if found is not None and found.until > now:
                    return True, found.key
        return False, None

    def has_seen(self, shown: Credentials) -> bool:
        """Whether it was valid when it was looked up last."""
        with self._lock:
            return keys.hash_secret(shown.secret) in self._kept[True]

    def find(self, shown: Credentials) -> ValidKey | None:
        """Who that is: asks the database where it isn't known, and notes there that the key is used.

        Raises:
            SiglipError: If the database can't be asked.
        """
        is_known, key = self.peek(shown)
        if is_known:
            return key
        find = keys.find_session if shown.is_session else keys.find_key
        key = find(self._client.database, shown.secret)
        kept_s = KEPT_S if key is None or key.valid_s is None else min(KEPT_S, key.valid_s)
        name = keys.hash_secret(shown.secret)
        with self._lock:
            self._kept[key is None].pop(name, None)
            kept = self._kept[key is not None]
            kept[name] = _Kept(key, self._clock() + kept_s)
            kept.move_to_end(name)
            while len(kept) > MAX_KEPT:
                kept.popitem(last=False)
        if key is not None and key.is_use_old:
            self._note_use(key)
        return key

    def forget(self, shown: Credentials) -> None:
        """Ask again at the next time."""
        with self._lock:
            for kept in self._kept.values():
                kept.pop(keys.hash_secret(shown.secret), None)

    def _note_use(self, key: ValidKey) -> None:
        try:
            with self._client.database.connection() as connection:
                keys.note_use(connection, key.key_id)
        except SiglipError as error:  # a standby, or a role that may only read
            if not self._cant_note:
                logger.warning("When keys are used can't be noted: %s", error)
            self._cant_note = True


def read_credentials(scope: Scope) -> Credentials | None:
    """What a request shows; None where it shows nothing. A key goes before a browser's session."""
    headers = read_headers(scope)
    if (authorization := headers.get("authorization")) is not None:
        kind, _, secret = authorization.strip().partition(" ")
        return Credentials(secret.strip() if kind.lower() == "bearer" else "")
    if (secret_of_header := headers.get("x-api-key")) is not None:
        return Credentials(secret_of_header.strip())
    # Not http.cookies: other programs' cookies that it can't read would hide ours.
    session = cookie_parser(headers.get("cookie", "")).get(COOKIE)
    return None if session is None else Credentials(session, is_session=True)
