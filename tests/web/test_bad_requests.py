"""Requests that are made to break the server, and what it keeps in memory."""

from __future__ import annotations

import threading
import time

import pytest
from starlette.testclient import TestClient

from siglip_ingest.web.context import Kept
from siglip_ingest.web.keys import read_credentials
from siglip_ingest.web.results import KEPT_ENTRIES, Entry, ResultLists, write_cursor
from siglip_ingest.web.security import MAX_JSON_BYTES
from tests.web.conftest import Web


def test_metadata_that_nobody_could_write_out_are_refused(api: TestClient, web: Web) -> None:
    deep: object = 1
    for _ in range(300):
        deep = [deep]
    answer = api.post("/v1/images/tag", json={"image_ids": web.image_ids[:1], "metadata": {"a": deep}})
    assert answer.status_code == 422
    assert "levels deep" in answer.json()["detail"]


def test_json_is_read_up_to_a_size_of_its_own(api: TestClient) -> None:
    answer = api.post("/v1/search", json={"filter": {"a": "x" * MAX_JSON_BYTES}})
    assert answer.status_code == 413
    assert api.post("/v1/uploads/data", json={"image": "x" * MAX_JSON_BYTES}).status_code == 422


@pytest.mark.parametrize(
    "cursor",
    [write_cursor("i", 10**30), write_cursor("i", -1), write_cursor("l", "x", -1, -7), write_cursor("s", 0.5, 2**64)],
)
def test_cursors_of_no_place_are_refused(api: TestClient, cursor: str) -> None:
    for body in ({}, {"query": "water"}, {"sort": "newest"}):
        assert api.post("/v1/search", json={**body, "cursor": cursor}).status_code == 422


def test_a_name_with_a_nul_is_refused(api: TestClient) -> None:
    assert api.get("/v1/labels/%00").status_code == 422


@pytest.mark.parametrize("others", ["foo[bar]=1; ", 'a={"b": 1}; ', "flag; ", "a=b c; "])
def test_a_session_is_seen_behind_other_cookies(others: str) -> None:
    shown = read_credentials({"type": "http", "headers": [(b"cookie", f"{others}siglip_session=secret".encode())]})
    assert shown is not None
    assert (shown.secret, shown.is_session) == ("secret", True)


def test_who_asks_while_a_value_is_found_out_again_gets_the_old_one() -> None:
    found, asked, go_on = [], threading.Event(), threading.Event()

    def find() -> int:
        if found:
            asked.set()
            assert go_on.wait(10)
        found.append(1)
        return len(found)

    kept = Kept(find, 0.01)
    assert kept.get() == 1
    time.sleep(0.02)
    finder = threading.Thread(target=kept.get)
    finder.start()
    assert asked.wait(10)
    assert kept.get() == 1
    go_on.set()
    finder.join()
    assert found == [1, 1]


def test_lists_are_kept_up_to_a_number_of_entries() -> None:
    lists = ResultLists()
    large = [Entry(1)] * (KEPT_ENTRIES // 2)
    kept = [lists.add(large).list_id for _ in range(4)]
    assert list(lists._lists) == kept[-2:]
