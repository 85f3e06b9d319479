"""Queries: typed, composed, by an image; and their addresses."""

from __future__ import annotations

import contextlib
import json
import re
from typing import TYPE_CHECKING

import pytest

pytest.importorskip("playwright")

from playwright.sync_api import Error, expect

from tests.web.browser.gallery import DRAWN, Gallery, make_match, make_page

if TYPE_CHECKING:
    from playwright.sync_api import Route

pytestmark = pytest.mark.browser


def test_typing_gives_results_without_a_key_more(gallery: Gallery) -> None:
    gallery.open()
    expect(gallery.box).to_be_focused()
    gallery.box.press_sequentially("sunset over water")
    gallery.last_search(lambda asked: asked.get("query") == "sunset over water")
    expect(gallery.page.locator(".tile-score").first).to_have_text("1.00")
    assert "sunset-over-water" in gallery.names()[0]
    assert "q=sunset over water" in gallery.query()


def test_nothing_is_asked_before_there_is_a_word(gallery: Gallery) -> None:
    gallery.open()
    gallery.tiles.first.wait_for()
    for sign in ("-", "+", '"', '-"', "?!"):
        gallery.box.fill(sign)
        gallery.page.wait_for_timeout(150)
    assert len(gallery.searches) == 1
    gallery.box.fill("boat -")
    assert gallery.last_search(lambda asked: "query" in asked)["query"] == "boat"


def test_what_isn_t_wanted_alone_finds_nothing_and_says_so(gallery: Gallery) -> None:
    gallery.may_move.add("query-input")
    gallery.open()
    gallery.tiles.first.wait_for()
    gallery.box.fill("-night")
    expect(gallery.page.get_by_role("heading", name="Say what you want to see, too.")).to_be_visible()
    expect(gallery.tiles).to_have_count(0)
    assert len(gallery.searches) == 1
    gallery.box.press("Enter")
    gallery.box.press_sequentially("boat")
    assert "parts" in gallery.last_search(lambda asked: len(asked.get("parts", [])) == 2)
    gallery.tiles.first.wait_for()


def test_weighing_leaves_the_words_as_they_are(gallery: Gallery) -> None:
    gallery.may_move.add("query-input")
    gallery.open(DRAWN)
    gallery.tiles.first.wait_for()
    gallery.box.press_sequentially("boat +sunset ")
    slider = gallery.page.get_by_role("slider", name="Weight of “sunset”")
    gallery.search(lambda: slider.press("ArrowDown"))
    assert gallery.page.evaluate("new URLSearchParams(location.search).get('q')") == "boat"


def test_results_that_come_too_late_are_not_shown(gallery: Gallery) -> None:
    held: list[Route] = []

    def answer(route: Route) -> None:
        query = json.loads(route.request.post_data or "{}").get("query")
        if query == "slow":
            held.append(route)
        else:
            route.fulfill(json=make_page(make_match(2 if query == "slow boat" else 3)))

    gallery.page.route("**/v1/search", answer)
    gallery.page.route("**/thumbnail?*", lambda route: route.fulfill(path=gallery.world.image))
    gallery.open("")
    expect(gallery.tiles.first).to_contain_text("3.jpg")
    gallery.page.evaluate(
        """() => {
            window.shown = [];
            new MutationObserver(() => window.shown.push(document.querySelector(".tile-name")?.textContent))
              .observe(document.querySelector("main"), { childList: true, subtree: true });
        }"""
    )
    gallery.box.press_sequentially("slow")
    gallery.last_search(lambda asked: asked.get("query") == "slow")
    gallery.box.press_sequentially(" boat")
    expect(gallery.tiles.first).to_contain_text("2.jpg")
    assert held
    with contextlib.suppress(Error):  # nobody may wait for it any more
        held[0].fulfill(json=make_page(make_match(1)))
    gallery.page.wait_for_timeout(300)
    assert "1.jpg" not in gallery.page.evaluate("window.shown")


def test_results_before_stay_and_are_dimmed(gallery: Gallery) -> None:
    gallery.open()
    gallery.tiles.first.wait_for()
    held: list[Route] = []
    gallery.page.route("**/v1/search", lambda route: held.append(route))  # noqa: PLW0108  # a method takes no attributes
    gallery.box.press_sequentially("boat")
    expect(gallery.page.locator(".grid.is-stale")).to_have_count(1)
    assert gallery.tiles.count() > 5
    gallery.page.unroute("**/v1/search")
    for route in held:
        with contextlib.suppress(Error):
            route.continue_()
    expect(gallery.page.locator(".grid.is-stale")).to_have_count(0)


def test_a_deep_link_shows_its_state(gallery: Gallery) -> None:
    gallery.open(
        f"{DRAWN}&q=sunset&part=-0.5*text:boat&min=0.001&sort=newest&fold=1&filter=%7B%22sky%22:%22sunset%22%7D"
    )
    expect(gallery.box).to_have_value("sunset")
    expect(gallery.page.get_by_role("slider", name="Weight of “boat”")).to_have_text("−0.5")
    expect(gallery.page.get_by_label("Order")).to_have_value("newest")
    expect(gallery.page.get_by_label("Collection")).to_have_value("drawn")
    expect(gallery.page.get_by_role("switch", name="Fold near-duplicates")).to_be_checked()
    expect(gallery.page.get_by_role("button", name="Remove the filter sky: sunset")).to_be_visible()
    assert gallery.names()


