"""Searching over HTTP: all forms of a query, narrowed, ordered, folded and in pages that stay whole."""

from __future__ import annotations

import base64
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.web.conftest import COLLECTION, IMAGES, Web

Draw = Callable[..., list[Path]]


def search(api: TestClient, **body: Any) -> dict[str, Any]:
    answer = api.post("/v1/search", json={"collection": COLLECTION, **body})
    assert answer.status_code == 200, answer.text
    page: dict[str, Any] = answer.json()
    return page


def ids_of(page: dict[str, Any]) -> list[int]:
    return [match["image_id"] for match in page["matches"]]


def all_pages(api: TestClient, **body: Any) -> list[int]:
    found: list[int] = []
    cursor = None
    while True:
        page = search(api, **body, cursor=cursor)
        found += ids_of(page)
        cursor = page["next_cursor"]
        if cursor is None:
            return found


@pytest.fixture(scope="module")
def paths(web: Web) -> list[Path]:
    return sorted((web.folder / "images").iterdir())


@pytest.fixture(scope="module")
def upload_id(api: TestClient, paths: list[Path]) -> str:
    answer = api.post("/v1/uploads", files={"file": paths[4].read_bytes()})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["upload_id"])


def test_words_are_found_as_the_client_finds_them(api: TestClient, web: Web) -> None:
    with web.client() as client:
        expected = client.search_images("a red circle", collection=COLLECTION, limit=7)
    page = search(api, query="a red circle", limit=7)
    assert ids_of(page) == [match.image_id for match in expected]
    assert [match["similarity"] for match in page["matches"]] == pytest.approx(
        [m.similarity for m in expected], abs=1e-5
    )
    assert [match["score"] for match in page["matches"]] == pytest.approx([m.score for m in expected], abs=1e-5)
    assert page["took_ms"] > 0


def test_a_simple_search_is_an_address(api: TestClient) -> None:
    simple = api.get("/v1/search", params={"q": "a red circle", "collection": COLLECTION, "limit": 7}).json()
    assert ids_of(simple) == ids_of(search(api, query="a red circle", limit=7))


def test_images_like_one_that_is_indexed(api: TestClient, web: Web) -> None:
    found = ids_of(search(api, image_id=web.image_ids[4]))
    assert web.image_ids[4] not in found
    assert len(found) == IMAGES - 1


def test_images_like_one_that_was_uploaded(api: TestClient, web: Web, upload_id: str) -> None:
    page = search(api, upload_id=upload_id)
    assert ids_of(page)[0] == web.image_ids[4]
    assert page["matches"][0]["similarity"] == pytest.approx(1, abs=1e-3)
    simple = api.get("/v1/search", params={"upload_id": upload_id, "collection": COLLECTION}).json()
    assert ids_of(simple) == ids_of(page)


def test_parts_are_composed(api: TestClient, web: Web, upload_id: str) -> None:
    parts = [
        {"text": "a red circle"},
        {"text": "a green square", "weight": -0.5},
        {"upload_id": upload_id, "weight": 2},
    ]
    assert len(ids_of(search(api, parts=parts))) == IMAGES
    assert ids_of(search(api, parts=[{"text": "a red circle"}])) == ids_of(search(api, query="a red circle"))
    with_indexed = ids_of(search(api, parts=[{"image_id": web.image_ids[0]}, {"text": "a red circle"}]))
    assert web.image_ids[0] not in with_indexed


def test_words_that_look_like_an_address_are_words(api: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """A request can't have this server fetch something."""
    monkeypatch.setattr("siglip_ingest.client.searching.fetch", lambda *_, **__: pytest.fail("fetched"))
    for query in ("http://169.254.169.254/latest", "https://photos.example/a.jpg", "/etc/passwd"):
        assert search(api, query=query, limit=1)["matches"]


@pytest.mark.parametrize(
    "body",
    [
        {"query": "x", "image_id": 1},
        {"parts": []},
        {"parts": [{"text": "x", "image_id": 1}]},
        {"parts": [{}]},
        {"parts": [{"text": "x", "weight": 1000}]},
        {"query": ""},
        {"query": " "},
        {"query": "\0"},
        {"query": "\ud800"},
        {"limit": 0},
        {"limit": 201},
        {"min_score": 1.5},
        {"sort": "best"},
        {"unknown": 1},
        {"image_id": "x"},
        {"image_id": 0},
        {"upload_id": "../../etc/passwd"},
        {"cursor": "x"},
        {"query": "x", "cursor": "WyJpIiwgMV0"},
        {"filter": []},
        {"collection": ""},
        {"labels": [{"label": "x"}]},
    ],
    ids=str,
)
def test_what_is_no_search_is_refused(api: TestClient, body: dict[str, Any]) -> None:
    import json

    answer = api.post("/v1/search", content=json.dumps(body), headers={"Content-Type": "application/json"})
    assert answer.status_code in {400, 422}, answer.text
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    "body", [{"image_id": 999_999}, {"upload_id": "0" * 64}, {"labels": [{"label_set": "x", "label": "y"}]}]
)
def test_what_is_not_there_is_not_found(api: TestClient, body: dict[str, Any]) -> None:
    assert api.post("/v1/search", json=body).status_code == 404


