"""The keyboard through all, and pages that neither move nor grow without end."""

from __future__ import annotations

import shutil

import pytest

pytest.importorskip("playwright")

from playwright.sync_api import expect

from tests.web.browser.gallery import DRAWN, Gallery

pytestmark = pytest.mark.browser


def focused(gallery: Gallery) -> int:
    return int(gallery.page.evaluate("document.activeElement.dataset.index ?? -1"))


def test_the_keyboard_goes_through_the_grid(gallery: Gallery) -> None:
    gallery.open()
    gallery.tiles.first.wait_for()
    keyboard = gallery.page.keyboard
    gallery.box.press("ArrowDown")
    assert focused(gallery) == 0
    keyboard.press("ArrowRight")
    assert focused(gallery) == 1
    keyboard.press("ArrowDown")
    below = focused(gallery)
    assert below > 2
    keyboard.press("ArrowUp")
    assert focused(gallery) == 1
    keyboard.press("Control+End")
    gallery.page.wait_for_function("() => document.activeElement.dataset.index === '59'")
    keyboard.press("Control+Home")
    gallery.page.wait_for_function("() => document.activeElement.dataset.index === '0'")
    assert gallery.page.locator('.tile[tabindex="0"]').count() == 1
    keyboard.press("x")
    keyboard.press("Shift+ArrowRight")
    keyboard.press("Shift+ArrowRight")
    assert gallery.selected() == [0, 1, 2]
    keyboard.press("Escape")
    keyboard.press("/")
    expect(gallery.box).to_be_focused()


def test_keys_open_and_search_for_more(gallery: Gallery) -> None:
    gallery.open(f"{DRAWN}&q=boat")
    gallery.tiles.first.wait_for()
    gallery.box.press("ArrowDown")
    gallery.page.keyboard.press("ArrowRight")
    gallery.page.keyboard.press("Enter")
    expect(gallery.lightbox).to_be_visible()
    gallery.page.keyboard.press("ArrowRight")
    gallery.page.keyboard.press("Escape")
    expect(gallery.lightbox).to_have_count(0)
    gallery.page.wait_for_function("() => document.activeElement.dataset.index === '2'")
    asked = gallery.search(lambda: gallery.page.keyboard.press("m"))
    assert "image_id" in asked


def test_a_question_mark_shows_the_keys(gallery: Gallery) -> None:
    gallery.open()
    gallery.tiles.first.wait_for()
    gallery.tile(0).press("?")
    expect(gallery.page.get_by_role("dialog", name="Keys")).to_be_visible()
    gallery.page.keyboard.press("Escape")
    expect(gallery.page.get_by_role("dialog")).to_have_count(0)


def test_scrolling_loads_more_and_keeps_the_document_small(gallery: Gallery) -> None:
    gallery.open("collection=many")
    seen: set[int] = set()
    gallery.tiles.first.wait_for()
    most = 0
    for _ in range(60):
        seen |= {
            int(tile) for tile in gallery.page.eval_on_selector_all(".tile", "all => all.map(t => t.dataset.index)")
        }
        most = max(most, gallery.tiles.count())
        if max(seen) == 179:
            break
        gallery.page.mouse.wheel(0, 500)
        gallery.page.wait_for_timeout(60)
    assert seen == set(range(180))
    assert most < 90


def test_pages_stay_stable_while_images_are_added(gallery: Gallery) -> None:
    world = gallery.world
    gallery.open("collection=many")
    gallery.tiles.first.wait_for()
    late = shutil.copytree(world.folder / "images", world.folder / "late")
    ingestion = world.client.enqueue_images(sorted(late.iterdir())[:20], collection="many")
    try:
        ids: list[int] = []
        while len(ids) < 180:
            before = gallery.page.evaluate("document.documentElement.scrollHeight")
            with gallery.page.expect_response("**/v1/search") as answered:
                gallery.page.evaluate("scrollTo(0, document.documentElement.scrollHeight)")
            body = answered.value.json()
            ids += [match["image_id"] for match in body["matches"]]
            if body["next_cursor"] is None:
                break
            gallery.page.wait_for_function("before => document.documentElement.scrollHeight > before", arg=before)
        assert len(ids) == len(set(ids))
    finally:
        ingestion.wait()
        found = world.client.search_images("boat", limit=300, collection="many")
        world.client.delete_images([match.image_id for match in found if "/late/" in match.uri])


def test_back_returns_to_where_one_was(gallery: Gallery) -> None:
    gallery.may_move.add("query-input")  # a chip stands before it
    gallery.open("collection=many")
    gallery.tiles.first.wait_for()
    for _ in range(12):
        gallery.page.mouse.wheel(0, 400)
        gallery.page.wait_for_timeout(50)
    gallery.page.wait_for_timeout(250)
    before = gallery.page.evaluate("scrollY")
    assert before > 2000
    gallery.search(lambda: gallery.page.locator(".tile-like").nth(20).evaluate("button => button.click()"))
    gallery.page.wait_for_function("() => scrollY === 0")
    gallery.page.go_back()
    gallery.page.wait_for_function("before => Math.abs(scrollY - before) < 2", arg=before)
