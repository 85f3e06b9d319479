"""What a client takes as a query: words, addresses, paths, bytes and PIL images; and what it says of the unclear."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from PIL import Image

from siglip_ingest import ImageError, InvalidInputError, Settings, SiglipClient
from siglip_ingest.db import Database
from tests.database.helpers import FakeEmbedder, index_images, unit_vectors
from tests.images import make_image


class Recorder(FakeEmbedder):
    """Remembers what it embedded."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.sizes: list[tuple[int, int]] = []

    def embed_texts(self, texts: list[str]):  # type: ignore[no-untyped-def, override]
        self.texts += texts
        return super().embed_texts(texts)

    def embed_images(self, images: list[Image.Image]):  # type: ignore[no-untyped-def, override]
        self.sizes += [image.size for image in images]
        return super().embed_images(images)


@pytest.fixture
def embedder() -> Recorder:
    return Recorder()


@pytest.fixture
def client(database: Database, database_url: str, model_id: int, embedder: Recorder) -> Iterator[SiglipClient]:
    index_images(database, model_id, unit_vectors(30))
    settings = Settings(database_url=database_url, allowed_hosts=frozenset({"127.0.0.1"}))
    with SiglipClient(settings=settings, embedder=embedder) as opened:
        opened.create_label_set("scenes", ["sunset", "night"])
        embedder.texts.clear()
        yield opened


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with an image in it."""
    make_image(60, 40).save(tmp_path / "query.jpg")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def address(folder: Path) -> Iterator[str]:
    """Where a web server has the image."""

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/query.jpg"
        server.shutdown()
        thread.join()


def test_a_text_that_is_called_as_a_file_is_searched_for_with_a_warning(
    client: SiglipClient, embedder: Recorder, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "siglip_ingest"):
        client.search_images("other.jpg")
        assert caplog.text == ""
        client.search_images("query.jpg")
    assert embedder.texts == ["other.jpg", "query.jpg"]
    assert embedder.sizes == []
    assert "searched for as words. There is a file of that name: Path('query.jpg') stands for it" in caplog.text


def test_a_path_is_a_file(client: SiglipClient, embedder: Recorder, folder: Path) -> None:
    assert client.search_images(Path("query.jpg"), limit=3)
    assert client.label_scores(Path("query.jpg"), "scenes")
    assert (embedder.texts, embedder.sizes) == ([], [(60, 40), (60, 40)])


def test_an_address_is_an_image(client: SiglipClient, embedder: Recorder, address: str) -> None:
    assert client.search_images(address, limit=3)
    assert client.label_scores(f" {address} ", "scenes")
    assert (embedder.texts, embedder.sizes) == ([], [(60, 40), (60, 40)])


def test_words_around_an_address_are_words(client: SiglipClient, embedder: Recorder, address: str) -> None:
    client.search_images(f"{address} at night")
    assert (embedder.texts, embedder.sizes) == ([f"{address} at night"], [])


def test_an_address_inside_the_network_is_refused(client: SiglipClient) -> None:
    with pytest.raises(ImageError) as caught:
        client.search_images("http://10.0.0.1/query.jpg")
    assert caught.value.code == "not_allowed"


def test_labels_of_words_are_refused_with_the_way_to_name_a_file(client: SiglipClient, folder: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"'query\.jpg' is a text.* Path\('query\.jpg'\) stands for it"):
        client.label_scores("query.jpg", "scenes")
    with pytest.raises(InvalidInputError, match=r"'a sunset' is a text.* indexed image\.$"):
        client.label_scores("a sunset", "scenes")


@pytest.mark.parametrize("text", ["x" * 5000, "sunset over water " * 400], ids=["one long word", "long"])
def test_a_long_text_is_not_looked_for_among_the_files(client: SiglipClient, text: str) -> None:
    assert client.search_images(text, limit=1)
