"""Results of a real client: their images are read from where they are, and from the database."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from siglip_ingest import SiglipClient
from siglip_ingest.db import Database, images
from siglip_ingest.errors import ImageError
from siglip_ingest.image_files import read_match_file
from siglip_ingest.results import ImageResults, Results
from siglip_ingest.settings import Settings
from tests.database.helpers import FakeEmbedder, claim, complete, completed, unit_vectors
from tests.images import encode, make_image

SHOWN = "data:image/webp;base64,"


@pytest.fixture
def client(database_url: str, database: Database, model_id: int, tmp_path: Path) -> Iterator[SiglipClient]:
    """A client of a database with a file, a member of a tar, bytes, and a file that is gone."""
    files = [tmp_path / f"{name}.png" for name in ("one", "packed", "gone")]
    for seed, file in enumerate(files):
        make_image(60, 40, seed).save(file)
    with tarfile.open(tmp_path / "some.tar", "w") as tar:
        tar.add(files[1], "packed.png")
    files[1].unlink()
    with SiglipClient(database_url=database_url, embedder=FakeEmbedder()) as client:
        given = encode(make_image(50, 50, 9), "PNG")
        client.enqueue_images([files[0], tmp_path / "some.tar", given, files[2]], progress=False)
        with database.connection() as connection:
            chunk = claim(connection, model_id)
            vectors = unit_vectors(len(chunk.items))
            results = [completed(item, vector) for item, vector in zip(chunk.items, vectors, strict=True)]
            assert complete(connection, model_id, chunk.lease_token, results) == 4
        files[2].unlink()
        yield client


def test_images_are_shown_wherever_they_are(client: SiglipClient) -> None:
    html = client.search_images("anything")._repr_html_()
    assert html.count(SHOWN) == 3
    assert html.count(">not found<") == 1


def test_every_search_returns_results_that_show_images(client: SiglipClient) -> None:
    matches = client.search_images("anything")
    client.create_label_set("scenes", ["sunset"], template="{label}")
    client.mark_images("scenes", "sunset", positives=[match.image_id for match in matches])
    found = [
        matches,
        client.similar_images(matches[0].image_id),
        client.relevant_images("anything", min_score=0),
        client.diverse_images("anything", max_similarity=1),
        client.images_with_labels("scenes", all_of=["sunset"], min_score=0),
        client.labeled_images("scenes", "sunset"),
        client.representatives(3),
    ]
    for results in found:
        assert type(results) is ImageResults
        assert results
        assert SHOWN in results._repr_html_()
    scores = client.label_scores(matches[0].image_id, "scenes")
    assert type(scores) is Results
    assert "sunset" in scores._repr_html_()


def test_results_without_rows_know_their_columns(client: SiglipClient) -> None:
    none = client.search_images("anything", collection="nothing here")
    assert none == []
    assert none.row_type.__name__ == "ImageMatch"


def test_a_closed_client_is_not_opened_to_show_images(client: SiglipClient) -> None:
    matches = client.search_images("anything")
    client.close()
    html = matches._repr_html_()
    assert (html.count(SHOWN), html.count(">closed<"), html.count(">not found<")) == (1, 2, 1)
    assert client._database is None


def test_results_keep_no_client_alive(client: SiglipClient, database_url: str) -> None:
    matches = SiglipClient(database_url=database_url, embedder=FakeEmbedder()).search_images("anything")
    html = matches._repr_html_()
    assert (html.count(SHOWN), html.count(">closed<")) == (1, 2)


def test_what_the_settings_forbid_is_not_read(client: SiglipClient, database_url: str, tmp_path: Path) -> None:
    settings = Settings(database_url=database_url, allowed_roots=(tmp_path / "elsewhere",))
    with SiglipClient(settings=settings, embedder=FakeEmbedder()) as other:
        html = other.search_images("anything")._repr_html_()
    assert html.count(">not allowed<") == 3
    assert html.count(SHOWN) == 1  # the one that the database has


def test_the_bytes_of_an_image_are_read_or_refused_with_a_reason(client: SiglipClient, database: Database) -> None:
    uris = {match.uri.partition(":")[0]: match for match in client.search_images("anything")}
    given = uris["sha256"]
    assert read_match_file(lambda: database, given.image_id, given.uri, client.settings, timeout_s=1).startswith(
        b"\x89PNG"
    )
    small = Settings(max_image_bytes=10)
    with pytest.raises(ImageError) as caught:
        read_match_file(lambda: database, given.image_id, given.uri, small, timeout_s=1)
    assert caught.value.code == "too_large"
    assert images.delete_images(database, images.Selection(image_ids=[given.image_id])) == 1
    with pytest.raises(ImageError) as caught:
        read_match_file(lambda: database, given.image_id, given.uri, client.settings, timeout_s=1)
    assert caught.value.code == "not_found"
