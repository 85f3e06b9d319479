"""Errors, all of which are RFC 9457 problems with the headers that every answer has."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.testclient import TestClient

from siglip_ingest.errors import DatabaseConflictError, ImageError, NotFoundError, WorkerUnavailableError
from siglip_ingest.web.security import PAGE_POLICY
from tests.web.conftest import Web

JSON = {"Content-Type": "application/json"}


def check(answer: Any, status: int) -> dict[str, Any]:
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-security-policy"] == PAGE_POLICY
    problem: dict[str, Any] = answer.json()
    assert problem["status"] == status
    assert problem["type"] == "about:blank"
    assert problem["title"]
    assert problem["detail"].endswith(".") or "errors" in problem
    return problem


def test_what_is_not_there(api: TestClient) -> None:
    assert "/v1/nothing" in check(api.get("/v1/nothing"), 404)["detail"]
    assert "image 999999" in check(api.get("/v1/images/999999"), 404)["detail"]
    check(api.get("/static/nothing.js"), 404)
    check(api.get("/static/../app.py"), 404)
    check(api.get("/static/%2e%2e/app.py"), 404)


def test_methods_that_a_path_has_not(api: TestClient) -> None:
    answer = api.delete("/v1/search")
    assert "DELETE" in check(answer, 405)["detail"]
    assert answer.headers["allow"]


@pytest.mark.parametrize(
    ("body", "status"),
    [(b"{", 400), (b"", 422), (b"[]", 422), (b"null", 422), (b"\xff\xfe", 400), (b'"text"', 422), (b"NaN", 422)],
)
def test_bodies_that_are_no_json_object(api: TestClient, body: bytes, status: int) -> None:
    check(api.post("/v1/search", content=body, headers=JSON), status)


def test_what_is_deeply_nested_is_an_error_of_the_request(api: TestClient) -> None:
    check(api.post("/v1/search", content=b"[" * 100_000, headers=JSON), 400)
    nested = b'{"filter": ' + b'{"a":' * 20_000 + b"1" + b"}" * 20_000 + b"}"
    assert 400 <= api.post("/v1/search", content=nested, headers=JSON).status_code < 500


def test_each_wrong_field_is_named(api: TestClient) -> None:
    problem = check(api.post("/v1/search", json={"limit": 0, "parts": [{"text": 7}], "a/b~": 1}), 422)
    assert {each["pointer"] for each in problem["errors"]} == {"#/limit", "#/parts/0/text", "#/a~1b~0"}
    problem = check(api.get("/v1/search", params={"limit": "many", "min_score": 2}), 422)
    assert {each["pointer"] for each in problem["errors"]} == {"limit", "min_score"}


def test_a_wrong_kind_of_body_is_told(api: TestClient) -> None:
    assert 400 <= check_any(api.post("/v1/search", content=b"q=x", headers={"Content-Type": "text/plain"})) < 500
    assert 400 <= check_any(api.post("/v1/uploads", json={"image": "x"})) < 500
    broken = {"Content-Type": "multipart/form-data; boundary=b"}
    check(api.post("/v1/uploads", content=b"no parts at all", headers=broken), 400)


def check_any(answer: Any) -> int:
    check(answer, answer.status_code)
    return int(answer.status_code)


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (NotFoundError("none."), 404, None),
        (ImageError("broken.", code="truncated"), 422, "truncated"),
        (WorkerUnavailableError("away."), 503, None),
        (DatabaseConflictError("again."), 503, None),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_our_errors_have_their_status(
    web: Web, monkeypatch: pytest.MonkeyPatch, error: Exception, status: int, code: str | None
) -> None:
    with web.serve() as app:

        def fail(*_: object, **__: object) -> None:
            raise error

        monkeypatch.setattr(app.app.state.context.client, "list_collections", fail)  # type: ignore[attr-defined]
        answer = app.get("/v1/collections")
    problem = check(answer, status)
    assert (problem["detail"], problem.get("code")) == (str(error), code)
    assert answer.headers.get("retry-after") == ("1" if status == 503 else None)


def test_a_fault_of_ours_tells_nothing_of_itself(
    web: Web, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with web.serve(web_origins=frozenset({"https://app.example"})) as app:

        def fail(*_: object) -> None:
            raise RuntimeError("password=secret")

        monkeypatch.setattr(app.app.state.context.client, "list_collections", fail)  # type: ignore[attr-defined]
        answer = app.get("/v1/collections", headers={"Origin": "https://app.example"})
    assert "secret" not in answer.text
    check(answer, 500)
    assert "secret" in str(caplog.records[0].exc_info)


def test_head_is_get_without_content(web: Web, api: TestClient) -> None:
    for path in ("/healthz", "/v1/collections", f"/v1/images/{web.image_ids[0]}/thumbnail", "/v1/unknown", "/"):
        got, head = api.get(path), api.head(path)
        assert (head.status_code, head.content) == (got.status_code, b"")
        assert head.headers["content-type"] == got.headers["content-type"]
        assert head.headers["content-length"] == got.headers["content-length"]
    assert api.head("/v1/embeddings").status_code == 405
