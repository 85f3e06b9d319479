"""For everybody: phones, the dark, screen readers; and nothing that the policy of the page forbids."""

from __future__ import annotations

import pytest

pytest.importorskip("playwright")

from playwright.sync_api import expect

from tests.web.browser.gallery import DRAWN, Gallery, make_page
from tests.web.browser.test_lightbox import MAP
from tests.web.browser.test_narrowing import SKIES
from tests.web.browser.workshop import find_violations

pytestmark = pytest.mark.browser

COMPOSED = f"{DRAWN}&q=sunset&part=-0.5*text:boat&filter=%7B%22sky%22:%22sunset%22%7D&min=0.0001"


@pytest.mark.parametrize("width", [320, 390, 768])
def test_nothing_is_wider_than_a_phone(gallery: Gallery, width: int) -> None:
    gallery.page.set_viewport_size({"width": width, "height": 700})
    gallery.answer("**/v1/labels", SKIES)
    for query in (COMPOSED, f"{DRAWN}&q=sunset", f"{DRAWN}&q=sunset&image=3", "q=sunset&min=1"):
        gallery.open(query)
        gallery.page.locator(".tile, .notice").first.wait_for(state="attached")
        if "image" not in query:
            gallery.page.get_by_role("button", name="Filters").click()
        assert gallery.page.evaluate("document.documentElement.scrollWidth") <= width
        nav = gallery.page.locator(".nav").element_handle()
        assert gallery.page.evaluate("nav => nav.scrollWidth <= nav.clientWidth", nav)
        assert gallery.page.evaluate("document.querySelector('dialog')?.scrollWidth ?? 0") <= width


def test_the_theme_follows_the_system_and_the_switch(gallery: Gallery) -> None:
    page = gallery.page

    def brightness() -> int:
        return int(page.evaluate("parseInt(getComputedStyle(document.body).backgroundColor.match(/\\d+/))"))

    page.emulate_media(color_scheme="dark")
    gallery.open()
    assert brightness() < 60
    page.get_by_role("button", name="Theme: system").click()
    assert brightness() > 200
    page.reload()
    assert brightness() > 200
    page.get_by_role("button", name="Theme: light").click()
    page.emulate_media(color_scheme="light")
    assert brightness() < 60


def test_nothing_moves_for_those_who_don_t_want_it(gallery: Gallery) -> None:
    gallery.page.emulate_media(reduced_motion="reduce")
    gallery.open()
    gallery.tiles.first.wait_for()
    moving = """() => document.getAnimations().filter(each => each.effect.getComputedTiming().duration > 1).length"""
    assert gallery.page.evaluate(moving) == 0


def test_the_page_has_a_strict_policy(gallery: Gallery) -> None:
    response = gallery.page.goto(f"/?{DRAWN}")
    assert response
    policy = response.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "style=" not in response.text()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_in_any_state(gallery: Gallery, scheme: str) -> None:
    page = gallery.page
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")  # type: ignore[arg-type]
    gallery.answer("**/v1/labels", SKIES)
    night = {"label_set": "skies", "label": "night sky", "score": 0.8, "is_accepted": True, "mark": None}
    gallery.answer("**/v1/images/*/labels", [night, {**night, "label": "sunset", "score": 0.1, "is_accepted": False}])
    gallery.answer("**/v1/images/*/location?*", MAP)
    found: dict[str, list[str]] = {}

    def look(state: str) -> None:
        page.wait_for_timeout(150)
        found[state] = find_violations(page)

    gallery.open(f"{COMPOSED}&label=skies:night sky:0.1")
    gallery.page.locator(".tile, .notice").first.wait_for(state="attached")
    page.get_by_role("button", name="Filters").click()
    page.get_by_role("slider", name="Least score of night sky").wait_for()
    look("composed, with filters")
    gallery.open("collection=many&q=sunset&fold=1")
    gallery.tiles.first.wait_for()
    gallery.tile(0).locator(".tile-badge").click()
    gallery.tile(1).click(modifiers=["Control"])
    look("folded, selected")
    page.keyboard.press("t")
    look("tag")
    page.keyboard.press("Escape")
    page.get_by_role("toolbar").get_by_role("button", name="Mark").click()
    look("mark")
    page.keyboard.press("Escape")
    page.keyboard.press("Delete")
    look("delete")
    page.keyboard.press("Escape")
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    look("keys")
    gallery.open(f"{DRAWN}&q=sunset")
    gallery.tile(0).click()
    page.get_by_role("button", name="Where it matches").click()
    page.locator(".heat").wait_for()
    look("lightbox")
    gallery.open(f"{DRAWN}&q=sunset&min=1")
    page.locator(".notice").wait_for()
    look("no result")
    gallery.answer("**/v1/search", make_page())
    gallery.open("")
    page.locator(".notice").wait_for()
    look("empty")
    gallery.answer("**/v1/search", {"status": 500, "detail": "Something broke."}, status=500)
    gallery.open("q=sunset")
    page.locator(".notice").wait_for()
    look("error")
    assert not {state: violations for state, violations in found.items() if violations}


def test_the_count_of_results_is_announced(gallery: Gallery) -> None:
    gallery.open()
    expect(gallery.page.locator(".summary[role=status]")).to_have_text("60 images")
    gallery.box.press_sequentially("boat")
    expect(gallery.page.locator(".summary[role=status]")).to_contain_text("60 images in")
    grid = gallery.page.get_by_role("grid", name="Results")
    expect(grid).to_have_attribute("aria-rowcount", "15")
