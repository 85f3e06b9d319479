"""The view of ingestions: files, folders and addresses, progress, failures and trying again."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

pytest.importorskip("playwright")

from playwright.sync_api import expect

from siglip_ingest.demo.world import write_images
from tests.web.browser.gallery import Gallery
from tests.web.browser.workshop import check_looks, find_violations

if TYPE_CHECKING:
    from playwright.sync_api import Page, Route

pytestmark = pytest.mark.browser

DROP = """
async (files) => {
    const transfer = new DataTransfer();
    for (const [name, content] of files) {
        transfer.items.add(new File([new Uint8Array(content)], name, { type: "image/jpeg" }));
    }
    const zone = document.querySelector(".drop-zone");
    const options = { bubbles: true, cancelable: true, dataTransfer: transfer };
    zone.dispatchEvent(new DragEvent("dragenter", options));
    zone.dispatchEvent(new DragEvent("drop", options));
}
"""


def images_of(views: Gallery, collection: str) -> list[dict[str, Any]]:
    answer = views.page.request.get(f"{views.world.url}/v1/images?limit=200", params={"collection": collection})
    found = answer.json()["images"]
    assert isinstance(found, list)
    return found


def current(page: Page) -> Any:
    return page.get_by_role("region", name="What is being added")


def choose(page: Page, paths: list[Path], collection: str, field: str = "Image files") -> None:
    page.get_by_label("Collection").fill(collection)
    page.get_by_label(field, exact=True).set_input_files(paths)


def test_a_folder_is_added_to_the_end_with_what_failed(views: Gallery, tmp_path: Path) -> None:
    folder = tmp_path / "holiday"
    write_images(folder, 5, seed=72_000, size=(80, 60))
    (folder / "broken.jpg").write_bytes(b"not an image")
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "notes.txt").write_text("no image")
    page = views.page
    page.goto("/ingest")
    page.get_by_label("Metadata for all of them").fill("album: 2026\nseen: true")
    page.get_by_label("Collection").fill("holiday")
    page.get_by_label("Folder of images", exact=True).set_input_files(folder)
    expect(page.get_by_role("status").filter(has_text="1 file left out")).to_be_visible()
    shown = current(page)
    expect(shown.get_by_role("heading", name="Done")).to_be_visible(timeout=60_000)
    expect(shown).to_contain_text("5 embedded, 1 failed")
    expect(shown).to_contain_text("holiday/empty.jpg")
    expect(shown.locator(".failure-group")).to_contain_text("Not images")
    expect(shown.locator(".failure-group")).to_contain_text("holiday/broken.jpg")
    stored = images_of(views, "holiday")
    assert len(stored) == 6
    assert all(image["metadata"]["album"] == 2026 and image["metadata"]["seen"] is True for image in stored)
    assert {image["name"] for image in stored} >= {"holiday/broken.jpg"}
    assert find_violations(page) == []
    with page.expect_response(re.compile("/retry$")) as answered:
        shown.get_by_role("button", name="Try again").click()
    assert answered.value.json()["counts"]["queued"] + answered.value.json()["counts"]["claimed"] == 1
    expect(shown.get_by_role("heading", name="Done")).to_be_visible(timeout=60_000)
    expect(shown).to_contain_text("5 embedded, 1 failed")
    shown.get_by_role("link", name="Look at them").click()
    assert "collection=holiday" in page.url


def test_files_are_dropped(views: Gallery, tmp_path: Path) -> None:
    drawn = write_images(tmp_path, 3, seed=72_100, size=(80, 60))
    page = views.page
    page.goto("/ingest")
    page.get_by_label("Collection").fill("dropped")
    page.evaluate(DROP, [[image.path.name, list(image.path.read_bytes())] for image in drawn])
    expect(current(page).get_by_role("heading", name="Done")).to_be_visible(timeout=60_000)
    expect(current(page)).to_contain_text("3 embedded")
    assert {image["name"] for image in images_of(views, "dropped")} == {image.path.name for image in drawn}


def test_files_of_the_same_bytes_are_one_image_and_said_to_be(views: Gallery, tmp_path: Path) -> None:
    first, second = (image.path for image in write_images(tmp_path, 2, seed=72_150, size=(80, 60)))
    copy = tmp_path / f"copy{first.suffix}"
    copy.write_bytes(first.read_bytes())
    page = views.page
    page.goto("/ingest")
    choose(page, [first, copy, second], "copies")
    expect(current(page).get_by_role("heading", name="Done")).to_be_visible(timeout=60_000)
    expect(current(page)).to_contain_text("3 files sent")
    expect(current(page)).to_contain_text("1 was the same as others")
    expect(current(page)).to_contain_text("2 embedded")
    expect(page).to_have_url(re.compile(r"/ingest\?ingestion=\d+$"))
    current(page).get_by_role("button", name="Close").click()
    expect(page.locator(".ingestion.is-open")).to_contain_text("2 images in copies")


def test_many_files_go_in_several_requests_and_are_one_ingestion(views: Gallery, tmp_path: Path) -> None:
    drawn = write_images(tmp_path, 60, seed=72_200, size=(40, 30))
    page = views.page
    page.goto("/ingest")
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.url) if request.url.endswith("/images/files") else None)
    choose(page, [image.path for image in drawn], "many files")
    expect(current(page).get_by_role("heading", name="Done")).to_be_visible(timeout=60_000)
    expect(current(page)).to_contain_text("60 embedded")
    assert len(sent) == 3
    current(page).get_by_role("button", name="Close").click()
    expect(page.locator(".ingestion").first).to_contain_text("60 images in many files")


def test_an_upload_is_tried_again_after_an_outage(views: Gallery, tmp_path: Path) -> None:
    drawn = write_images(tmp_path, 2, seed=72_300, size=(40, 30))
    page = views.page
    failed: list[Route] = []

    def answer(route: Route) -> None:
        if not failed:
            failed.append(route)
            body = '{"title": "Not available right now", "status": 503, "detail": "The database is away."}'
            route.fulfill(status=503, body=body, content_type="application/problem+json")
        else:
            route.continue_()

    views.expected.append("status of 503")
    page.route("**/v1/images/files", answer)
    page.goto("/ingest")
    choose(page, [image.path for image in drawn], "outage")
    expect(current(page)).to_contain_text("Trying again: The database is away.")
    expect(current(page).get_by_role("heading", name="Done")).to_be_visible(timeout=60_000)
    expect(current(page)).to_contain_text("2 embedded")


def test_a_file_that_is_too_large_is_named_and_others_go_on(views: Gallery, tmp_path: Path) -> None:
    drawn = write_images(tmp_path, 2, seed=72_400, size=(40, 30))
    large = drawn[0].path.name
    page = views.page

    def answer(route: Route) -> None:
        if large.encode() in (route.request.post_data_buffer or b""):
            body = '{"title": "Too large", "status": 413, "detail": "A request may have 1,000 bytes."}'
            route.fulfill(status=413, body=body, content_type="application/problem+json")
        else:
            route.continue_()

    views.expected.append("status of 413")
    page.route("**/v1/images/files", answer)
    page.goto("/ingest")
    choose(page, [image.path for image in drawn], "large")
    shown = current(page)
    expect(shown.get_by_role("heading", name="Done")).to_be_visible(timeout=60_000)
    expect(shown.locator(".refused")).to_contain_text(large)
    expect(shown.locator(".refused")).to_contain_text("A request may have 1,000 bytes.")
    expect(shown).to_contain_text("1 embedded")


def test_sending_is_stopped(views: Gallery, tmp_path: Path) -> None:
    drawn = write_images(tmp_path, 30, seed=72_500, size=(40, 30))
    page = views.page
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    page.route("**/v1/images/files", hold)
    page.goto("/ingest")
    choose(page, [image.path for image in drawn], "stopped")
    current(page).get_by_role("button", name="Stop sending").click()
    expect(current(page)).to_contain_text("Stopped. 0 of 30 files had been sent.")
    assert images_of(views, "stopped") == []


def test_addresses_are_added(views: Gallery) -> None:
    page = views.page
    page.goto("/ingest")
    page.get_by_label("Collection").fill("web")
    page.get_by_text("Or by their addresses on the web").click()
    page.get_by_label("Addresses, one a line").fill("http://127.0.0.1:9/one.jpg\n\n# two\nhttp://127.0.0.1:9/two.jpg")
    page.get_by_role("button", name="Add 2 addresses").click()
    expect(current(page)).to_be_visible()
    expect(page.get_by_label("Addresses, one a line")).to_have_value("")
    assert sorted(image["name"] for image in images_of(views, "web")) == ["one.jpg", "two.jpg"]


def test_bad_metadata_are_said_before_anything_is_sent(views: Gallery, tmp_path: Path) -> None:
    drawn = write_images(tmp_path, 1, seed=72_600, size=(40, 30))
    page = views.page
    page.goto("/ingest")
    page.get_by_label("Metadata for all of them").fill("no colon")
    choose(page, [drawn[0].path], "bad")
    expect(page.get_by_role("alert")).to_contain_text("name: value")
    assert images_of(views, "bad") == []


def test_an_ingestion_has_a_link(views: Gallery) -> None:
    (views.world.folder / "cut.jpg").write_bytes(min((views.world.folder / "images").iterdir()).read_bytes()[:900])
    ingestion = views.world.client.enqueue_images(views.world.folder / "cut.jpg", collection="cut")
    ingestion.wait()
    page = views.page
    page.goto(f"/ingest?ingestion={ingestion.ingestion_id}")
    row = page.locator(f"#ingestion-{ingestion.ingestion_id}")
    expect(row).to_contain_text("Cut short")
    expect(row).to_contain_text("cut.jpg")
    row.get_by_role("button", name=re.compile("1 image in cut")).click()
    expect(row.locator(".failure-group")).to_have_count(0)
    assert "ingestion=" not in page.url
    page.goto("/ingest?ingestion=999999")
    views.expected.append("status of 404")
    expect(page.get_by_role("alert")).to_contain_text("no ingestion 999999")


def test_with_a_key_the_page_asks_instead_of_listening(views: Gallery, tmp_path: Path) -> None:
    drawn = write_images(tmp_path, 1, seed=72_700, size=(40, 30))
    page = views.page
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.add_init_script("sessionStorage.setItem('siglip.key', 'a key')")
    page.goto("/ingest")
    choose(page, [drawn[0].path], "with a key")
    expect(current(page).get_by_role("heading", name="Done")).to_be_visible(timeout=60_000)
    assert any(re.search(r"/v1/ingestions/\d+$", url) for url in asked)
    assert not any(url.endswith("/events") for url in asked)


def test_the_view_is_for_everybody(views: Gallery) -> None:
    check_looks(views.page, "/ingest?ingestion=1", ".detail")
