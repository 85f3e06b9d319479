"""What every request must keep to, and what every answer says to browsers."""

from __future__ import annotations

import ipaddress
from collections.abc import Awaitable, Callable, Collection, MutableMapping
from typing import Any
from urllib.parse import urlsplit

from siglip_ingest.web.problems import make_problem

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "font-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    b"content-security-policy": PAGE_POLICY.encode(),
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"same-origin",
    b"cross-origin-resource-policy": b"same-origin",
    b"cross-origin-opener-policy": b"same-origin",
    b"permissions-policy": b"camera=(), geolocation=(), microphone=()",
}
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
EVERY_HOST = "*"


class TooLargeError(Exception):
    """A body is larger than it may be."""


class Gate:
    """The outermost part of the application: refuses what other pages may have sent, and bodies that are too large.

    Without keys whoever reaches the address may use it. A page of another site that is open in the same browser could:
    by a name of its own that leads to this address (DNS rebinding), which the check of the host's name stops; or by
    sending forms, which the check of the origin stops.

    Args:
        app: What is behind it.
        hosts: Names under which requests are answered, besides `localhost` and IP addresses; `*` is every name.
        origins: Origins of other pages that may send requests.
        max_body_bytes: Larger bodies are refused.
    """

    def __init__(
        self, app: Application, *, hosts: Collection[str], origins: Collection[str], max_body_bytes: int
    ) -> None:
        self._app = app
        self._hosts = {host.lower() for host in hosts}
        self._origins = set(origins)
        self._max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request (ASGI)."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        answer = _with_headers(send)
        if refusal := self._refuse(scope["method"], headers):
            status, detail = refusal
            await make_problem(status, detail)(scope, receive, answer)
            return
        try:
            await self._app(scope, self._limited(receive), answer)
        except TooLargeError:
            await make_problem(413, self._too_large())(scope, receive, answer)

    def _refuse(self, method: str, headers: dict[bytes, str]) -> tuple[int, str] | None:
        host = headers.get(b"host", "")
        if not self._knows_host(host):
            return 400, f"This server isn't called {host[:200]!r}. SIGLIP_WEB_HOSTS names what it is called."
        origin = headers.get(b"origin")
        if method not in _SAFE_METHODS and origin is not None and not self._trusts(origin, host):
            return 403, f"A page of {origin[:200]!r} may not do this here. SIGLIP_WEB_ORIGINS names those that may."
        length = headers.get(b"content-length", "0")
        if length.isdigit() and int(length) > self._max_body_bytes:
            return 413, self._too_large()
        return None

    def _knows_host(self, host: str) -> bool:
        if EVERY_HOST in self._hosts:
            return True
        name = (urlsplit(f"//{host}").hostname or "") if host else ""
        if name == "localhost" or name in self._hosts:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True

    def _trusts(self, origin: str, host: str) -> bool:
        return origin in self._origins or urlsplit(origin).netloc.lower() == host.lower()

    def _too_large(self) -> str:
        return f"A request may have {self._max_body_bytes:,} bytes (SIGLIP_MAX_UPLOAD_BYTES)."

    def _limited(self, receive: Receive) -> Receive:
        received = 0

        async def receive_limited() -> Message:
            nonlocal received
            message = await receive()
            if message["type"] == "http.request":
                received += len(message.get("body", b""))
                if received > self._max_body_bytes:
                    raise TooLargeError
            return message

        return receive_limited


def _with_headers(send: Send) -> Send:
    """Add the headers that every answer has, but for those that it has itself."""

    async def send_with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            given = {name.lower() for name, _ in message.get("headers", ())}
            added = [(name, value) for name, value in _HEADERS.items() if name not in given]
            message = {**message, "headers": [*message.get("headers", ()), *added]}
        await send(message)

    return send_with_headers
