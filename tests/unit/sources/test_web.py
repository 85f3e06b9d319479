"""Web servers: where a request may go, how long it may take, and what is told of the answer."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from siglip_ingest.errors import ImageError
from siglip_ingest.sources import SourcePolicy, fetch
from siglip_ingest.sources.web import MAX_REDIRECTS
from tests.unit.sources.test_addresses import SPELLINGS

IMAGE = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nimage"
REAL_GETADDRINFO = socket.getaddrinfo


class RawServer:
    """Answers each connection on loopback by a function that gets the socket, once the request's head is there."""

    def __init__(self, answer: Callable[[socket.socket], None]) -> None:
        self._answer = answer
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._stopping = threading.Event()
        self.port: int = self._listener.getsockname()[1]
        self.requests: list[bytes] = []
        self._threads = [threading.Thread(target=self._serve)]
        self._threads[0].start()

    def _serve(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            if self._stopping.is_set():
                connection.close()
                return
            thread = threading.Thread(target=self._handle, args=(connection,))
            self._threads.append(thread)
            thread.start()

    def _handle(self, connection: socket.socket) -> None:
        with connection:
            connection.settimeout(10)
            try:
                self.requests.append(connection.recv(65536))
                self._answer(connection)
            except OSError:
                pass

    def drip(self, connection: socket.socket, piece: bytes) -> None:
        """Send a piece every now and then, until nobody listens any more."""
        while not self._stopping.wait(0.05):
            connection.sendall(piece)

    def stop(self) -> None:
        self._stopping.set()
        socket.create_connection(("127.0.0.1", self.port)).close()
        for thread in self._threads:
            thread.join()
        self._listener.close()


@contextmanager
def serving(answer: Callable[[socket.socket], None] | bytes) -> Iterator[RawServer]:
    server = RawServer((lambda connection: connection.sendall(answer)) if isinstance(answer, bytes) else answer)
    try:
        yield server
    finally:
        server.stop()


def redirect_to(address: str) -> bytes:
    return f"HTTP/1.1 302 Found\r\nLocation: {address}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode()


def get(uri: str, *hosts: str, timeout_s: float = 5) -> bytes:
    policy = SourcePolicy(allowed_roots=None, allowed_hosts=frozenset(hosts))
    return fetch(uri, max_image_bytes=1000, timeout_s=timeout_s, policy=policy)


def refuse(uri: str, *hosts: str, timeout_s: float = 5) -> ImageError:
    with pytest.raises(ImageError) as caught:
        get(uri, *hosts, timeout_s=timeout_s)
    return caught.value


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[list[str]]]:
    """Stand in for the name servers: each name's answers, one after the other; the last one stays."""
    answers: dict[str, list[list[str]]] = {}

    def resolve(host: str, port: int, *arguments: Any, **options: Any) -> Any:
        if host not in answers:
            return REAL_GETADDRINFO(host, port, *arguments, **options)
        answer = answers[host].pop(0)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in answer]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    return answers


