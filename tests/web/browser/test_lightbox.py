"""One image, large."""

from __future__ import annotations

import re

import pytest

pytest.importorskip("playwright")

from playwright.sync_api import expect

from tests.web.browser.gallery import DRAWN, Gallery

pytestmark = pytest.mark.browser

MAP = {
    "rows": 2,
    "columns": 3,
    "values": [[0.0, 0.2, 0.4], [0.1, 0.9, 1.0]],
    "peak": {"x": 0.8, "y": 0.7},
    "similarity": 0.2,
    "score": 0.9,
}


def test_a_click_opens_an_image_and_back_closes_it(gallery: Gallery) -> None:
    gallery.open(f"{DRAWN}&q=boat")
    name = gallery.names()[1]
    gallery.tile(1).click()
    expect(gallery.lightbox).to_contain_text(name)
    expect(gallery.lightbox).to_contain_text("2 of 60")
    assert "image=" in gallery.query()
    gallery.page.go_back()
    expect(gallery.lightbox).to_have_count(0)
    gallery.page.go_forward()
    expect(gallery.lightbox).to_contain_text(name)
    gallery.page.get_by_role("button", name="Close (Escape)").click()
    expect(gallery.lightbox).to_have_count(0)
    assert "image=" not in gallery.query()


def test_left_and_right_go_through_the_results(gallery: Gallery) -> None:
    gallery.open(f"{DRAWN}&q=boat")
    names = gallery.names()
    gallery.tile(0).click()
    expect(gallery.page.get_by_role("button", name="Image before")).to_have_count(0)
    gallery.page.keyboard.press("ArrowRight")
    expect(gallery.lightbox).to_contain_text(names[1])
    gallery.page.get_by_role("button", name="Next image").click()
    expect(gallery.lightbox).to_contain_text(names[2])
    gallery.page.keyboard.press("ArrowLeft")
    expect(gallery.lightbox).to_contain_text(names[1])
    gallery.page.keyboard.press("Escape")
    expect(gallery.lightbox).to_have_count(0)


def test_the_focus_stays_in_an_open_image(gallery: Gallery) -> None:
    gallery.open(f"{DRAWN}&q=boat")
    gallery.tile(0).click()
    for _ in range(20):
        gallery.page.keyboard.press("Tab")
        is_inside = "() => document.activeElement === document.body || !!document.activeElement.closest('dialog')"
        assert gallery.page.evaluate(is_inside)


def test_a_link_to_an_image_that_is_no_result_opens_it(gallery: Gallery) -> None:
    image = gallery.world.client.search_images("boat", limit=1, collection="many")[0]
    gallery.open(f"{DRAWN}&q=boat&image={image.image_id}")
    expect(gallery.lightbox).to_contain_text(image.uri.rsplit("/", 1)[-1])
    gallery.page.keyboard.press("Escape")
    expect(gallery.tiles.first).to_be_visible()


def test_facts_metadata_and_labels_stand_beside_it(gallery: Gallery) -> None:
    night = {
        "label_set": "skies",
        "label": "night sky",
        "score": 0.9,
        "calibrated_score": 0.83,
        "is_accepted": True,
        "mark": True,
    }
    other = {
        "label_set": "skies",
        "label": "storm",
        "score": 0.01,
        "calibrated_score": 0.01,
        "is_accepted": False,
        "mark": None,
    }
    gallery.answer("**/v1/images/*/labels", [other, night])
    gallery.open(f"{DRAWN}&q=sunset over water")
    gallery.tile(0).click()
    facts = gallery.page.get_by_role("region", name="About this image")
    expect(facts).to_contain_text("240 × 180")
    expect(facts.locator(".scores li")).to_have_text([re.compile("night sky ✓.*0.83"), re.compile("storm.*0.010")])
    asked = gallery.search(facts.get_by_role("button", name="sunset").click)
    assert asked["filter"] == {"sky": "sunset"}
    expect(gallery.lightbox).to_have_count(0)


def test_the_original_can_be_downloaded(gallery: Gallery) -> None:
    gallery.open(f"{DRAWN}&q=sunset over water")
    gallery.tile(0).click()
    with gallery.page.expect_download() as download:
        gallery.page.get_by_role("link", name="Download the original").click()
    assert download.value.suggested_filename in gallery.names()
    content = download.value.path().read_bytes()
    assert content == (gallery.world.folder / "images" / download.value.suggested_filename).read_bytes()


def test_where_the_text_matches_is_drawn_over_the_image(gallery: Gallery) -> None:
    gallery.expected.append("willReadFrequently")  # it is the test that reads
    gallery.answer("**/v1/images/*/location?*", MAP)
    gallery.open(f"{DRAWN}&q=boat")
    gallery.tile(0).click()
    with gallery.page.expect_request("**/location?text=boat"):
        gallery.page.get_by_role("button", name="Where it matches").click()
    heat = gallery.page.get_by_role("img", name="Where “boat” matches")
    expect(heat).to_be_visible()
    first, last = heat.evaluate(
        "canvas => [[0, 0], [2, 1]].map(at => [...canvas.getContext('2d').getImageData(...at, 1, 1).data])"
    )
    assert sum(first[:3]) < 60 < 500 < sum(last[:3])
    assert first[3] < last[3]
    gallery.page.keyboard.press("h")
    expect(heat).to_have_count(0)


def test_a_server_that_can_not_locate_shows_no_switch(gallery: Gallery) -> None:
    gallery.answer("**/v1/images/*/location?*", {"status": 404, "detail": "There is nothing here."}, status=404)
    gallery.open(f"{DRAWN}&q=boat")
    gallery.tile(0).click()
    gallery.page.keyboard.press("h")
    expect(gallery.page.get_by_role("button", name="Where it matches")).to_have_count(0)
