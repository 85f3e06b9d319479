"""A checkpoint made by transformers stands in for a published one: its numbers, by transformers too, are the table."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil
from transformers.models.siglip2.image_processing_pil_siglip2 import Siglip2ImageProcessorPil

from siglip_ingest.siglip.embedder import TorchEmbedder
from siglip_ingest.siglip.verify import verify_checkpoint
from siglip_ingest.siglip.verify.comparison import Comparison, describe_mismatches
from siglip_ingest.siglip.verify.inputs import draw_image, open_photograph
from tests.checkpoints import write_tiny_checkpoint
from tests.workers.helpers import write_image

TEXTS = ["a Cat, at night!", "two red circles"]
IMAGES = ["circle_224x1024", "red_square", "photograph"]


@dataclass
class Stand:
    """A checkpoint that transformers saved, and what transformers computes with it."""

    folder: Path
    photograph: Path
    published: dict[str, Any]

    @cached_property
    def figures(self) -> dict[str, Any]:
        """What ours gave for the undamaged checkpoint."""
        return check(self, self.folder)[1]


@pytest.fixture(scope="module", params=["fixed", "naflex"])
def stand(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Stand:
    root = tmp_path_factory.mktemp(request.param)
    folder, is_naflex = root / "checkpoint", request.param == "naflex"
    photograph = write_image(root / "photograph.png", 3, size=(120, 60))
    write_tiny_checkpoint(folder, is_naflex=is_naflex)
    config = json.loads((folder / "config.json").read_text())
    torch.manual_seed(1)
    if is_naflex:
        model = transformers.Siglip2Model(transformers.Siglip2Config(**config))
        tokenizer: Any = transformers.Siglip2Tokenizer.from_pretrained(folder)
        processor: Any = Siglip2ImageProcessorPil.from_pretrained(folder)
    else:
        model = transformers.SiglipModel(transformers.SiglipConfig(**config))
        tokenizer = transformers.SiglipTokenizer.from_pretrained(folder)
        processor = SiglipImageProcessorPil.from_pretrained(folder)
    with torch.no_grad():
        model.logit_scale.fill_(4.7)
        model.logit_bias.fill_(-16.5)
    model.eval().save_pretrained(folder)

    ids = tokenizer(TEXTS, padding="max_length", truncation=True, max_length=16)["input_ids"]
    drawn = [Image.open(photograph) if name == "photograph" else draw_image(name) for name in IMAGES]
    with torch.inference_mode():
        logits = model(input_ids=torch.tensor(ids), **processor(drawn, return_tensors="pt")).logits_per_image
    source = "transformers"
    scores = [
        {"image": name, "texts": TEXTS, "logits": row, "atol": 1e-3, "source": source}
        for name, row in zip(IMAGES, logits.tolist(), strict=True)
    ]
    scores.append(
        {
            "image": IMAGES[0],
            "texts": TEXTS,
            "probabilities": logits[0].sigmoid().tolist(),
            "atol": 1e-4,
            "source": source,
        }
    )
    published = {
        "name": "google/stand-in",
        "tokens": {"texts": dict(zip(TEXTS, ids, strict=True)), "source": source},
        "images": {"photograph": {"file": "photograph", "url": "http://127.0.0.1:1/photograph.jpg"}},
        "parameters": {"value": sum(parameter.numel() for parameter in model.parameters()), "source": source},
        "logit_scale": {"value": 4.7, "atol": 1e-5, "source": source},
        "logit_bias": {"value": -16.5, "atol": 1e-5, "source": source},
        "scores": scores,
    }
    return Stand(folder, photograph, published)


@pytest.fixture
def copy(stand: Stand, tmp_path: Path) -> Path:
    """A copy of the checkpoint to damage."""
    shutil.copytree(stand.folder, tmp_path / "copy")
    return tmp_path / "copy"


def check(
    stand: Stand, folder: Path, *, earlier: dict[str, Any] | None = None, **options: Any
) -> tuple[list[Comparison], dict[str, Any]]:
    def open_by_name(file: str, url: str) -> Image.Image:
        return open_photograph(file, url, folder=stand.photograph.parent, may_fetch=False)

    embedder = TorchEmbedder.from_checkpoint(folder, name=str(folder), device="cpu", **options)
    return verify_checkpoint(embedder, folder, published=stand.published, earlier=earlier, open_photograph=open_by_name)


def change_json(path: Path, **values: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def change_tensor(folder: Path, name: str, change: Callable[[torch.Tensor], torch.Tensor]) -> None:
    tensors = load_file(folder / "model.safetensors")
    save_file({**tensors, name: change(tensors[name]).contiguous()}, folder / "model.safetensors", {"format": "pt"})


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_same_weights_give_the_numbers_of_transformers(stand: Stand, dtype: str) -> None:
    rows, _ = check(stand, stand.folder, dtype=dtype)
    assert not describe_mismatches(rows)
    assert len(rows) == 3 + len(TEXTS) + 4 * len(TEXTS)
    assert {(row.source, row.verdict) for row in rows} == {("transformers", "match")}


def test_a_second_run_gives_the_same_figures(stand: Stand) -> None:
    again, _ = check(stand, stand.folder, earlier=json.loads(json.dumps(stand.figures)))
    assert not describe_mismatches(again)
    assert sum(row.verdict == "match" for row in again) > 80
    assert not describe_mismatches(check(stand, stand.folder, earlier=stand.figures, dtype="bfloat16")[0])


DAMAGES: dict[str, tuple[Callable[[Path], None], str, str]] = {
    "a tensor of the text tower": (
        lambda folder: change_tensor(folder, "text_model.head.weight", lambda rows: rows.flip(0)),
        "logit of circle_224x1024 and 'a Cat, at night!'",
        "changed: text_model.head.weight",
    ),
    "a tensor of the vision tower": (
        lambda folder: change_tensor(
            folder, "vision_model.embeddings.position_embedding.weight", lambda rows: rows.roll(1, 0)
        ),
        "logit of circle_224x1024 and 'a Cat, at night!'",
        "changed: vision_model.embeddings.position_embedding.weight",
    ),
    "the bias": (
        lambda folder: change_tensor(folder, "logit_bias", lambda bias: bias + 0.5),
        "logit_bias is -16, expected -16.5 within 1e-05",
        "logit_bias is -16, expected -16.5",
    ),
    "the filter": (
        lambda folder: change_json(folder / "preprocessor_config.json", resample=1),
        "logit of circle_224x1024",
        "image settings: resample: found 1",
    ),
}


@pytest.mark.parametrize(("damage", "published", "own"), DAMAGES.values(), ids=DAMAGES.keys())
def test_a_damaged_copy_is_told_from_the_published_and_from_its_own_figures(
    stand: Stand, copy: Path, damage: Callable[[Path], None], published: str, own: str
) -> None:
    damage(copy)
    rows, _ = check(stand, copy, earlier=stand.figures)
    assert published in describe_mismatches([row for row in rows if row.is_published], most=len(rows))
    assert own in describe_mismatches([row for row in rows if not row.is_published], most=len(rows))


def test_another_tokenizer_is_told_by_its_ids(stand: Stand, copy: Path) -> None:
    if (copy / "spiece.model").exists():
        change_json(copy / "tokenizer_config.json", do_lower_case=False)
    else:
        path = copy / "tokenizer.json"
        content = json.loads(path.read_text(encoding="utf-8"))
        content["model"]["merges"] = content["model"]["merges"][40:]
        path.write_text(json.dumps(content), encoding="utf-8")
    rows, _ = check(stand, copy, earlier=stand.figures)
    texts = describe_mismatches(rows, most=len(rows))
    assert "tokens of 'a Cat, at night!': found [" in texts
    assert "tokens of 'A Photo, two cats!': found [" in texts


def test_an_image_that_is_not_there_is_not_compared_and_says_why(stand: Stand, tmp_path: Path) -> None:
    def refuse(file: str, url: str) -> Image.Image:
        return open_photograph(file, url, folder=tmp_path, may_fetch=True)

    embedder = TorchEmbedder.from_checkpoint(stand.folder, name="stand", device="cpu")
    rows, _ = verify_checkpoint(embedder, stand.folder, published=stand.published, earlier=None, open_photograph=refuse)
    missing = [row for row in rows if row.verdict == "not_compared"]
    assert [row.what for row in missing] == [f"logit of photograph and {text!r}" for text in TEXTS]
    assert all("has no photograph.png or .jpg; http://127.0.0.1:1/" in str(row.reason) for row in missing)
    assert not describe_mismatches(rows)
