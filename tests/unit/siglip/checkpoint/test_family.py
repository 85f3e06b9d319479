"""The rows and what they amount to, against published figures. tests/parity/ has the reference's own counts."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from siglip_ingest.active_model import DEFAULT_MODEL
from siglip_ingest.siglip.checkpoint.family import FAMILY, find_checkpoint, measure, suggest_names
from siglip_ingest.siglip.model import SiglipConfig
from tests.parity.pairs import PUBLISHED

ROWS = pytest.mark.parametrize("name", [checkpoint.name for checkpoint in FAMILY])
HEADER_BYTES = 100_000  # more than the names and shapes in front of a model.safetensors take up

PUBLISHED_PARAMETERS = {
    "google/siglip-base-patch16-256": 203_202_050,
    "google/siglip2-base-patch16-224": 375_187_970,
}
PUBLISHED_FILE_BYTES = {
    "google/siglip-base-patch16-256": 812_856_640,
    "google/siglip2-base-patch16-224": 1_500_800_904,
}


def test_the_family_has_every_published_checkpoint_once() -> None:
    names = [checkpoint.name for checkpoint in FAMILY]
    assert len(names) == len(set(names)) == 27
    assert sum(name.startswith("google/siglip-") for name in names) == 10
    assert sum(checkpoint.is_naflex for checkpoint in FAMILY) == 2
    assert find_checkpoint(DEFAULT_MODEL) is not None


@ROWS
def test_a_rows_config_leaves_out_what_is_the_default(name: str) -> None:
    checkpoint = find_checkpoint(name)
    assert checkpoint is not None
    for tower in ("text_config", "vision_config"):
        defaults = SiglipConfig.from_dict({}).to_dict()[tower]
        given = {field for field, value in checkpoint.config[tower].items() if value == defaults.get(field)}
        assert given <= {"model_type"}


@ROWS
def test_a_rows_name_says_its_patch_and_image_size(name: str) -> None:
    checkpoint = find_checkpoint(name)
    assert checkpoint is not None
    patch, size, *_ = name.rpartition("-patch")[2].split("-")
    assert checkpoint.config["vision_config"].get("patch_size", 16) == int(patch)
    assert checkpoint.figures.image_size == (None if size == "naflex" else int(size))


@pytest.mark.parametrize(("name", "parameters"), PUBLISHED_PARAMETERS.items())
def test_parameters_are_the_published_number(name: str, parameters: int) -> None:
    checkpoint = find_checkpoint(name)
    assert checkpoint is not None
    assert checkpoint.figures.parameters == parameters


@pytest.mark.parametrize(("name", "size"), PUBLISHED_FILE_BYTES.items())
def test_memory_is_the_published_files_size_without_its_header(name: str, size: int) -> None:
    checkpoint = find_checkpoint(name)
    assert checkpoint is not None
    assert 0 < size - checkpoint.figures.memory_bytes("float32") < HEADER_BYTES
    assert checkpoint.figures.memory_bytes("float32") == 2 * checkpoint.figures.memory_bytes("bfloat16")


@pytest.mark.parametrize("folder", PUBLISHED)
def test_a_published_config_and_its_row_have_the_same_figures(folder: str) -> None:
    checkpoint = find_checkpoint(f"google/{folder}")
    assert checkpoint is not None
    values = json.loads((PUBLISHED[folder] / "config.json").read_text(encoding="utf-8"))
    assert measure(values) == checkpoint.figures
    assert SiglipConfig.from_dict(values) == SiglipConfig.from_dict(dict(checkpoint.config))


def test_a_base_checkpoints_costs_are_those_of_a_vision_transformer() -> None:
    figures = measure({})
    assert figures.image_flop / 1e9 == pytest.approx(35, abs=0.5)
    assert figures.text_flop / 1e9 == pytest.approx(11, abs=0.1)


def test_more_patches_cost_more() -> None:
    naflex = find_checkpoint("google/siglip2-base-patch16-naflex")
    fixed = find_checkpoint("google/siglip2-base-patch16-256")
    assert naflex is not None
    assert fixed is not None
    assert naflex.figures.image_flop == fixed.figures.image_flop  # 256 patches each
    assert measure({"vision_config": {"image_size": 512}}).image_flop > 4 * fixed.figures.image_flop


def test_the_last_pixels_of_a_side_that_patches_do_not_fill_are_not_counted() -> None:
    checkpoint = find_checkpoint("google/siglip-so400m-patch14-384")
    assert checkpoint is not None
    assert checkpoint.figures.num_patches == 27 * 27


def test_the_giant_projects_its_texts_to_its_images_width() -> None:
    checkpoint = find_checkpoint("google/siglip2-giant-opt-patch16-384@main")
    assert checkpoint is not None
    assert checkpoint.config["text_config"]["projection_size"] == checkpoint.figures.dimension == 1536


@pytest.mark.parametrize(
    ("name", "suggested"),
    [
        ("google/siglip2-base-patch16-244", "google/siglip2-base-patch16-224"),
        ("siglip2-base-patch16-224", "google/siglip2-base-patch16-224"),
        ("Google/SigLIP2-base-patch16-224", "google/siglip2-base-patch16-224"),
        ("google/siglip2-base-patch16-224@v2", "google/siglip2-base-patch16-224"),
        ("googel/siglip-so400m-patch14-384", "google/siglip-so400m-patch14-384"),
        ("google/siglip2-giant-patch16-384", "google/siglip2-giant-opt-patch16-384"),
    ],
)
def test_a_misspelt_name_is_suggested_right(name: str, suggested: str) -> None:
    assert suggest_names(name)[0] == suggested


def test_another_kind_of_model_is_not_like_any_of_the_family() -> None:
    assert suggest_names("openai/clip-vit-base-patch32") == []
    assert find_checkpoint("openai/clip-vit-base-patch32") is None


def test_the_table_needs_no_torch() -> None:
    code = "import sys, siglip_ingest.siglip.checkpoint.family as f; [c.figures for c in f.FAMILY]"
    check = f"{code}; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", check], check=True, timeout=60)
