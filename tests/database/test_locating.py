"""Where in an image a text matched: what a client takes, where it finds images, and what it says of the unclear."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import siglip_ingest
from siglip_ingest import ConfigurationError, ImageError, InvalidInputError, Location, NotFoundError, SiglipClient
from siglip_ingest.db import Database, images, models
from siglip_ingest.demo.world import EVALUATION_SEED, Scene, render_scene
from siglip_ingest.image_files import read_image_file
from siglip_ingest.settings import Settings
from tests.database.helpers import FakeEmbedder, add_model
from tests.images import encode, rotated

pytest.importorskip("torch")

from siglip_ingest.siglip.embedder import TorchEmbedder


@pytest.fixture(scope="module")
def embedder(demo_checkpoint: Path) -> TorchEmbedder:
    return TorchEmbedder.from_checkpoint(demo_checkpoint, name="demo", device="cpu", dtype="float32")


@pytest.fixture(scope="module")
def scene() -> Scene:
    scenes = (render_scene(EVALUATION_SEED + number) for number in range(100))
    return next(s for s in scenes if s.description.thing and s.description.flyer and s.description.flyer.colour)


@pytest.fixture
def client(database_url: str, database: Database, embedder: TorchEmbedder) -> Iterator[SiglipClient]:
    with database.connection() as connection:
        add_model(connection, embedder.info)
    with SiglipClient(database_url=database_url, embedder=embedder) as client:
        yield client


def store(client: SiglipClient, uri: str, content: bytes | None = None) -> int:
    """Store an image that nobody has embedded yet; returns its id."""
    row = images.ImageRow(collection="default", uri=uri, content=content)
    with client.database.connection() as connection:
        (image_id,) = images.insert_images(connection, [row], client.model.model_id).image_ids
    return image_id


def is_at(location: Location, box: tuple[float, float, float, float]) -> bool:
    (x, y), (left, top, right, bottom) = location.peak, box
    return left <= x <= right and top <= y <= bottom


def test_each_thing_of_a_scene_is_found_where_it_was_drawn(client: SiglipClient, scene: Scene) -> None:
    for role in ("thing", "flyer"):
        item = getattr(scene.description, role)
        location = client.locate(scene.image, f"a {item.colour} {item.kind}")
        assert is_at(location, scene.boxes[role])
        assert location.values.shape == (8, 8)
        assert (location.values.min(), location.values.max()) == (0, 1)
        assert location.score == pytest.approx(1 / (1 + np.exp(-_logit(client, location.similarity))))
        assert location.image.size == scene.image.size


def _logit(client: SiglipClient, similarity: float) -> float:
    info = client.model.info
    assert info is not None
    return float(np.exp(info.logit_scale) * similarity + info.logit_bias)


def test_an_image_is_named_in_every_way(client: SiglipClient, scene: Scene, tmp_path: Path) -> None:
    content = encode(scene.image, "PNG")
    path = tmp_path / "scene one.png"
    path.write_bytes(content)
    expected = client.locate(scene.image, "a boat")
    for image in (
        path,
        content,
        store(client, path.as_uri()),
        np.int64(store(client, "siglip-bytes:one", content)),
    ):
        found = client.locate(image, "a boat")  # type: ignore[arg-type]
        assert np.array_equal(found.values, expected.values)
        assert found.similarity == expected.similarity


def test_an_image_that_lies_on_its_side_is_looked_at_upright(client: SiglipClient) -> None:
    upright, turned = (client.locate(rotated(orientation), "a boat").image.size for orientation in (1, 6))
    assert turned == upright[::-1]


def test_what_is_no_image_and_no_text_is_refused(client: SiglipClient, scene: Scene, tmp_path: Path) -> None:
    (tmp_path / "gone.jpg").write_bytes(b"no image")
    gone = store(client, (tmp_path / "nothing.jpg").as_uri())
    with pytest.raises(InvalidInputError, match="is a text, and an image is asked for"):
        client.locate("photo.jpg", "a boat")
    with pytest.raises(InvalidInputError, match="The query is empty"):
        client.locate(scene.image, " ")
    with pytest.raises(InvalidInputError, match="leaves nothing of the text"):
        client.locate(scene.image, "...")
    with pytest.raises(NotFoundError, match="There is no image 4711"):
        client.locate(4711, "a boat")
    with pytest.raises(ImageError) as not_found:
        client.locate(gone, "a boat")
    assert not_found.value.code == "not_found"
    with pytest.raises(ImageError):
        client.locate(tmp_path / "gone.jpg", "a boat")


def test_stored_images_are_read_under_the_settings(client: SiglipClient, tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(b"some bytes")
    by_path, by_bytes = store(client, path.as_uri()), store(client, "siglip-bytes:two", b"other bytes")
    assert read_image_file(client.database, by_path, Settings()) == b"some bytes"
    assert read_image_file(client.database, by_bytes, Settings()) == b"other bytes"
    for image_id in (by_path, by_bytes):
        with pytest.raises(ImageError) as too_large:
            read_image_file(client.database, image_id, Settings(max_image_bytes=5))
        assert too_large.value.code == "too_large"
    with pytest.raises(ImageError) as refused:
        read_image_file(client.database, by_path, Settings(allowed_roots=()))
    assert refused.value.code == "not_allowed"


def test_an_embedder_that_can_not_locate_says_so(database_url: str, model_id: int, scene: Scene) -> None:
    with (
        SiglipClient(database_url=database_url, embedder=FakeEmbedder()) as client,
        pytest.raises(ConfigurationError, match=r"a FakeEmbedder, can't say where a text matches"),
    ):
        client.locate(scene.image, "a boat")


def test_another_model_than_the_active_one_is_refused(
    database_url: str, model_id: int, embedder: TorchEmbedder, scene: Scene
) -> None:
    with (
        SiglipClient(database_url=database_url, embedder=embedder) as client,
        pytest.raises(ConfigurationError, match="The embedder's model is 'demo'"),
    ):
        client.locate(scene.image, "a boat")


def test_vectors_that_were_imported_have_no_model_to_ask(
    database_url: str, database: Database, embedder: TorchEmbedder, scene: Scene
) -> None:
    def add(connection: siglip_ingest.db.Connection) -> None:
        models.lock_models(connection)
        models.register_external_model(connection, "theirs", 16, 2.0, -2.0)

    database.transact(add)
    with (
        SiglipClient(database_url=database_url, embedder=embedder) as client,
        pytest.raises(InvalidInputError, match="it is external, its vectors are imported"),
    ):
        client.locate(scene.image, "a boat")


def test_without_torch_and_without_a_worker_the_error_says_what_to_do(
    database_url: str, model_id: int, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("siglip_ingest.embedders.choose.has_torch", lambda: False)
    with (
        SiglipClient(database_url=database_url) as client,
        pytest.raises(ConfigurationError, match=r"torch isn't installed here .* Set SIGLIP_BROKER_URL, or pip install"),
    ):
        client.locate(scene.image, "a boat")
