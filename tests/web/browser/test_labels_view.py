"""The view of labels: sets, the histogram and its threshold, marks, calibration."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("playwright")

from playwright.sync_api import expect

from tests.web.browser.gallery import Gallery
from tests.web.browser.workshop import Workshop, check_looks, find_violations

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

pytestmark = pytest.mark.browser

STRIP = 12  # images on each side of a threshold
SUNSET = "/labels?set=skies&label=sunset"


@pytest.fixture(autouse=True)
def _fresh_set(workshop: Workshop) -> None:
    workshop.client.create_label_set("skies", ["sunset", "night sky", "storm"], replace=True)
    workshop.client.drop_label_set("skies")
    workshop.client.create_label_set("skies", ["sunset", "night sky", "storm"])


def ask(views: Gallery, path: str) -> Any:
    answer = views.page.request.get(f"{views.world.url}{path}")
    assert answer.ok, answer.text()
    return answer.json()


def ranked(views: Gallery) -> list[tuple[float, str]]:
    """Scores and names of all images, best first."""
    found = ask(views, "/v1/labels/skies/labels/sunset/images?limit=200&collection=drawn")["matches"]
    return [(match["score"], match["name"]) for match in found]


def scores(views: Gallery) -> list[float]:
    return [score for score, _ in ranked(views)]


def expect_border(views: Gallery) -> None:
    """The strips show the nearest images on both sides of the threshold."""
    page, at, found = views.page, threshold_of(views.page), ranked(views)
    page.locator(".border[aria-busy=false]").wait_for()
    within = [name for score, name in found if score >= at]
    assert names(page, "Just in") == within[: -STRIP - 1 : -1]
    assert names(page, "Just out") == [name for score, name in found if score < at][:STRIP]


def slider(page: Page) -> Locator:
    return page.get_by_role("slider", name="Threshold of sunset")


def accepted(page: Page) -> Locator:
    """The number of accepted images, once it is what the server says."""
    return page.locator(".accepted-count strong[data-exact=true]")


def threshold_of(page: Page) -> float:
    return float(slider(page).get_attribute("aria-valuenow") or "nan")


def names(page: Page, strip: str) -> list[str]:
    tiles = page.get_by_role("list", name=strip, exact=True).locator(".review-image")
    return [str(tile.get_attribute("title")) for tile in tiles.all()]


def open_sunset(views: Gallery, more: str = "") -> Page:
    views.page.goto(f"{SUNSET}&collection=drawn{more}")
    accepted(views.page).wait_for()
    return views.page


def test_a_set_is_made_and_shows_its_scores(views: Gallery) -> None:
    page = views.page
    page.goto("/labels")
    page.get_by_role("button", name="New label set").click()
    page.get_by_label("Name").fill("things")
    page.get_by_label("Labels, one a line").fill("boat: a boat on the water | a sailing boat\ncar")
    page.get_by_role("button", name="Make it with 2 labels").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("boat")
    expect(page.locator(".prompts")).to_contain_text("a sailing boat")
    expect(page.locator(".bars.below rect").first).to_be_visible()
    made = next(each for each in ask(views, "/v1/labels") if each["name"] == "things")
    assert [each["prompts"] for each in made["labels"]] == [
        ["a boat on the water", "a sailing boat"],
        ["This is a photo of car."],
    ]
    assert "set=things&label=boat" in page.url
    views.world.client.drop_label_set("things")


def test_a_set_that_cannot_be_made_says_why_and_keeps_what_was_typed(views: Gallery) -> None:
    page = views.page
    views.expected.append("status of 409")
    page.goto("/labels")
    page.get_by_role("button", name="New label set").click()
    page.get_by_label("Name").fill("skies")
    page.get_by_label("Labels, one a line").fill("fog")
    page.get_by_role("button", name="Make it with 1 label").click()
    expect(page.get_by_role("alert")).to_contain_text("skies")
    expect(page.get_by_label("Labels, one a line")).to_have_value("fog")


def test_a_set_is_renamed_kept_and_deleted(views: Gallery) -> None:
    page = open_sunset(views)
    page.get_by_role("button", name="Change skies").click()
    page.get_by_label("Name").fill("heavens")
    page.get_by_role("switch", name="Keep its labels as rows").check(force=True)
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("heading", name="heavens")).to_be_visible()
    expect(page.get_by_role("heading", level=1)).to_have_text("sunset")
    assert [each["is_kept"] for each in ask(views, "/v1/labels")] == [True]
    page.get_by_role("button", name="Change heavens").click()
    page.get_by_role("button", name="Delete").click()
    expect(page.get_by_role("alert")).to_contain_text("3 labels")
    assert len(ask(views, "/v1/labels")) == 1
    page.get_by_role("button", name="Delete the set").click()
    expect(page.get_by_role("heading", name="Labels sort your images by words")).to_be_visible()
    assert find_violations(page) == []
    views.world.client.create_label_set("skies", ["sunset"])  # what the next test replaces


def test_labels_are_added_changed_and_removed(views: Gallery) -> None:
    page = open_sunset(views)
    page.get_by_role("button", name="Add a label to skies").click()
    page.get_by_label("Name").fill("black/white")
    page.get_by_role("button", name="Add it").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("black/white")
    accepted(page).wait_for()
    page.get_by_role("button", name="Edit").click()
    page.get_by_label("Prompts, one a line").fill("a drawing without colours\na grey drawing")
    page.get_by_role("button", name="Save").click()
    expect(page.locator(".prompts")).to_contain_text("“a grey drawing”")
    page.get_by_role("button", name="Edit").click()
    page.get_by_role("button", name="Remove").click()
    page.get_by_role("button", name="Remove the label").click()
    expect(page.get_by_role("link", name="black/white")).to_have_count(0)


def test_dragging_the_threshold_moves_images_in_and_out(views: Gallery) -> None:
    page = open_sunset(views)
    found = scores(views)
    expect_border(views)
    assert int(accepted(page).inner_text()) == sum(score >= 0.5 for score in found)
    box = page.locator(".histogram").bounding_box()
    assert box
    middle = box["x"] + box["width"] / 2
    page.mouse.move(middle, box["y"] + 100)
    page.mouse.down()
    for step in range(8):
        page.mouse.move(middle + step * box["width"] / 18, box["y"] + 100)
    threshold = threshold_of(page)
    assert threshold > 0.9
    expect(accepted(page)).to_have_text(str(sum(score >= threshold for score in found)))
    page.mouse.move(box["x"] + 60, box["y"] + 100)
    low = threshold_of(page)
    assert low < 0.01
    page.mouse.up()
    expect(accepted(page)).to_have_text(str(sum(score >= low for score in found)))
    expect_border(views)
    assert threshold_of(page) == low
    assert ask(views, "/v1/labels/skies/labels/sunset/histogram")["threshold"] == 0.5
    page.get_by_role("button", name="Undo").click()
    assert threshold_of(page) == 0.5
    expect(accepted(page)).to_have_text(str(sum(score >= 0.5 for score in found)))


def test_the_threshold_moves_by_keys_and_is_applied(views: Gallery) -> None:
    page = open_sunset(views)
    slider(page).focus()
    page.keyboard.press("ArrowRight")
    assert threshold_of(page) == pytest.approx(0.525, abs=0.001)
    page.keyboard.press("End")
    expect(slider(page)).to_have_attribute("aria-valuetext", re.compile(r"0\.99999, \d+ images? accepted"))
    page.keyboard.press("Home")
    expect(accepted(page)).to_have_text(str(sum(score >= threshold_of(page) for score in scores(views))))
    for _ in range(4):
        page.keyboard.press("PageUp")
    tried = threshold_of(page)
    page.get_by_role("button", name="Apply").click()
    back = page.get_by_role("button", name="Back to 0.50")
    back.wait_for()
    histogram = "/v1/labels/skies/labels/sunset/histogram"
    assert ask(views, histogram)["threshold"] == pytest.approx(tried, rel=1e-5)
    expect(page.locator(".label-set a[aria-current] .label-threshold")).not_to_be_empty()
    back.click()
    expect(slider(page)).to_have_attribute("aria-valuenow", "0.5")
    assert ask(views, histogram)["threshold"] == 0.5
    assert ask(views, "/v1/labels/skies")["labels"][0]["threshold"] is None


def test_a_threshold_is_typed(views: Gallery) -> None:
    page = open_sunset(views)
    found = scores(views)
    at = (found[4] + found[5]) / 2
    page.get_by_role("spinbutton", name="Threshold").fill(str(at))
    page.keyboard.press("Enter")
    expect(accepted(page)).to_have_text("5")


def test_answers_that_come_too_late_are_not_shown(views: Gallery) -> None:
    page = open_sunset(views)
    slider(page).focus()
    held: list[Any] = []
    page.route("**/histogram?*at=*", lambda route: held.append(route) if not held else route.continue_())
    page.keyboard.press("PageUp")
    page.wait_for_timeout(200)
    page.keyboard.press("End")
    assert len(held) == 1  # one question is on its way at a time
    held[0].continue_()
    expect(accepted(page)).to_have_text(str(sum(score >= threshold_of(page) for score in scores(views))))
    assert "0.99999" in page.locator(".strip.in .strip-hint").inner_text()


def marks(views: Gallery) -> dict[int, bool]:
    found = ask(views, "/v1/labels/skies/labels/sunset/images?only_marked=true&limit=200")["matches"]
    return {match["image_id"]: match["mark"] for match in found}


def test_images_are_marked_by_keys_and_clicks_and_calibrated(views: Gallery) -> None:
    page = open_sunset(views)
    page.get_by_role("tab", name="Worth marking").click()
    assert "show=suggested" in page.url
    grid = page.get_by_role("list", name="Images worth marking")
    tiles = grid.locator(".review-image")
    tiles.first.focus()
    page.keyboard.press("y")
    expect(tiles.nth(1)).to_be_focused()
    page.keyboard.press("n")
    expect(tiles.nth(2)).to_be_focused()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("u")
    expect(tiles.nth(0)).to_have_attribute("aria-label", re.compile("marked right"))
    expect(tiles.nth(1)).to_have_attribute("aria-label", re.compile("not marked"))
    expect(page.get_by_role("tab", name="Marked 1")).to_be_visible()
    for index in range(1, 6):
        tile = grid.locator(".review-tile").nth(index)
        tile.hover()
        tile.get_by_role("button", name=re.compile("^Wrong" if index % 2 else "^Right")).click()
    expect(page.get_by_role("tab", name="Marked 6")).to_be_visible()
    assert sorted(marks(views).values()) == [False] * 3 + [True] * 3
    expect(page.locator(".mark-dots circle")).to_have_count(6)
    assert find_violations(page) == []
    page.get_by_role("tab", name="Calibration").click()
    page.get_by_label("Accepted images are").select_option("0.9")
    page.get_by_role("button", name="Calibrate", exact=True).click()
    fit = page.locator(".fit")
    expect(fit).to_contain_text("3 images marked right and 3 marked wrong")
    page.get_by_role("button", name="Calibrate", exact=True).click()
    expect(page.get_by_role("row")).to_have_count(4)
    assert find_violations(page) == []
    page.get_by_role("button", name="Use fit 1").click()
    expect(page.get_by_role("row").nth(2)).to_contain_text("in use")
    page.get_by_role("button", name="Use the model's own scores").click()
    expect(page.get_by_role("row").nth(3)).to_contain_text("in use")
    expect(slider(page)).to_have_attribute("aria-valuenow", "0.5")


def test_a_mark_that_is_refused_is_taken_back(views: Gallery) -> None:
    page = open_sunset(views)
    problem = {"title": "Not available right now", "status": 503, "detail": "The database is away."}
    views.answer("**/marks", problem, 503)
    first = page.locator(".review-image").first
    first.focus()
    page.keyboard.press("y")
    expect(page.get_by_role("status").filter(has_text="The database is away.")).to_be_visible()
    expect(first).to_have_attribute("aria-label", re.compile("not marked"))


def test_an_image_is_seen_large_and_marked_there(views: Gallery) -> None:
    page = open_sunset(views)
    page.locator(".review-image").first.click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("button", name=re.compile("^Right")).click()
    expect(dialog).to_contain_text("marked right")
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    assert list(marks(views).values()) == [True]


def test_a_link_to_a_label_that_is_gone_helps(views: Gallery) -> None:
    views.page.goto("/labels?set=skies&label=fog")
    expect(views.page.get_by_role("heading", name="There is no such label")).to_be_visible()
    views.page.get_by_role("link", name="All labels").last.click()
    expect(views.page.get_by_role("heading", level=1)).to_have_text("sunset")


def test_a_phone_shows_the_list_and_then_the_label(views: Gallery) -> None:
    page = views.page
    page.set_viewport_size({"width": 390, "height": 800})
    page.goto("/labels")
    page.get_by_role("link", name="storm").click()
    expect(page.get_by_role("slider", name="Threshold of storm")).to_be_visible()
    expect(page.get_by_role("link", name="sunset")).to_be_hidden()
    page.get_by_role("link", name="All labels").click()
    expect(page.get_by_role("link", name="sunset")).to_be_visible()


@pytest.mark.parametrize("show", ["", "&show=suggested", "&show=marked", "&show=calibration"])
def test_the_view_is_for_everybody(views: Gallery, show: str) -> None:
    check_looks(views.page, f"{SUNSET}{show}", ".histogram svg")
