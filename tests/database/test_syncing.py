"""A collection that follows a folder, and images whose files are gone."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import shutil
import tarfile
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from siglip_ingest import SiglipClient
from siglip_ingest.db import Database
from siglip_ingest.errors import InvalidInputError
from siglip_ingest.ingest import path_of_uri
from tests.database.helpers import FakeEmbedder, claim, complete, completed, unit_vectors


@pytest.fixture
def client(database: Database, model_id: int, database_url: str) -> SiglipClient:
    return SiglipClient(database_url=database_url, embedder=FakeEmbedder())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "photos with a space"
    for number, name in enumerate(("a.png", "b.png", "sub/c.png", "sub/deep/d.png")):
        draw(root / name, number)
    (root / "notes.txt").write_text("no image")
    return root


def draw(path: Path, number: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8 + number, 8), (number, 0, 0)).save(path)


def embed_all(database: Database, model_id: int) -> None:
    """Do a worker's work: what is queued gets vectors, under the hashes of its files."""
    with database.connection() as connection:
        chunk = claim(connection, model_id)
        results = [
            dataclasses.replace(completed(item, vector), content_hash=hash_file(item.uri))
            for item, vector in zip(chunk.items, unit_vectors(len(chunk.items)), strict=True)
        ]
        assert complete(connection, model_id, chunk.lease_token, results) == len(results)


def hash_file(uri: str) -> bytes:
    path = path_of_uri(uri)
    assert path is not None
    return hashlib.sha256(path.read_bytes()).digest()


def places(database: Database) -> dict[int, str]:
    with database.connection() as connection:
        rows: Any = connection.execute("SELECT image_id, uri FROM siglip.images").fetchall()
    return {image_id: uri.rpartition("/photos%20with%20a%20space/")[2] for image_id, uri in rows}


def states(database: Database) -> dict[str, int]:
    with database.connection() as connection:
        rows: Any = connection.execute("SELECT state, count(*) FROM siglip.ingest_items GROUP BY state").fetchall()
    return dict(rows)


def test_a_folder_is_followed(database: Database, model_id: int, client: SiglipClient, folder: Path) -> None:
    with client:
        plan, ingestion = client.sync_folder(folder, collection="c", metadata={"album": "2026"})
        assert str(plan) == "4 new, 0 changed, 0 moved, 0 deleted, 0 unchanged"
        assert ingestion is not None
        assert len(ingestion.image_ids) == 4
        embed_all(database, model_id)
        plan, ingestion = client.sync_folder(folder, collection="c")
        assert plan.is_empty
        assert ingestion is None

        before = {place: image_id for image_id, place in places(database).items()}
        draw(folder / "a.png", 100)  # changed
        (folder / "b.png").unlink()  # gone
        (folder / "sub" / "c.png").rename(folder / "renamed.png")  # moved, with its time of writing
        shutil.copy(folder / "sub" / "deep" / "d.png", folder / "e.png")  # moved, as another program does it
        (folder / "sub" / "deep" / "d.png").unlink()
        draw(folder / "new.png", 101)
        dry = client.plan_sync(folder, collection="c")
        plan, ingestion = client.sync_folder(folder, collection="c")
    assert str(dry) == str(plan) == "1 new, 1 changed, 2 moved, 1 deleted, 0 unchanged"
    after = {place: image_id for image_id, place in places(database).items()}
    assert after.keys() == {"a.png", "renamed.png", "e.png", "new.png"}
    assert (after["a.png"], after["renamed.png"], after["e.png"]) == (
        before["a.png"],
        before["sub/c.png"],
        before["sub/deep/d.png"],
    )
    assert states(database) == {"done": 2, "queued": 2}  # what moved isn't embedded again
    assert ingestion is not None
    assert set(ingestion.image_ids) == {after["a.png"], after["new.png"]}


def test_two_of_one_content_move_each_to_a_place(
    database: Database, model_id: int, client: SiglipClient, tmp_path: Path
) -> None:
    folder = tmp_path / "photos with a space"
    for name in ("a.png", "b.png"):
        draw(folder / name, 1)
    with client:
        client.sync_folder(folder)
        embed_all(database, model_id)
        for name in ("c.png", "d.png", "e.png"):
            draw(folder / name, 1)
        for name in ("a.png", "b.png"):
            (folder / name).unlink()
        plan, _ = client.sync_folder(folder)
    assert (len(plan.moved), len(plan.new), len(plan.gone)) == (2, 1, 0)
    assert sorted(places(database).values()) == ["c.png", "d.png", "e.png"]


def test_names_that_are_swapped_are_changed_files(
    database: Database, model_id: int, client: SiglipClient, folder: Path
) -> None:
    with client:
        client.sync_folder(folder)
        embed_all(database, model_id)
        (folder / "a.png").rename(folder / "t")
        (folder / "b.png").rename(folder / "a.png")
        (folder / "t").rename(folder / "b.png")
        plan, _ = client.sync_folder(folder)
    assert str(plan) == "0 new, 2 changed, 0 moved, 0 deleted, 2 unchanged"


