"""`POST /v1/images` and `/v1/images/files`: addresses and files to be indexed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.images import encode, make_image
from tests.web.conftest import Web

FILES = "/v1/images/files"


@pytest.fixture(scope="module")
def adding(own_web: Web) -> Iterator[TestClient]:
    with own_web.serve() as opened:
        yield opened


def draw(seed: int) -> bytes:
    return encode(make_image(40, 30, seed), "PNG")


def post(client: TestClient, *files: tuple[str, bytes], status: int = 202, **form: str) -> Any:
    answer = client.post(FILES, files=[("files", file) for file in files], data=form)
    assert answer.status_code == status, answer.text
    return answer.json()


def stored(client: TestClient, collection: str) -> list[dict[str, Any]]:
    found = client.get("/v1/images", params={"collection": collection}).json()["images"]
    assert isinstance(found, list)
    return found


def test_addresses_are_queued(adding: TestClient) -> None:
    urls = ["https://example.org/one.jpg", "https://user:secret@example.org/two.jpg"]
    body = {"urls": urls, "collection": "web", "metadata": {"album": "2026"}}
    answer = adding.post("/v1/images", json=body)
    assert answer.status_code == 202
    assert answer.json()["counts"] == {"queued": 2, "claimed": 0, "done": 0, "failed": 0}
    assert answer.json()["refused"] == []
    images = stored(adding, "web")
    assert [(image["name"], image["state"]) for image in images] == [("two.jpg", "queued"), ("one.jpg", "queued")]
    assert all(image["metadata"] == {"album": "2026"} and "secret" not in image["uri"] for image in images)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"urls": []}, "urls"),
        ({"urls": ["file:///etc/passwd"]}, "urls/0"),
        ({"urls": ["https://example.org/a.jpg", "/etc/passwd"]}, "urls/1"),
        ({"urls": ["s3://bucket/a.jpg"]}, "urls/0"),
        ({"urls": ["https://example.org/a.jpg"], "collection": ""}, "collection"),
        ({"urls": ["https://example.org/a.jpg"], "metadata": [1]}, "metadata"),
        ({"urls": ["https://example.org/a.jpg"], "folder": "x"}, "folder"),
        ({}, "urls"),
    ],
    ids=["none", "a file", "a path", "a bucket", "no collection", "no mapping", "an unknown field", "nothing"],
)
def test_addresses_that_cannot_be_queued_are_refused(adding: TestClient, body: dict[str, Any], says: str) -> None:
    before = adding.get("/v1/images").json()["total"]
    answer = adding.post("/v1/images", json=body)
    assert answer.status_code == 422
    assert says in answer.json()["detail"]
    assert adding.get("/v1/images").json()["total"] == before


def test_files_are_queued_with_their_names(adding: TestClient) -> None:
    added = post(
        adding,
        ("holiday/one.png", draw(1)),
        ("two.png", draw(2)),
        collection="files",
        metadata=json.dumps({"album": "2026"}),
    )
    assert added["counts"]["queued"] == 2
    images = stored(adding, "files")
    assert sorted(image["name"] for image in images) == ["holiday/one.png", "two.png"]
    assert all(image["metadata"]["album"] == "2026" for image in images)
    original = adding.get(images[0]["original"])
    assert (original.status_code, original.content) == (200, draw(2 if images[0]["name"] == "two.png" else 1))


def test_an_empty_file_is_refused_and_others_go_on(adding: TestClient) -> None:
    added = post(adding, ("empty.png", b""), ("three.png", draw(3)), collection="mixed")
    assert added["refused"] == [{"name": "empty.png", "reason": "The file is empty."}]
    assert added["counts"]["queued"] == 1
    none = post(adding, ("empty.png", b""))
    assert (none["ingestion_id"], none["counts"]["queued"], len(none["refused"])) == (None, 0, 1)


@pytest.mark.parametrize(
    ("form", "says"),
    [
        ({"metadata": "{"}, "isn't JSON"),
        ({"metadata": "[1]"}, "JSON object"),
        ({"metadata": "[" * 100_000}, "isn't JSON"),
        ({"collection": "x" * 1001}, "collection"),
        ({"ingestion_id": "0"}, "ingestion_id"),
        ({"ingestion_id": "one"}, "ingestion_id"),
    ],
    ids=["broken metadata", "a list", "deep metadata", "a long name", "an impossible id", "no id"],
)
def test_files_that_cannot_be_queued_are_refused(adding: TestClient, form: dict[str, str], says: str) -> None:
    assert says in post(adding, ("four.png", draw(4)), status=422, **form)["detail"]


def test_files_are_needed(adding: TestClient) -> None:
    assert adding.post(FILES, data={"collection": "none"}).status_code == 422


def test_a_request_that_is_too_large_is_refused(own_web: Web) -> None:
    with own_web.serve(max_upload_bytes=2000) as small:
        answer = small.post(FILES, files=[("files", ("large.png", bytes(4000)))])
    assert answer.status_code == 413
    assert "2,000 bytes" in answer.json()["detail"]


def test_files_of_several_requests_are_one_ingestion(adding: TestClient) -> None:
    first = post(adding, ("five.png", draw(5)), ("six.png", draw(6)), collection="parts")
    joined_id = str(first["ingestion_id"])
    second = post(adding, ("seven.png", draw(7)), collection="parts", ingestion_id=joined_id)
    third = post(adding, ("empty.png", b""), collection="parts", ingestion_id=joined_id)
    assert second["ingestion_id"] == third["ingestion_id"] == first["ingestion_id"]
    assert second["counts"]["queued"] == 3
    ingestion = adding.get(f"/v1/ingestions/{joined_id}").json()
    assert (ingestion["counts"]["queued"], ingestion["collection"]) == (3, "parts")
    listed = [each["ingestion_id"] for each in adding.get("/v1/ingestions").json()]
    assert listed.count(first["ingestion_id"]) == 1
    assert max(listed) == first["ingestion_id"]


def test_files_join_no_ingestion_of_another_collection(adding: TestClient) -> None:
    first = post(adding, ("eight.png", draw(8)), collection="own")
    refused = post(
        adding, ("nine.png", draw(9)), collection="other", status=422, ingestion_id=str(first["ingestion_id"])
    )
    assert "other" in refused["detail"]
    assert stored(adding, "other") == []
    missing = post(adding, ("nine.png", draw(9)), collection="other", status=404, ingestion_id="999999")
    assert "999999" in missing["detail"]


def test_what_was_queued_under_another_model_stays_by_itself(adding: TestClient, own_web: Web) -> None:
    first = post(adding, ("ten.png", draw(10)), collection="before")
    with own_web.database() as database, database.connection() as connection:
        connection.execute(
            "UPDATE siglip.ingestions SET model_id ="
            " (SELECT siglip.add_external_model('theirs', 16)) WHERE ingestion_id = %s",
            [first["ingestion_id"]],
        )
    joined_id = str(first["ingestion_id"])
    second = post(adding, ("eleven.png", draw(11)), collection="before", ingestion_id=joined_id)
    assert second["ingestion_id"] not in {None, first["ingestion_id"]}
    assert second["counts"]["queued"] == 1
