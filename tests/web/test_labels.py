"""`/v1/labels`: sets and labels, what a threshold decides, marks, calibration; on images whose sky is known."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from starlette.testclient import TestClient

from tests.web.conftest import COLLECTION, Web

SET = "/v1/labels/skies"
SUNSET = f"{SET}/labels/sunset"


@pytest.fixture(scope="module")
def labeled(own_web: Web) -> Iterator[TestClient]:
    with own_web.serve() as opened:
        yield opened


@pytest.fixture(autouse=True)
def _fresh_set(labeled: TestClient) -> None:
    """The set `skies` as it begins, without marks, and no other."""
    for each in labeled.get("/v1/labels").json():
        assert labeled.delete(f"/v1/labels/{quote(each['name'], safe='')}").status_code == 204
    answer = labeled.post("/v1/labels", json={"name": "skies", "labels": ["sunset", "night sky", "storm"]})
    assert answer.status_code == 201, answer.text


def ask(client: TestClient, path: str, method: str = "GET", status: int = 200, **options: Any) -> Any:
    answer = client.request(method, path, **options)
    assert answer.status_code == status, answer.text
    if status >= 400:
        assert answer.headers["content-type"] == "application/problem+json"
    return answer.json() if answer.content else None


def images_of(client: TestClient, path: str = SUNSET, **query: Any) -> list[dict[str, Any]]:
    found = ask(client, f"{path}/images", params=query)["matches"]
    assert isinstance(found, list)
    return found


def test_a_set_is_made_and_described(labeled: TestClient) -> None:
    (found,) = ask(labeled, "/v1/labels")
    assert (found["name"], found["is_kept"], found["template"]) == ("skies", False, "This is a photo of {label}.")
    assert [each["label"] for each in found["labels"]] == ["sunset", "night sky", "storm"]
    first = found["labels"][0]
    assert (first["is_ready"], first["threshold"], first["refusals"]) == (True, None, {})
    assert first["prompts"] == ["This is a photo of sunset."]
    assert ask(labeled, SET) == found


def test_prompts_may_be_given_for_each_label(labeled: TestClient) -> None:
    body = {"name": "things", "labels": {"boat": ["a boat", "a ship"]}, "keep": True}
    made = ask(labeled, "/v1/labels", "POST", 201, json=body)
    assert made["labels"][0]["prompts"] == ["a boat", "a ship"]
    assert made["is_kept"]


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        ({"name": "skies", "labels": ["sunset"]}, 409, "a label set 'skies' already"),
        ({"name": "", "labels": ["sunset"]}, 422, "name"),
        ({"name": "x", "labels": []}, 422, "label"),
        ({"name": "x", "labels": ["a", "a"]}, 422, "a"),
        ({"name": "x", "labels": ["a"], "template": "no place"}, 422, "{label}"),
        ({"name": "x", "labels": ["a"], "colour": "red"}, 422, "colour"),
    ],
    ids=["a name that is taken", "no name", "no labels", "a label twice", "a bad template", "an unknown field"],
)
def test_a_set_that_cannot_be_made_is_refused(
    labeled: TestClient, body: dict[str, Any], status: int, says: str
) -> None:
    assert says in ask(labeled, "/v1/labels", "POST", status, json=body)["detail"]
    assert [each["name"] for each in ask(labeled, "/v1/labels")] == ["skies"]


def test_a_set_gets_another_name_and_template(labeled: TestClient) -> None:
    changes = {"name": "heavens", "keep": True, "template": "{label} in a drawing"}
    changed = ask(labeled, SET, "PATCH", json=changes)
    assert (changed["name"], changed["is_kept"]) == ("heavens", True)
    assert changed["labels"][0]["prompts"] == ["sunset in a drawing"]
    ask(labeled, SET, status=404)
    ask(labeled, SET, "PATCH", 404, json={"name": "x"})
    ask(labeled, "/v1/labels/heavens", "PATCH", 422, json={"template": "no place"})


def test_a_set_is_deleted(labeled: TestClient) -> None:
    ask(labeled, SET, "DELETE", 204)
    assert ask(labeled, "/v1/labels") == []
    ask(labeled, SET, "DELETE", 404)


def test_labels_are_added_changed_and_removed(labeled: TestClient) -> None:
    added = ask(labeled, f"{SET}/labels", "POST", 201, json={"label": "rainbow", "threshold": 0.25})
    assert (added["prompts"], added["threshold"], added["is_ready"]) == (["This is a photo of rainbow."], 0.25, True)
    ask(labeled, f"{SET}/labels", "POST", 409, json={"label": "rainbow"})
    path = f"{SET}/labels/rainbow"
    changed = ask(labeled, path, "PATCH", json={"label": "bow", "prompts": ["a rainbow", "colours in the sky"]})
    assert (changed["label"], changed["prompts"]) == ("bow", ["a rainbow", "colours in the sky"])
    ask(labeled, path, "PATCH", 404, json={"threshold": 0.5})
    ask(labeled, f"{SET}/labels/bow", "PATCH", 409, json={"label": "sunset"})
    ask(labeled, f"{SET}/labels/bow", "PATCH", 422, json={"threshold": 1.5})
    ask(labeled, f"{SET}/labels/bow", "DELETE", 204)
    ask(labeled, f"{SET}/labels/bow", "DELETE", 404)


def test_names_may_have_slashes_and_other_signs(labeled: TestClient) -> None:
    ask(labeled, "/v1/labels", "POST", 201, json={"name": "a/b", "labels": ["black/white", "50 % off?", "labels"]})
    for label in ("black/white", "50 % off?", "labels"):
        path = f"/v1/labels/a%2Fb/labels/{quote(label, safe='')}"
        assert ask(labeled, f"{path}/histogram")["total"] == 8
        assert ask(labeled, path, "PATCH", json={"threshold": 0.25})["label"] == label
        assert ask(labeled, f"{path}/calibrations") == []
    assert ask(labeled, "/v1/labels/a%2Fb", "PATCH", json={"name": "a/c"})["name"] == "a/c"
    ask(labeled, "/v1/labels/a%2Fc", "DELETE", 204)


def test_the_histogram_counts_every_image(labeled: TestClient) -> None:
    found = ask(labeled, f"{SUNSET}/histogram", params={"bins": 24})
    assert (len(found["edges"]), len(found["counts"]), found["total"], sum(found["counts"])) == (25, 24, 8, 8)
    assert (found["threshold"], found["above"]) == (0.5, None)
    assert found["accepted"] == len(images_of(labeled, min_score=0.5))
    assert ask(labeled, f"{SUNSET}/histogram", params={"collection": "none"})["total"] == 0
    assert ask(labeled, f"{SUNSET}/histogram", params={"collection": COLLECTION})["total"] == 8


def test_the_histogram_tells_what_another_threshold_accepts(labeled: TestClient) -> None:
    scores = [match["score"] for match in images_of(labeled)]
    for at in (0.0, (scores[2] + scores[3]) / 2, scores[2], 1.0):
        found = ask(labeled, f"{SUNSET}/histogram", params={"bins": 2, "at": at})
        assert found["above"] == sum(score >= at for score in scores)
        assert found["threshold"] == 0.5


@pytest.mark.parametrize("query", ["bins=1", "bins=201", "bins=x", "at=2", "at=nan", "collection="])
def test_a_histogram_that_cannot_be_made_is_refused(labeled: TestClient, query: str) -> None:
    ask(labeled, f"{SUNSET}/histogram?{query}", status=422)


def test_images_come_best_first_or_nearest_to_a_score(labeled: TestClient) -> None:
    scores = [match["score"] for match in images_of(labeled)]
    assert scores == sorted(scores, reverse=True)
    assert len(scores) == 8
    at = (scores[3] + scores[4]) / 2
    within = [match["score"] for match in images_of(labeled, near=at, min_score=at)]
    without = [match["score"] for match in images_of(labeled, near=at, max_score=at)]
    assert within == scores[3::-1]
    assert without == scores[4:]


def test_images_come_in_pages(labeled: TestClient) -> None:
    seen: list[int] = []
    cursor: str | None = None
    while True:
        query = {"limit": 3} | ({} if cursor is None else {"cursor": cursor})
        page = ask(labeled, f"{SUNSET}/images", params=query)
        seen += [match["image_id"] for match in page["matches"]]
        assert page["total"] == 8
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == [match["image_id"] for match in images_of(labeled)]
    ask(labeled, f"{SUNSET}/images", status=422, params={"cursor": "no"})


def test_a_threshold_is_set_and_taken_back(labeled: TestClient) -> None:
    scores = [match["score"] for match in images_of(labeled)]
    at = round((scores[1] + scores[2]) / 2, 9)
    assert ask(labeled, SUNSET, "PATCH", json={"threshold": at})["threshold"] == pytest.approx(at)
    assert ask(labeled, f"{SUNSET}/histogram")["accepted"] == 2
    assert [match["is_accepted"] for match in images_of(labeled)] == [True] * 2 + [False] * 6
    assert ask(labeled, SUNSET, "PATCH", json={"threshold": None})["threshold"] is None
    assert ask(labeled, f"{SUNSET}/histogram")["threshold"] == 0.5


def test_marks_are_made_and_taken_back(labeled: TestClient, own_web: Web) -> None:
    first, second, *_ = own_web.image_ids
    marks = f"{SUNSET}/marks"
    assert ask(labeled, marks, "POST", json={"positives": [first], "negatives": [second]}) == {"changed": 2}
    marked = images_of(labeled, only_marked=True)
    assert {match["image_id"]: match["mark"] for match in marked} == {first: True, second: False}
    assert ask(labeled, marks, "POST", json={"unmark": [first]}) == {"changed": 1}
    assert [match["image_id"] for match in images_of(labeled, only_marked=True)] == [second]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"positives": [999_999]}, 404),
        ({"positives": [0]}, 422),
        ({"positives": "1"}, 422),
        ({"right": [1]}, 422),
    ],
    ids=["an unknown image", "an impossible id", "no list", "an unknown field"],
)
def test_marks_that_cannot_be_made_are_refused(labeled: TestClient, body: dict[str, Any], status: int) -> None:
    ask(labeled, f"{SUNSET}/marks", "POST", status, json=body)


def test_an_image_cannot_be_both_right_and_wrong(labeled: TestClient, own_web: Web) -> None:
    one = own_web.image_ids[:1]
    ask(labeled, f"{SUNSET}/marks", "POST", 422, json={"positives": one, "negatives": one})
    assert images_of(labeled, only_marked=True) == []


def test_suggestions_leave_out_what_is_marked(labeled: TestClient, own_web: Web) -> None:
    suggested = ask(labeled, f"{SUNSET}/suggestions", params={"limit": 100})
    assert {each["image_id"] for each in suggested} == set(own_web.image_ids)
    assert all(each["reason"] and 0 <= each["calibrated_score"] <= 1 for each in suggested)
    first = suggested[0]["image_id"]
    ask(labeled, f"{SUNSET}/marks", "POST", json={"negatives": [first]})
    left = ask(labeled, f"{SUNSET}/suggestions", params={"limit": 100})
    assert first not in {each["image_id"] for each in left}
    assert len(ask(labeled, f"{SUNSET}/suggestions", params={"limit": 2})) == 2
    ask(labeled, f"{SUNSET}/suggestions", status=422, params={"kind": "best"})
    ask(labeled, f"{SUNSET}/suggestions", status=422, params={"limit": 0})


def test_calibrations_are_made_listed_and_gone_back_to(labeled: TestClient) -> None:
    ranked = [match["image_id"] for match in images_of(labeled)]
    assert ask(labeled, f"{SUNSET}/calibrations") == []
    body = {"positives": ranked[:3], "negatives": ranked[3:], "min_precision": 0.5}
    made = ask(labeled, f"{SUNSET}/calibrations", "POST", 201, json=body)
    assert (made["positives"], made["negatives"], made["version"]) == (3, 5, 1)
    assert made["note"]
    again = ask(labeled, f"{SUNSET}/calibrations", "POST", 201, json={})
    assert again["version"] == 2
    versions = ask(labeled, f"{SUNSET}/calibrations")
    assert [(each["version"], each["is_current"]) for each in versions] == [(2, True), (1, False)]
    ask(labeled, f"{SUNSET}/calibrations/1", "PUT", 204)
    versions = ask(labeled, f"{SUNSET}/calibrations")
    assert [(each["version"], each["is_current"]) for each in versions] == [(2, False), (1, True)]
    ask(labeled, f"{SUNSET}/calibrations/0", "PUT", 204)
    assert not any(each["is_current"] for each in ask(labeled, f"{SUNSET}/calibrations"))
    assert ask(labeled, f"{SUNSET}/histogram")["threshold"] == 0.5
    ask(labeled, f"{SUNSET}/calibrations/9", "PUT", 404)
    ask(labeled, f"{SUNSET}/calibrations/-1", "PUT", 422)


def test_a_calibration_that_cannot_be_made_is_refused(labeled: TestClient) -> None:
    ask(labeled, f"{SUNSET}/calibrations", "POST", 404, json={})
    ask(labeled, f"{SUNSET}/calibrations", "POST", 422, json={"min_precision": 1})


def test_an_image_is_scored(labeled: TestClient, own_web: Web) -> None:
    image_id = own_web.image_ids[0]
    scores = ask(labeled, f"{SET}/scores", "POST", json={"image_id": image_id})
    assert sorted(each["label"] for each in scores) == ["night sky", "storm", "sunset"]
    assert [each["score"] for each in scores] == sorted((each["score"] for each in scores), reverse=True)
    path = min((own_web.folder / "images").iterdir())
    upload = ask(labeled, "/v1/uploads", "POST", 201, files={"file": path.read_bytes()})
    uploaded = ask(labeled, f"{SET}/scores", "POST", json={"upload_id": upload["upload_id"]})
    expected = {each["label"]: each["score"] for each in scores}
    assert {each["label"]: each["score"] for each in uploaded} == pytest.approx(expected, abs=0.02)


def test_an_image_that_cannot_be_scored_is_refused(labeled: TestClient) -> None:
    ask(labeled, f"{SET}/scores", "POST", 422, json={})
    ask(labeled, f"{SET}/scores", "POST", 422, json={"image_id": 1, "upload_id": "0" * 64})
    ask(labeled, f"{SET}/scores", "POST", 404, json={"image_id": 999_999})
    ask(labeled, f"{SET}/scores", "POST", 404, json={"upload_id": "0" * 64})
    ask(labeled, "/v1/labels/none/scores", "POST", 404, json={"image_id": 1})


def test_all_labels_of_an_image_are_listed(labeled: TestClient, own_web: Web) -> None:
    image_id = own_web.image_ids[0]
    ask(labeled, f"{SUNSET}/marks", "POST", json={"negatives": [image_id]})
    found = ask(labeled, f"/v1/images/{image_id}/labels")
    assert {(each["label_set"], each["label"]) for each in found} == {
        ("skies", "sunset"),
        ("skies", "night sky"),
        ("skies", "storm"),
    }
    assert {each["label"]: each["mark"] for each in found} == {"sunset": False, "night sky": None, "storm": None}
    assert all(each["threshold"] == 0.5 for each in found)
    ask(labeled, "/v1/images/999999/labels", status=404)


@pytest.mark.parametrize("path", ["histogram", "images", "calibrations", "suggestions"])
def test_what_is_not_there_is_said(labeled: TestClient, path: str) -> None:
    assert "fog" in ask(labeled, f"{SET}/labels/fog/{path}", status=404)["detail"]
    assert "seas" in ask(labeled, f"/v1/labels/seas/labels/sunset/{path}", status=404)["detail"]
