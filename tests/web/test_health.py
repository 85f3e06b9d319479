"""What is said to who watches the server."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from siglip_ingest.client import SiglipClient
from siglip_ingest.settings import Settings
from siglip_ingest.web.app import create_app
from tests.conftest import Services, clone_database
from tests.database.helpers import FakeEmbedder, add_model, add_worker
from tests.web.conftest import Web


def unready(url: str | None, embedder: Any = None, **settings: Any) -> dict[str, str]:
    """What isn't ready, and why."""
    client = SiglipClient(settings=Settings(database_url=url, **settings), embedder=embedder)
    with TestClient(create_app(client), base_url="http://localhost") as app:
        assert app.get("/healthz").json() == {"status": "ok"}
        answer = app.get("/readyz")
    if answer.status_code == 200:
        assert answer.json() == {"status": "ok"}
        return {}
    assert (answer.status_code, answer.headers["content-type"]) == (503, "application/problem+json")
    assert answer.headers["retry-after"] == "2"
    return {error["pointer"]: error["detail"] for error in answer.json()["errors"]}


def test_all_is_ready(api: TestClient) -> None:
    assert api.get("/readyz").json() == {"status": "ok"}


def test_a_database_that_is_away() -> None:
    found = unready("postgresql://localhost:1/none")
    assert list(found) == ["database", "schema", "model", "embedding"]
    assert "localhost:1" in found["database"]


def test_a_schema_that_is_missing(empty_database_url: str) -> None:
    assert "has no schema siglip yet" in unready(empty_database_url)["schema"]


def test_a_model_that_is_missing_or_external(services: Services, migrated: str) -> None:
    with clone_database(services, migrated) as url:
        found = unready(url, FakeEmbedder())
        assert list(found) == ["model", "embedding"]
        assert "No model is active" in found["model"]
        client = SiglipClient(database_url=url)
        with client.database.connection() as connection:
            add_model(connection)
            connection.execute("UPDATE siglip.models SET is_external = true")
        assert list(found := unready(url, FakeEmbedder())) == ["embedding"]
        assert "external" in found["embedding"]
        with client.database.connection() as connection:
            connection.execute("UPDATE siglip.models SET is_external = false")
        assert unready(url, FakeEmbedder()) == {}
        client.close()


def test_somebody_must_embed(services: Services, migrated: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("siglip_ingest.embedders.choose.has_torch", lambda: False)
    with clone_database(services, migrated) as url, SiglipClient(database_url=url) as client:
        with client.database.connection() as connection:
            model_id = add_model(connection)
        assert unready(url) == {"embedding": "No worker of the model 'fake' is alive: `siglip-ingest worker`."}
        with client.database.connection() as connection:
            add_worker(connection, model_id)
        assert unready(url) == {}


def test_asking_starts_no_services(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("siglip_ingest.services.EmbeddedServices.start", lambda _: pytest.fail("started"))
    found = unready(None, home=tmp_path / "home")
    assert "don't run yet" in found["database"]


def test_why_is_told_to_who_has_a_key(web: Web, keys_by_scope: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    with web.serve(needs_keys=True) as app:
        context: Any = app.app.state.context  # type: ignore[attr-defined]
        monkeypatch.setattr(context.readiness, "_find", lambda: {"database": None, "model": "secret.example says no."})
        stranger = app.get("/readyz")
        friend = app.get("/readyz", headers={"X-API-Key": keys_by_scope["search"]})
    assert (stranger.status_code, stranger.json()["detail"]) == (503, "Not ready: model.")
    assert "secret" not in stranger.text
    assert friend.json()["errors"] == [{"pointer": "model", "detail": "secret.example says no."}]


def test_the_database_is_not_asked_at_each_request(web: Web) -> None:
    with web.serve() as app:
        context: Any = app.app.state.context  # type: ignore[attr-defined]
        asked = []
        context.readiness._find = lambda: asked.append(1) or {}
        for _ in range(20):
            assert app.get("/readyz").status_code == 200
    assert len(asked) <= 2


def figures(app: TestClient) -> dict[tuple[str, ...], float]:
    """Samples by name and label values."""
    answer = app.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def test_requests_are_counted_by_route(web: Web) -> None:
    with web.serve() as app:
        for image_id in web.image_ids[:3]:
            app.get(f"/v1/images/{image_id}")
        app.get("/v1/images/999999")
        app.post("/v1/search", content=b"{", headers={"Content-Type": "application/json"})
        app.get("/v1/search", headers={"Host": "evil.example"})
        found = figures(app)
    assert found["siglip_http_requests_total", "GET", "/v1/images/{image_id}", "200"] == 3
    assert found["siglip_http_requests_total", "GET", "/v1/images/{image_id}", "404"] == 1
    assert found["siglip_http_requests_total", "POST", "/v1/search", "400"] == 1
    assert found["siglip_http_requests_total", "GET", "/v1/search", "400"] == 1
    assert found["siglip_http_request_seconds_count", "/v1/images/{image_id}"] == 4
    assert found["siglip_http_requests_in_flight",] == 1  # the one that asks
    assert found["siglip_database_up",] == 1
    assert found["siglip_ingest_items", "done"] >= len(web.image_ids)


def test_labels_have_few_values_whatever_is_asked(web: Web) -> None:
    with web.serve() as app:
        for number in range(20):
            app.get(f"/v1/unknown/{number}")
            app.get(f"/static/{number}.js")
            app.request(f"METHOD{number}", "/v1/search")
        found = figures(app)
    requests = {labels[1:] for labels in found if labels[0] == "siglip_http_requests_total"}
    assert requests == {("GET", "none", "404"), ("GET", "/static/{path:path}", "404"), ("other", "/v1/search", "405")}


def test_batches_and_caches_are_counted(web: Web) -> None:
    settings = dataclasses.replace(web.settings, home=web.folder / "counted")
    with TestClient(create_app(SiglipClient(settings=settings)), base_url="http://localhost") as app:
        app.post("/v1/embeddings", json={"input": ["one", "two", "three"]})
        app.post("/v1/embeddings", json={"input": "four"})
        for _ in range(3):
            app.get(f"/v1/images/{web.image_ids[0]}/thumbnail")
        found = figures(app)
    assert found["siglip_queries_embedded_total", "texts"] == 4
    assert [found["siglip_embed_batch_rows_bucket", "texts", size] for size in ("1.0", "2.0", "4.0", "+Inf")] == [
        1,
        1,
        2,
        2,
    ]
    assert found["siglip_cache_requests_total", "thumbnails", "miss"] == 1
    assert found["siglip_cache_requests_total", "thumbnails", "hit"] == 2


def test_figures_are_there_while_the_database_is_not() -> None:
    client = SiglipClient(settings=Settings(database_url="postgresql://localhost:1/none"))
    with TestClient(create_app(client), base_url="http://localhost") as app:
        found = figures(app)
    assert found["siglip_database_up",] == 0
    assert not [name for name, *_ in found if name == "siglip_ingest_items"]


def test_each_application_has_figures_of_its_own(web: Web) -> None:
    with web.serve() as one, web.serve() as other:
        one.get("/healthz")
        assert ("siglip_http_requests_total", "GET", "/healthz", "200") in figures(one)
        assert ("siglip_http_requests_total", "GET", "/healthz", "200") not in figures(other)


def test_figures_need_a_key_that_searches(guarded: TestClient, keys_by_scope: dict[str, str]) -> None:
    assert guarded.get("/metrics").status_code == 401
    assert guarded.get("/metrics", headers={"Authorization": f"Bearer {keys_by_scope['search']}"}).status_code == 200
