"""Each command, run as a program."""

import json
import re
import shutil
from pathlib import Path

import pytest
from PIL import Image

from siglip_ingest.demo.world import write_images
from siglip_ingest.siglip.checkpoint.names import DEMO_FOLDER
from tests.cli.conftest import IMAGES, Terminal, clean_environment


def first_image(terminal: Terminal) -> Path:
    return sorted((terminal.folder / "photos").iterdir())[0]


def test_indexing_twice_embeds_nothing_again(terminal: Terminal) -> None:
    again = terminal.run("index", "photos", "--collection", "holiday", "--json")
    assert again.returncode == 0, again.stderr
    assert json.loads(again.stdout)["done"] == IMAGES


def test_search_by_text_prints_a_table_best_first(terminal: Terminal) -> None:
    found = terminal.run("search", "sunset over water", "--limit", "5")
    assert found.returncode == 0, found.stderr
    header, *rows = found.stdout.splitlines()
    assert header.split() == ["image_id", "score", "similarity", "image"]
    scores = [float(row.split()[1]) for row in rows]
    assert len(rows) == 5
    assert scores == sorted(scores, reverse=True)
    assert str(terminal.folder) in rows[0]


def test_search_by_an_indexed_image_finds_that_image_first(terminal: Terminal) -> None:
    image = first_image(terminal)
    matches = json.loads(terminal.run("search", "--image", str(image), "--json").stdout)
    assert matches[0]["uri"] == image.as_uri()
    assert matches[0]["similarity"] > 0.99
    assert matches[0]["metadata"] == {"album": "2026"}


def test_search_like_an_image_leaves_that_image_out(terminal: Terminal) -> None:
    matches = json.loads(terminal.run("search", "--image", str(first_image(terminal)), "--json").stdout)
    like = json.loads(terminal.run("search", "--like", str(matches[0]["image_id"]), "--limit", "3", "--json").stdout)
    assert len(like) == 3
    assert matches[0]["image_id"] not in {match["image_id"] for match in like}


def test_several_parts_make_one_query(terminal: Terminal) -> None:
    everything = json.loads(terminal.run("search", "a landscape", "--json").stdout)
    like, unlike = everything[0]["image_id"], everything[1]["image_id"]
    found = terminal.run(
        *("search", "sunset", "--and", "water", "--not", "snow", "--not", "a city", "--json", "--limit", "30"),
        *("--like", f"{like}:0.7", "--unlike", str(unlike)),
    )
    assert found.returncode == 0, found.stderr
    matches = json.loads(found.stdout)
    assert len(matches) == IMAGES - 2
    assert not {like, unlike} & {match["image_id"] for match in matches}
    scores = [match["score"] for match in matches]
    assert scores == sorted(scores, reverse=True)


def test_a_query_of_nothing_wanted_is_refused(terminal: Terminal) -> None:
    refused = terminal.run("search", "--not", "snow")
    assert refused.returncode == 2
    assert "--not and --unlike alone find nothing" in " ".join(refused.stderr.split())
    wrong = terminal.run("search", "beach", "--like", "42:heavy")
    assert wrong.returncode == 2
    assert "42:0.7" in " ".join(wrong.stderr.split())


def test_a_filter_that_fits_nothing_says_so_and_is_no_error(terminal: Terminal) -> None:
    found = terminal.run("search", "a boat", "--filter", '{"album": "1999"}')
    assert (found.returncode, found.stdout) == (0, "")
    assert "No matches" in found.stderr


def test_search_writes_a_contact_sheet_with_the_images_inside(terminal: Terminal) -> None:
    found = terminal.run("search", "a boat", "--limit", "3", "--html", "found.html")
    assert found.returncode == 0, found.stderr
    assert (terminal.folder / "found.html").read_text().count("data:image/jpeg;base64,") == 3


def test_search_shows_a_table_where_the_output_is_no_terminal(terminal: Terminal) -> None:
    pytest.importorskip("rich")
    found = terminal.run("search", "a boat", "--limit", "3", "--show")
    assert found.returncode == 0, found.stderr
    assert ["/photos/" in line for line in found.stdout.splitlines()[1:]] == [True] * 3
    assert "image_id" in json.loads(terminal.run("search", "a boat", "--limit", "3", "--show", "--json").stdout)[0]


def test_labels_are_created_listed_and_scored(terminal: Terminal) -> None:
    created = terminal.run("label", "create", "scenes", "sunset", "night sky", "snow")
    assert created.returncode == 0, created.stderr
    assert "scenes" in terminal.run("label", "list").stdout
    scores = json.loads(terminal.run("label", "scores", "scenes", str(first_image(terminal)), "--json").stdout)
    assert {row["label"] for row in scores} == {"sunset", "night sky", "snow"}
    assert [row["score"] for row in scores] == sorted((row["score"] for row in scores), reverse=True)
    taken = terminal.run("label", "create", "scenes", "sunset")
    assert taken.returncode == 1
    assert "scenes" in taken.stderr
    assert "--replace" in taken.stderr


def test_a_label_set_can_be_deleted(terminal: Terminal) -> None:
    assert terminal.run("label", "create", "short-lived", "sunset").returncode == 0
    assert terminal.run("label", "delete", "short-lived").returncode == 0
    assert "short-lived" not in terminal.run("label", "list").stdout


