"""`siglip-ingest eval`, in this process, on images of the demo world."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from siglip_ingest.cli import cli
from siglip_ingest.demo.world import DemoImage, write_images
from siglip_ingest.errors import InvalidInputError

Run = Callable[..., Result]


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> list[DemoImage]:
    return write_images(tmp_path_factory.mktemp("drawn"), 20, seed=40_000_000, size=(96, 72))


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    monkeypatch.setenv("SIGLIP_MODEL", "demo")
    monkeypatch.setenv("SIGLIP_DEVICE", "cpu")
    monkeypatch.setenv("SIGLIP_HOME", str(tmp_path / "home"))

    def invoke(*arguments: object) -> Result:
        done = CliRunner().invoke(cli, ["eval", *map(str, arguments)], standalone_mode=False)
        if done.exception is not None:
            raise done.exception
        return done

    return invoke


@pytest.fixture
def skies(tmp_path: Path, drawn: list[DemoImage]) -> Path:
    """A folder a sky, such as `night_sky`."""
    for image in drawn:
        if "sky" in image.attributes:
            folder = tmp_path / "skies" / image.attributes["sky"].replace(" ", "_")
            folder.mkdir(parents=True, exist_ok=True)
            (folder / image.path.name).symlink_to(image.path)
    return tmp_path / "skies"


@pytest.fixture
def captions(tmp_path: Path, drawn: list[DemoImage]) -> Path:
    rows = [{"image": image.path.name, "caption": image.caption} for image in drawn]
    (tmp_path / "captions.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return tmp_path / "captions.jsonl"


def test_accuracy_is_printed_for_folders_of_classes(run: Run, skies: Path) -> None:
    done = run(skies)
    lines = done.stdout.splitlines()
    assert lines[0].startswith("zero-shot classification, demo, float32 on cpu: ")
    assert "top-1 accuracy" in lines[2]
    assert float(lines[2].split()[-1]) > 0.9
    assert "night_sky" in done.stdout
    assert done.stderr == ""  # no bar where nobody looks


def test_recall_is_printed_for_captions_and_written_to_a_report(
    run: Run, captions: Path, drawn: list[DemoImage], tmp_path: Path
) -> None:
    report = tmp_path / "report.md"
    done = run(captions, "--images", drawn[0].path.parent, "--batch-size", "8", "--output", report)
    assert [line.split()[-2] for line in done.stdout.splitlines()[2:8]] == ["recall@1", "recall@5", "recall@10"] * 2
    text = report.read_text()
    assert text.startswith(f"# Retrieval: demo on {captions}\n")
    assert "| text to image, recall@10 | 1.0000 |" in text
    assert "| revision | sha256:" in text
    with pytest.raises(InvalidInputError, match="can't be written"):
        run(captions, "--images", drawn[0].path.parent, "--output", "/proc/none/report.md")


def test_json_has_all_of_it(run: Run, captions: Path, drawn: list[DemoImage]) -> None:
    with captions.open("a") as file:
        file.write('\n{"image": "nowhere.jpg", "caption": "nothing"}\n')
    found = json.loads(run(captions, "--images", drawn[0].path.parent, "--json").stdout)
    assert found["model"] == "demo"
    assert found["counts"] == {"images": 20, "captions": 20, "skipped": 1}
    assert found["skipped"][0]["path"].endswith("nowhere.jpg")
    assert found["figures"]["image to text, recall@10"] == 1.0
    assert found["dtype"] == "float32"


def test_names_and_templates_make_the_prompts(run: Run, skies: Path, tmp_path: Path) -> None:
    (tmp_path / "classes.json").write_text('{"night_sky": ["night sky", "stars"], "sunset": "sunset"}')
    options = ["--classes", tmp_path / "classes.json", "--json"]
    one = json.loads(run(skies, *options, "--template", "a photo of {label}", "--template", "{label}").stdout)
    assert (one["counts"]["classes"], one["counts"]["prompts"]) == (2, 6)
    (tmp_path / "templates.txt").write_text("{label}\n\nthe {label}\na {label}\n")
    assert json.loads(run(skies, *options, "--templates", tmp_path / "templates.txt").stdout)["counts"]["prompts"] == 9
    assert json.loads(run(skies, *options, "--templates", "clip", "--limit", 4).stdout)["counts"] == {
        "images": 4,
        "classes": 2,
        "prompts": 240,
        "skipped": 0,
    }


def test_where_nothing_can_be_measured_a_sentence_says_so(run: Run, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("image,caption\nnowhere.jpg,a cat\n")
    with pytest.raises(InvalidInputError, match="None of the 1 images can be read"):
        run(tmp_path / "a.csv")
    with pytest.raises(InvalidInputError, match="must end in"):
        run(tmp_path / "nowhere")
    (tmp_path / "empty.txt").touch()
    with pytest.raises(InvalidInputError, match=r"empty\.txt has no templates"):
        run(tmp_path / "a.csv", "--templates", tmp_path / "empty.txt")


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        pytest.param(["a.csv", "--classes", "x.json"], "--classes goes with a folder", id="classes of captions"),
        pytest.param([".", "--split", "test"], "go with a file of captions", id="a split of a folder"),
        pytest.param(["a.csv", "--template", "x", "--templates", "clip"], "not both", id="two kinds of templates"),
    ],
)
def test_options_that_don_t_go_together_are_wrong_usage(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], word: str
) -> None:
    (tmp_path / "a.csv").write_text("image,caption\na.jpg,a cat\n")
    (tmp_path / "class").mkdir()
    (tmp_path / "class" / "a.png").touch()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(click.UsageError, match=word):
        run(*arguments)


def test_few_images_are_called_so(run: Run, captions: Path, drawn: list[DemoImage]) -> None:
    images = ("--images", drawn[0].path.parent)
    assert "20 images say little: of 100 and more" in run(captions, *images).stdout
    report = json.loads(run(captions, *images, "--limit", "1", "--json").stdout)
    assert report["notes"][0].startswith("1 image says little: ")
