"""Selecting many, and what is done with them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator

import pytest

pytest.importorskip("playwright")

from playwright.sync_api import expect

from tests.web.browser.gallery import DRAWN, Gallery
from tests.web.browser.test_narrowing import SKIES

pytestmark = pytest.mark.browser


@pytest.fixture
def opened(gallery: Gallery) -> Iterator[Gallery]:
    gallery.open()
    gallery.tiles.first.wait_for()
    return gallery


def bar(gallery: Gallery, name: str) -> None:
    gallery.page.get_by_role("toolbar").get_by_role("button", name=name).click()


def test_clicks_select_one_a_range_and_more(opened: Gallery) -> None:
    opened.tile(1).hover()
    opened.tile(1).locator(".tile-check").click()
    assert opened.selected() == [1]
    opened.tile(4).click(modifiers=["Shift"])
    opened.tile(7).click(modifiers=["Control"])
    opened.tile(3).click()
    assert opened.selected() == [1, 2, 4, 7]
    expect(opened.page.get_by_role("toolbar")).to_contain_text("4 images")
    opened.page.keyboard.press("Escape")
    assert opened.selected() == []


def test_a_lasso_selects_what_it_touches(opened: Gallery) -> None:
    first, second = opened.tile(0).bounding_box(), opened.tile(1).bounding_box()
    assert first
    assert second
    opened.page.mouse.move(first["x"] - 8, first["y"] - 6)
    opened.page.mouse.down()
    opened.page.mouse.move(second["x"] + 20, second["y"] + 30, steps=6)
    expect(opened.page.locator(".lasso")).to_be_visible()
    opened.page.mouse.up()
    assert opened.selected() == [0, 1]
    expect(opened.page.locator(".lasso")).to_have_count(0)
    opened.page.mouse.click(first["x"] - 8, first["y"] - 6)
    assert opened.selected() == []


def test_all_that_are_shown_can_be_selected(opened: Gallery) -> None:
    opened.tile(0).click(modifiers=["Control"])
    bar(opened, "Select all 60 shown")
    expect(opened.page.get_by_role("toolbar")).to_contain_text("60 images")


def test_tagging_changes_the_metadata(opened: Gallery) -> None:
    opened.tile(2).click(modifiers=["Control"])
    opened.tile(3).click(modifiers=["Shift"])
    bar(opened, "Tag")
    opened.page.get_by_role("combobox", name="Key").fill("album")
    opened.page.get_by_role("combobox", name="Value").fill("spring")
    opened.page.get_by_role("button", name="Tag", exact=True).last.click()
    expect(opened.page.locator(".toast")).to_have_text("Tagged 2 images with album = spring.")
    assert opened.selected() == []
    opened.open(f"{DRAWN}&filter=%7B%22album%22:%22spring%22%7D")
    expect(opened.tiles).to_have_count(2)
    opened.page.keyboard.press("Escape")
    opened.tile(0).press("Control+a")
    opened.page.keyboard.press("t")
    opened.page.get_by_role("combobox", name="Key").fill("album")
    opened.page.get_by_label("Take this key out instead").check()
    opened.page.get_by_role("button", name="Take out").click()
    expect(opened.page.locator(".toast")).to_have_text("Took album out of 2 images.")


def test_marking_says_right_or_wrong(opened: Gallery) -> None:
    opened.answer("**/v1/labels", SKIES)
    opened.answer("**/marks", {"positives": 0, "negatives": 1})
    opened.tile(2).click(modifiers=["Control"])
    bar(opened, "Mark")
    opened.page.get_by_role("combobox", name="Label", exact=True).select_option(label="night sky")
    opened.page.get_by_label("They don't").check()
    with opened.page.expect_request("**/v1/labels/skies/labels/night%20sky/marks") as marked:
        opened.page.get_by_role("button", name="Mark", exact=True).last.click()
    assert list(json.loads(marked.value.post_data or "")) == ["negatives"]
    expect(opened.page.locator(".toast")).to_have_text("Marked 1 image as not night sky.")


def test_deleting_asks_first(gallery: Gallery) -> None:
    world = gallery.world
    copy = world.folder / "deleted.jpg"
    copy.write_bytes(world.image.read_bytes())
    world.client.enqueue_images([copy], collection="deleted").wait()
    gallery.open("collection=deleted")
    gallery.tile(0).click(modifiers=["Control"])
    gallery.page.keyboard.press("Delete")
    expect(gallery.page.get_by_role("button", name="Cancel")).to_be_focused()
    gallery.page.keyboard.press("Enter")
    expect(gallery.tiles).to_have_count(1)
    gallery.page.keyboard.press("Delete")
    gallery.page.get_by_role("button", name="Delete", exact=True).last.click()
    expect(gallery.tiles).to_have_count(0)
    assert copy.exists()
    assert "deleted" not in dict(world.client.list_collections())


@pytest.fixture
def folded(gallery: Gallery) -> Iterator[Gallery]:
    """Three copies of an image and one of another, which folding shows as two tiles."""
    world = gallery.world
    one, other = sorted((world.folder / "images").iterdir())[:2]
    folder = world.folder / "folded"
    folder.mkdir()
    copies = [shutil.copy(one, folder / f"one{number}.png") for number in range(3)]
    world.client.enqueue_images([*copies, shutil.copy(other, folder / "other.png")], collection="folded").wait()
    gallery.open("collection=folded&fold=1")
    expect(gallery.tiles).to_have_count(2)
    yield gallery
    left = world.client.search_images("boat", collection="folded")
    if left:
        world.client.delete_images([match.image_id for match in left])
    shutil.rmtree(folder)


def delete(gallery: Gallery, title: str, *, with_folded: bool = False) -> None:
    gallery.page.keyboard.press("Delete")
    box = gallery.page.get_by_label("near-duplicates, which are folded")
    expect(box).not_to_be_checked()
    if with_folded:
        box.check()
    expect(gallery.page.get_by_role("dialog", name=title)).to_be_visible()
    gallery.page.get_by_role("button", name="Delete", exact=True).last.click()


def test_deleting_leaves_folded_images_and_shows_them(folded: Gallery) -> None:
    folded.tile(0).press("Control+a")
    expect(folded.page.get_by_role("toolbar")).to_contain_text("2 near-duplicates folded")
    delete(folded, "Delete 2 images?")
    expect(folded.page.locator(".toast")).to_contain_text("Deleted 2 images. The 2 near-duplicates below them stayed.")
    expect(folded.tiles).to_have_count(1)
    assert dict(folded.world.client.list_collections())["folded"] == 2


def test_deleting_takes_folded_images_where_one_asks(folded: Gallery) -> None:
    folded.tile(0).press("Control+a")
    delete(folded, "Delete 4 images?", with_folded=True)
    expect(folded.page.get_by_role("heading", name="No image passes these filters")).to_be_visible()
    assert "folded" not in dict(folded.world.client.list_collections())


def test_deleting_an_unfolded_image_leaves_those_below_it(folded: Gallery) -> None:
    head = 0 if folded.tile(0).locator(".tile-badge").count() else 1
    folded.tile(head).press("u")
    expect(folded.tiles).to_have_count(4)
    folded.tile(head).press("x")
    folded.page.keyboard.press("Delete")
    expect(folded.page.get_by_label("near-duplicates, which are folded")).to_have_count(0)
    folded.page.get_by_role("button", name="Delete", exact=True).last.click()
    expect(folded.page.locator(".tile-badge")).to_have_text("2")
    expect(folded.tiles).to_have_count(2)


def test_a_refusal_is_said_in_the_dialog(opened: Gallery) -> None:
    opened.answer("**/v1/images/tag", {"status": 403, "detail": "This key may only search."}, status=403)
    opened.tile(2).click(modifiers=["Control"])
    bar(opened, "Tag")
    opened.page.get_by_role("combobox", name="Key").fill("album")
    opened.page.get_by_role("combobox", name="Value").fill("spring")
    opened.page.keyboard.press("Enter")
    expect(opened.page.get_by_role("alert")).to_have_text("This key may only search.")
    assert opened.selected() == [2]
