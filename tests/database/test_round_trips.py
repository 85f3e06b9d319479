"""How often a search waits for the server, counted on the wire."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

import siglip_ingest.embedders.choose
from siglip_ingest import SiglipClient, image, search, text
from siglip_ingest.db import Database
from siglip_ingest.db.search import SearchOptions
from tests.database.helpers import FakeEmbedder, index_images, text_vector, unit_vectors
from tests.database.listeners import listening
from tests.wire import Wire, wire

# Two connections (one finds out what is wrong, one is the pool's), each with its log-in; the schema's revision; the
# active model; and the search.
FIRST_USE = 20


@pytest.fixture
def image_ids(database: Database, model_id: int) -> list[int]:
    return index_images(database, model_id, unit_vectors(30))


@pytest.fixture
def line(database_url: str, image_ids: list[int]) -> Iterator[Wire]:
    with wire(database_url) as opened:
        yield opened


@pytest.fixture
def client(line: Wire) -> Iterator[SiglipClient]:
    """A client with an embedder of its own, which has searched for "cat" already."""
    with SiglipClient(database_url=line.url, embedder=FakeEmbedder()) as opened:
        opened.search_images("cat")
        yield opened


def count(line: Wire, call: Callable[[], Any]) -> int:
    before = line.round_trips
    assert call()
    return line.round_trips - before


def test_a_known_text_takes_one_round_trip(client: SiglipClient, line: Wire) -> None:
    # The sixth of the same statements is prepared first.
    assert [count(line, lambda: client.search_images("cat")) for _ in range(12)].count(1) >= 11


def test_a_new_text_takes_one_to_learn_that_and_one_to_store_it_and_search(client: SiglipClient, line: Wire) -> None:
    counts = [count(line, lambda n=n: client.search_images(f"new {n}")) for n in range(12)]  # type: ignore[misc]
    assert counts.count(2) >= 10
    assert max(counts) <= 4


def test_several_parts_take_two_round_trips(client: SiglipClient, line: Wire, image_ids: list[int]) -> None:
    """One to learn that the texts are known, one to search."""
    client.search_images(["cat", -text("dog"), "bird"])
    query = ["cat", -text("dog"), "bird", image(image_ids[3])]
    assert [count(line, lambda: client.search_images(query)) for _ in range(12)].count(2) >= 9
    likes = [image(image_ids[3]), -image(image_ids[4])]
    assert [count(line, lambda: client.search_images(likes)) for _ in range(12)].count(1) >= 11


def test_an_indexed_image_takes_one_round_trip(client: SiglipClient, line: Wire, image_ids: list[int]) -> None:
    assert [count(line, lambda: client.similar_images(image_ids[0])) for _ in range(12)].count(1) >= 11


def test_a_vector_takes_one_round_trip(line: Wire) -> None:
    with Database(line.url) as database:
        search.search_by_embedding(database, text_vector("cat"))
        assert (
            count(line, lambda: search.search_by_embedding(database, text_vector("dog"), SearchOptions(filter={}))) == 1
        )


def test_a_client_without_torch_asks_once_whether_the_text_is_known_or_new(
    line: Wire, database: Database, model_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(siglip_ingest.embedders.choose, "has_torch", lambda: False)
    with listening(database, model_id) as listener, SiglipClient(database_url=line.url) as client:
        client.search_images("first")
        assert count(line, lambda: client.search_images("second")) == 1
        assert count(line, lambda: client.search_images("second")) == 1
        assert [request.query for request in listener.asked] == ["first", "second"]


def test_a_pooler_costs_no_round_trip(database_url: str, image_ids: list[int]) -> None:
    with wire(database_url, is_pooler=True) as line, Database(line.url) as database:
        assert search.search_by_embedding(database, text_vector("cat"))
        assert database.is_pooled
        vector = text_vector("dog")
        assert [count(line, lambda: search.search_by_embedding(database, vector)) for _ in range(12)] == [1] * 12


def test_a_client_s_first_search_costs_a_few_more(line: Wire) -> None:
    with SiglipClient(database_url=line.url, embedder=FakeEmbedder()) as client:
        first = count(line, lambda: client.search_images("cat"))
        assert first <= FIRST_USE
        assert line.connections == 2
        assert count(line, lambda: client.search_images("cat")) == 1
