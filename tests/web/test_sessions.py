"""A browser's session: a cookie instead of the key, for images too, that other sites' pages can't use."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.testclient import TestClient

from siglip_ingest.db import keys
from siglip_ingest.web.keys import COOKIE
from tests.web.conftest import Web

HERE = {"Origin": "http://localhost"}


@pytest.fixture
def browser(web: Web, keys_by_scope: dict[str, str]) -> Any:
    with web.serve(needs_keys=True) as opened:
        yield opened


def open_session(browser: TestClient, key: str) -> Any:
    return browser.post("/v1/session", headers={"Authorization": f"Bearer {key}", **HERE})


def test_a_session_stands_for_its_key(browser: TestClient, web: Web, keys_by_scope: dict[str, str]) -> None:
    assert browser.get("/v1/session").json() == {"needs_key": True, "name": None, "scope": None}
    opened = open_session(browser, keys_by_scope["write"])
    assert opened.json() == {"needs_key": True, "name": "tests write", "scope": "write"}
    cookie = opened.headers["set-cookie"]
    assert {"HttpOnly", "SameSite=strict", "Path=/", "Max-Age=86400"} <= set(cookie.split("; "))
    assert "Secure" not in cookie  # over http a browser would drop it
    assert keys_by_scope["write"] not in cookie
    thumbnail = f"/v1/images/{web.image_ids[0]}/thumbnail"
    assert browser.get(thumbnail).headers["content-type"] == "image/webp"
    assert browser.get("/v1/session").json()["scope"] == "write"
    assert browser.post("/v1/images/tag", json={}, headers=HERE).status_code == 422
    assert browser.delete("/v1/models/1000", headers=HERE).status_code == 403


def test_over_tls_the_cookie_is_secure(web: Web, keys_by_scope: dict[str, str]) -> None:
    with web.serve(needs_keys=True) as browser:
        browser.base_url = "https://photos.example"  # type: ignore[assignment]
        answer = browser.post("/v1/session", headers={"X-API-Key": keys_by_scope["search"]})
    assert "Secure" in answer.headers["set-cookie"]


def test_the_cookie_alone_changes_nothing(browser: TestClient, keys_by_scope: dict[str, str]) -> None:
    open_session(browser, keys_by_scope["write"])
    body = {"image_ids": [1_000_000], "metadata": {"a": 1}}
    assert browser.post("/v1/images/tag", json=body).status_code == 403  # no browser leaves Origin out
    for origin in ("http://evil.example", "http://localhost.evil.example", "null", "http://localhost:81"):
        assert browser.post("/v1/images/tag", json=body, headers={"Origin": origin}).status_code == 403
    assert browser.post("/v1/images/tag", json=body, headers=HERE).json() == {"images": 0}


def test_a_session_ends_with_its_key_and_by_itself(browser: TestClient, web: Web) -> None:
    open_session(browser, web.create_key("of a browser", "search"))
    assert browser.get("/v1/collections").status_code == 200
    cookie = browser.cookies[COOKIE]
    with web.database() as database:
        with database.connection() as connection:
            keys.revoke_key(connection, "of a browser")
        assert keys.find_session(database, cookie) is None
        key = web.create_key("of another browser", "search")
        open_session(browser, key)
        found = keys.find_session(database, browser.cookies[COOKIE])
        assert found is not None
        assert found.valid_s is not None
        assert 86_300 < found.valid_s <= 86_400
        with database.connection() as connection:
            connection.execute("UPDATE siglip.api_sessions SET expires_at = now() - interval '1 s'")
        assert keys.find_session(database, browser.cookies[COOKIE]) is None
        open_session(browser, key)
        assert database.fetch(b"SELECT count(*) FROM siglip.api_sessions") == [(1,)]  # what is over goes


def test_a_session_can_be_ended(browser: TestClient, web: Web, keys_by_scope: dict[str, str]) -> None:
    open_session(browser, keys_by_scope["search"])
    cookie = browser.cookies[COOKIE]
    assert browser.get("/v1/collections").status_code == 200
    ended = browser.delete("/v1/session", headers=HERE)
    assert (ended.status_code, ended.content) == (204, b"")
    assert COOKIE not in browser.cookies
    again = browser.get("/v1/collections", headers={"Cookie": f"{COOKIE}={cookie}"})
    assert (again.status_code, again.json()["code"]) == (401, "key_invalid")


def test_a_session_cannot_prolong_itself(browser: TestClient, keys_by_scope: dict[str, str]) -> None:
    open_session(browser, keys_by_scope["search"])
    again = browser.post("/v1/session", headers=HERE)
    assert again.json()["scope"] == "search"
    assert "set-cookie" not in again.headers


def test_a_key_is_no_cookie_and_a_cookie_no_key(browser: TestClient, keys_by_scope: dict[str, str]) -> None:
    key = keys_by_scope["search"]
    assert browser.get("/v1/collections", headers={"Cookie": f"{COOKIE}={key}"}).status_code == 401
    open_session(browser, key)
    secret = browser.cookies[COOKIE]
    browser.cookies.clear()
    assert browser.get("/v1/collections", headers={"X-API-Key": secret}).status_code == 401


def test_without_keys_there_are_no_sessions(api: TestClient) -> None:
    expected = {"needs_key": False, "name": None, "scope": "admin"}
    assert api.get("/v1/session").json() == expected
    answer = api.post("/v1/session")
    assert (answer.json(), "set-cookie" in answer.headers) == (expected, False)
    assert api.delete("/v1/session").status_code == 204
