"""A stand-in for the model hub on the loopback interface: the requests that huggingface_hub makes for a snapshot.

As the real one does, it keeps large files (weights, tokenizers) apart from git: a request for one is redirected, to
another host, and the ETag is the file's SHA-256 instead of git's hash.
"""

from __future__ import annotations

import fnmatch
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

COMMIT = "0123456789abcdef0123456789abcdef01234567"
OLDER_COMMIT = "fedcba9876543210fedcba9876543210fedcba98"
LARGE_FILES = ("*.safetensors", "*.model", "tokenizer.json")


@dataclass
class Hub:
    """What the stand-in serves.

    Attributes:
        repositories: Folder of each model's newest files.
        commits: Commit of each model's newest files, where it isn't `COMMIT`.
        revisions: Commit and folder of other branches, tags and commits, by `name@revision`.
        gated: Models whose files need permission; without the token `good` they are refused.
        cut_off: Names of files of which only the first half is ever sent.
        is_broken: Whether every answer is status 500.
        requested: Paths asked for so far.
        tokens_elsewhere: Tokens that the other host was shown.
    """

    repositories: dict[str, Path] = field(default_factory=dict)
    commits: dict[str, str] = field(default_factory=dict)
    revisions: dict[str, tuple[str, Path]] = field(default_factory=dict)
    gated: set[str] = field(default_factory=set)
    cut_off: set[str] = field(default_factory=set)
    is_broken: bool = False
    requested: list[str] = field(default_factory=list)
    tokens_elsewhere: list[str] = field(default_factory=list)
    endpoint: str = ""

    def find(self, name: str, revision: str) -> tuple[str, Path] | None:
        """The commit and the folder of a revision."""
        newest = self.commits.get(name, COMMIT), self.repositories[name]
        if revision in {"main", newest[0]}:
            return newest
        others = {key: value for key, value in self.revisions.items() if key.startswith(f"{name}@")}
        by_commit = {commit: (commit, folder) for commit, folder in others.values()}
        return others.get(f"{name}@{revision}") or by_commit.get(revision)


@contextmanager
def serve(hub: Hub) -> Iterator[Hub]:
    handler = type("Handler", (_Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    hub.endpoint = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
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
        # api/models/NAME[/revision/REVISION | /tree/REVISION], NAME/resolve/REVISION/FILE, large/NAME/COMMIT/FILE
        parts = [unquote(part) for part in path.removeprefix("api/models/").removeprefix("large/").split("/")]
        name = "/".join(parts[:2])
        if name not in self.hub.repositories:
            return self._send(404, b'{"error": "Repository not found"}', {"X-Error-Code": "RepoNotFound"})
        if self.headers.get("Authorization") == "Bearer expired":
            message = "Invalid credentials in Authorization header"
            return self._send(401, json.dumps({"error": message}).encode(), {"X-Error-Message": message})
        is_api, is_large = path.startswith("api/models/"), path.startswith("large/")
        revision = parts[2] if is_large else parts[3] if len(parts) > 3 else "main"
        file = "/".join(parts[3:] if is_large else parts[4:])
        found = self.hub.find(name, revision)
        if found is None:
            return self._send(404, b'{"error": "Invalid rev id"}', {"X-Error-Code": "RevisionNotFound"})
        commit, folder = found
        if is_api:
            return self._send_description(name, commit, folder, is_tree=parts[2:3] == ["tree"])
        if is_large:
            self.hub.tokens_elsewhere += [self.headers["Authorization"]] if self.headers.get("Authorization") else []
            return self._send_content(folder / file, {})
        if name in self.hub.gated and self.headers.get("Authorization") != "Bearer good":
            code = 403 if self.headers.get("Authorization") else 401
            return self._send(code, b'{"error": "gated"}', {"X-Error-Code": "GatedRepo"})
        return self._send_file(f"{name}/{commit}/{file}", commit, folder / file)

    def _send_description(self, name: str, commit: str, folder: Path, *, is_tree: bool) -> None:
        files = sorted(file for file in folder.rglob("*") if file.is_file())
        if is_tree:
            entries = [_describe(file, folder) | {"type": "file"} for file in files]
            return self._send(200, json.dumps(entries).encode())
        siblings = [_describe(file, folder) for file in files]
        return self._send(200, json.dumps({"id": name, "sha": commit, "siblings": siblings}).encode())

    def _send_file(self, path: str, commit: str, file: Path) -> None:
        if not file.is_file():
            return self._send(404, b"{}", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit})
        headers = {"X-Repo-Commit": commit, "ETag": f'"{_git_hash(file)}"'}
        if not _is_large(file):
            return self._send_content(file, headers)
        headers |= {
            "X-Linked-ETag": f'"{_sha256(file)}"',
            "X-Linked-Size": str(file.stat().st_size),
            "Location": f"{self.hub.endpoint.replace('127.0.0.1', 'localhost')}/large/{path}",
        }
        return self._send(302, b"", headers)

    def _send_content(self, file: Path, headers: dict[str, str]) -> None:
        content = file.read_bytes()
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
            with suppress(BrokenPipeError, ConnectionResetError):  # who asked may have gone away meanwhile
                self.wfile.write(content)


def _describe(file: Path, folder: Path) -> dict[str, Any]:
    """A file as both listings have it: the tree's keys and a sibling's."""
    name, size = str(file.relative_to(folder)), file.stat().st_size
    described: dict[str, Any] = {"path": name, "rfilename": name, "size": size}
    described |= {"oid": _git_hash(file), "blobId": _git_hash(file)}
    if _is_large(file):
        described["lfs"] = {"size": size, "sha256": _sha256(file), "oid": _sha256(file), "pointerSize": 134}
    return described


def _is_large(file: Path) -> bool:
    return any(fnmatch.fnmatch(file.name, pattern) for pattern in LARGE_FILES)


def _sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _git_hash(file: Path) -> str:
    content = file.read_bytes()
    return hashlib.sha1(b"blob %d\0%s" % (len(content), content), usedforsecurity=False).hexdigest()