def test_searches_can_be_narrowed(api: TestClient, web: Web) -> None:
    assert ids_of(search(api, query="a red circle", filter={"number": 3})) == [web.image_ids[3]]
    assert ids_of(search(api, query="a red circle", collection="nothing")) == []
    scores = [match["score"] for match in search(api, query="a red circle")["matches"]]
    kept = search(api, query="a red circle", min_score=scores[4])
    assert [match["score"] for match in kept["matches"]] == [score for score in scores if score >= scores[4]]


def test_labels_narrow(api: TestClient, web: Web) -> None:
    with web.client() as client:
        client.create_label_set("narrowing", ["red", "blue"])
        expected = {match.image_id for match in client.images_with_labels("narrowing", all_of=["red"], min_score=0.2)}
        labels = [{"label_set": "narrowing", "label": "red", "min_score": 0.2}]
        found = ids_of(search(api, query="a circle", labels=labels))
        client.drop_label_set("narrowing")
    assert set(found) == expected & set(web.image_ids)


@pytest.mark.parametrize(
    "query",
    [
        {"query": "a red circle"},
        {},
        {"sort": "oldest"},
        {"query": "a circle", "sort": "newest"},
        {"fold_duplicates": True},
    ],
    ids=["words", "all", "all by date", "words by date", "folded"],
)
@pytest.mark.parametrize("limit", [1, 5, IMAGES])
def test_pages_are_the_whole_in_parts(api: TestClient, query: dict[str, Any], limit: int) -> None:
    whole = ids_of(search(api, **query, limit=200))
    assert all_pages(api, **query, limit=limit) == whole
    assert len(set(whole)) == len(whole)


def test_dates_order(api: TestClient, web: Web) -> None:
    """`taken_at` of the metadata rises with their numbers, and was added in one moment."""
    assert ids_of(search(api, sort="oldest")) == web.image_ids
    assert ids_of(search(api, sort="newest")) == web.image_ids[::-1]
    by_date = ids_of(search(api, query="a red circle", sort="oldest", min_score=0.001))
    assert by_date == sorted(ids_of(search(api, query="a red circle", min_score=0.001)))


def test_images_without_a_date_go_by_when_they_were_added(api: TestClient, web: Web, draw_images: Draw) -> None:
    ids = web.add_images(
        draw_images(3, seed=91_000),
        collection="dated",
        metadata=[{"taken_at": "2100-01-01T00:00:00"}, {}, {"taken_at": "1990-05-05T00:00:00"}],
    )
    assert ids_of(search(api, collection="dated", sort="newest")) == [ids[0], ids[1], ids[2]]


def test_duplicates_are_folded_below_the_best(api: TestClient, web: Web, draw_images: Draw) -> None:
    first, other = draw_images(2, seed=92_000)
    copies = [first.with_name(f"copy-{number}.jpg") for number in range(3)]
    for copy in copies:
        shutil.copy(first, copy)
    ids = web.add_images([first, other, *copies], collection="copies")
    unfolded = ids_of(search(api, collection="copies", query="a circle"))
    page = search(api, collection="copies", query="a circle", fold_duplicates=True)
    assert len(unfolded) == 5
    assert len(page["matches"]) == page["total"] == 2
    heads = {match["image_id"]: match["duplicates"] for match in page["matches"]}
    same = [image_id for image_id in unfolded if image_id != ids[1]]
    assert heads == {same[0]: same[1:], ids[1]: []}
    assert search(api, collection="copies", fold_duplicates=True)["total"] == 2


