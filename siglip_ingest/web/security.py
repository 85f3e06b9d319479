"""What every request must keep to, and what every answer says to browsers."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Collection
from urllib.parse import urlsplit

from siglip_ingest.web.asgi import SAFE_METHODS, Application, Message, Receive, Scope, Send, read_headers
from siglip_ingest.web.problems import make_problem, tell_fault

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
EVERY_HOST = "*"
MAX_JSON_BYTES = 2_000_000
# Bodies of JSON that hold images, or many addresses.
LARGE_JSON = frozenset({"/v1/uploads/data", "/v1/embeddings", "/v1/images"})


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
        answer = _Answer(send, is_head=scope["method"] == "HEAD")
        headers = read_headers(scope)
        most = self._most(scope["path"], headers)
        if refusal := self._refuse(scope["method"], headers, most):
            status, detail = refusal
            await make_problem(status, detail)(scope, receive, answer)
            return
        body = _Body(receive, most)
        answer.is_refused = lambda: body.is_too_large
        try:
            # HEAD is answered as GET is, without the content.
            await self._app({**scope, "method": "GET"} if answer.is_head else scope, body, answer)
        except TooLargeError:
            pass  # what is behind may also have made another error of it
        except Exception as error:  # the outermost place: nothing else would answer as we do
            if not body.is_too_large:
                if answer.is_started:
                    raise
                await tell_fault(error)(scope, receive, answer)
        if body.is_too_large and not answer.is_started:
            answer.is_refused = lambda: False
            problem = make_problem(413, self._too_large(most), code="too_large", headers={"Connection": "close"})
            await problem(scope, receive, answer)

    def _refuse(self, method: str, headers: dict[str, str], most: int) -> tuple[int, str] | None:
        host = headers.get("host", "")
        if not self._knows_host(host):
            return 400, f"This server isn't called {host[:200]!r}. SIGLIP_WEB_HOSTS names what it is called."
        origin = headers.get("origin")
        if method not in SAFE_METHODS and origin is not None and not self._trusts(origin, host):
            return 403, f"A page of {origin[:200]!r} may not do this here. SIGLIP_WEB_ORIGINS names those that may."
        length = headers.get("content-length", "0")
        if length.isdigit() and int(length) > most:
            return 413, self._too_large(most)
        return None

    def _most(self, path: str, headers: dict[str, str]) -> int:
        """Most bytes of a body: JSON is read at once, so that only images and lists of them may be large."""
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind == "multipart/form-data" or path in LARGE_JSON:
            return self._max_body_bytes
        return min(MAX_JSON_BYTES, self._max_body_bytes)

    def _knows_host(self, host: str) -> bool:
        if EVERY_HOST in self._hosts:
            return True
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:  # a bracket too many
            return False
        if name == "localhost" or name in self._hosts:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return True

    def _trusts(self, origin: str, host: str) -> bool:
        try:
            return origin in self._origins or urlsplit(origin).netloc.lower() == host.lower()
        except ValueError:
            return False

    def _too_large(self, most: int) -> str:
        setting = " (SIGLIP_MAX_UPLOAD_BYTES)" if most == self._max_body_bytes else ""
        return f"This request may have {most:,} bytes{setting}."


class _Body:
    """A request's body (ASGI's `receive`), up to a size.

    Raises:
        TooLargeError: When it is asked for what is beyond. Who reads it may turn that into an error of its own.
    """

    def __init__(self, receive: Receive, max_bytes: int) -> None:
        self._receive = receive
        self._left = max_bytes
        self.is_too_large = False

    async def __call__(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request":
            self._left -= len(message.get("body", b""))
            if self._left < 0:
                self.is_too_large = True
                raise TooLargeError
        return message


class _Answer:
    """An answer (ASGI's `send`) with the headers that every one has, but for those that it has itself.

    Attributes:
        is_head: Whether the content is left out.
        is_started: Whether the status was sent.
        is_refused: Says whether what comes now is dropped, because another answer will follow.
    """

    def __init__(self, send: Send, *, is_head: bool) -> None:
        self._send = send
        self.is_head = is_head
        self.is_started = False
        self.is_refused: Callable[[], bool] = lambda: False

    async def __call__(self, message: Message) -> None:
        if not self.is_started and self.is_refused():
            return
        if message["type"] == "http.response.start":
            self.is_started = True
            given = {name.lower() for name, _ in message.get("headers", ())}
            added = [(name, value) for name, value in _HEADERS.items() if name not in given]
            message = {**message, "headers": [*message.get("headers", ()), *added]}
        elif self.is_head and message["type"] == "http.response.body":
            message = {**message, "body": b""}
        await self._send(message)
