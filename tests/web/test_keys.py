"""Keys: shown by a header, remembered for seconds, revoked, expired, and kept as hashes that only the owner sees."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from typing import Any

import psycopg
import pytest
from starlette.testclient import TestClient
from starlette.types import Message

from siglip_ingest.db import Database, keys
from siglip_ingest.errors import AlreadyExistsError, DatabaseUnavailableError, InvalidInputError, NotFoundError
from siglip_ingest.web.keys import KEPT_S, Credentials, KeyRing
from tests.web.conftest import Web


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class CountingClient:
    """Stands for a client; counts how often its database is asked for."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.asked = 0

    @property
    def database(self) -> Database:
        self.asked += 1
        return self._database


@pytest.fixture
def database(web: Web) -> Any:
    with web.database() as opened:
        yield opened


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ring(database: Database, clock: Clock) -> KeyRing:
    return KeyRing(CountingClient(database), clock=clock)  # type: ignore[arg-type]


def asked(ring: KeyRing) -> int:
    client: Any = ring._client
    return int(client.asked)


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer {}"},
        {"authorization": "bearer  {} "},
        {"X-API-Key": "{}"},
    ],
    ids=["bearer", "lower case", "header of its own"],
)
def test_a_key_opens(guarded: TestClient, keys_by_scope: dict[str, str], headers: dict[str, str]) -> None:
    shown = {name: value.format(keys_by_scope["search"]) for name, value in headers.items()}
    assert guarded.get("/v1/collections", headers=shown).status_code == 200


@pytest.mark.parametrize(
    "value",
    [
        "",
        "Bearer",
        "Bearer ",
        "Basic dTpw",
        "Bearer siglip_unknown",
        "Bearer nonsense",
        "Bearer " + "x" * 5000,
        "Bearer ä",
    ],
)
def test_what_is_no_key_does_not(guarded: TestClient, value: str) -> None:
    answer = guarded.get("/v1/collections", headers={"Authorization": value.encode("latin-1")})  # type: ignore[dict-item]
    assert (answer.status_code, answer.json()["code"]) == (401, "key_invalid")
    assert 'error="invalid_token"' in answer.headers["www-authenticate"]


def test_nothing_secret_of_a_key_is_in_the_database(web: Web, database: Database) -> None:
    key = web.create_key("looked for", "admin")
    assert len(key) == len("siglip_") + 43
    with database.connection() as connection:
        rows: Any = connection.execute("SELECT k.*::text FROM siglip.api_keys AS k WHERE k.name = 'looked for'")
        ((text,),) = rows
        (found,) = [row for row in keys.list_keys(connection) if row.name == "looked for"]
    assert hashlib.sha256(key.encode()).hexdigest() in text
    assert key[7:] not in text
    assert (found.scope, found.revoked_at, found.last_used_at) == ("admin", None, None)
    assert not hasattr(found, "key_hash")


def test_others_than_the_owner_see_no_rows(web: Web, database: Database) -> None:
    web.create_key("unseen", "search")
    assert web.settings.database_url is not None
    with psycopg.connect(web.settings.database_url) as connection:
        connection.execute("CREATE ROLE key_reader")
        connection.execute("GRANT USAGE ON SCHEMA siglip TO key_reader")
        connection.execute("GRANT SELECT ON ALL TABLES IN SCHEMA siglip TO key_reader")
        connection.execute("INSERT INTO siglip.api_sessions SELECT key_hash, key_id, 'infinity' FROM siglip.api_keys")
        connection.execute("SET ROLE key_reader")
        counts = "SELECT (SELECT count(*) FROM siglip.api_keys), (SELECT count(*) FROM siglip.api_sessions)"
        assert connection.execute(counts).fetchone() == (0, 0)
        connection.rollback()


def test_names_are_free_again_once_revoked(web: Web, database: Database) -> None:
    first = web.create_key("again", "search")
    with pytest.raises(AlreadyExistsError, match="'again'"):
        web.create_key("again", "search")
    with database.connection() as connection:
        keys.revoke_key(connection, "again")
        with pytest.raises(NotFoundError, match="'again'"):
            keys.revoke_key(connection, "again")
    second = web.create_key("again", "write")
    assert keys.find_key(database, first) is None
    found = keys.find_key(database, second)
    assert found is not None
    assert (found.name, found.scope, found.valid_s, found.is_use_old) == ("again", "write", None, True)


def test_scopes_names_and_lives_are_checked(web: Web) -> None:
    for name, scope, days in (("", "search", 1), ("x", "all", 1), ("x", "search", 0), ("x", "search", 40_000)):
        with pytest.raises(InvalidInputError):
            web.create_key(name, scope, days=days)


def test_a_key_ends_when_it_expires(web: Web, database: Database, ring: KeyRing, clock: Clock) -> None:
    key = web.create_key("short-lived", "search", days=1)
    found = ring.find(Credentials(key))
    assert found is not None
    assert found.valid_s is not None
    assert 86_000 < found.valid_s < 86_401
    with database.connection() as connection:
        connection.execute("UPDATE siglip.api_keys SET expires_at = now() + interval '1 s' WHERE name = 'short-lived'")
    clock.now += KEPT_S + 0.1
    assert ring.find(Credentials(key)) is not None
    assert ring.peek(Credentials(key))[0]
    clock.now += 1.1  # less than it is kept otherwise
    assert not ring.peek(Credentials(key))[0]


