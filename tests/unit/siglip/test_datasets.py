from __future__ import annotations

import json
from pathlib import Path

import pytest

from siglip_ingest.errors import InvalidInputError
from siglip_ingest.siglip.datasets import CaptionedImage, LabeledClass, read_captions, read_classes
from tests.workers.helpers import write_image

ONE, TWO = ["a cat on a sofa", "two cats"], ["a dog"]
FILES = {
    "JSON lines": (
        "captions.jsonl",
        (
            '{"image": "one.jpg", "captions": ["a cat on a sofa", "two cats"]}\n\n'
            '{"file_name": "two.jpg", "text": "a dog"}\n'
        ),
    ),
    "JSON lines, a caption a line": (
        "captions.jsonl",
        "\n".join(
            json.dumps({"path": image, "caption": caption})
            for image, captions in (("one.jpg", ONE), ("two.jpg", TWO))
            for caption in captions
        ),
    ),
    "CSV": ("captions.csv", "image,caption\none.jpg,a cat on a sofa\ntwo.jpg,a dog\none.jpg,two cats\n"),
    "CSV from a spreadsheet": (
        "captions.csv",
        '\ufeffFilename;Title\none.jpg;"a cat on a sofa"\ntwo.jpg;a dog\none.jpg;two cats\n',
    ),
    "TSV": ("captions.tsv", "path\ttext\none.jpg\ta cat on a sofa\none.jpg\ttwo cats\ntwo.jpg\ta dog\n"),
    "open_clip's CSV": ("a.csv", "filepath\ttitle\none.jpg\ta cat on a sofa\none.jpg\ttwo cats\ntwo.jpg\ta dog\n"),
    "Flickr30k's results.csv": (
        "results.csv",
        "image_name| comment_number| comment\none.jpg| 0| a cat on a sofa\none.jpg| 1| two cats \ntwo.jpg| 0| a dog\n",
    ),
    "a JSON list": (
        "test.json",
        json.dumps([{"image": "one.jpg", "caption": ONE}, {"image": "two.jpg", "caption": TWO}]),
    ),
    "COCO's annotations": (
        "captions_val.json",
        json.dumps(
            {
                "images": [{"id": 7, "file_name": "one.jpg"}, {"id": 9, "file_name": "two.jpg"}],
                "annotations": [
                    {"image_id": 7, "caption": ONE[0]},
                    {"image_id": 9, "caption": TWO[0]},
                    {"image_id": 7, "caption": ONE[1]},
                ],
            }
        ),
    ),
    "Karpathy's Flickr30k": (
        "dataset_flickr30k.json",
        json.dumps(
            {
                "images": [
                    {"filename": "one.jpg", "split": "test", "sentences": [{"raw": text} for text in ONE]},
                    {"filename": "two.jpg", "split": "test", "sentences": [{"raw": text} for text in TWO]},
                ]
            }
        ),
    ),
}


