"""Nothing there, something wrong: what is said, and what helps."""

from __future__ import annotations

import re

import pytest

pytest.importorskip("playwright")

from playwright.sync_api import expect

from tests.web.browser.gallery import DRAWN, Gallery, make_match, make_page

pytestmark = pytest.mark.browser


def test_an_empty_index_says_how_to_fill_it(gallery: Gallery) -> None:
    gallery.answer("**/v1/search", make_page())
    gallery.open("")
    expect(gallery.page.get_by_role("heading", name="No images are indexed yet")).to_be_visible()
    gallery.page.get_by_role("link", name="Index images").click()
    expect(gallery.page).to_have_url(f"{gallery.world.url}/ingest")
    gallery.page.go_back()
    expect(gallery.page.get_by_role("heading", name="No images are indexed yet")).to_be_visible()


def test_a_server_that_is_away_and_back_is_asked_again(gallery: Gallery) -> None:
    gallery.expected += ["ERR_INTERNET_DISCONNECTED", "status of 404"]
    gallery.may_move |= {"query-place", "search", "filters no-lasso", "grid"}  # below the banner
    gallery.open(f"{DRAWN}&q=boat")
    gallery.tiles.first.wait_for()
    gallery.page.context.set_offline(True)
    gallery.box.fill("sunset")
    expect(gallery.page.locator(".banner")).to_contain_text("The server doesn't answer")
    assert gallery.tiles.count() > 5
    gallery.page.context.set_offline(False)
    expect(gallery.page.locator(".banner")).to_have_count(0)
    expect(gallery.tiles.first).to_contain_text("sunset")


def test_a_busy_server_is_asked_again_by_itself(gallery: Gallery) -> None:
    gallery.answer("**/v1/search", {"status": 503, "detail": "No worker answers."}, status=503)
    gallery.open(f"{DRAWN}&q=boat")
    expect(gallery.page.get_by_role("alert")).to_contain_text("No worker answers.")
    gallery.page.unroute("**/v1/search")
    gallery.tiles.first.wait_for()
    expect(gallery.page.get_by_role("alert")).to_have_count(0)


def test_an_error_offers_to_try_again(gallery: Gallery) -> None:
    gallery.answer("**/v1/search", {"status": 500, "detail": "Something broke."}, status=500)
    gallery.open(f"{DRAWN}&q=boat")
    expect(gallery.page.get_by_role("alert")).to_contain_text("Something broke.")
    gallery.page.unroute("**/v1/search")
    gallery.page.get_by_role("button", name="Try again").click()
    gallery.tiles.first.wait_for()


def test_an_upload_that_is_gone_can_be_left_out(gallery: Gallery) -> None:
    gallery.expected.append("status of 404")
    gallery.may_move.add("query-input")
    gallery.open(f"{DRAWN}&part=upload:{'0' * 64}")
    expect(gallery.page.get_by_role("heading", name="Your image isn't kept any more")).to_be_visible()
    gallery.page.get_by_role("button", name="Search without it").click()
    gallery.tiles.first.wait_for()


def test_an_image_that_can_not_be_read_says_why(gallery: Gallery) -> None:
    gallery.expected.append("status of 422")
    (broken,) = gallery.page.request.get(f"{gallery.world.url}/v1/images?collection=broken").json()["images"]
    asked: list[str] = []
    gallery.page.on("request", lambda request: asked.append(request.url) if "/thumbnail" in request.url else None)
    gallery.answer("**/v1/search", make_page({**make_match(broken["image_id"]), **broken}))
    gallery.open("collection=broken")
    expect(gallery.tile(0).locator(".unshown-text")).to_contain_text("is not an image")
    before = len(asked)
    gallery.tile(0).click()
    expect(gallery.lightbox.locator(".unshown-text")).to_contain_text("is not an image")
    assert len(asked) == before


def test_images_that_failed_are_said_and_not_shown(gallery: Gallery) -> None:
    gallery.open("")
    expect(gallery.page.locator(".summary")).to_have_text(re.compile(r"^\d+ images, 1 failed$"))
    gallery.open("collection=broken")
    expect(gallery.page.get_by_role("heading", name="1 image failed")).to_be_visible()
    gallery.page.get_by_role("link", name="See why").click()
    expect(gallery.page).to_have_url(f"{gallery.world.url}/ingest")


def test_an_image_that_was_deleted_is_said_to_be(gallery: Gallery) -> None:
    gallery.expected.append("status of 404")
    gallery.open(DRAWN)
    gallery.tiles.first.wait_for()
    gone = gallery.tile(0).locator("img")
    image_id = int(str(gone.get_attribute("src")).split("/")[3]) + 1_000_000
    gallery.page.evaluate(
        "to => { history.pushState({}, '', to); dispatchEvent(new PopStateEvent('popstate')); }",
        f"/?{DRAWN}&part=image:{image_id}",
    )
    expect(gallery.page.get_by_role("heading", name="That image has been deleted.")).to_be_visible()
    expect(gallery.tiles).to_have_count(0)
    gallery.page.get_by_role("button", name="Search without it").click()
    gallery.tiles.first.wait_for()
    gallery.open(f"{DRAWN}&image={image_id}")
    expect(gallery.lightbox.get_by_role("alert")).to_have_text("That image has been deleted.")
    expect(gallery.lightbox.get_by_role("button", name="More like this")).to_have_count(0)


def test_a_server_with_keys_asks_for_one(gallery: Gallery) -> None:
    page = gallery.page

    def answer(route: object) -> None:
        if route.request.headers.get("authorization") != "Bearer secret":  # type: ignore[attr-defined]
            problem = '{"status": 401, "detail": "Give a key."}'
            route.fulfill(status=401, body=problem, content_type="application/problem+json")  # type: ignore[attr-defined]
        elif route.request.url.endswith("/session"):  # type: ignore[attr-defined]
            route.fulfill(json={"needs_key": True, "name": "me", "scope": "search"})  # type: ignore[attr-defined]
        elif "/thumbnail" in route.request.url:  # type: ignore[attr-defined]
            route.fulfill(path=gallery.world.image)  # type: ignore[attr-defined]
        else:
            route.fulfill(json=make_page(make_match(1)) if "search" in route.request.url else [])  # type: ignore[attr-defined]

    gallery.expected.append("status of 401")
    page.route("**/v1/**", answer)
    gallery.open("")
    dialog = page.get_by_role("dialog", name="A key is needed")
    for wrong in ("sekret", "sécret"):
        dialog.get_by_label("Key").fill(wrong)
        dialog.get_by_role("button", name="Use this key").click()
        expect(dialog.get_by_role("alert")).to_have_text("The server doesn't know this key, or it has expired.")
        expect(dialog.get_by_label("Key")).to_have_value(wrong)
    dialog.get_by_label("Key").fill("secret")
    dialog.get_by_role("button", name="Use this key").click()
    expect(gallery.tiles).to_have_count(1)
    expect(gallery.tile(0).locator("img.is-there")).to_have_attribute("src", re.compile("^blob:"))
    page.reload()
    expect(gallery.tiles).to_have_count(1)
    gallery.tile(0).click(modifiers=["Control"])
    expect(page.get_by_role("toolbar")).to_contain_text("1 image")
    expect(page.get_by_role("toolbar").get_by_role("button", name="Delete")).to_have_count(0)
    page.get_by_role("link", name="Ingest", exact=True).click()
    expect(page.get_by_text("Your key is for searching only")).to_be_visible()
