"""Bytes from files and web servers, and what is refused."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from siglip_ingest.errors import ImageError
from siglip_ingest.sources import SourcePolicy, fetch, hide_secrets

UNRESTRICTED = SourcePolicy(allowed_roots=None, allowed_hosts=frozenset({"0.0.0.0/0", "::/0"}))


class Handler(BaseHTTPRequestHandler):
    """A web server with every fault that an image server may have."""

    def do_GET(self) -> None:
        name, _, argument = self.path.partition("?")[0].strip("/").partition("/")
        if name == "image":
            self._answer(200, b"image")
        elif name == "status":
            self._answer(int(argument), b"")
        elif name == "announced":
            self.send_response(200)
            self.send_header("Content-Length", "5000000")
            self.end_headers()
        elif name == "endless":
            self.send_response(200)
            self.end_headers()
            self._send_forever(b"x" * 65536, pause_s=0)
        elif name == "slow":
            self.send_response(200)
            self.end_headers()
            self._send_forever(b"x", pause_s=0.05)
        elif name == "silent":
            time.sleep(1)
        elif name == "redirect":
            self.send_response(302)
            self.send_header("Location", f"/{argument}" if argument else self.path)
            self.end_headers()

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _send_forever(self, piece: bytes, *, pause_s: float) -> None:
        try:
            for _ in range(1000):
                self.wfile.write(piece)
                self.wfile.flush()
                time.sleep(pause_s)
        except OSError:
            pass

    def log_message(self, _format: str, *arguments: object) -> None:
        pass


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        httpd.daemon_threads = True
        thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield f"http://127.0.0.1:{httpd.server_address[1]}"
        httpd.shutdown()
        thread.join()


def fetch_quickly(uri: str) -> bytes:
    return fetch(uri, max_image_bytes=1000, timeout_s=0.5, policy=UNRESTRICTED)


def test_a_file_is_read_whole(tmp_path: Path) -> None:
    path = tmp_path / "ä image #1 100%?.jpg"
    path.write_bytes(b"x" * 1000)
    assert fetch_quickly(path.as_uri()) == b"x" * 1000


def test_a_file_name_that_is_not_unicode_is_read(tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.jpg"))
    path.write_bytes(b"image")
    assert fetch_quickly(path.as_uri()) == b"image"


@pytest.mark.parametrize(
    ("name", "code"),
    [
        pytest.param("missing.jpg", "not_found", id="no such file"),
        pytest.param("large.jpg/inside.jpg", "not_found", id="a file in place of a folder"),
        pytest.param("large.jpg", "too_large", id="one byte too many"),
        pytest.param("folder", "not_a_file", id="a folder"),
        pytest.param("pipe", "not_a_file", id="a named pipe"),
        pytest.param("socket", "not_a_file", id="a socket"),
        pytest.param("loop", "fetch_failed", id="a link to itself"),
        pytest.param("n" * 300, "fetch_failed", id="a name too long"),
    ],
)
def test_what_is_not_a_readable_file_is_refused_without_a_retry(tmp_path: Path, name: str, code: str) -> None:
    (tmp_path / "large.jpg").write_bytes(b"x" * 1001)
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        with pytest.raises(ImageError) as caught:
            fetch_quickly((tmp_path / name).as_uri())
    assert caught.value.code == code
    assert not caught.value.is_retryable
    assert name in str(caught.value) or code == "fetch_failed"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "secret.jpg"
    path.write_bytes(b"image")
    path.chmod(0)
    with pytest.raises(ImageError, match=r"may not be read") as caught:
        fetch_quickly(path.as_uri())
    assert caught.value.code == "permission_denied"


@pytest.mark.parametrize("uri", ["gopher://host/a.jpg", "photo.jpg", "data:image/png;base64,xx", "http://[::1/a"])
def test_other_schemes_are_refused(uri: str) -> None:
    with pytest.raises(ImageError) as caught:
        fetch_quickly(uri)
    assert caught.value.code == "unsupported_source"


def test_a_web_image_is_fetched_also_behind_a_redirect(server: str) -> None:
    assert fetch_quickly(f"{server}/image") == b"image"
    assert fetch_quickly(f"{server}/redirect/image") == b"image"


@pytest.mark.parametrize(
    ("path", "code", "is_retryable"),
    [
        pytest.param("/status/404", "not_found", False, id="not found"),
        pytest.param("/status/410", "not_found", False, id="gone"),
        pytest.param("/status/403", "permission_denied", False, id="forbidden"),
        pytest.param("/status/418", "fetch_failed", False, id="a client error"),
        pytest.param("/status/204", "fetch_failed", False, id="no content"),
        pytest.param("/status/429", "fetch_failed", True, id="too many requests"),
        pytest.param("/status/503", "fetch_failed", True, id="unavailable"),
        pytest.param("/announced", "too_large", False, id="too large as announced"),
        pytest.param("/endless", "too_large", False, id="too large as sent"),
        pytest.param("/slow", "fetch_failed", True, id="a byte at a time"),
        pytest.param("/silent", "fetch_failed", True, id="no answer"),
        pytest.param("/redirect", "fetch_failed", False, id="redirects in a circle"),
    ],
)
def test_a_web_servers_faults_are_told_apart(server: str, path: str, code: str, is_retryable: bool) -> None:
    with pytest.raises(ImageError) as caught:
        fetch_quickly(server + path)
    assert (caught.value.code, caught.value.is_retryable) == (code, is_retryable)


def test_a_server_that_is_not_there_is_worth_a_retry() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with pytest.raises(ImageError, match=r"can't be fetched") as caught:
            fetch_quickly(f"http://127.0.0.1:{unused.getsockname()[1]}/a.jpg")
    assert caught.value.is_retryable


def test_messages_hold_no_password_and_no_signature(server: str) -> None:
    address = server.replace("http://", "http://user:secret@")
    with pytest.raises(ImageError) as caught:
        fetch_quickly(f"{address}/status/404?signature=abc")
    assert "secret" not in str(caught.value)
    assert "signature" not in str(caught.value)


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        pytest.param(
            "https://user:hunter2@host/a.jpg?sig=SECRETSIG", "https://host/a.jpg", id="password and signature"
        ),
        pytest.param("HTTPS://user@host:81/a@b.jpg#part", "HTTPS://host:81/a@b.jpg", id="user and fragment"),
        pytest.param("https://p@ss:w@rd@host", "https://host", id="a password that isn't escaped"),
        pytest.param("https://host?sig=a/b@c", "https://host", id="no path"),
        pytest.param("http://user:hunter2@[::1/a", "http://[::1/a", id="an address that can't be read"),
        pytest.param("ftp://user:hunter2@host/a.jpg", "ftp://host/a.jpg", id="another scheme"),
        pytest.param("https://host/a.jpg", "https://host/a.jpg", id="nothing to hide"),
        pytest.param("file:///home/me@work/a.jpg", "file:///home/me@work/a.jpg", id="a file"),
        pytest.param("sha256:00ff", "sha256:00ff", id="bytes"),
        pytest.param("a?b#c@d.jpg", "a?b#c@d.jpg", id="a path"),
    ],
)
def test_hide_secrets(uri: str, shown: str) -> None:
    assert hide_secrets(uri) == shown


def test_an_address_that_cannot_be_read_is_refused_without_its_password() -> None:
    with pytest.raises(ImageError, match=r"isn't an address") as caught:
        fetch_quickly("http://user:hunter2@[::1/a?sig=SECRETSIG")
    assert "hunter2" not in str(caught.value)
    assert "SECRETSIG" not in str(caught.value)
