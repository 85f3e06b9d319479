from __future__ import annotations

from pathlib import Path

import pytest

from siglip_ingest.errors import InvalidInputError
from siglip_ingest.siglip.training.data import find_classes, find_pairs
from tests.unit.siglip.training.sets import write_captioned, write_classes


def test_a_folder_and_its_file_of_captions_are_the_same_data(tmp_path: Path) -> None:
    folder = write_captioned(tmp_path / "set")
    data = find_pairs(str(folder))
    assert data == find_pairs(str(folder / "captions.jsonl"))
    assert [example.name for example in data.examples] == [f"{number:02d}.png" for number in range(12)]
    assert data.examples[3].captions == ("night beside a boat", "night above a boat")
    assert data.examples[3].path == folder / "03.png"


@pytest.mark.parametrize("name", ["metadata.csv", "captions.tsv", "anything.jsonl"])
def test_the_file_of_captions_is_found_by_its_name_or_as_the_only_one(tmp_path: Path, name: str) -> None:
    folder = write_captioned(tmp_path / "set", 2)
    (folder / "captions.jsonl").unlink()
    comma = "\t" if name.endswith("tsv") else ","
    table = f"file_name{comma}text\n00.png{comma}a boat\n01.png{comma}a house\n"
    lines = '{"image": "00.png", "caption": "a boat"}\n{"image": "01.png", "caption": "a house"}\n'
    (folder / name).write_text(lines if name.endswith("jsonl") else table)
    assert [example.captions for example in find_pairs(str(folder)).examples] == [("a boat",), ("a house",)]


def test_images_that_are_not_there_are_left_out_and_named(tmp_path: Path) -> None:
    folder = write_captioned(tmp_path / "set", 4)
    (folder / "02.png").unlink()
    data = find_pairs(str(folder))
    assert len(data.examples) == 3
    assert data.left_out == (f"{folder / '02.png'}: there is no such file, but captions.jsonl names it.",)


def test_captions_of_images_that_are_all_missing_are_refused(tmp_path: Path) -> None:
    folder = write_captioned(tmp_path / "set", 2)
    for path in folder.glob("*.png"):
        path.unlink()
    with pytest.raises(InvalidInputError, match=r"names 2 images, and none is there\. .*00\.png"):
        find_pairs(str(folder))


def test_a_folder_without_captions_or_with_several_files_of_them_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="has no captions"):
        find_pairs(str(tmp_path))
    folder = write_captioned(tmp_path / "set", 2)
    (folder / "metadata.csv").write_text("image,text\n00.png,a boat\n")
    with pytest.raises(InvalidInputError, match=r"several files of captions \(captions\.jsonl, metadata\.csv\)"):
        find_pairs(str(folder))
    with pytest.raises(InvalidInputError, match="There is no"):
        find_pairs(str(tmp_path / "nowhere"))


def test_classes_are_the_names_of_folders(tmp_path: Path) -> None:
    data = find_classes(str(write_classes(tmp_path / "set", per_class=2)))
    assert data.classes == ("dark", "light")
    assert [(example.name, example.target) for example in data.examples] == [
        ("dark/0.png", 0),
        ("dark/1.png", 0),
        ("light/0.png", 1),
        ("light/1.png", 1),
    ]


def test_one_class_or_a_file_is_refused(tmp_path: Path) -> None:
    folder = write_classes(tmp_path / "set", per_class=1)
    with pytest.raises(InvalidInputError, match="is no folder"):
        find_classes(str(folder / "dark" / "0.png"))
    (folder / "dark" / "0.png").unlink()
    (folder / "dark").rmdir()
    with pytest.raises(InvalidInputError, match="has one class, light"):
        find_classes(str(folder))
