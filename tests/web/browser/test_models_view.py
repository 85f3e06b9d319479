"""The view of models: coverage, adding one, comparing two, switching and dropping. The tests go on from each other."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("playwright")

from playwright.sync_api import expect

from tests.web.browser.gallery import Gallery
from tests.web.browser.workshop import Workshop, check_looks, find_violations

if TYPE_CHECKING:
    from playwright.sync_api import Locator

pytestmark = pytest.mark.browser


def card(views: Gallery, name: str) -> Locator:
    heading = views.page.get_by_role("heading", name=name, exact=True)
    return views.page.locator(".model").filter(has=heading)


@pytest.fixture
def other(workshop: Workshop) -> str:
    return str(workshop.other)


@pytest.fixture
def both(views: Gallery, other: str) -> Gallery:
    """Two models, which have a vector of every image; the first one is active."""
    found = {each.model: each for each in views.world.client.model_coverage()}
    if other not in found or found[other].state == "unused":
        views.world.client.add_model(other).wait()
    if found["demo"].state != "active":
        views.world.client.switch_model("demo", force=True)
    return views


def states(views: Gallery) -> dict[str, str]:
    return {each.model: each.state for each in views.world.client.model_coverage()}


def test_a_model_is_added_and_its_coverage_grows(views: Gallery, other: str) -> None:
    page = views.page
    page.goto("/models")
    expect(card(views, "demo")).to_contain_text("active")
    page.get_by_role("button", name="Add a model").click()
    expect(page.get_by_role("dialog")).to_contain_text("Searches go on as they are until you switch")
    page.get_by_label("Checkpoint").fill(other)
    page.get_by_role("button", name="Add it").click()
    expect(card(views, other).locator(".badge")).to_have_text("kept")
    expect(card(views, other)).not_to_contain_text("queued", timeout=90_000)
    embedded = views.world.client.model_coverage()[0].embedded
    expect(card(views, other)).to_contain_text(f"{embedded} embedded")
    expect(page.get_by_role("meter", name=f"Coverage of {other}")).to_have_attribute("aria-valuenow", str(embedded))


def test_a_name_that_no_checkpoint_has_is_said(views: Gallery) -> None:
    page = views.page
    views.expected.append("status of 422")
    page.goto("/models")
    page.get_by_role("button", name="Add a model").click()
    page.get_by_label("Checkpoint").fill("a/b/c")
    page.get_by_role("button", name="Add it").click()
    expect(page.get_by_role("alert")).to_contain_text("a/b/c")
    expect(page.get_by_label("Checkpoint")).to_have_value("a/b/c")


def test_coverage_is_shown_by_collection(both: Gallery) -> None:
    page = both.page
    page.goto("/models")
    page.get_by_role("switch", name="By collection").check(force=True)
    expect(card(both, "demo").get_by_role("row", name=re.compile("^drawn 40 100 %"))).to_be_visible()
    assert "by=collection" in page.url


def test_two_models_are_compared_side_by_side(both: Gallery, other: str) -> None:
    page = both.page
    page.goto("/models")
    card(both, other).get_by_role("button", name="Compare").click()
    expect(page.get_by_role("heading", name="Side by side")).to_be_visible()
    expect(page.get_by_role("row", name=re.compile("^Images embedded"))).to_be_visible()
    page.get_by_role("searchbox", name="Search with both models").fill("a sunset over water")
    columns = page.locator(".compare-column")
    expect(columns).to_have_count(2)
    matches = columns.first.locator(".compare-match")
    expect(matches).to_have_count(12)
    common = page.locator(".compare-match.is-common")
    assert common.count() % 2 == 0
    expect(page.locator(".compare-summary")).to_contain_text(f"{common.count() // 2} of the first 12 are the same")
    assert re.search(r"a=\d+&b=\d+&q=a\+sunset\+over\+water", page.url)
    first = columns.first.locator(".compare-match.is-common").first
    first.hover()
    expect(page.locator(".compare-match.is-hovered")).to_have_count(2)
    before = columns.first.get_by_role("heading").inner_text()
    page.get_by_role("button", name="Exchange them").click()
    expect(columns.first.get_by_role("heading")).not_to_contain_text(before.split()[0] + " ")
    page.get_by_role("button", name="Close the comparison").click()
    expect(columns).to_have_count(0)


def test_switching_says_what_will_happen_and_goes_back(both: Gallery, other: str) -> None:
    page = both.page
    page.goto("/models")
    card(both, other).get_by_role("button", name="Switch to it").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("instead of demo")
    expect(dialog).to_contain_text("It has everything")
    expect(dialog).to_contain_text("going back is instant")
    assert find_violations(page) == []
    dialog.get_by_role("button", name="Switch", exact=True).click()
    expect(card(both, other).locator(".badge")).to_have_text("active", timeout=60_000)
    expect(card(both, "demo").locator(".badge")).to_have_text("kept")
    assert states(both) == {"demo": "kept", other: "active"}
    card(both, "demo").get_by_role("button", name="Switch to it").click()
    dialog.get_by_role("button", name="Switch", exact=True).click()
    expect(card(both, "demo").locator(".badge")).to_have_text("active", timeout=60_000)


def make_model(**fields: Any) -> dict[str, Any]:
    return {
        "model_id": 1,
        "model": "demo",
        "state": "active",
        "images": 1000,
        "embedded": 1000,
        "queued": 0,
        "failed": 0,
        "not_queued": 0,
        "share": 1.0,
        "per_s": None,
        "remaining_s": None,
        "labels_missing": 0,
        "texts": 0,
        "workers": 1,
        **fields,
    }


def test_switching_to_what_lacks_something_is_an_explicit_choice(views: Gallery) -> None:
    page = views.page
    half = {"state": "kept", "embedded": 300, "queued": 600, "failed": 100, "share": 0.3, "per_s": 20.0}
    lacking = make_model(model_id=2, model="large", remaining_s=30.0, labels_missing=1, **half)
    views.answer("**/v1/models", [make_model(), lacking])
    sent: list[Any] = []

    def answer(route: Any) -> None:
        sent.append(route.request.post_data_json)
        route.fulfill(json=[make_model()])

    page.route("**/v1/models/2/switch", answer)
    page.goto("/models")
    expect(card(views, "large")).to_contain_text("20 images/s")
    expect(card(views, "large")).to_contain_text("about 30 s left")
    card(views, "large").get_by_role("button", name="Switch to it").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("600 images have no vector under it yet, and 1 label has none")
    switch = dialog.get_by_role("button", name="Switch", exact=True)
    expect(switch).to_be_disabled()
    dialog.get_by_label("Switch though something is missing").check()
    dialog.get_by_role("switch", name="Keep demo up to date").uncheck(force=True)
    switch.click()
    expect(dialog).to_have_count(0)
    assert sent == [{"force": True, "keep_old": False}]


def test_what_waits_for_a_worker_is_said(views: Gallery) -> None:
    waiting = make_model(model_id=2, model="large", state="kept", embedded=0, queued=1000, share=0.0, workers=0)
    views.answer("**/v1/models", [make_model(), waiting])
    views.page.goto("/models")
    expect(card(views, "large")).to_contain_text("siglip-ingest worker")
    assert find_violations(views.page) == []


def test_no_model_yet_is_no_dead_end(views: Gallery) -> None:
    views.answer("**/v1/models", [])
    views.page.goto("/models")
    expect(views.page.get_by_role("heading", name="There is no model yet")).to_be_visible()
    views.page.get_by_role("button", name="Add a model").click()
    expect(views.page.get_by_label("Checkpoint")).to_be_focused()


def test_the_view_is_for_everybody(both: Gallery) -> None:
    rows = {each.model: each.model_id for each in both.world.client.model_coverage()}
    a, b = rows.values()
    check_looks(both.page, f"/models?a={a}&b={b}&q=boat&by=collection", ".compare-match", waits_ms=800)


def test_a_model_is_dropped_by_its_name(both: Gallery, other: str) -> None:
    page = both.page
    page.goto("/models")
    card(both, other).get_by_role("button", name="Drop").click()
    confirm = page.get_by_role("button", name="Drop it")
    expect(confirm).to_be_disabled()
    page.get_by_label(f"Type {other} to confirm").fill(other)
    confirm.click()
    expect(card(both, other)).to_have_count(0, timeout=60_000)
    assert states(both) == {"demo": "active"}
