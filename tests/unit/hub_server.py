"""A stand-in for the model hub on the loopback interface: the requests that huggingface_hub makes for a snapshot."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Hub:
    """What the stand-in serves.

    Attributes:
        repositories: Folder of each model's files.
        gated: Models whose files need permission; without the token `good` they are refused.
        cut_off: Names of files of which only the first half is sent.
        is_broken: Whether every answer is status 500.
        requested: Paths asked for so far.
    """

    repositories: dict[str, Path] = field(default_factory=dict)
    gated: set[str] = field(default_factory=set)
    cut_off: set[str] = field(default_factory=set)
    is_broken: bool = False
    requested: list[str] = field(default_factory=list)
    endpoint: str = ""


@contextmanager
def serve(hub: Hub) -> Iterator[Hub]:
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    hub.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002
        """Say nothing."""

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        path = self.path.partition("?")[0].strip("/")
        self.hub.requested.append(path)
        if self.hub.is_broken:
            return self._send(500, b"{}")
        parts = path.removeprefix("api/models/").split("/")
        name = "/".join(parts[:2])
        folder = self.hub.repositories.get(name)
        if folder is None:
            return self._send(404, b'{"error": "Repository not found"}', {"X-Error-Code": "RepoNotFound"})
        if path.startswith("api/models/"):
            return self._send_description(folder, path)
        if name in self.hub.gated and self.headers.get("Authorization") != "Bearer good":
            code = 403 if self.headers.get("Authorization") else 401
            return self._send(code, b'{"error": "gated"}', {"X-Error-Code": "GatedRepo"})
        return self._send_file(folder / "/".join(parts[4:]))

    def _send_description(self, folder: Path, path: str) -> None:
        files = sorted(file for file in folder.rglob("*") if file.is_file())
        names = [str(file.relative_to(folder)) for file in files]
        if "/tree/" in path:
            entries = [
                {"type": "file", "path": name, "size": file.stat().st_size, "oid": _sha1(file)}
                for name, file in zip(names, files, strict=True)
            ]
            return self._send(200, json.dumps(entries).encode())
        siblings = [{"rfilename": name} for name in names]
        return self._send(200, json.dumps({"id": folder.name, "sha": COMMIT, "siblings": siblings}).encode())

    def _send_file(self, file: Path) -> None:
        if not file.is_file():
            return self._send(404, b"{}", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT})
        content = file.read_bytes()
        headers = {"X-Repo-Commit": COMMIT, "ETag": f'"{_sha1(file)}"'}
        sent = content[: len(content) // 2] if file.name in self.hub.cut_off else content
        return self._send(200, sent, headers, length=len(content))

    def _send(
        self, status: int, content: bytes, headers: dict[str, str] | None = None, *, length: int | None = None
    ) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(content) if length is None else length))
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)


def _sha1(file: Path) -> str:
    return hashlib.sha1(file.read_bytes(), usedforsecurity=False).hexdigest()
