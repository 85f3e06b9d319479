"""`/v1/ingestions`: how far they are, at once and as it goes; failures, trying again."""

from __future__ import annotations

import json
import threading
import zlib
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.database.helpers import claim, close_claim, completed, failure, unit_vectors
from tests.images import encode, make_image
from tests.web.conftest import Web


@pytest.fixture(scope="module")
def following(own_web: Web) -> Iterator[TestClient]:
    with own_web.serve() as opened:
        yield opened


@pytest.fixture
def queued(following: TestClient, request: pytest.FixtureRequest) -> int:
    """Three images, queued under a collection of the test's own."""
    seed = zlib.crc32(request.node.name.encode()) % 10_000
    files = [(f"{n}.png", encode(make_image(30, 20, seed + n), "PNG")) for n in range(3)]
    answer = following.post(
        "/v1/images/files", files=[("files", file) for file in files], data={"collection": request.node.name}
    )
    return int(answer.json()["ingestion_id"])


def work(web: Web, failed: int = 0) -> None:
    """Do what a worker does with all that is queued; the first `failed` end as failed."""
    with web.database() as database, database.connection() as connection:
        chunk = claim(connection, web.model_id, 100)
        items = sorted(chunk.items, key=lambda item: item.image_id)
        vectors = unit_vectors(len(items), dimension=web.embedder.info.dimension)
        results = [completed(item, vectors[n]) for n, item in enumerate(items)]
        failures = [failure(item, "truncated", "The file is cut off.") for item in items[:failed]]
        close_claim(connection, web.model_id, chunk.lease_token, results[failed:], failures)


def get(client: TestClient, path: str, status: int = 200) -> Any:
    answer = client.get(path)
    assert answer.status_code == status, answer.text
    return answer.json()


def test_an_ingestion_is_described_while_it_goes_on(following: TestClient, own_web: Web, queued: int) -> None:
    before = get(following, f"/v1/ingestions/{queued}")
    assert before["counts"] == {"queued": 3, "claimed": 0, "done": 0, "failed": 0}
    assert (before["is_finished"], before["model"]) == (False, own_web.embedder.info.name)
    work(own_web, failed=1)
    after = get(following, f"/v1/ingestions/{queued}")
    assert after["counts"] == {"queued": 0, "claimed": 0, "done": 2, "failed": 1}
    assert after["is_finished"]
    assert get(following, "/v1/ingestions?limit=1") == [after]


def test_the_newest_ingestions_come_first(following: TestClient, own_web: Web, queued: int) -> None:
    listed = [each["ingestion_id"] for each in get(following, "/v1/ingestions")]
    assert listed[0] == queued
    assert listed == sorted(listed, reverse=True)
    for limit in ("0", "101", "x"):
        get(following, f"/v1/ingestions?limit={limit}", 422)
    work(own_web)


def read_events(text: str) -> list[tuple[str, dict[str, Any]]]:
    events = []
    for block in text.replace("\r\n", "\n").split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line and not line.startswith(":"))
        if "event" in fields:
            events.append((fields["event"], json.loads(fields["data"])))
    return events


def test_an_ingestion_is_followed_to_its_end(following: TestClient, own_web: Web, queued: int) -> None:
    worker = threading.Timer(0.3, work, [own_web, 1])
    worker.start()
    answer = following.get(f"/v1/ingestions/{queued}/events")
    worker.join()
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = read_events(answer.text)
    assert events[0][0] == "progress"
    assert events[0][1]["counts"]["queued"] == 3
    assert [name for name, _ in events].count("done") == 1
    assert events[-1][0] == "done"
    assert events[-1][1] == get(following, f"/v1/ingestions/{queued}")


def test_failures_are_told_with_their_names_and_reasons(following: TestClient, own_web: Web, queued: int) -> None:
    assert get(following, f"/v1/ingestions/{queued}/failures") == []
    work(own_web, failed=2)
    failures = get(following, f"/v1/ingestions/{queued}/failures")
    assert [(each["error_code"], each["error_message"]) for each in failures] == [
        ("truncated", "The file is cut off.")
    ] * 2
    names = {each["image"]["name"] for each in failures}
    assert len(names) == 2
    assert names < {"0.png", "1.png", "2.png"}
    assert failures[0]["image"]["state"] == "failed"


def test_what_failed_is_tried_again(following: TestClient, own_web: Web, queued: int) -> None:
    work(own_web, failed=2)
    answer = following.post(f"/v1/ingestions/{queued}/retry")
    assert answer.status_code == 200
    assert answer.json()["counts"] == {"queued": 2, "claimed": 0, "done": 1, "failed": 0}
    assert not answer.json()["is_finished"]
    work(own_web)
    assert get(following, f"/v1/ingestions/{queued}")["counts"]["done"] == 3


def test_an_ingestion_that_is_not_there_is_said(following: TestClient) -> None:
    for path in ("", "/events", "/failures"):
        assert "999999" in get(following, f"/v1/ingestions/999999{path}", 404)["detail"]
        get(following, f"/v1/ingestions/0{path}", 422)
    assert following.post("/v1/ingestions/999999/retry").status_code == 404
