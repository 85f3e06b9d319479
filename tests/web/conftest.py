"""A web API on a database of its own: the demo model in this process, and drawn images that are indexed with it.

What is here stays as it is, for all tests of a session: a test that changes images adds its own, in its own collection.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from siglip_ingest.client import SiglipClient
from siglip_ingest.db import Database, images
from siglip_ingest.embedders.local import load_embedder
from siglip_ingest.settings import Settings
from siglip_ingest.siglip.preprocess.opening import open_image
from siglip_ingest.types import Embedder
from tests.conftest import Services, clone_database
from tests.database.helpers import add_model, claim, complete, completed

pytest.importorskip("fastapi", reason="the extra `web` isn't installed")

from starlette.testclient import TestClient

from siglip_ingest.demo.world import write_images
from siglip_ingest.web.app import create_app

IMAGES = 24
COLLECTION = "drawn"


@dataclass
class Web:
    """A database with a model and images, and what makes applications on it."""

    settings: Settings
    folder: Path
    embedder: Embedder
    model_id: int = 0
    image_ids: list[int] = field(default_factory=list)

    @contextmanager
    def client(self, embedder: Any = None, **settings: Any) -> Iterator[SiglipClient]:
        changed = dataclasses.replace(self.settings, **settings)
        with SiglipClient(settings=changed, embedder=embedder or self.embedder) as client:
            yield client

    @contextmanager
    def serve(
        self, *, needs_keys: bool = False, key: str | None = None, embedder: Any = None, **settings: Any
    ) -> Iterator[TestClient]:
        """An application with settings of its own, called in this process."""
        changed = dataclasses.replace(self.settings, **settings)
        client = SiglipClient(settings=changed, embedder=embedder or self.embedder)
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        with TestClient(create_app(client, needs_keys=needs_keys), headers=headers, base_url="http://localhost") as web:
            yield web

    def add_images(
        self, paths: Sequence[Path], *, collection: str, metadata: Sequence[dict[str, Any]] | None = None
    ) -> list[int]:
        """Index files as a worker does."""
        vectors = self.embedder.embed_images([open_image(path) for path in paths])
        rows = [
            images.ImageRow(
                collection=collection, uri=path.as_uri(), metadata={} if metadata is None else metadata[number]
            )
            for number, path in enumerate(paths)
        ]
        with self.database() as database, database.connection() as connection:
            image_ids = images.insert_images(connection, rows, self.model_id).image_ids
            chunk = claim(connection, self.model_id, 10_000)
            places = {image_id: place for place, image_id in enumerate(image_ids)}
            results = [completed(item, vectors[places[item.image_id]]) for item in chunk.items]
            assert complete(connection, self.model_id, chunk.lease_token, results) == len(paths)
        return image_ids

    @contextmanager
    def database(self) -> Iterator[Database]:
        assert self.settings.database_url is not None
        with Database(self.settings.database_url) as database:
            yield database


@contextmanager
def make_web(services: Services, template: str, folder: Path, embedder: Embedder, count: int) -> Iterator[Web]:
    write_images(folder / "images", count, seed=81_000, size=(200, 150))
    with clone_database(services, template) as url:
        settings = Settings(
            database_url=url, home=folder / "home", model="demo", device="cpu", dtype="float32", allowed_roots=(folder,)
        )
        made = Web(settings, folder, embedder)
        with made.database() as database, database.connection() as connection:
            made.model_id = add_model(connection, embedder.info)
        paths = sorted((folder / "images").iterdir())
        metadata = [{"number": number, "taken_at": f"2026-01-{number + 1:02}T12:00:00"} for number in range(count)]
        made.image_ids = made.add_images(paths, collection=COLLECTION, metadata=metadata)
        yield made


@pytest.fixture(scope="session")
def demo_embedder() -> Embedder:
    return load_embedder("demo", Settings(device="cpu", dtype="float32"))


@pytest.fixture(scope="session")
def web(
    services: Services, _template: str, demo_embedder: Embedder, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Web]:
    with make_web(services, _template, tmp_path_factory.mktemp("web"), demo_embedder, IMAGES) as made:
        yield made


@pytest.fixture(scope="module")
def own_web(
    services: Services, _template: str, demo_embedder: Embedder, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Web]:
    """One whose images a module's tests may change and delete."""
    with make_web(services, _template, tmp_path_factory.mktemp("own_web"), demo_embedder, 8) as made:
        yield made


@pytest.fixture(scope="session")
def api(web: Web) -> Iterator[TestClient]:
    """The application as it is on this machine: without keys."""
    with web.serve() as opened:
        yield opened


@pytest.fixture
def draw_images(web: Web, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., list[Path]]:
    """Draws files of a test's own, below the root that may be read."""

    def draw(count: int, *, seed: int) -> list[Path]:
        folder = Path(web.folder / f"own-{seed}")
        write_images(folder, count, seed=seed, size=(120, 90))
        return sorted(folder.iterdir())

    return draw