def test_what_comes_from_elsewhere_stays(
    database: Database, model_id: int, client: SiglipClient, folder: Path, tmp_path: Path
) -> None:
    draw(tmp_path / "photos with a space, too" / "z.png", 9)
    with client:
        client.enqueue_images([tmp_path / "photos with a space, too", "https://example.com/1.jpg"])
        plan, _ = client.sync_folder(folder)
        assert len(plan.others) == 2
        shutil.rmtree(folder / "sub")
        plan, _ = client.sync_folder(folder)
    assert (len(plan.gone), len(plan.others)) == (2, 2)
    assert len(places(database)) == 4


def test_a_mount_that_is_missing_deletes_nothing(
    database: Database, model_id: int, client: SiglipClient, folder: Path
) -> None:
    with client:
        client.sync_folder(folder)
        folder.rename(folder.with_name("elsewhere"))
        with pytest.raises(InvalidInputError, match="There is no folder"):
            client.sync_folder(folder)
        folder.mkdir()
        with pytest.raises(InvalidInputError, match="has 4 of it: a mount may be missing"):
            client.sync_folder(folder)
        assert len(places(database)) == 4
        plan, _ = client.sync_folder(folder, allow_empty=True)
    assert len(plan.gone) == 4
    assert places(database) == {}


def test_images_of_a_folder_below_that_is_empty_now_stay(
    database: Database, model_id: int, client: SiglipClient, folder: Path
) -> None:
    with client:
        client.sync_folder(folder)
        shutil.rmtree(folder / "sub" / "deep")
        (folder / "sub" / "c.png").unlink()
        plan, _ = client.sync_folder(folder)
        assert sorted(Path(source.uri).name for source in plan.unreachable) == ["c.png", "d.png"]
        assert len(places(database)) == 4
        plan, _ = client.sync_folder(folder, allow_empty=True)
    assert (len(plan.gone), len(plan.unreachable)) == (2, 0)
    assert len(places(database)) == 2


def test_images_whose_file_is_gone_are_pruned(
    database: Database, model_id: int, client: SiglipClient, folder: Path, tmp_path: Path
) -> None:
    mount = tmp_path / "mount"
    draw(mount / "1.png", 20)
    draw(mount / "2.png", 21)
    with client:
        client.enqueue_images([folder, mount, "https://example.com/1.jpg", b"bytes"])
        (folder / "a.png").unlink()
        shutil.rmtree(folder / "sub")  # its own folder is gone, and others of the folder above are there
        shutil.rmtree(mount)
        mount.mkdir()
        dry = client.prune_images(dry_run=True)
        assert len(places(database)) == 8
        plan = client.prune_images()
        again = client.prune_images()
    for found in (dry, plan):
        assert sorted(Path(source.uri).name for source in found.gone) == ["a.png", "c.png", "d.png"]
        assert sorted(Path(source.uri).name for source in found.unreachable) == ["1.png", "2.png"]
        assert found.checked == 6
    assert (len(again.gone), len(again.unreachable)) == (0, 2)
    assert len(places(database)) == 5


def test_a_folder_that_is_above_nothing_that_is_there_counts_as_missing(
    database: Database, model_id: int, client: SiglipClient, folder: Path
) -> None:
    with client:
        client.enqueue_images(folder)
        shutil.rmtree(folder)
        plan = client.prune_images()
    assert (len(plan.gone), len(plan.unreachable)) == (0, 4)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_that_may_not_be_read_is_named(client: SiglipClient, folder: Path) -> None:
    (folder / "sub").chmod(0)
    try:
        with client, pytest.raises(InvalidInputError, match="sub can't be read: Permission denied"):
            client.sync_folder(folder)
    finally:
        (folder / "sub").chmod(0o700)


def test_images_of_a_tar_go_with_the_tar_and_are_none_of_the_folders(
    database: Database, model_id: int, client: SiglipClient, folder: Path
) -> None:
    for name in ("kept.tar", "gone.tar"):
        with tarfile.open(folder / name, "w") as archive:
            archive.add(folder / "a.png", f"{name}/1.png")
            archive.add(folder / "b.png", f"{name}/2.png")
    client.enqueue_images([folder / "kept.tar", folder / "gone.tar", folder / "a.png"])
    (folder / "gone.tar").unlink()
    plan = client.plan_sync(folder)
    assert (len(plan.gone), len(plan.others), plan.unchanged) == (0, 4, 1)
    assert {source.uri.rpartition("/")[2] for source in client.prune_images().gone} == {"1.png", "2.png"}
    assert len(places(database)) == 3
