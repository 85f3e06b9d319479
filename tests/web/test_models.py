"""`/v1/models`: coverage, adding, comparing, switching, dropping. The second model is the first one's twin."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from siglip_ingest.db import models
from tests.database.helpers import claim, complete, completed, states, store_text, text_vector
from tests.web.conftest import COLLECTION, Web

OTHER = "new/model"
ASKED = "a sunset over water"


@pytest.fixture(scope="module")
def two(own_web: Web) -> Iterator[TestClient]:
    """A second model that has no vector yet; both know one query."""
    with own_web.serve(embed_timeout_s=0.2) as opened:
        add(opened, own_web, OTHER)
        with own_web.database() as database, database.connection() as connection:
            store_text(connection, own_web.model_id, ASKED, own_web.embedder.info)
        yield opened


def add(client: TestClient, web: Web, name: str) -> int:
    """Add a model, and do what the worker that loads it does."""
    answer = client.post("/v1/models", json={"name": name})
    assert answer.status_code == 202, answer.text
    model_id = id_of(client, name)
    with web.database() as database, database.connection() as connection:
        info = dataclasses.replace(web.embedder.info, name=name)
        models.describe_model(connection, model_id, info)
        store_text(connection, model_id, ASKED, info)
    return model_id


def ask(client: TestClient, path: str, method: str = "GET", status: int = 200, **options: Any) -> Any:
    answer = client.request(method, f"/v1/models{path}", **options)
    assert answer.status_code == status, answer.text
    if status >= 400:
        assert answer.headers["content-type"] == "application/problem+json"
    return answer.json() if answer.content else None


def id_of(client: TestClient, name: str = OTHER) -> int:
    return int(next(each["model_id"] for each in ask(client, "") if each["model"] == name))


def embed_all(web: Web, model_id: int) -> None:
    """Do what the workers of the second model do, if there is something to do."""
    with web.database() as database, database.connection() as connection:
        if not states(connection, model_id).get("queued"):
            return
        chunk = claim(connection, model_id, 100)
        dimension = web.embedder.info.dimension
        results = [completed(item, text_vector(str(item.image_id), dimension)) for item in chunk.items]
        complete(connection, model_id, chunk.lease_token, results)


def test_a_model_that_is_added_has_everything_queued(two: TestClient, own_web: Web) -> None:
    first, second = ask(two, "")[:2]
    assert (first["model_id"], first["state"], first["embedded"], first["share"]) == (own_web.model_id, "active", 8, 1)
    assert (second["state"], second["embedded"], second["queued"], second["not_queued"]) == ("kept", 0, 8, 0)
    collections = ask(two, "/collections")
    assert [(each["model_id"], each["collection"], each["embedded"]) for each in collections] == [
        (own_web.model_id, COLLECTION, 8),
        (second["model_id"], COLLECTION, 0),
    ]


@pytest.mark.parametrize("name", ["", " ", "a/b/c", "./folder", "https://x/y"])
def test_a_name_that_no_checkpoint_has_is_refused(two: TestClient, name: str) -> None:
    before = ask(two, "")
    ask(two, "", "POST", 422, json={"name": name})
    ask(two, "", "POST", 422, json={"model": "demo"})
    assert [each["model"] for each in ask(two, "")] == [each["model"] for each in before]


def test_a_model_without_all_vectors_is_not_switched_to(two: TestClient, own_web: Web) -> None:
    refused = ask(two, f"/{id_of(two)}/switch", "POST", 409, json={})
    assert "8" in refused["detail"]
    assert ask(two, "")[0]["state"] == "active"


def test_two_models_are_compared(two: TestClient, own_web: Web) -> None:
    embed_all(own_web, id_of(two))
    a, b = own_web.model_id, id_of(two)
    rows = {row["measure"]: row for row in ask(two, "/compare", params={"a": a, "b": b})}
    assert (rows["images embedded"]["value_a"], rows["images embedded"]["value_b"]) == (8, 8)
    assert rows["overlap@10 of queries"]["n"] == 1
    assert all({"value_a", "value_b", "n", "note"} <= set(row) for row in rows.values())


def test_both_are_searched_side_by_side(two: TestClient, own_web: Web) -> None:
    embed_all(own_web, id_of(two))
    query = {"a": own_web.model_id, "b": id_of(two), "q": ASKED, "limit": 5}
    found = ask(two, "/compare/search", params=query)
    ids = {side: [match["image_id"] for match in found[side]["matches"]] for side in "ab"}
    assert len(ids["a"]) == len(ids["b"]) == 5
    assert ids["a"] != ids["b"]
    assert found["common"] == [image_id for image_id in ids["a"] if image_id in ids["b"]]
    assert (found["a"]["model_id"], found["b"]["model_id"]) == (query["a"], query["b"])
    none = ask(two, "/compare/search", params=query | {"collection": "none"})
    assert none["a"]["matches"] == none["b"]["matches"] == none["common"] == []


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ({"a": 1, "b": 1}, 422),
        ({"a": 1, "b": 999_999}, 404),
        ({"a": 1, "b": 0}, 422),
        ({"a": 1}, 422),
        ({"a": "demo", "b": 1}, 422),
    ],
    ids=["one and the same", "an unknown one", "an impossible id", "only one", "a name"],
)
def test_a_comparison_that_cannot_be_made_is_refused(two: TestClient, query: dict[str, Any], status: int) -> None:
    ask(two, "/compare", status=status, params=query)
    if query.get("b") != 1 or query["a"] != 1:
        ask(two, "/compare/search", status=status, params=query | {"q": ASKED})


def test_a_text_that_no_worker_embeds_is_not_searched(two: TestClient, own_web: Web) -> None:
    query = {"a": own_web.model_id, "b": id_of(two), "q": "never asked before"}
    assert "worker" in ask(two, "/compare/search", status=503, params=query)["detail"]
    ask(two, "/compare/search", status=422, params=query | {"q": ""})
    ask(two, "/compare/search", status=422, params=query | {"limit": 101})


def test_models_are_switched_there_and_back_and_one_is_dropped(two: TestClient, own_web: Web) -> None:
    third_id = add(two, own_web, "third/model")
    embed_all(own_web, third_id)

    def states_now() -> dict[int, str]:
        return {each["model_id"]: each["state"] for each in ask(two, "")}

    ask(two, f"/{third_id}/switch", "POST", json={"keep_old": True})
    assert (states_now()[own_web.model_id], states_now()[third_id]) == ("kept", "active")
    ask(two, f"/{third_id}", "DELETE", 409)
    ask(two, f"/{own_web.model_id}/switch", "POST", json={"keep_old": False})
    assert (states_now()[own_web.model_id], states_now()[third_id]) == ("active", "unused")
    ask(two, f"/{third_id}", "DELETE", 204)
    assert states_now().get(third_id, "dropped") == "dropped"
    ask(two, f"/{third_id}/switch", "POST", 404, json={})


@pytest.mark.parametrize("model_id", ["999999", "0", "x"])
def test_a_model_that_is_not_there_is_said(two: TestClient, model_id: str) -> None:
    status = 404 if model_id == "999999" else 422
    ask(two, f"/{model_id}/switch", "POST", status, json={})
    ask(two, f"/{model_id}", "DELETE", status)


def test_a_switch_knows_no_other_fields(two: TestClient, own_web: Web) -> None:
    ask(two, f"/{own_web.model_id}/switch", "POST", 422, json={"forced": True})
