"""How often and how much may be asked, and by which pages."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from siglip_ingest.web.rates import MAX_BUCKETS, Rates, name_address
from tests.web.conftest import Web


class Clock:
    def __init__(self) -> None:
        self.now = 50.0

    def __call__(self) -> float:
        return self.now


def test_a_bucket_holds_ten_seconds_worth_and_fills_steadily() -> None:
    clock = Clock()
    rates = Rates(2.0, clock=clock)
    assert [rates.take("a").is_allowed for _ in range(21)] == [True] * 20 + [False]
    refused = rates.take("a")
    assert (refused.remaining, refused.wait_s) == (0, 1)
    clock.now += 0.5
    assert [rates.take("a").is_allowed for _ in range(2)] == [True, False]
    clock.now += 1000
    taken = rates.take("a")
    assert (taken.remaining, taken.wait_s) == (19, 1)
    assert rates.take("b").remaining == 19


def test_a_slow_rate_has_one_token_at_a_time() -> None:
    clock = Clock()
    rates = Rates(0.01, clock=clock)
    assert rates.take("a").is_allowed
    refused = rates.take("a")
    assert (refused.is_allowed, refused.wait_s) == (False, 100)
    assert rates.describe(refused) == {
        "RateLimit-Policy": '"default";q=1;w=100',
        "RateLimit": '"default";r=0;t=100',
        "Retry-After": "100",
    }
    clock.now += 100
    assert rates.take("a").is_allowed


def test_buckets_are_bounded() -> None:
    rates = Rates(1.0, clock=Clock(), max_buckets=3)
    for number in range(10):
        rates.take(f"{number}")
    assert list(rates._buckets) == ["7", "8", "9"]
    assert MAX_BUCKETS <= 10_000


@pytest.mark.parametrize(
    ("host", "owner"),
    [
        ("192.0.2.7", "address 192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "address 2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::1", "address 2001:db8:1:2::/64"),
        ("::ffff:192.0.2.7", "address 192.0.2.7"),
        ("fe80::1%eth0", "address fe80::/64"),
        (None, "address None"),
        ("testclient", "address testclient"),
    ],
)
def test_an_address_is_who_has_it(host: str | None, owner: str) -> None:
    assert name_address(host) == owner


def test_too_many_requests_are_told_when_to_come_again(web: Web) -> None:
    with web.serve(web_rate=0.2) as app:
        first, second, third = (app.get("/v1/collections") for _ in range(3))
        assert (first.status_code, first.headers["ratelimit"]) == (200, '"default";r=1;t=5')
        assert first.headers["ratelimit-policy"] == '"default";q=2;w=10'
        assert second.headers["ratelimit"] == '"default";r=0;t=5'
        assert (third.status_code, third.headers["content-type"]) == (429, "application/problem+json")
        assert third.headers["retry-after"] == "5"
        assert third.json()["code"] == "too_many_requests"
        assert app.get("/healthz").status_code == 200  # what watches the server isn't counted
        assert app.get("/static/none.js").status_code == 404


def test_each_key_has_a_rate_of_its_own(web: Web, keys_by_scope: dict[str, str]) -> None:
    with web.serve(needs_keys=True, web_rate=0.2) as app:

        def ask(key: str) -> list[int]:
            return [app.get("/v1/collections", headers={"X-API-Key": key}).status_code for _ in range(3)]

        assert ask(keys_by_scope["search"]) == [200, 200, 429]
        assert ask(keys_by_scope["write"]) == [200, 200, 429]
        assert ask("unknown") == [401, 401, 429]  # who tries keys is slowed down by address
        assert app.get("/v1/session").status_code == 429


def test_who_tries_keys_does_not_have_the_database_asked(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    with web.serve(needs_keys=True, web_rate=0.2) as app:
        asked = []
        monkeypatch.setattr("siglip_ingest.db.keys.find_key", lambda _database, secret: asked.append(secret))
        statuses = [app.get("/v1/collections", headers={"X-API-Key": f"siglip_{n}"}).status_code for n in range(5)]
    assert (statuses, asked) == ([401, 401, 429, 429, 429], ["siglip_0", "siglip_1"])


def test_a_key_works_beside_who_tries_keys_at_its_address(web: Web, keys_by_scope: dict[str, str]) -> None:
    with web.serve(needs_keys=True, web_rate=0.2) as app:
        ring: Any = app.app.state.context.ring  # type: ignore[attr-defined]
        clock = Clock()
        ring._clock = clock
        key = {"X-API-Key": keys_by_scope["search"]}
        assert app.get("/v1/collections", headers=key).status_code == 200
        for number in range(5):
            app.get("/v1/collections", headers={"X-API-Key": f"siglip_{number}"})
        clock.now += 100  # it has to be looked up again
        assert app.get("/v1/collections", headers=key).status_code == 200


def test_without_a_rate_nothing_is_said_of_it(api: TestClient) -> None:
    assert not [name for name in api.get("/v1/collections").headers if name.startswith("ratelimit")]


@pytest.fixture(scope="module")
def small(web: Web) -> Iterator[TestClient]:
    with web.serve(max_upload_bytes=10_000) as opened:
        yield opened


def blocks(count: int, block: bytes = b"x" * 1000) -> Iterator[bytes]:
    for _ in range(count):
        yield block


@pytest.mark.parametrize("path", ["/v1/search", "/v1/uploads", "/v1/uploads/data", "/v1/embeddings", "/v1/unknown"])
def test_a_body_that_says_it_is_too_large_is_not_read(small: TestClient, path: str) -> None:
    answer = small.post(path, content=b"x" * 10_001)
    assert (answer.status_code, answer.headers["content-type"]) == (413, "application/problem+json")
    assert "10,000 bytes (SIGLIP_MAX_UPLOAD_BYTES)" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("path", "kind", "start"),
    [
        ("/v1/search", "application/json", b'{"query": "'),
        ("/v1/embeddings", "application/json", b'{"input": "'),
        (
            "/v1/uploads",
            "multipart/form-data; boundary=b",
            b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.jpg"\r\n\r\n',
        ),
    ],
    ids=["search", "embeddings", "upload"],
)
def test_a_stream_is_cut_where_it_becomes_too_large(small: TestClient, path: str, kind: str, start: bytes) -> None:
    read = []

    def body() -> Iterator[bytes]:
        yield start
        for block in blocks(50):
            read.append(len(block))
            yield block

    answer = small.post(path, content=body(), headers={"Content-Type": kind})
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_a_stream_that_fits_is_taken(small: TestClient) -> None:
    def body() -> Iterator[bytes]:
        yield b'{"query": "'
        yield from blocks(8, b"word " * 200)
        yield b'", "limit": 1}'

    assert small.post("/v1/search", content=body(), headers={"Content-Type": "application/json"}).status_code == 200


def preflight(app: TestClient, origin: str, method: str = "POST") -> Any:
    headers = {
        "Origin": origin,
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": "authorization,content-type,x-api-key",
    }
    return app.options("/v1/search", headers=headers)


def test_pages_of_other_origins_get_nothing_by_default(api: TestClient) -> None:
    answer = preflight(api, "https://app.example")
    assert answer.status_code == 405
    assert not [name for name in answer.headers if name.startswith("access-control")]
    read = api.get("/v1/collections", headers={"Origin": "https://app.example"})
    assert "access-control-allow-origin" not in read.headers
    written = api.post("/v1/search", json={}, headers={"Origin": "https://app.example"})
    assert (written.status_code, written.headers["content-type"]) == (403, "application/problem+json")
    assert "SIGLIP_WEB_ORIGINS" in written.json()["detail"]


@pytest.mark.parametrize(
    "origin",
    ["null", "http://[", "http://localhost.evil.example", "http://localhost:81", "https://localhost@evil.example"],
)
def test_origins_that_only_look_like_this_one_are_refused(api: TestClient, origin: str) -> None:
    answer = api.post("/v1/search", json={}, headers={"Origin": origin})
    assert (answer.status_code, answer.headers["content-type"]) == (403, "application/problem+json")


@pytest.mark.parametrize("needs_keys", [False, True], ids=["open", "with keys"])
def test_origins_that_are_named_may_ask(web: Web, keys_by_scope: dict[str, str], needs_keys: bool) -> None:
    origin = "https://app.example"
    key = {"X-API-Key": keys_by_scope["search"]}
    with web.serve(needs_keys=needs_keys, web_origins=frozenset({origin}), web_rate=100) as app:
        allowed = preflight(app, origin)
        assert allowed.status_code == 200
        assert allowed.headers["access-control-allow-origin"] == origin
        assert "access-control-allow-credentials" not in allowed.headers  # nobody's session goes along
        assert "x-api-key" in allowed.headers["access-control-allow-headers"].lower()
        assert preflight(app, "https://other.example").status_code == 400
        answer = app.post("/v1/search", json={}, headers={"Origin": origin, **key})
        assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, origin)
        assert "RateLimit" in answer.headers["access-control-expose-headers"]
        refused = app.post("/v1/search", json={}, headers={"Origin": "https://other.example", **key})
        assert refused.status_code == 403
        if needs_keys:
            stranger = app.post("/v1/search", json={}, headers={"Origin": origin})
            assert (stranger.status_code, stranger.headers["access-control-allow-origin"]) == (401, origin)


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost", 200),
        ("localhost:8000", 200),
        ("LOCALHOST", 200),
        ("127.0.0.1:80", 200),
        ("[::1]:80", 200),
        ("192.168.1.5", 200),
        ("evil.example", 400),
        ("localhost.evil.example", 400),
        ("127.0.0.1.evil.example", 400),
        ("", 400),
        ("photos.example", 400),
        ("[", 400),
        ("[::1", 400),
        ("localhost@evil.example", 400),
        ("evil.example#localhost", 400),
    ],
)
def test_names_that_lead_here_are_refused_unless_they_are_known(api: TestClient, host: str, status: int) -> None:
    answer = api.get("/v1/collections", headers={"Host": host})
    assert answer.status_code == status
    if status == 400:
        assert answer.headers["content-type"] == "application/problem+json"
        assert "SIGLIP_WEB_HOSTS" in answer.json()["detail"]


def test_hosts_can_be_named(web: Web) -> None:
    with web.serve(web_hosts=frozenset({"photos.example"})) as app:
        assert app.get("/healthz", headers={"Host": "Photos.Example:443"}).status_code == 200
        assert app.get("/healthz", headers={"Host": "other.example"}).status_code == 400


def test_every_name_is_known_where_keys_are_needed(guarded: TestClient) -> None:
    assert guarded.get("/healthz", headers={"Host": "anything.example"}).status_code == 200


def test_named_hosts_count_where_keys_are_needed_too(web: Web) -> None:
    with web.serve(needs_keys=True, web_hosts=frozenset({"photos.example"})) as app:
        assert app.get("/healthz", headers={"Host": "photos.example"}).status_code == 200
        assert app.get("/healthz", headers={"Host": "other.example"}).status_code == 400