def test_images_that_failed_can_be_left_out_and_are_counted(api: TestClient, web: Web, draw_images: Draw) -> None:
    ids = web.add_images(draw_images(3, seed=92_500), collection="some failed")
    with web.database() as database, database.connection() as connection:
        connection.execute(
            "UPDATE siglip.ingest_items SET state = 'failed', error_code = 'truncated', error_message = 'Short.'"
            " WHERE image_id = %s",
            [ids[1]],
        )
    for more in ({}, {"sort": "newest"}, {"fold_duplicates": True, "min_duplicate_similarity": 1}):
        page = search(api, collection="some failed", exclude_failed=True, **more)
        assert set(ids_of(page)) == {ids[0], ids[2]}
        assert (page["total"], page["failed"]) == (2, 1)
    page = search(api, collection="some failed")
    assert (page["total"], page["failed"]) == (3, None)
    first = search(api, collection="some failed", exclude_failed=True, limit=1)
    second = search(api, collection="some failed", exclude_failed=True, limit=1, cursor=first["next_cursor"])
    assert (second["total"], second["failed"]) == (2, None)


@pytest.mark.parametrize("sort", ["relevance", "newest"])
def test_pages_stay_whole_while_images_come_and_go(api: TestClient, web: Web, draw_images: Draw, sort: str) -> None:
    collection, seed = f"moving {sort}", 93_000 + 100 * len(sort)
    paths = draw_images(10, seed=seed)
    ids = set(web.add_images(paths[:7], collection=collection))
    body = {"query": "a red circle", "collection": collection, "sort": sort, "limit": 3}
    first = search(api, **body)
    added = set(web.add_images(paths[7:], collection=collection))
    seen = ids_of(first)
    gone = {seen[0], next(iter(ids - set(seen)))}
    assert api.post("/v1/images/delete", json={"image_ids": list(gone)}).json() == {"images": 2}
    cursor = first["next_cursor"]
    while cursor is not None:
        page = search(api, **body, cursor=cursor)
        seen += ids_of(page)
        cursor = page["next_cursor"]
    assert len(seen) == len(set(seen))
    assert set(seen) - added == (ids - gone) | {ids_of(first)[0]}


def test_a_list_that_is_not_kept_any_more_is_made_again(api: TestClient, web: Web) -> None:
    first = search(api, sort="oldest", limit=4)
    for number in range(70):
        search(api, sort="oldest", limit=1, filter={"number": number % IMAGES})
    second = search(api, sort="oldest", limit=4, cursor=first["next_cursor"])
    assert ids_of(first) + ids_of(second) == web.image_ids[:8]


def test_uploads_are_kept_for_a_while(api: TestClient, paths: list[Path]) -> None:
    url = f"data:image/jpeg;base64,{base64.b64encode(paths[4].read_bytes()).decode()}"
    by_url = api.post("/v1/uploads/data", json={"image": url})
    by_file = api.post("/v1/uploads", files={"file": ("x.jpg", paths[4].read_bytes(), "image/jpeg")})
    assert by_url.status_code == by_file.status_code == 201
    assert by_url.json() == by_file.json()
    assert by_url.json()["width"] == 200
    thumbnail = api.get(by_url.json()["thumbnail"])
    assert (thumbnail.status_code, thumbnail.headers["content-type"]) == (200, "image/webp")


@pytest.mark.parametrize(
    "content",
    [b"", b"text", b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"\xff\xd8\xff", b"GIF89a"],
    ids=["empty", "text", "svg", "start of a JPEG", "start of a GIF"],
)
def test_what_is_no_image_cannot_be_uploaded(api: TestClient, content: bytes) -> None:
    answer = api.post("/v1/uploads", files={"file": ("x.jpg", content, "image/jpeg")})
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")


def test_uploads_that_nobody_used_go_first(web: Web, paths: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("siglip_ingest.web.context.UPLOADS_BYTES", 3 * paths[0].stat().st_size)
    with web.serve(home=web.folder / "few uploads") as app:
        kept = [app.post("/v1/uploads", files={"file": path.read_bytes()}).json()["upload_id"] for path in paths[:12]]
        answers = [app.post("/v1/search", json={"upload_id": upload_id}) for upload_id in (kept[0], kept[-1])]
    assert [answer.status_code for answer in answers] == [404, 200]
    assert answers[0].json()["code"] == "upload_gone"


def test_an_upload_is_embedded_once_for_all_pages(api: TestClient, web: Web, upload_id: str) -> None:
    context: Any = api.app.state.context  # type: ignore[attr-defined]
    search(api, upload_id=upload_id, limit=1)
    before = context.vectors.misses
    all_pages(api, upload_id=upload_id, limit=5)
    assert context.vectors.misses == before
