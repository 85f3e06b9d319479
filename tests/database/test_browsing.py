"""Looking at what is stored: lists, descriptions, files, metadata."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from siglip_ingest import ImageError, InvalidInputError, NotFoundError, Settings, SiglipClient
from siglip_ingest.db import Database, browsing, reviewing
from siglip_ingest.image_files import open_image_file
from tests.database.helpers import FakeEmbedder, claim, close_claim, failure, index_images, text_vector, unit_vectors
from tests.images import encode, make_image


@pytest.fixture
def client(database_url: str) -> Iterator[SiglipClient]:
    with SiglipClient(settings=Settings(database_url=database_url), embedder=FakeEmbedder()) as opened:
        yield opened


@pytest.fixture
def image_ids(database: Database, model_id: int) -> list[int]:
    metadata = [{"even": n % 2 == 0, "taken_at": f"2026-01-{30 - n:02}T10:00:00Z"} for n in range(10)]
    first = index_images(database, model_id, unit_vectors(10), metadata=metadata)
    return first + index_images(database, model_id, unit_vectors(5, seed=1), collection="other")


@pytest.fixture
def photo(client: SiglipClient, model_id: int, tmp_path: Path) -> Path:
    """A queued image of a real file, whose id is 1."""
    path = tmp_path / "photo.jpg"
    make_image(80, 60).save(path)
    client.enqueue_images(path, progress=False)
    return path


def test_collections_are_listed_with_their_sizes(client: SiglipClient, image_ids: list[int]) -> None:
    assert client.list_collections() == [("default", 10), ("other", 5)]


def test_images_are_listed_newest_first_page_by_page(client: SiglipClient, image_ids: list[int]) -> None:
    first = client.list_images(limit=8)
    second = client.list_images(limit=8, after_id=first[-1].image_id)
    assert [image.image_id for image in first + second] == sorted(image_ids, reverse=True)
    assert {(image.width, image.height, image.format, image.state) for image in first} == {(640, 480, "JPEG", "done")}


def test_a_list_is_narrowed_by_all_conditions(client: SiglipClient, image_ids: list[int]) -> None:
    def ids(**conditions: object) -> list[int]:
        return [image.image_id for image in client.list_images(**conditions)]  # type: ignore[arg-type]

    assert ids(collection="other") == image_ids[:9:-1]
    assert ids(filter={"even": True}) == image_ids[8::-2]
    assert ids(image_ids=image_ids[:2], collection="default") == image_ids[1::-1]
    assert ids(state="failed") == []
    assert len(ids(state="done")) == 15


def test_a_failed_image_says_why(client: SiglipClient, database: Database, photo: Path) -> None:
    with database.connection() as connection:
        model_id = client.model.model_id
        chunk = claim(connection, model_id)
        failed = [failure(chunk.items[0], "unreadable", "It is damaged.")]
        close_claim(connection, model_id, chunk.lease_token, [], failed)
    (image,) = client.list_images(state="failed")
    assert (image.state, image.error_code, image.error_message) == ("failed", "unreadable", "It is damaged.")


@pytest.mark.parametrize(
    "conditions", [{"limit": 0}, {"state": "lost"}, {"collection": ""}, {"filter": 3}, {"after_id": "x"}]
)
def test_bad_conditions_are_refused(client: SiglipClient, conditions: dict[str, object]) -> None:
    with pytest.raises(InvalidInputError):
        client.list_images(**conditions)  # type: ignore[arg-type]


def test_an_unknown_image_is_not_found(client: SiglipClient) -> None:
    for ask in (client.get_image, client.read_image):
        with pytest.raises(NotFoundError, match="no image 77"):
            ask(77)


def test_metadata_are_merged_and_taken_out(client: SiglipClient, image_ids: list[int]) -> None:
    assert client.change_metadata(image_ids[:2], {"album": "sea", "even": None}) == 2
    assert client.get_image(image_ids[0]).metadata == {"album": "sea", "taken_at": "2026-01-30T10:00:00Z"}
    assert client.change_metadata([*image_ids[:2], 999], {"album": "sea"}) == 0, "nothing is left to change"
    with pytest.raises(InvalidInputError):
        client.change_metadata(image_ids, {"bad": float("nan")})


def test_dates_are_when_taken_or_else_when_added(database: Database, image_ids: list[int]) -> None:
    with database.connection() as connection:
        connection.execute('UPDATE siglip.images SET metadata = \'{"taken_at": "last summer"}\' WHERE image_id = 1')
        connection.execute("UPDATE siglip.images SET created_at = '2020-02-03 04:05:06+00' WHERE image_id IN (1, 11)")
    dates = browsing.date_images(database, [1, 2, 11])
    assert dates == {
        1: "2020-02-03T04:05:06.000000",
        2: "2026-01-29T10:00:00.000000",
        11: "2020-02-03T04:05:06.000000",
    }


def test_dates_are_compared_in_one_time_zone(database: Database, image_ids: list[int]) -> None:
    taken = {1: "2026-03-01T01:00:00+02:00", 2: "2026-02-28 23:30Z", 3: "2026-13-45"}
    with database.connection() as connection:
        connection.execute("UPDATE siglip.images SET created_at = '2020-02-03 04:05:06+00' WHERE image_id = 3")
        for image_id, date in taken.items():
            connection.execute(
                "UPDATE siglip.images SET metadata = jsonb_build_object('taken_at', %s::text) WHERE image_id = %s",
                [date, image_id],
            )
    dates = browsing.date_images(database, [1, 2, 3])
    assert sorted(dates, key=dates.__getitem__) == [3, 1, 2]


def test_vectors_come_with_their_images(database: Database, image_ids: list[int]) -> None:
    found, vectors = browsing.get_vectors(database, [*image_ids[:3], 999])
    assert sorted(found) == image_ids[:3]
    np.testing.assert_allclose(vectors[np.argsort(found)], unit_vectors(10)[:3], atol=1e-3)


def test_a_file_is_read_again(client: SiglipClient, photo: Path) -> None:
    assert client.read_image(1) == photo.read_bytes()
    file = open_image_file(client.database, 1, client.settings)
    assert (file.format, file.size, b"".join(file.blocks)) == ("JPEG", photo.stat().st_size, photo.read_bytes())


def test_bytes_that_the_database_holds_are_read_from_it(client: SiglipClient, model_id: int) -> None:
    content = encode(make_image(20, 20), "PNG")
    client.enqueue_images(content, progress=False)
    assert client.read_image(1) == content
    assert open_image_file(client.database, 1, client.settings)[:2] == ("PNG", len(content))


def test_a_path_that_leads_to_no_image_any_more_is_refused(client: SiglipClient, photo: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("the key")
    photo.unlink()
    photo.symlink_to(secret)
    with pytest.raises(ImageError) as refused:
        open_image_file(client.database, 1, client.settings)
    assert refused.value.code == "not_an_image"
    photo.unlink()
    with pytest.raises(ImageError) as gone:
        open_image_file(client.database, 1, client.settings)
    assert gone.value.code == "not_found"


def test_only_allowed_folders_are_read(database_url: str, photo: Path, tmp_path: Path) -> None:
    allowed = tmp_path / "allowed"
    allowed.mkdir()
    settings = Settings(database_url=database_url, allowed_roots=(allowed,))
    with SiglipClient(settings=settings, embedder=FakeEmbedder()) as client:
        for read in (client.read_image, lambda image_id: open_image_file(client.database, image_id, settings)):
            with pytest.raises(ImageError) as refused:
                read(1)
            assert refused.value.code == "not_allowed"


def test_failed_images_of_one_ingestion_are_tried_again(
    client: SiglipClient, database: Database, model_id: int
) -> None:
    mine = client.enqueue_images(["https://example.org/1.jpg"], progress=False)
    client.enqueue_images(["https://example.org/2.jpg"], progress=False)
    with database.connection() as connection:
        chunk = claim(connection, model_id)
        failed = [failure(item, "not_found", "It has gone.") for item in chunk.items]
        close_claim(connection, model_id, chunk.lease_token, [], failed)
    again = client.retry_ingestion(mine.ingestion_id)
    assert (again.counts().queued, again.counts().failed) == (1, 0)
    assert [image.image_id for image in client.list_images(state="failed")] == [2]
    with pytest.raises(NotFoundError):
        client.retry_ingestion(999)


def test_a_text_is_searched_under_any_model(client: SiglipClient, database: Database, image_ids: list[int]) -> None:
    client.search_images("boat")  # its vector is in the cache now
    found = client.search_with_model(client.model.model_id, "boat", limit=3, collection="default")
    assert found == client.search_images("boat", limit=3, collection="default")
    with pytest.raises(NotFoundError):
        client.search_with_model("nothing", "boat")
    with pytest.raises(InvalidInputError):
        client.search_with_model(client.model.model_id, " ")


class TestLabels:
    @pytest.fixture(autouse=True)
    def _label_set(self, client: SiglipClient, image_ids: list[int]) -> None:
        client.create_label_set("scenes", ["sunset", "night"])

    def test_an_image_has_scores_and_marks_of_every_label(self, client: SiglipClient, database: Database) -> None:
        client.mark_images("scenes", "night", negatives=[1])
        found = {label.label: label for label in reviewing.list_image_labels(database, 1)}
        expected = dict(client.label_scores(1, "scenes"))
        assert {name: label.score for name, label in found.items()} == pytest.approx(expected)
        assert (found["sunset"].mark, found["night"].mark) == (None, False)

    def test_a_histogram_counts_every_image_once(self, client: SiglipClient, database: Database) -> None:
        found = reviewing.count_by_score(database, "scenes", "sunset", bins=24)
        scores = [dict(client.label_scores(n, "scenes"))["sunset"] for n in range(1, 16)]
        assert found.counts == np.histogram(scores, bins=found.edges)[0].tolist()
        assert found.accepted == sum(score >= 0.5 for score in scores)
        assert sum(reviewing.count_by_score(database, "scenes", "sunset", collection="other").counts) == 5

    def test_images_come_nearest_to_a_score_first(self, client: SiglipClient, database: Database) -> None:
        found = reviewing.list_scored_images(database, "scenes", "sunset", near=0.2, limit=4)
        distances = [abs(image.calibrated_score - 0.2) for image in found]
        assert len(found) == 4
        assert distances == sorted(distances)
        best = reviewing.list_scored_images(database, "scenes", "sunset", min_score=0.1)
        assert [image.similarity for image in best] == sorted((image.similarity for image in best), reverse=True)
        assert all(image.calibrated_score >= 0.1 for image in best)

    def test_a_threshold_that_is_set_counts(self, client: SiglipClient, database: Database) -> None:
        assert reviewing.get_threshold(database, "scenes", "sunset") == 0.5
        client.set_threshold("scenes", "sunset", 0.01)
        histogram = reviewing.count_by_score(database, "scenes", "sunset")
        assert histogram.threshold == pytest.approx(0.01)
        everything = reviewing.list_scored_images(database, "scenes", "sunset")
        assert histogram.accepted == sum(image.is_accepted for image in everything)

    def test_an_unknown_label_is_not_found(self, database: Database) -> None:
        with pytest.raises(NotFoundError):
            reviewing.count_by_score(database, "scenes", "rain")
        with pytest.raises(InvalidInputError, match="bins"):
            reviewing.count_by_score(database, "scenes", "sunset", bins=1)


def test_a_query_is_embedded_as_searches_embed_it(client: SiglipClient, image_ids: list[int]) -> None:
    model_id, vector = client.embed_query("boat")
    assert model_id == client.model.model_id
    np.testing.assert_allclose(vector, text_vector("boat"), atol=1e-3)
    assert [m.image_id for m in client.search_images(vector)] == [m.image_id for m in client.search_images("boat")]