def test_status_shows_no_password_unless_asked_for_json(terminal: Terminal) -> None:
    url = json.loads(terminal.run("status", "--json").stdout)["services"]["database_url"]
    password = url.split("@")[0].rsplit(":", 1)[1]
    assert password not in terminal.run("status").stdout


def test_a_changed_model_embeds_everything_again_and_then_switches(terminal: Terminal, tmp_path: Path) -> None:
    copy = tmp_path / "another model"
    shutil.copytree(DEMO_FOLDER, copy)
    home = clean_environment(tmp_path / "home")
    other = Terminal(terminal.folder, home)
    assert other.run("up").returncode == 0
    try:
        assert other.run("index", "photos").returncode == 0
        assert other.run("label", "create", "scenes", "sunset", "snow").returncode == 0
        without_model = Terminal(other.folder, {name: value for name, value in home.items() if name != "SIGLIP_MODEL"})
        changed = without_model.run("models", "use", str(copy))
        assert changed.returncode == 0, changed.stderr
        old, new = json.loads(without_model.run("models", "list", "--json").stdout)["database"]
        assert (old["active"], new["active"]) == (False, True)
        assert old["embedded"] == new["embedded"]
        assert len(json.loads(without_model.run("search", "a tent", "--json").stdout)) == 10
        assert without_model.run("label", "scores", "scenes", "1").returncode == 0
        assert other.run("search", "a tent").returncode == 1  # SIGLIP_MODEL still names the old one
        again = without_model.run("index", "photos", "--collection", "again")  # by a worker of the new one
        assert again.returncode == 0, again.stderr
    finally:
        other.run("down")


def test_failed_images_are_tried_again(terminal: Terminal) -> None:
    broken = terminal.folder / "mends.jpg"
    broken.write_text("no image yet")
    assert terminal.run("index", "mends.jpg", "--collection", "mends").returncode == 1
    shutil.copy(first_image(terminal), broken)
    assert terminal.run("retry", "--collection", "mends").stdout == "1 done, 0 failed.\n"
    matches = json.loads(terminal.run("search", "--image", "mends.jpg", "--collection", "mends", "--json").stdout)
    assert [match["uri"] for match in matches] == [broken.as_uri()]


def test_classify_needs_no_database(terminal: Terminal, tmp_path: Path) -> None:
    done = terminal.run(
        "classify", str(first_image(terminal)), "--labels", "sunset,snow", "--json", SIGLIP_HOME=str(tmp_path / "no")
    )
    assert done.returncode == 0, done.stderr
    assert {row["label"] for row in json.loads(done.stdout)} == {"sunset", "snow"}
    assert not (tmp_path / "no").exists()


def test_models_list_shows_the_active_model_and_its_vectors(terminal: Terminal) -> None:
    (model,) = json.loads(terminal.run("models", "list", "--json").stdout)["database"]
    assert model["name"] == "demo"
    assert model["active"] is True
    assert model["embedded"] >= 1


def test_status_counts_the_images(terminal: Terminal) -> None:
    status = terminal.run("status")
    assert status.returncode == 0, status.stderr
    assert "model: demo\n" in status.stdout
    assert re.search(r"images: 0 queued, 0 in progress, \d+ done, \d+ failed\n", status.stdout)


def test_migrate_of_an_up_to_date_schema_changes_nothing(terminal: Terminal) -> None:
    done = terminal.run("migrate")
    assert done.returncode == 0, done.stderr


def test_a_folder_with_a_bad_image_indexes_the_others_and_exits_1(terminal: Terminal) -> None:
    mixed = terminal.folder / "mixed"
    mixed.mkdir()
    Image.new("RGB", (64, 48), "teal").save(mixed / "good one.png")
    (mixed / "text.jpg").write_text("this is no image")
    done = terminal.run("index", "mixed", "--collection", "mixed")
    assert done.returncode == 1
    assert "1 done, 1 failed" in done.stdout
    assert "text.jpg" in done.stderr
    assert "Traceback" not in done.stderr


def test_lists_are_indexed_with_keys_and_metadata(terminal: Terminal, tmp_path: Path) -> None:
    names = [image.path.name for image in write_images(tmp_path, 3, seed=76_000, size=(64, 64))]
    (tmp_path / "m.csv").write_text(f"photo,sku,album\n{names[0]},17,2026\n{names[1]},18,\n")
    listed = terminal.run(
        *("index", "--manifest", str(tmp_path / "m.csv"), "--uri-column", "photo", "--key-column", "sku"),
        *("--collection", "listed"),
    )
    assert (listed.returncode, listed.stdout) == (0, "2 done, 0 failed.\n"), listed.stderr
    by_pattern = terminal.run("index", f"{tmp_path}/*.jpg", "--collection", "listed")
    assert by_pattern.stdout == "3 done, 0 failed.\n"
    found = terminal.run("search", "a boat", "--collection", "listed", "--filter", '{"album": "2026"}', "--json")
    assert [Path(match["uri"]).name for match in json.loads(found.stdout)] == [names[0]]
    nothing = terminal.run("index")
    assert nothing.returncode == 2
    assert "Give a PATH, or --manifest FILE." in nothing.stderr