@pytest.fixture
def connections(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let no connection be made, and note where to."""
    tried: list[str] = []

    def connect(address: tuple[str, int], *_: Any, **__: Any) -> socket.socket:
        tried.append(address[0])
        raise ConnectionRefusedError(111, "Connection refused")

    monkeypatch.setattr(socket, "create_connection", connect)
    return tried


HOSTS = {**SPELLINGS, "a name": "localhost", "IPv6": "[::1]", "mapped": "[::ffff:127.0.0.1]", "zero": "0.0.0.0"}


@pytest.mark.parametrize("host", HOSTS.values(), ids=HOSTS)
@pytest.mark.parametrize("user", ["", "example.org@"], ids=["plain", "userinfo"])
def test_this_machine_is_not_fetched_from_under_any_spelling(host: str, user: str) -> None:
    with serving(IMAGE) as server:
        error = refuse(f"http://{user}{host}:{server.port}/a.jpg")
    assert error.code == "not_allowed"
    assert not error.is_retryable
    assert "SIGLIP_ALLOWED_HOSTS" in str(error)
    assert server.requests == []


@pytest.mark.parametrize(
    "address", ["10.0.0.1", "169.254.169.254", "[fd00:ec2::254]", "[64:ff9b::a00:1]", "100.64.0.1", "[2002:a00:1::]"]
)
def test_private_addresses_are_not_connected_to(address: str, connections: list[str]) -> None:
    assert refuse(f"http://{address}/latest/meta-data/").code == "not_allowed"
    assert connections == []


@pytest.mark.parametrize("entry", ["127.0.0.1:{}", "127.0.0.0/8", "127.0.0.1"])
def test_an_allowed_host_is_fetched_from(entry: str) -> None:
    with serving(IMAGE) as server:
        assert get(f"http://127.0.0.1:{server.port}/a.jpg", entry.format(server.port)) == b"image"


def test_a_redirect_is_followed_and_looked_at_again() -> None:
    with serving(IMAGE) as other, serving(redirect_to(f"http://127.0.0.1:{other.port}/b.jpg")) as server:
        first = f"127.0.0.1:{server.port}"
        assert refuse(f"http://{first}/a.jpg", first).code == "not_allowed"
        assert other.requests == []
        assert get(f"http://{first}/a.jpg", first, f"127.0.0.1:{other.port}") == b"image"


@pytest.mark.parametrize(
    ("target", "code"),
    [
        ("http://169.254.169.254/latest", "not_allowed"),
        ("http://0177.0.0.1/", "not_allowed"),
        ("//[::1]/a.jpg", "not_allowed"),
        ("file:///etc/passwd", "unsupported_source"),
        ("http://[::1/", "unsupported_source"),
    ],
)
def test_a_redirect_to_what_may_not_be_read_is_refused(target: str, code: str) -> None:
    with serving(redirect_to(target)) as server:
        host = f"127.0.0.1:{server.port}"
        assert refuse(f"http://{host}/a.jpg", host).code == code


def test_so_many_redirects_are_followed_and_no_more() -> None:
    with serving(redirect_to("/again.jpg")) as server:
        host = f"127.0.0.1:{server.port}"
        error = refuse(f"http://{host}/a.jpg", host)
    assert f"more than {MAX_REDIRECTS} times" in str(error)
    assert len(server.requests) == MAX_REDIRECTS + 1


def test_a_name_is_resolved_once_and_the_host_header_keeps_it(names: dict[str, list[list[str]]]) -> None:
    names["image.example"] = [["127.0.0.1"]]
    with serving(IMAGE) as server:
        assert get(f"http://image.example:{server.port}/a.jpg", "image.example") == b"image"
        assert f"host: image.example:{server.port}".encode() in server.requests[0].lower()
    assert names["image.example"] == []


def test_a_second_answer_of_the_name_server_changes_nothing(
    names: dict[str, list[list[str]]], connections: list[str]
) -> None:
    names["rebinding.example"] = [["8.8.8.8"], ["127.0.0.1"]]
    assert "Connection refused" in str(refuse("http://rebinding.example/a.jpg"))
    assert connections == ["8.8.8.8"]
    assert refuse("http://rebinding.example/a.jpg").code == "not_allowed"
    assert connections == ["8.8.8.8"]


def test_of_several_addresses_only_public_ones_are_tried(
    names: dict[str, list[list[str]]], connections: list[str]
) -> None:
    names["mixed.example"] = [["127.0.0.1", "8.8.8.8", "10.0.0.1", "1.1.1.1"]]
    assert refuse("http://mixed.example/a.jpg").is_retryable
    assert connections == ["8.8.8.8", "1.1.1.1"]


def test_an_unknown_name_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    error = refuse("http://nowhere.example/a.jpg")
    assert (error.code, error.is_retryable) == ("fetch_failed", True)
    assert "no host of that name" in str(error)


@pytest.mark.parametrize("name", ["http_proxy", "HTTP_PROXY", "all_proxy"])
def test_a_proxy_of_the_environment_is_not_used(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "")
    with serving(IMAGE) as proxy, serving(IMAGE) as server:
        monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        assert get(f"http://127.0.0.1:{server.port}/a.jpg", "127.0.0.1") == b"image"
        assert refuse(f"http://10.0.0.1:{server.port}/a.jpg", "127.0.0.1").code == "not_allowed"
    assert proxy.requests == []


def drip_headers(server: RawServer, connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    server.drip(connection, b"x")


def drip_redirects(server: RawServer, connection: socket.socket) -> None:
    time.sleep(0.3)
    connection.sendall(redirect_to("/again.jpg"))


def drip_body(server: RawServer, connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    server.drip(connection, b"x")


def stay_silent(server: RawServer, connection: socket.socket) -> None:
    server.drip(connection, b"")


@pytest.mark.parametrize(
    ("scheme", "answer"),
    [
        pytest.param("http", drip_headers, id="headers that drip"),
        pytest.param("http", drip_body, id="a body that drips"),
        pytest.param("http", drip_redirects, id="slow redirects"),
        pytest.param("http", stay_silent, id="no answer"),
        pytest.param("https", stay_silent, id="no answer to TLS"),
    ],
)
def test_the_whole_exchange_has_one_deadline(scheme: str, answer: Callable[[RawServer, socket.socket], None]) -> None:
    servers: list[RawServer] = []
    with serving(lambda connection: answer(servers[0], connection)) as server:
        servers.append(server)
        started = time.monotonic()
        error = refuse(f"{scheme}://127.0.0.1:{server.port}/a.jpg", "127.0.0.1", timeout_s=0.7)
        assert time.monotonic() - started < 3
    assert (error.code, error.is_retryable) == ("fetch_failed", True)
    assert "within 0.7 s" in str(error)


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"SSH-2.0-hunter2\r\n", id="another protocol"),
        pytest.param(b"-ERR unknown command hunter2\r\n\r\n", id="Redis"),
        pytest.param(b"HTTP/1.1 200 OK\r\nhunter2\r\n\r\n", id="a broken header"),
        pytest.param(b"HTTP/1.1 418 hunter2\r\nContent-Length: 0\r\n\r\n", id="a reason of its own"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\nhunter2", id="broken compression"),
        pytest.param(redirect_to("gopher://hunter2/"), id="a redirect"),
        pytest.param(redirect_to("http://hunter2:hunter2@[::1/"), id="a broken redirect"),
    ],
)
def test_messages_do_not_quote_the_server(answer: bytes) -> None:
    with serving(answer) as server:
        message = str(refuse(f"http://127.0.0.1:{server.port}/a.jpg", "127.0.0.1"))
    assert "hunter2" not in message
    assert message.endswith(".")


def test_user_and_password_are_sent_to_the_host_that_they_are_for() -> None:
    with serving(IMAGE) as other, serving(redirect_to(f"http://127.0.0.1:{other.port}/b.jpg")) as server:
        assert get(f"http://me:p%40ss@127.0.0.1:{server.port}/a.jpg", "127.0.0.1") == b"image"
        assert b"Authorization: Basic bWU6cEBzcw==" in server.requests[0]
        assert b"authorization" not in other.requests[0].lower()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate of image.example and its key, in one file."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl on this machine")
    path = tmp_path_factory.mktemp("tls") / "image.example.pem"
    command = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=image.example"
    )
    names = ["-addext", "subjectAltName=DNS:image.example", "-keyout", str(path), "-out", str(path.with_suffix(".crt"))]
    subprocess.run([*command.split(), *names], check=True, capture_output=True)
    path.write_bytes(path.read_bytes() + path.with_suffix(".crt").read_bytes())
    return path


def test_tls_is_spoken_with_the_name_and_not_with_the_address(
    certificate: Path, names: dict[str, list[list[str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    asked: list[str | None] = []
    context.sni_callback = lambda _, name, __: asked.append(name)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            for _ in range(2):
                connection, _address = listener.accept()
                try:
                    with context.wrap_socket(connection, server_side=True) as stream:
                        stream.recv(65536)
                        stream.sendall(IMAGE)
                except OSError:
                    connection.close()

        thread = threading.Thread(target=serve)
        thread.start()
        names["image.example"] = names["other.example"] = [["127.0.0.1"], ["127.0.0.1"]]
        port = listener.getsockname()[1]
        assert get(f"https://image.example:{port}/a.jpg", "image.example", "other.example") == b"image"
        error = refuse(f"https://other.example:{port}/a.jpg", "image.example", "other.example")
        thread.join()
    assert asked == ["image.example", "other.example"]
    assert "certificate can't be trusted" in str(error)
