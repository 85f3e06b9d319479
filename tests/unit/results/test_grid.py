"""What a notebook shows."""

from __future__ import annotations

import base64
import io
import re
import threading
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest
from PIL import Image

from siglip_ingest.errors import ConfigurationError, DatabaseUnavailableError, ImageError
from siglip_ingest.results import ImageResults, thumbnails
from siglip_ingest.types import ImageMatch
from tests.images import encode, rotated
from tests.unit.results.rows import ROWS, SCORES, matches, results_of


class Page(HTMLParser):
    """Collects texts and attributes; every element that is opened must be closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self._open: list[str] = []
        self.feed(html)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag != "img":
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts += [data.strip()] if data.strip() else []


def images_in(html: str) -> list[Image.Image]:
    found = re.findall(r'src="data:image/webp;base64,([^"]+)"', html)
    return [Image.open(io.BytesIO(base64.b64decode(data))) for data in found]


def test_a_card_has_the_image_the_score_the_id_and_the_name() -> None:
    html = results_of("matches")._repr_html_()
    page = Page(html)
    assert page.texts == ["0.873", "#7 a b.jpg"]
    assert [image.size for image in images_in(html)] == [(40, 30)]
    (details,) = [value for tag, name, value in page.attributes if (tag, name) == ("div", "title")]
    assert details.splitlines() == ["/photos/a b.jpg", "similarity: 0.250", "score: 0.873", "metadata: album <2026>"]


@pytest.mark.parametrize(
    ("kind", "value"),
    [("labels", "0.500"), ("labeled", "marked"), ("representatives", "for 12")],
)
def test_what_orders_the_results_stands_out(kind: str, value: str) -> None:
    assert Page(results_of(kind)._repr_html_()).texts[0] == value


def test_without_scores_the_similarity_is_shown() -> None:
    row = ImageMatch(1, "sha256:0123456789abcdef", 0.25, float("nan"))
    assert Page(ImageResults([row], ImageMatch)._repr_html_()).texts == ["no client", "0.250", "#1 sha256:01234567…"]


def test_names_and_metadata_can_put_nothing_into_the_page() -> None:
    row = ImageMatch(1, "https://me:secret@example.com/<script>x</script>\"'.jpg?token=1", 0.5, 0.5, {"a": '"><b>'})
    html = ImageResults([row], ImageMatch, lambda *_: encode(Image.new("RGB", (9, 9)), "PNG"))._repr_html_()
    page = Page(html)
    assert {tag for tag, _, _ in page.attributes} == {"div", "img"}
    assert {name for _, name, _ in page.attributes} == {"style", "title", "src", "alt"}
    assert "secret" not in html
    assert "token" not in html


def test_nothing_outside_is_loaded_and_no_style_leaves_the_grid() -> None:
    html = matches(3)._repr_html_()
    assert "<style" not in html
    assert "<script" not in html
    assert re.findall(r"(?:https?:|url\(|@import)", html) == []
    # Themes are light or dark: no colour but half transparent greys.
    assert set(re.findall(r"(?:#[0-9a-f]{3,6}\b(?= *[;\"])|rgba?\([^)]*\))", html)) <= {
        "rgba(128,128,128,.3)",
        "rgba(128,128,128,.12)",
    }


def test_fifty_images_are_shown_and_the_rest_is_counted() -> None:
    html = matches(200)._repr_html_()
    assert len(images_in(html)) == 50
    assert Page(html).texts[-1] == "and 150 more"
    assert "more" not in Page(matches(50)._repr_html_()).texts[-1]


def test_fifty_large_images_take_less_than_a_megabyte() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (600, 800, 3), np.uint8)
    jpeg = encode(Image.fromarray(noise), "JPEG")  # nothing compresses worse
    html = matches(50, lambda *_: jpeg)._repr_html_()
    assert max(images_in(html)[0].size) <= 224
    assert len(html) < 1_000_000
    assert len(jpeg) * 50 > 10_000_000


def test_long_metadata_and_addresses_that_are_none_are_cut_and_shown() -> None:
    rows = [ImageMatch(n, "http://[" + "x" * 10_000, 0.5, 0.5, {"text": "y" * 100_000}) for n in range(50)]
    html = ImageResults(rows, ImageMatch)._repr_html_()
    assert "http://[xxx" in html
    assert len(html) < 200_000


def test_an_image_on_its_side_is_shown_upright() -> None:
    (image,) = images_in(matches(1, lambda *_: rotated(6))._repr_html_())
    assert image.size == (40, 60)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ImageError("It is gone.", code="not_found"), "not found"),
        (ConfigurationError("httpx isn't installed."), "not installed"),
        (DatabaseUnavailableError("It is down."), "no database"),
    ],
    ids=["not found", "not installed", "no database"],
)
def test_an_image_that_cannot_be_read_shows_its_reason(error: Exception, reason: str) -> None:
    def read(image_id: int, *_: Any) -> bytes:
        if image_id == 1:
            raise error
        return encode(Image.new("RGB", (9, 9)), "PNG")

    html = matches(3, read)._repr_html_()
    assert len(images_in(html)) == 2
    assert reason in Page(html).texts
    assert str(error).replace("'", "&#x27;") in html


def test_bytes_that_are_no_image_show_their_reason() -> None:
    assert "not an image" in Page(matches(1, lambda *_: b"GIF")._repr_html_()).texts


@pytest.fixture
def hanging() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


def test_images_that_take_too_long_are_not_waited_for(
    hanging: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = []

    def read(image_id: int, _: str, timeout_s: float) -> bytes:
        seconds.append(timeout_s)
        if image_id:
            hanging.wait()
        return encode(Image.new("RGB", (9, 9)), "PNG")

    monkeypatch.setattr(thumbnails, "TIMEOUT_S", 0.5)
    html = matches(30, read)._repr_html_()
    assert len(images_in(html)) == 1
    assert Page(html).texts.count("took too long") == 29
    assert all(0 < each <= 0.5 for each in seconds)
    assert all(thread.daemon for thread in threading.enumerate() if thread.name == "siglip-thumbnails")


def test_no_images_are_said_to_be_none() -> None:
    assert Page(matches(0)._repr_html_()).texts == ["No images."]


def test_rows_without_images_are_a_table() -> None:
    assert Page(SCORES._repr_html_()).texts == ["label", "score", "sunset", "0.750", "<sea>", "0.250"]


def test_every_kind_of_row_is_shown() -> None:
    for kind in ROWS:
        assert len(images_in(results_of(kind)._repr_html_())) == 1