def test_an_address_that_makes_no_sense_is_read_as_far_as_it_does(gallery: Gallery) -> None:
    gallery.open(f"{DRAWN}&filter=%7B&part=nonsense&part=image:-3&min=7&sort=worst&image=x&label=%E0%A4%A:")
    assert gallery.names()


def test_back_and_forward_go_through_queries(gallery: Gallery) -> None:
    gallery.open(f"{DRAWN}&q=boat")
    boats = gallery.names()
    gallery.page.get_by_role("button", name="Clear the search").click()
    expect(gallery.page.locator(".tile-score")).to_have_count(0)
    gallery.page.go_back()
    expect(gallery.box).to_have_value("boat")
    expect(gallery.page.locator(".tile-name").first).to_have_text(boats[0])
    gallery.page.go_forward()
    expect(gallery.box).to_have_value("")


def test_typed_terms_become_chips(gallery: Gallery) -> None:
    gallery.open()
    gallery.box.press_sequentially('sunset -boat +"hot air balloon" ')
    asked = gallery.last_search(lambda asked: len(asked.get("parts", [])) == 3)
    assert sorted(asked["parts"], key=str) == [
        {"text": "boat", "weight": -1},
        {"text": "hot air balloon", "weight": 1},
        {"text": "sunset", "weight": 1},
    ]
    expect(gallery.page.locator(".chip-text")).to_have_text(["boat", "hot air balloon"])
    expect(gallery.box).to_have_value(re.compile(r"^sunset +$"))


def test_a_weight_follows_keys_and_the_pointer(gallery: Gallery) -> None:
    gallery.open(f"{DRAWN}&part=boat&part=text:boat")  # the first isn't one
    weight = gallery.page.get_by_role("slider", name="Weight of “boat”")
    weight.focus()
    asked = gallery.search(lambda: weight.press("ArrowDown"))
    assert asked["parts"] == [{"text": "boat", "weight": 0.9}]
    expect(weight).to_have_attribute("aria-valuenow", "0.9")
    place = weight.bounding_box()
    assert place
    gallery.page.mouse.move(place["x"] + 10, place["y"] + 10)
    gallery.page.mouse.down()
    gallery.page.mouse.move(place["x"] - 32, place["y"] + 10, steps=4)
    gallery.page.mouse.up()
    expect(weight).to_have_attribute("aria-valuenow", "0.3")
    weight.click()
    expect(weight).to_have_attribute("aria-valuenow", "-0.3")
    expect(gallery.page.get_by_role("heading", name="Say what you want to see, too.")).to_be_visible()
    weight.press("Backspace")
    expect(weight).to_have_count(0)


@pytest.mark.parametrize("event", ["drop", "paste"])
def test_an_image_that_is_dropped_or_pasted_is_searched_by(gallery: Gallery, event: str) -> None:
    gallery.may_move.add("query-input")  # the chip stands before it
    gallery.open(f"{DRAWN}&q=boat")
    gallery.tiles.first.wait_for()
    asked = gallery.search(lambda: gallery.transfer(gallery.world.image, event))
    assert set(asked) == {"sort", "collection", "upload_id", "limit"}
    expect(gallery.tiles.first).to_contain_text(gallery.world.image.name)
    expect(gallery.page.get_by_role("group", name="your image")).to_be_visible()
    gallery.page.reload()
    expect(gallery.tiles.first).to_contain_text(gallery.world.image.name)


def test_an_image_dropped_on_the_search_box_joins_the_query(gallery: Gallery) -> None:
    gallery.may_move.add("query-input")  # the chip stands before it
    gallery.open(f"{DRAWN}&q=boat")
    gallery.tiles.first.wait_for()
    asked = gallery.search(lambda: gallery.transfer(gallery.world.image, "drop", ".query"))
    assert [set(part) for part in asked["parts"]] == [{"text", "weight"}, {"upload_id", "weight"}]


def test_what_is_no_image_is_refused_with_a_reason(gallery: Gallery) -> None:
    gallery.may_move.add("query-input")  # while it is uploaded
    gallery.expected.append("status of 422")
    gallery.open()
    gallery.tiles.first.wait_for()
    gallery.transfer(gallery.world.folder / "broken.jpg", "drop")
    expect(gallery.page.locator(".toast")).to_contain_text("That image can't be searched by.")


def test_more_like_this_keeps_the_filters(gallery: Gallery) -> None:
    gallery.open(f"{DRAWN}&q=boat")
    gallery.tile(0).hover()
    asked = gallery.search(gallery.tile(0).get_by_role("button", name="More like").click)
    assert asked["collection"] == "drawn"
    assert "image_id" in asked
    expect(gallery.box).to_have_value("")
    expect(gallery.page.locator(".chip-image")).to_be_visible()