def test_a_key_is_looked_up_once_and_forgotten_soon(web: Web, database: Database, ring: KeyRing, clock: Clock) -> None:
    shown = Credentials(web.create_key("remembered", "search"))
    assert ring.peek(shown) == (False, None)
    assert ring.find(shown) is not None
    before = asked(ring)
    clock.now += KEPT_S - 0.1
    is_known, key = ring.peek(shown)
    assert is_known
    assert key is not None
    assert ring.find(shown) == key
    assert asked(ring) == before
    with database.connection() as connection:
        keys.revoke_key(connection, "remembered")
    clock.now += 0.2
    assert ring.peek(shown) == (False, None)
    assert ring.find(shown) is None
    assert KEPT_S <= 10


def test_what_is_no_key_is_remembered_too_and_asks_nothing_where_it_cannot_be_one(ring: KeyRing) -> None:
    unknown = Credentials(f"{keys.KEY_PREFIX}unknown")
    assert ring.find(unknown) is None
    assert (ring.peek(unknown), asked(ring)) == ((True, None), 1)
    for secret in ("", "other", keys.KEY_PREFIX + "x" * 1000):
        assert ring.find(Credentials(secret)) is None
    assert ring.find(Credentials(f"{keys.KEY_PREFIX}x", is_session=True)) is None
    assert asked(ring) == 1


def test_guessing_takes_bounded_memory_and_drops_no_key(
    web: Web, ring: KeyRing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("siglip_ingest.web.keys.MAX_KEPT", 3)
    shown = Credentials(web.create_key("valid one", "search"))
    assert ring.find(shown) is not None
    for number in range(10):
        assert ring.find(Credentials(f"{keys.KEY_PREFIX}{number}")) is None
    assert {is_valid: len(kept) for is_valid, kept in ring._kept.items()} == {True: 1, False: 3}
    assert ring.peek(shown)[0]


def test_use_is_noted_once_a_minute(web: Web, database: Database, ring: KeyRing, clock: Clock) -> None:
    shown = Credentials(web.create_key("used", "search"))

    def last_use() -> Any:
        with database.connection() as connection:
            return next(row.last_used_at for row in keys.list_keys(connection) if row.name == "used")

    assert last_use() is None
    ring.find(shown)
    first = last_use()
    assert first is not None
    clock.now += KEPT_S + 1
    ring.find(shown)
    assert last_use() == first
    with database.connection() as connection:
        connection.execute("UPDATE siglip.api_keys SET last_used_at = now() - interval '61 s' WHERE name = 'used'")
    clock.now += KEPT_S + 1
    ring.find(shown)
    assert last_use() > first


def test_keys_work_where_use_cannot_be_noted(
    web: Web, ring: KeyRing, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object) -> None:
        raise DatabaseUnavailableError("read only")

    monkeypatch.setattr(keys, "note_use", refuse)
    assert ring.find(Credentials(web.create_key("on a standby", "search"))) is not None
    assert ring.find(Credentials(web.create_key("on a standby too", "search"))) is not None
    assert [record.message for record in caplog.records] == ["When keys are used can't be noted: read only"]


def test_a_database_that_is_away_is_no_wrong_key(web: Web) -> None:
    with web.serve(needs_keys=True, database_url="postgresql://localhost:1/none") as app:
        answer = app.get("/v1/collections", headers={"X-API-Key": f"{keys.KEY_PREFIX}any"})
    assert (answer.status_code, answer.headers["content-type"]) == (503, "application/problem+json")
    assert answer.headers["retry-after"] == "1"


def test_requests_at_once_are_answered_with_their_own_keys(guarded: TestClient, keys_by_scope: dict[str, str]) -> None:
    answers: dict[int, int] = {}

    def ask(number: int) -> None:
        scope = ("search", "write")[number % 2]
        headers = {"X-API-Key": keys_by_scope[scope]}
        answers[number] = guarded.post("/v1/images/tag", json={}, headers=headers).status_code

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == {number: (403, 422)[number % 2] for number in range(16)}


def test_a_body_is_not_read_before_the_key(guarded: TestClient) -> None:
    """A stranger's upload costs nothing."""
    read = []

    async def ask() -> list[Message]:
        sent: list[Message] = []

        async def receive() -> Message:
            read.append(1)
            return {"type": "http.request", "body": b"x", "more_body": True}

        async def send(message: Message) -> None:
            sent.append(message)

        headers = [(b"host", b"localhost"), (b"content-type", b"multipart/form-data; boundary=x")]
        scope = {"type": "http", "method": "POST", "path": "/v1/uploads", "headers": headers, "query_string": b""}
        await guarded.app({**scope, "client": ("1.2.3.4", 1), "scheme": "http", "server": ("h", 80)}, receive, send)
        return sent

    assert asyncio.run(ask())[0]["status"] == 401
    assert read == []


def test_no_key_is_needed_on_this_machine(api: TestClient) -> None:
    assert api.get("/v1/collections").status_code == 200
    assert api.get("/v1/collections", headers={"Authorization": "Bearer whatever"}).status_code == 200


def test_a_revoked_key_stops(web: Web, database: Database) -> None:
    key = web.create_key("stopped", "search")
    with web.serve(needs_keys=True, key=key) as app:
        clock = Clock()
        context: Any = app.app.state.context  # type: ignore[attr-defined]
        context.ring._clock = clock
        assert app.get("/v1/collections").status_code == 200
        with database.connection() as connection:
            keys.revoke_key(connection, "stopped")
        clock.now += KEPT_S + 0.1
        assert app.get("/v1/collections").status_code == 401
