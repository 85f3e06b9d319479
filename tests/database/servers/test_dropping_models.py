"""A model whose segments are on other servers is dropped: their space is freed there too."""

from __future__ import annotations

from tests.database.servers.helpers import Cluster, Session


def _finish(session: Session) -> list[str]:
    steps = []
    while (step := session.value("SELECT siglip.free_dropped()")) is not None:
        steps.append(str(step))
    return steps


def _tables(session: Session) -> object:
    """How many tables each server holds for this database, settled or not."""
    return session.ask("SELECT name, segments, unused_tables FROM siglip.servers ORDER BY name")


def test_segments_on_another_server_are_dropped_with_their_model(cluster: Cluster) -> None:
    with cluster.connect() as session:
        first, *_ = session.fill()
        session.ask("SELECT siglip.add_server('s1', %s)", cluster.other_urls[0])
        session.ask("SELECT siglip.move_segment(%s::regclass, 's1')", first)
        assert _tables(session) == [("s1", 1, 0)]
        session.ask("SELECT siglip.add_external_model('theirs', 16)")
        session.ask("SELECT siglip.switch_model('theirs')")
        name = session.value("SELECT name FROM siglip.models WHERE NOT is_active")
        session.ask("SELECT siglip.drop_model(%s::text)", name)
        assert _finish(session)[-1].startswith(f"The model {name} is gone")
        while session.value("SELECT siglip.maintain()") is not None:
            pass
        assert _tables(session) == [("s1", 0, 0)]
        assert session.ask("SELECT name FROM siglip.models") == [("theirs",)]


def test_a_server_that_is_away_delays_the_drop(cluster: Cluster) -> None:
    with cluster.connect() as session:
        first, *_ = session.fill()
        session.ask("SELECT siglip.add_server('s1', %s)", cluster.other_urls[0])
        session.ask("SELECT siglip.move_segment(%s::regclass, 's1')", first)
        session.ask("SELECT siglip.add_external_model('theirs', 16)")
        session.ask("SELECT siglip.switch_model('theirs')")
        name = session.value("SELECT name FROM siglip.models WHERE NOT is_active")
        session.ask("SELECT siglip.drop_model(%s::text)", name)
        cluster.servers[1].stop()
        _finish(session)
        assert session.value("SELECT count(*) FROM siglip.model_drops") == 1
        cluster.servers[1].ensure_started()
        assert _finish(session)[-1].startswith(f"The model {name} is gone")
