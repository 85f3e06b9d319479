"""A server that is away: an error that says which, or the rest of the result."""

from __future__ import annotations

import psycopg
import pytest

from siglip_ingest import search
from siglip_ingest.db import Database
from siglip_ingest.errors import DatabaseUnavailableError
from tests.database.helpers import unit_vectors
from tests.database.servers.helpers import Cluster

QUERY = unit_vectors(1, seed=99)[0]


def test_a_server_that_is_away_is_named_or_left_out(cluster: Cluster) -> None:
    with cluster.connect() as session:
        names = session.fill(300, 3)
        session.ask("SELECT siglip.add_server('s1', %s), siglip.add_server('s2', %s)", *cluster.other_urls)
        names = [session.move(names[0], "s1"), session.move(names[1], "s2"), names[2]]
        narrowed = ({}, {"collection": "tenth"}, {"image_ids": list(range(1, 280, 3))}, {"skip_results": 5})
        everything = session.search(QUERY, 300)
        complete = [session.search(QUERY, 20, **words) for words in narrowed]
        cluster.stop(1)
        for words in narrowed:
            with pytest.raises(psycopg.OperationalError) as caught:
                session.search(QUERY, 20, **words)
            assert f"The server s1 doesn't answer, which has the segments {names[0]}: " in str(caught.value)
            assert "partial_results" in str(caught.value.diag.message_hint)
        with pytest.raises(psycopg.OperationalError, match="The server s1 doesn't answer"):
            session.ask("SELECT * FROM siglip.index_recall()")
        with Database(cluster.url) as database, pytest.raises(DatabaseUnavailableError, match="s1"):
            search.search_by_embedding(database, QUERY)

        session.ask("SET siglip.partial_results = on")
        rest = [image for image in everything if image[0] > 100]
        assert session.search(QUERY, 300) == rest
        assert set(session.notices) == {"The server s1 doesn't answer: its images are not in the result."}
        assert session.search(QUERY, 20) == rest[:20]
        assert session.search(QUERY, 20, collection="tenth") == [row for row in rest if row[0] % 10 == 0]
        assert (
            session.search(QUERY, 20, image_ids=list(range(1, 280, 3)))
            == [row for row in rest if row[0] % 3 == 1 and row[0] < 280][:20]
        )
        assert len(session.ask("SELECT image_id FROM siglip.similar_images(250, 20)")) == 20  # its own vector is here
        cluster.stop(2)
        assert session.search(QUERY, 300) == [image for image in everything if image[0] > 200]
        assert "s1, s2" in session.notices[-1]
        for number in (1, 2):
            cluster.start(number)
        assert [session.search(QUERY, 20, **words) for words in narrowed] == complete


def test_maintenance_and_removal_go_on_without_it(cluster: Cluster) -> None:
    with cluster.connect() as session:
        name = session.fill(30, 1)[0]
        session.ask("SELECT siglip.add_server('s1', %s)", cluster.other_urls[0])
        cluster.stop(1)
        assert session.ask("SELECT name, is_reachable, bytes FROM siglip.servers") == [("s1", False, None)]
        assert session.maintain() == []
        assert "The server s1 doesn't answer" in session.notices[-1]
        with pytest.raises(psycopg.OperationalError, match="The server s1 doesn't answer"):
            session.move(name, "s1")
        session.ask("SELECT siglip.remove_server('s1')")
        assert session.ask("SELECT FROM siglip.servers") == []
        assert session.content_ids() == list(range(1, 31))


def test_deletes_wait_for_a_server_that_is_away(cluster: Cluster) -> None:
    with cluster.connect() as session:
        name = session.fill(30, 1)[0]
        session.ask("SELECT siglip.add_server('s1', %s)", cluster.other_urls[0])
        session.move(name, "s1")
        session.maintain()
        session.ask("DELETE FROM siglip.images WHERE content_id <= 10")
        cluster.stop(1)
        session.add_images(unit_vectors(20, seed=2))
        session.ask("SET siglip.seal_rows = '10'")
        assert session.maintain()[0].startswith("Closed the segment")
        assert "Contents without an image stay until every server answers" in session.notices[0]
        cluster.start(1)
        assert session.maintain() == ["Removed 10 contents without an image."]
        assert session.content_ids() == list(range(11, 51))
