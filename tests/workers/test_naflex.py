"""A worker with a NaFlex checkpoint: images of every shape, from the file to the search."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from siglip_ingest import SiglipClient
from siglip_ingest.db import Database
from siglip_ingest.db.models import get_active_model
from siglip_ingest.embedders.remote import RemoteEmbedder
from siglip_ingest.errors import ConfigurationError
from siglip_ingest.ingest import enqueue_images
from siglip_ingest.settings import Settings
from siglip_workers.runtime import enter_model
from tests.images import make_image
from tests.workers.helpers import (
    WorkerProcess,
    fetch_all,
    load_tiny_embedder,
    register_checkpoint,
    write_image,
    write_images,
)

StartWorker = Callable[..., WorkerProcess]

SHAPES = [(60, 40), (40, 60), (300, 30), (30, 300), (64, 64), (4, 1500), (8, 8), (121, 77), (1600, 900)]
STORED = "SELECT embedding::real[] FROM siglip.images JOIN siglip.image_embeddings USING (content_id) ORDER BY uri"
SETTINGS = "SELECT image_settings->'patch_size', image_settings->'max_num_patches' FROM siglip.models"


def write_mixed_images(folder: Path) -> list[Path]:
    """Write images of all shapes, several times over, in an order that mixes them in every batch."""
    folder.mkdir()
    sizes = [SHAPES[index % len(SHAPES)] for index in range(3 * len(SHAPES))]
    return [write_image(folder / f"{seed:04}.png", seed, size=size) for seed, size in enumerate(sizes)]


def test_images_of_all_shapes_are_embedded_and_found(
    tmp_path: Path, database: Database, database_url: str, start_worker: StartWorker, naflex_checkpoint: Path
) -> None:
    paths = write_mixed_images(tmp_path / "photos")
    model_id = register_checkpoint(database, naflex_checkpoint)
    ingestion = enqueue_images(database, paths, model_id=model_id)
    start_worker(model=None)
    assert ingestion.wait(timeout_s=60).done == len(paths), ingestion.failures()
    assert fetch_all(database, SETTINGS) == [(8, 16)]
    images = [Image.open(path).convert("RGB") for path in paths]
    expected = load_tiny_embedder(naflex_checkpoint).embed_images(images)
    stored = np.array([row[0] for row in fetch_all(database, STORED)])
    np.testing.assert_allclose(stored, expected, atol=1e-3)  # halfvec has 11 bits
    settings = Settings(database_url=database_url, home=tmp_path / "home", device="cpu")
    with SiglipClient(settings=settings) as client:  # embeds its queries in this process
        for path in paths[2:6]:
            (match, *_) = client.search_images(path, limit=1)
            assert match.uri.endswith(path.name)
            assert match.similarity == pytest.approx(1, abs=1e-3)


def test_a_remote_embedder_gives_the_vectors_of_a_local_one(
    database: Database, broker_url: str, start_worker: StartWorker, naflex_checkpoint: Path
) -> None:
    start_worker(model=naflex_checkpoint)
    with database.connection() as connection:
        active = get_active_model(connection)
    assert active is not None
    local, remote = load_tiny_embedder(naflex_checkpoint), RemoteEmbedder(active, database, broker_url=broker_url)
    assert remote.info == local.info
    images = [make_image(width, height, seed=seed) for seed, (width, height) in enumerate(SHAPES)]
    np.testing.assert_allclose(remote.embed_images(images), local.embed_images(images), atol=1e-5)
    np.testing.assert_allclose(remote.embed_texts(["A Cat"]), local.embed_texts(["a cat"]), atol=1e-3)
    assert remote.embed_images([]).shape == (0, 32)


def test_vectors_of_different_numbers_of_patches_are_never_mixed(
    tmp_path: Path, database: Database, database_url: str, start_worker: StartWorker, naflex_checkpoint: Path
) -> None:
    model_id = enter_model(database, load_tiny_embedder(naflex_checkpoint, max_num_patches=40).info)
    assert fetch_all(database, SETTINGS) == [(8, 40)]
    with pytest.raises(ConfigurationError, match="made with max_num_patches 40, but here it is 20"):
        enter_model(database, load_tiny_embedder(naflex_checkpoint, max_num_patches=20).info)
    start_worker(model=naflex_checkpoint)  # without a setting, the database decides
    (path,) = write_images(tmp_path / "photos", 1, size=(300, 30))
    assert enqueue_images(database, path, model_id=model_id).wait(timeout_s=30).done == 1
    image = Image.open(path).convert("RGB")
    expected = load_tiny_embedder(naflex_checkpoint, max_num_patches=40).embed_images([image])
    np.testing.assert_allclose(np.array(fetch_all(database, STORED)[0][0]), expected[0], atol=1e-3)
    settings = Settings(database_url=database_url, home=tmp_path / "home", device="cpu")
    with SiglipClient(settings=settings) as client:
        assert client.search_images(image)[0].similarity == pytest.approx(1, abs=1e-3)
    settings = dataclasses.replace(settings, max_num_patches=20)
    with (
        SiglipClient(settings=settings) as client,
        pytest.raises(ConfigurationError, match=r"asks for 20, but .* are made with 40"),
    ):
        client.search_images(image)
