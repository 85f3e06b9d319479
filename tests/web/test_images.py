"""Stored images: lists, descriptions, tags, deleting, thumbnails and originals."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from starlette.testclient import TestClient

from siglip_ingest.db import images
from tests.web.conftest import COLLECTION, IMAGES, Web

Draw = Callable[..., list[Path]]


def all_pages(api: TestClient, **parameters: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    cursor: str | None = None
    while True:
        answer = api.get("/v1/images", params={**parameters, **({"cursor": cursor} if cursor else {})})
        assert answer.status_code == 200, answer.text
        page = answer.json()
        found += page["images"]
        cursor = page["next_cursor"]
        if cursor is None:
            return found


def test_collections_are_listed(api: TestClient) -> None:
    assert {"collection": COLLECTION, "images": IMAGES} in api.get("/v1/collections").json()


def test_pages_hold_all_images_once_the_newest_first(api: TestClient, web: Web) -> None:
    for limit in (1, 5, IMAGES, 200):
        found = [image["image_id"] for image in all_pages(api, collection=COLLECTION, limit=limit)]
        assert found == sorted(web.image_ids, reverse=True)
    assert api.get("/v1/images", params={"collection": COLLECTION, "limit": 3}).json()["total"] == IMAGES


def test_lists_can_be_narrowed(api: TestClient, web: Web) -> None:
    found = all_pages(api, collection=COLLECTION, filter='{"number": 3}')
    assert [image["image_id"] for image in found] == [web.image_ids[3]]
    assert all_pages(api, collection="nothing") == []
    assert all_pages(api, collection=COLLECTION, state="failed") == []
    assert len(all_pages(api, collection=COLLECTION, state="done")) == IMAGES


@pytest.mark.parametrize(
    "parameters",
    [
        {"filter": "{"},
        {"filter": "[]"},
        {"filter": "[" * 20_000},
        {"state": "lost"},
        {"limit": 0},
        {"limit": 201},
        {"cursor": "x"},
        {"cursor": "WyJsIiwgMV0"},
        {"cursor": "é"},
        {"collection": ""},
    ],
    ids=lambda parameters: str(parameters)[:30],
)
def test_what_cannot_be_listed_is_refused(api: TestClient, parameters: dict[str, Any]) -> None:
    answer = api.get("/v1/images", params=parameters)
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")


def test_an_image_is_described(api: TestClient, web: Web) -> None:
    image = api.get(f"/v1/images/{web.image_ids[0]}").json()
    path = sorted((web.folder / "images").iterdir())[0]
    assert (image["name"], image["collection"], image["state"]) == (path.name, COLLECTION, "done")
    assert image["uri"] == path.as_uri()
    assert image["metadata"]["number"] == 0
    assert image["thumbnail"].startswith(f"/v1/images/{web.image_ids[0]}/thumbnail?v=")
    assert api.get(image["original"]).content == path.read_bytes()


def test_passwords_in_addresses_are_not_shown(api: TestClient, web: Web) -> None:
    uri = "https://user:pass-word@photos.example/a.jpg?token=to-ken"
    with web.database() as database, database.connection() as connection:
        row = images.ImageRow(collection="secret", uri=uri)
        (image_id,) = images.insert_images(connection, [row], web.model_id).image_ids
    for answer in (api.get(f"/v1/images/{image_id}"), api.get("/v1/images", params={"collection": "secret"})):
        assert "pass-word" not in answer.text
        assert "to-ken" not in answer.text


def test_tags_are_merged_and_taken_out(api: TestClient, web: Web, draw_images: Draw) -> None:
    ids = web.add_images(draw_images(2, seed=82_000), collection="tagged", metadata=[{"a": 1, "b": 2}, {}])

    def tag(**metadata: Any) -> int:
        answer = api.post("/v1/images/tag", json={"image_ids": [*ids, 1_000_000], "metadata": metadata})
        return int(answer.json()["images"])

    assert tag(a=None, c=[1]) == 2
    assert tag(c=[1]) == 0
    assert [api.get(f"/v1/images/{image_id}").json()["metadata"] for image_id in ids] == [
        {"b": 2, "c": [1]},
        {"c": [1]},
    ]


def test_images_are_deleted_and_their_files_stay(api: TestClient, web: Web, draw_images: Draw) -> None:
    paths = draw_images(4, seed=83_000)
    ids = web.add_images(paths, collection="deleted")
    assert api.delete(f"/v1/images/{ids[0]}").json() == {"images": 1}
    assert api.delete(f"/v1/images/{ids[0]}").status_code == 404
    assert api.get(f"/v1/images/{ids[0]}/thumbnail").status_code == 404
    assert api.post("/v1/images/delete", json={"image_ids": [*ids, 1_000_000]}).json() == {"images": 3}
    assert all_pages(api, collection="deleted") == []
    assert all(path.exists() for path in paths)


def test_pages_stay_whole_while_images_come_and_go(api: TestClient, web: Web, draw_images: Draw) -> None:
    paths = draw_images(9, seed=84_000)
    ids = web.add_images(paths[:6], collection="moving")
    first = api.get("/v1/images", params={"collection": "moving", "limit": 2}).json()
    web.add_images(paths[6:], collection="moving")
    api.post("/v1/images/delete", json={"image_ids": [ids[5], ids[2]]})  # one that was shown, one that wasn't
    rest = all_pages(api, collection="moving", limit=2)
    second = api.get("/v1/images", params={"collection": "moving", "limit": 9, "cursor": first["next_cursor"]}).json()
    assert [image["image_id"] for image in first["images"]] == [ids[5], ids[4]]
    assert [image["image_id"] for image in second["images"]] == [ids[3], ids[1], ids[0]]
    assert len(rest) == 7


@pytest.mark.parametrize(("size", "longer"), [(None, 200), (160, 160), (320, 200), (640, 200), (1280, 200)])
def test_thumbnails_are_small_and_never_enlarged(api: TestClient, web: Web, size: int | None, longer: int) -> None:
    answer = api.get(f"/v1/images/{web.image_ids[1]}/thumbnail", params={} if size is None else {"size": size})
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/webp")
    with Image.open(io.BytesIO(answer.content)) as opened:
        assert (opened.format, max(opened.size)) == ("WEBP", longer)


@pytest.mark.parametrize("size", [0, 100, 10_000, "large", -160])
def test_thumbnails_have_few_sizes(api: TestClient, web: Web, size: Any) -> None:
    answer = api.get(f"/v1/images/{web.image_ids[1]}/thumbnail", params={"size": size})
    assert answer.status_code == 422


def test_versions_say_what_may_be_kept(api: TestClient, web: Web) -> None:
    image = api.get(f"/v1/images/{web.image_ids[2]}").json()
    for path in (image["thumbnail"], image["original"]):
        assert "immutable" in api.get(path).headers["cache-control"]
        assert api.get(path.partition("?")[0]).headers["cache-control"] == "private, no-cache"
        assert api.get(f"{path}x").headers["cache-control"] == "private, no-cache"


def test_thumbnails_are_made_once_and_their_cache_is_bounded(
    web: Web, draw_images: Draw, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = web.folder / "small cache"
    ids = web.add_images(draw_images(8, seed=85_000), collection="cached")
    with web.serve(home=home, thumbnail_cache_bytes=8_000) as app:
        context: Any = app.app.state.context  # type: ignore[attr-defined]
        sizes = [len(app.get(f"/v1/images/{ids[0]}/thumbnail").content) for _ in range(3)]
        assert (context.thumbnails.hits, context.thumbnails.misses) == (2, 1)
        for image_id in ids:
            assert app.get(f"/v1/images/{image_id}/thumbnail").status_code == 200
        kept = [path.stat().st_size for path in (home / "thumbnails").rglob("*") if path.is_file()]
    assert sum(kept) <= 8_000 + max(kept)
    assert 0 < len(kept) < 9
    assert sizes[0] == sizes[2]


def check_gone(api: TestClient, image_id: int, *statuses: int) -> list[str]:
    """Neither thumbnail nor original is given; returns why."""
    found = []
    for what in ("original", "thumbnail"):
        answer = api.get(f"/v1/images/{image_id}/{what}")
        assert answer.status_code in statuses, answer.text
        assert answer.headers["content-type"] == "application/problem+json"
        found.append(answer.json()["detail"])
    return found


def test_a_file_that_has_gone_is_told(api: TestClient, web: Web, draw_images: Draw) -> None:
    (path,) = draw_images(1, seed=86_000)
    (image_id,) = web.add_images([path], collection="files")
    path.unlink()
    assert all(path.name in why for why in check_gone(api, image_id, 422))


def test_a_file_that_became_another_is_not_given(api: TestClient, web: Web, draw_images: Draw) -> None:
    """What was an image is the password file by now: by a link that was swapped, or by other content."""
    swapped, changed = draw_images(2, seed=87_000)
    ids = web.add_images([swapped, changed], collection="files")
    secret = web.folder / "secret.txt"
    secret.write_text("root:x:0:0:")
    swapped.unlink()
    swapped.symlink_to(secret)
    changed.write_text("root:x:0:0:")
    for image_id in ids:
        assert not [why for why in check_gone(api, image_id, 422) if "root:" in why]


def test_what_lies_outside_the_allowed_folders_is_not_given(
    api: TestClient, web: Web, draw_images: Draw, tmp_path: Path
) -> None:
    inside, linked, hopping = draw_images(3, seed=88_000)
    outside = tmp_path / "outside.jpg"
    outside.write_bytes(inside.read_bytes())
    ids = web.add_images([outside, linked, hopping], collection="files")
    linked.unlink()
    linked.symlink_to(outside)
    folder = hopping.parent / "hop"
    folder.symlink_to(tmp_path, target_is_directory=True)
    hopping.unlink()
    hopping.symlink_to("hop/outside.jpg")
    for image_id in ids:
        check_gone(api, image_id, 422)
    # In another server, which may read there, it is given.
    with web.serve(allowed_roots=(web.folder, tmp_path)) as app:
        assert app.get(f"/v1/images/{ids[0]}/original").content == outside.read_bytes()


@pytest.mark.parametrize(
    "uri",
    [
        "file:///etc/passwd",
        "file:///{folder}/images/../../../etc/passwd",
        "file:///dev/zero",
        "file:///proc/self/environ",
        "file://{folder}",
        "relative.jpg",
        "ftp://photos.example/a.jpg",
        "http://127.0.0.1:1/a.jpg",
        "http://169.254.169.254/",
    ],
)
def test_addresses_in_the_database_open_nothing_else(api: TestClient, web: Web, uri: str) -> None:
    """Whoever may write to the table chooses addresses, within what the settings let through."""
    with web.database() as database, database.connection() as connection:
        row = images.ImageRow(collection="bad addresses", uri=uri.format(folder=web.folder))
        (image_id,) = images.insert_images(connection, [row], web.model_id).image_ids
    check_gone(api, image_id, 422, 503)


@pytest.mark.parametrize("image_id", ["0", "-1", "abc", "1.5", str(2**60), "%2e%2e%2fetc", "1/../2/original"])
def test_paths_are_ids_and_nothing_else(api: TestClient, image_id: str) -> None:
    answer = api.get(f"/v1/images/{image_id}/original")
    assert answer.status_code in {404, 422}


def test_originals_run_nothing_in_a_browser(api: TestClient, web: Web) -> None:
    answer = api.get(f"/v1/images/{web.image_ids[0]}/original")
    assert answer.headers["content-type"] == "image/jpeg"
    assert answer.headers["content-security-policy"] == "default-src 'none'; sandbox"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert int(answer.headers["content-length"]) == len(answer.content)