@pytest.mark.parametrize(("name", "content"), FILES.values(), ids=FILES.keys())
def test_captions_are_read_from_every_known_format(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    assert read_captions(tmp_path / name) == [
        CaptionedImage(tmp_path / "one.jpg", tuple(ONE)),
        CaptionedImage(tmp_path / "two.jpg", tuple(TWO)),
    ]


def test_images_may_lie_in_another_folder_and_one_split_is_taken(tmp_path: Path) -> None:
    images = [
        {"filepath": "val2014", "filename": "a.jpg", "split": "test", "sentences": [{"raw": "a cat"}]},
        {"filepath": "train2014", "filename": "b.jpg", "split": "train", "sentences": [{"raw": "a dog"}]},
    ]
    (tmp_path / "dataset_coco.json").write_text(json.dumps({"images": images}))
    coco = Path("/data/coco")
    found = read_captions(tmp_path / "dataset_coco.json", images=coco, split="test")
    assert found == [CaptionedImage(coco / "val2014" / "a.jpg", ("a cat",))]
    with pytest.raises(InvalidInputError, match="no captions of the split 'restval'"):
        read_captions(tmp_path / "dataset_coco.json", split="restval")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        pytest.param("a.jsonl", '{"image": "a.jpg", "caption": "x"}\n{"image"', "line 2: is not JSON", id="cut off"),
        pytest.param("a.jsonl", '["a.jpg", "x"]', "line 1: must be an object", id="no object"),
        pytest.param("a.jsonl", '{"caption": "x"}', "line 1: names no image", id="no image"),
        pytest.param("a.jsonl", '{"image": "a.jpg", "captions": []}', "a.jpg has no caption", id="no caption"),
        pytest.param("a.csv", "image,caption\na.jpg,\n", "line 2: a.jpg has no caption", id="an empty cell"),
        pytest.param("a.json", "3", "must hold a list", id="JSON of another kind"),
        pytest.param("a.jsonl", "", "has no captions", id="empty"),
        pytest.param("a.txt", "", "must end in", id="another suffix"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_with_its_place(
    tmp_path: Path, name: str, content: str, message: str
) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(InvalidInputError, match=message):
        read_captions(tmp_path / name)


def test_a_file_that_is_missing_or_no_text_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"nowhere\.csv can't be read"):
        read_captions(tmp_path / "nowhere.csv")
    (tmp_path / "latin.csv").write_bytes(b"image,caption\na.jpg,caf\xe9\n")
    with pytest.raises(InvalidInputError, match="not UTF-8"):
        read_captions(tmp_path / "latin.csv")


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    for seed, path in enumerate(("n01_cat/a.png", "n01_cat/more/b.png", "n02_dog/c.png")):
        (tmp_path / "pets" / path).parent.mkdir(parents=True, exist_ok=True)
        write_image(tmp_path / "pets" / path, seed)
    (tmp_path / "pets" / ".thumbnails").mkdir()
    return tmp_path / "pets"


def test_folders_are_classes_and_their_names_labels(pets: Path) -> None:
    assert read_classes(pets) == [
        LabeledClass("n01_cat", ("n01 cat",), (pets / "n01_cat" / "a.png", pets / "n01_cat" / "more" / "b.png")),
        LabeledClass("n02_dog", ("n02 dog",), (pets / "n02_dog" / "c.png",)),
    ]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        pytest.param("classes.json", '{"n01_cat": ["cat", "kitten"], "n02_dog": "dog"}', id="JSON"),
        pytest.param("classes.txt", "n01_cat\tcat, kitten\nn02_dog\tdog\n", id="tabs"),
        pytest.param("classes.txt", "# pets\nn01_cat: cat,kitten\n\nn02_dog: dog\n", id="colons"),
        pytest.param("synsets.txt", "n01_cat cat, kitten\nn02_dog dog\n", id="as ImageNet's synset words"),
    ],
)
def test_a_classes_file_gives_names(pets: Path, tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    assert [found.names for found in read_classes(pets, names=tmp_path / name)] == [("cat", "kitten"), ("dog",)]


def test_folders_that_a_classes_file_leaves_out_are_left_out(pets: Path, tmp_path: Path) -> None:
    (tmp_path / "one.json").write_text('{"n02_dog": "dog"}')
    assert [found.folder for found in read_classes(pets, names=tmp_path / "one.json")] == ["n02_dog"]
    (tmp_path / "none.json").write_text('{"n03": "bird"}')
    with pytest.raises(InvalidInputError, match="no folder that the classes file names"):
        read_classes(pets, names=tmp_path / "none.json")
    (tmp_path / "bad.json").write_text('{"n02_dog": []}')
    with pytest.raises(InvalidInputError, match="'n02_dog' must have a name"):
        read_classes(pets, names=tmp_path / "bad.json")


def test_a_folder_without_classes_or_a_class_without_images_is_refused(pets: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="has no folders"):
        read_classes(pets / "n02_dog")
    (pets / "n03_bird").mkdir()
    with pytest.raises(InvalidInputError, match="n03_bird has no images: no file"):
        read_classes(pets)
    with pytest.raises(InvalidInputError, match="can't be read"):
        read_classes(tmp_path / "nowhere")
