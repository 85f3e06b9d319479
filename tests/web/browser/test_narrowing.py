"""Filters, the cut-off, order, and near-duplicates in one tile."""

from __future__ import annotations

import re

import pytest

pytest.importorskip("playwright")

from playwright.sync_api import expect

from tests.web.browser.gallery import DRAWN, Gallery

pytestmark = pytest.mark.browser

SKIES = [{"name": "skies", "template": "{}", "is_kept": False, "labels": [{"label": "night sky"}, {"label": "sunset"}]}]


def test_metadata_seen_in_results_become_filters(gallery: Gallery) -> None:
    gallery.open()
    gallery.tiles.first.wait_for()
    gallery.page.get_by_role("button", name="Filters").click()
    asked = gallery.search(gallery.page.get_by_role("button", name="night sky", exact=True).click)
    assert asked["filter"] == {"sky": "night sky"}
    expect(gallery.page.locator(".summary")).to_have_text(re.compile(r"^\d images"))
    asked = gallery.search(gallery.page.get_by_role("button", name="Remove the filter sky: night sky").click)
    assert "filter" not in asked


def test_any_key_and_value_can_be_a_filter(gallery: Gallery) -> None:
    gallery.open()
    gallery.tiles.first.wait_for()
    gallery.page.get_by_role("button", name="Filters").click()
    gallery.page.get_by_role("combobox", name="Key").fill("family")
    gallery.page.get_by_role("combobox", name="Value").fill("shapes")
    asked = gallery.search(lambda: gallery.page.get_by_role("combobox", name="Value").press("Enter"))
    assert asked["filter"] == {"family": "shapes"}


def test_a_collection_can_be_chosen(gallery: Gallery) -> None:
    gallery.expected.append("status of 422")  # the thumbnail of what is no image
    gallery.open("")
    gallery.tiles.first.wait_for()
    asked = gallery.search(lambda: gallery.page.get_by_label("Collection").select_option("many"))
    assert asked["collection"] == "many"
    expect(gallery.page.locator(".summary")).to_have_text("180 images")


def test_labels_filter_with_a_slider(gallery: Gallery) -> None:
    gallery.answer("**/v1/labels", SKIES)
    gallery.open()
    gallery.tiles.first.wait_for()
    gallery.page.get_by_role("button", name="Filters").click()
    night = gallery.page.get_by_role("group", name="skies").get_by_role("button", name="night sky")
    asked = gallery.search(night.click)
    assert asked["labels"] == [{"label_set": "skies", "label": "night sky", "min_score": None}]
    slider = gallery.page.get_by_role("slider", name="Least score of night sky")
    slider.focus()
    asked = gallery.search(lambda: [slider.press("ArrowRight"), slider.press("ArrowRight")])
    asked = gallery.last_search(lambda asked: asked["labels"][0]["min_score"] == 0.02)
    assert "label=skies:night%20sky:0.02" in gallery.query()


def test_only_relevant_images_then_by_date(gallery: Gallery) -> None:
    gallery.open(f"{DRAWN}&q=sunset over water")
    gallery.tiles.first.wait_for()
    cut = gallery.page.get_by_role("slider", name="Only relevant")
    gallery.search(lambda: cut.fill("75"))
    asked = gallery.search(lambda: gallery.page.get_by_label("Order").select_option("newest"))
    assert (asked["min_score"], asked["sort"]) == (0.1, "newest")
    expect(cut).to_have_attribute("aria-valuetext", "≥ 0.10")
    relevant = gallery.world.client.search_images("sunset over water", collection="drawn", min_score=0.1, limit=60)
    assert 0 < len(relevant) < 60
    expect(gallery.page.locator(".summary")).to_have_text(re.compile(rf"^{len(relevant)} images?\b"))
    assert all(float(score) >= 0.1 for score in gallery.page.locator(".tile-score").all_text_contents())
    gallery.page.reload()
    expect(cut).to_have_value("75")


def test_no_result_offers_to_loosen_the_cut_off(gallery: Gallery) -> None:
    gallery.open(f"{DRAWN}&q=nothing of the kind&min=1")
    expect(gallery.page.get_by_role("heading", name="Nothing is that relevant")).to_be_visible()
    gallery.page.get_by_role("button", name="Show all").click()
    gallery.tiles.first.wait_for()
    assert "min" not in gallery.query()


def test_no_result_offers_to_remove_the_filters(gallery: Gallery) -> None:
    gallery.expected.append("status of 422")  # the thumbnail of what is no image
    gallery.open(f"{DRAWN}&filter=%7B%22sky%22:%22none%22%7D")
    gallery.page.get_by_role("button", name="Remove the filters").click()
    gallery.tiles.first.wait_for()
    assert gallery.query() == ""


def test_near_duplicates_are_one_tile_that_unfolds(gallery: Gallery) -> None:
    gallery.open("collection=many&q=sunset over water")
    gallery.tiles.first.wait_for()
    gallery.search(lambda: gallery.page.get_by_text("Fold near-duplicates").click())
    badge = gallery.tile(0).locator(".tile-badge")
    expect(badge).to_have_text(re.compile(r"\d"))
    count = int(badge.inner_text())
    assert count >= 3
    name = gallery.names()[0]
    assert gallery.names().count(name) == 1
    badge.click()
    expect(gallery.page.locator(".is-below")).to_have_count(count - 1)
    gallery.tile(0).press("u")
    expect(gallery.page.locator(".is-below")).to_have_count(0)
