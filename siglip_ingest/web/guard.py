"""Who may ask what, and how often: the layer before the routes."""

from __future__ import annotations

from typing import NamedTuple

from anyio import to_thread

from siglip_ingest.db import keys
from siglip_ingest.db.keys import ValidKey
from siglip_ingest.errors import SiglipError
from siglip_ingest.web.asgi import SAFE_METHODS, Application, Message, Receive, Scope, Send, read_headers, route_path
from siglip_ingest.web.keys import Credentials, KeyRing, read_credentials
from siglip_ingest.web.problems import make_problem, tell_our_error
from siglip_ingest.web.rates import Rates, Taken, name_address
from siglip_ingest.web.scopes import PUBLIC, Found, find_route

KEY_OF_REQUEST = "siglip_ingest.key"  # in the ASGI scope
NO_KEY = "A key is needed: Authorization: Bearer siglip_..., or X-API-Key. `siglip-ingest keys create NAME` makes one."
BAD_KEY = "This key isn't valid: it is unknown, was revoked, or has expired."


class Refusal(NamedTuple):
    """Why a request isn't let through."""

    status: int
    detail: str
    code: str | None = None
    headers: dict[str, str] | None = None


class Guard:
    """Lets requests through to the routes that their keys allow, as often as they may ask.

    It looks at the headers alone: of a request that is refused no body is read.

    Args:
        app: What is behind it.
        ring: Knows the keys; None where none are needed.
        rates: Counts requests; None where there is no limit.
    """

    def __init__(self, app: Application, *, ring: KeyRing | None, rates: Rates | None) -> None:
        self._app = app
        self._ring = ring
        self._rates = rates

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request (ASGI)."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        found = find_route(scope["method"], route_path(scope))
        if found.scope == PUBLIC and not str(found.template).startswith("/v1/"):
            await self._app(scope, receive, send)
            return
        key, shown, taken = None, None, None
        address = name_address((scope.get("client") or (None,))[0])
        if self._ring is not None and found.scope != PUBLIC and (shown := read_credentials(scope)) is not None:
            is_known, key = self._ring.peek(shown)
            if not is_known:
                # Who tries keys is slowed down before the database is asked.
                taken = None if self._ring.has_seen(shown) else self._take(address)
                if taken is None or taken.is_allowed:
                    try:
                        key = await to_thread.run_sync(self._ring.find, shown)
                    except SiglipError as error:
                        await tell_our_error(error)(scope, receive, send)
                        return
                if key is not None and taken is not None and self._rates is not None:
                    self._rates.give_back(address)
        if taken is None or key is not None:
            taken = self._take(address if key is None else f"key {key.key_id}")
        answer = send if self._rates is None or taken is None else _with_headers(send, self._rates.describe(taken))
        if refusal := self._refuse(scope, found, shown, key, taken):
            problem = make_problem(refusal.status, refusal.detail, code=refusal.code, headers=refusal.headers)
            await problem(scope, receive, answer)
            return
        scope[KEY_OF_REQUEST] = key
        await self._app(scope, receive, answer)

    def _take(self, owner: str) -> Taken | None:
        return None if self._rates is None else self._rates.take(owner)

    def _refuse(
        self, scope: Scope, found: Found, shown: Credentials | None, key: ValidKey | None, taken: Taken | None
    ) -> Refusal | None:
        """Why a request isn't let through; None where it is."""
        if self._rates is not None and taken is not None and not taken.is_allowed:
            detail = f"More than {self._rates.rate:g} requests a second. Try again in {taken.wait_s} s."
            return Refusal(429, detail, "too_many_requests")
        if self._ring is None or found.scope == PUBLIC:
            return None
        if key is None:
            return _refuse_stranger(shown)
        return _refuse_route(scope, found) or _refuse_key(
            scope, found, key, is_session=bool(shown and shown.is_session)
        )


def _refuse_stranger(shown: Credentials | None) -> Refusal:
    challenge = 'Bearer realm="siglip_ingest"'
    if shown is None:
        return Refusal(401, NO_KEY, "key_needed", {"WWW-Authenticate": challenge})
    return Refusal(401, BAD_KEY, "key_invalid", {"WWW-Authenticate": f'{challenge}, error="invalid_token"'})


def _refuse_route(scope: Scope, found: Found) -> Refusal | None:
    if found.template is None:
        return Refusal(404, f"There is nothing at {scope['path'][:200]}; /openapi.json lists what there is.")
    if found.scope is None:
        allowed = ", ".join(found.methods)
        return Refusal(405, f"This path answers to {allowed} only.", headers={"Allow": allowed})
    return None


def _refuse_key(scope: Scope, found: Found, key: ValidKey, *, is_session: bool) -> Refusal | None:
    if found.scope is not None and not keys.includes(key.scope, found.scope):
        headers = {"WWW-Authenticate": f'Bearer error="insufficient_scope", scope="{found.scope}"'}
        detail = f"The key of {key.name!r} is for {key.scope}, and this needs {found.scope}."
        return Refusal(403, detail, "scope_needed", headers)
    if is_session and scope["method"] not in SAFE_METHODS and "origin" not in read_headers(scope):
        return Refusal(403, "A session's cookie alone changes nothing: browsers say which page asks (Origin).")
    return None


def _with_headers(send: Send, headers: dict[str, str]) -> Send:
    added = [(name.lower().encode(), value.encode()) for name, value in headers.items()]

    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", ()), *added]}
        await send(message)

    return send_with_headers
