"""What each route asks of a key."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.testclient import TestClient

from siglip_ingest.db.keys import SCOPES
from siglip_ingest.web.app import ROUTERS, VIEWS
from siglip_ingest.web.scopes import PUBLIC, ROUTES, find_route, name_route

KNOWN = {name_route(*route.split(" ", 1)): scope for route, scope in ROUTES.items()}
LABEL = "/v1/labels/{label_set:path}/labels/{label:path}"
NEED_NO_KEY = {
    *(f"GET {view}" for view in VIEWS),
    "GET /static/{path:path}",
    "GET /openapi.json",
    "GET /healthz",
    "GET /readyz",
    "GET /v1/session",
    "DELETE /v1/session",
}


def routes_of(api: TestClient) -> set[str]:
    described = api.get("/openapi.json").json()["paths"]
    found = {name_route(method.upper(), path) for path, item in described.items() for method in item}
    # Those too that aren't described.
    routes: Any = [route for router in ROUTERS for route in router.routes]
    return found | {name_route(method, route.path) for route in routes for method in route.methods}


def test_every_route_has_a_scope(api: TestClient) -> None:
    missing = sorted(routes_of(api) - KNOWN.keys())
    assert not missing, f"say in web/scopes.py what these ask of a key: {missing}"


def test_a_route_without_a_scope_would_be_noticed() -> None:
    assert name_route("GET", "/v1/anything") not in KNOWN


def test_scopes_are_those_of_keys() -> None:
    assert set(ROUTES.values()) == {PUBLIC, *SCOPES}
    assert {route for route, scope in ROUTES.items() if scope == PUBLIC} == NEED_NO_KEY


def test_what_changes_something_needs_more_than_search() -> None:
    readers = {route for route, scope in ROUTES.items() if scope == "search" and not route.startswith("GET ")}
    assert readers == {
        "POST /v1/session",
        "POST /v1/uploads",
        "POST /v1/uploads/data",
        "POST /v1/search",
        "POST /v1/embeddings",
        "POST /v1/labels/{label_set:path}/scores",
    }


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("GET", "/v1/images/7", ("/v1/images/{image_id}", "search")),
        ("HEAD", "/v1/images/7", ("/v1/images/{image_id}", "search")),
        ("POST", "/v1/images/delete", ("/v1/images/delete", "write")),
        ("DELETE", "/v1/images/7", ("/v1/images/{image_id}", "write")),
        ("PUT", "/v1/images/7", ("/v1/images/{image_id}", None)),
        ("GET", "/v1/models/compare", ("/v1/models/compare", "search")),
        ("GET", "/static/vendor/a/b.js", ("/static/{path:path}", PUBLIC)),
        ("GET", "/v1/images/7/", (None, None)),
        ("GET", "/v1/labels/a/b", ("/v1/labels/{label_set:path}", "search")),
        ("POST", "/v1/labels/a/b/labels/c/d/marks", (f"{LABEL}/marks", "write")),
        ("POST", "/v1/labels/a/labels/b/marks/scores", ("/v1/labels/{label_set:path}/scores", "search")),
        ("PUT", "/v1/labels/a/labels/b/calibrations/2", (f"{LABEL}/calibrations/{{version}}", "write")),
        ("GET", "/v1/labels/a/labels/b/images", (f"{LABEL}/images", "search")),
        ("DELETE", "/v1/labels/a/labels/b/images", (LABEL, "write")),
        ("GET", "/v1/images/7\n", ("/v1/images/{image_id}", "search")),
        ("GET", "/v1/unknown", (None, None)),
        ("GET", "/V1/IMAGES", (None, None)),
    ],
)
def test_paths_are_those_of_their_routes(method: str, path: str, expected: tuple[str | None, str | None]) -> None:
    found = find_route(method, path)
    assert (found.template, found.scope) == expected


def test_a_key_does_what_its_scope_says(guarded: TestClient, keys_by_scope: dict[str, str]) -> None:
    def ask(scope: str, method: str, path: str) -> int:
        return guarded.request(method, path, headers={"X-API-Key": keys_by_scope[scope]}, json={}).status_code

    assert [ask(scope, "GET", "/v1/collections") for scope in SCOPES] == [200, 200, 200]
    assert [ask(scope, "POST", "/v1/images/tag") for scope in SCOPES] == [403, 422, 422]
    assert [ask(scope, "DELETE", "/v1/models/1000") for scope in SCOPES[:2]] == [403, 403]


def test_every_route_is_closed_without_a_key(guarded: TestClient) -> None:
    for route, scope in ROUTES.items():
        if scope != PUBLIC:
            method, path = route.split(" ", 1)
            answer = guarded.request(method, path.replace("{", "").replace("}", ""))
            assert answer.status_code == 401, route
            assert answer.json()["code"] == "key_needed"
            assert answer.headers["www-authenticate"] == 'Bearer realm="siglip_ingest"'


def test_every_route_is_closed_to_a_lower_scope(guarded: TestClient, keys_by_scope: dict[str, str]) -> None:
    for route, scope in ROUTES.items():
        for lower in SCOPES[: SCOPES.index(scope)] if scope != PUBLIC else ():
            method, path = route.split(" ", 1)
            answer = guarded.request(
                method, path.replace("{", "").replace("}", ""), headers={"X-API-Key": keys_by_scope[lower]}
            )
            assert (answer.status_code, answer.json()["code"]) == (403, "scope_needed"), route
            assert f'scope="{scope}"' in answer.headers["www-authenticate"]


def test_a_path_that_is_not_listed_is_not_there(guarded: TestClient, keys_by_scope: dict[str, str]) -> None:
    headers = {"X-API-Key": keys_by_scope["admin"]}
    assert guarded.get("/v1/unknown").status_code == 401
    assert guarded.get("/v1/unknown", headers=headers).status_code == 404
    answer = guarded.put("/v1/search", headers=headers)
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, POST")


def test_openapi_tells_scopes_where_keys_are_needed(guarded: TestClient, api: TestClient) -> None:
    described = guarded.get("/openapi.json").json()
    operation = described["paths"]["/v1/images/tag"]["post"]
    assert operation["security"] == [{"key": []}, {"key_header": []}, {"session": []}]
    assert operation["description"].endswith("Needs a key for write.")
    assert {"401", "403"} <= operation["responses"].keys()
    assert "security" not in described["paths"]["/healthz"]["get"]
    assert "securitySchemes" not in api.get("/openapi.json").json()["components"]
