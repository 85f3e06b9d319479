"""A checkpoint made by transformers stands in for a published one: its numbers, by transformers too, are the table."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil
from transformers.models.siglip2.image_processing_pil_siglip2 import Siglip2ImageProcessorPil

from siglip_ingest.embedder import TorchEmbedder
from siglip_ingest.errors import CheckpointError, InvalidInputError, NotFoundError
from siglip_ingest.settings import Settings
from siglip_ingest.verify import (
    Figures,
    KeptFigures,
    Published,
    Report,
    Verdict,
    compare_figures,
    find_published,
    take_figures,
    verify_checkpoint,
)
from siglip_ingest.verify.inputs import CIRCLES, SHAPES, draw_picture, draw_test_card, open_photograph
from siglip_ingest.verify.published import load_table
from siglip_ingest.verify.report import compare_numbers, describe_mismatches
from siglip_ingest.verify.weights import read_weights
from tests.checkpoints import write_tiny_checkpoint
from tests.parity.pairs import optional_data
from tests.workers.helpers import write_picture

TEXTS = ["a Cat, at night!", "two red circles"]
PICTURES = ["circle_224x1024", "red_square", "photograph"]


@dataclass
class Stand:
    """A checkpoint that transformers saved, and what transformers computes with it."""

    folder: Path
    photograph: Path
    published: Published

    @cached_property
    def figures(self) -> Figures:
        """What ours gave for the undamaged checkpoint."""
        return check(self, self.folder)[1]


@pytest.fixture(scope="module", params=["fixed", "naflex"])
def stand(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Stand:
    root = tmp_path_factory.mktemp(request.param)
    folder, is_naflex = root / "checkpoint", request.param == "naflex"
    photograph = write_picture(root / "photograph.png", 3, size=(120, 60))
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
    drawn = [Image.open(photograph) if name == "photograph" else draw_picture(name) for name in PICTURES]
    with torch.inference_mode():
        logits = model(input_ids=torch.tensor(ids), **processor(drawn, return_tensors="pt")).logits_per_image
    source = "transformers"
    scores = [
        {"picture": name, "texts": TEXTS, "logits": row, "atol": 1e-3, "source": source}
        for name, row in zip(PICTURES, logits.tolist(), strict=True)
    ]
    scores.append(
        {
            "picture": PICTURES[0],
            "texts": TEXTS,
            "probabilities": logits[0].sigmoid().tolist(),
            "atol": 1e-4,
            "source": source,
        }
    )
    facts = {
        "parameters": {"value": sum(parameter.numel() for parameter in model.parameters()), "source": source},
        "logit_scale": {"value": 4.7, "atol": 1e-5, "source": source},
        "logit_bias": {"value": -16.5, "atol": 1e-5, "source": source},
        "scores": scores,
    }
    published = Published(
        "google/stand-in",
        facts,
        tokens=dict(zip(TEXTS, ids, strict=True)),
        tokens_source=source,
        photographs={"photograph": ("photograph", "http://127.0.0.1:1/photograph.jpg")},
    )
    return Stand(folder, photograph, published)


@pytest.fixture
def copy(stand: Stand, tmp_path: Path) -> Path:
    """A copy of the checkpoint to damage."""
    shutil.copytree(stand.folder, tmp_path / "copy")
    return tmp_path / "copy"


def check(stand: Stand, folder: Path, *, earlier: Figures | None = None, **options: Any) -> tuple[Report, Figures]:
    def open_by_name(file: str, url: str) -> Image.Image:
        return open_photograph(file, url, folder=stand.photograph.parent, settings=Settings(), may_fetch=False)

    embedder = TorchEmbedder.from_checkpoint(folder, name=str(folder), device="cpu", **options)
    return verify_checkpoint(
        embedder, folder, str(folder), published=stand.published, earlier=earlier, open_photograph=open_by_name
    )


def change_json(path: Path, **values: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def change_tensor(folder: Path, name: str, change: Callable[[torch.Tensor], torch.Tensor]) -> None:
    tensors = load_file(folder / "model.safetensors")
    save_file({**tensors, name: change(tensors[name]).contiguous()}, folder / "model.safetensors", {"format": "pt"})


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_same_weights_give_the_numbers_of_transformers(stand: Stand, dtype: str) -> None:
    report, _ = check(stand, stand.folder, dtype=dtype)
    assert report.is_match, describe_mismatches(report.mismatches)
    assert report.count(Verdict.MATCH) == len(report.comparisons) == 3 + len(TEXTS) + 4 * len(TEXTS)
    assert {row.source for row in report.comparisons} == {"transformers"}


def test_a_second_run_gives_the_same_figures(stand: Stand) -> None:
    kept = json.dumps(stand.figures.to_dict())
    again, _ = check(stand, stand.folder, earlier=Figures.from_dict(json.loads(kept)))
    assert again.is_match, describe_mismatches(again.mismatches)
    assert again.count(Verdict.MATCH) > 80
    assert check(stand, stand.folder, earlier=stand.figures, dtype="bfloat16")[0].is_match


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
    report, _ = check(stand, copy, earlier=stand.figures)
    assert not report.is_match
    assert published in "; ".join(row.describe() for row in report.mismatches if row.is_published)
    assert own in "; ".join(row.describe() for row in report.mismatches if not row.is_published)


def test_another_tokenizer_is_told_by_its_ids(stand: Stand, copy: Path) -> None:
    if (copy / "spiece.model").exists():
        change_json(copy / "tokenizer_config.json", do_lower_case=False)
    else:
        path = copy / "tokenizer.json"
        content = json.loads(path.read_text(encoding="utf-8"))
        content["model"]["merges"] = content["model"]["merges"][40:]
        path.write_text(json.dumps(content), encoding="utf-8")
    report, _ = check(stand, copy, earlier=stand.figures)
    texts = "; ".join(row.describe() for row in report.mismatches)
    assert "tokens of 'a Cat, at night!': found [" in texts
    assert "tokens of 'A Photo, two cats!': found [" in texts


def test_a_picture_that_is_not_there_is_not_compared_and_says_why(stand: Stand, tmp_path: Path) -> None:
    def refuse(file: str, url: str) -> Image.Image:
        return open_photograph(file, url, folder=tmp_path, settings=Settings(fetch_timeout_s=0.5), may_fetch=True)

    embedder = TorchEmbedder.from_checkpoint(stand.folder, name="stand", device="cpu")
    report, _ = verify_checkpoint(
        embedder, stand.folder, "stand", published=stand.published, earlier=None, open_photograph=refuse
    )
    missing = [row for row in report.comparisons if row.verdict is Verdict.NOT_COMPARED]
    assert [row.what for row in missing] == [f"logit of photograph and {text!r}" for text in TEXTS]
    assert all("has no photograph.png or .jpg; http://127.0.0.1:1/" in str(row.reason) for row in missing)
    assert report.is_match


def test_a_photograph_is_looked_for_in_the_folder_first(tmp_path: Path) -> None:
    path = write_picture(tmp_path / "000000039769.png", 1)
    opened = open_photograph(path.stem, "http://127.0.0.1:1/", folder=tmp_path, settings=Settings(), may_fetch=False)
    assert np.array_equal(np.asarray(opened), np.asarray(Image.open(path)))
    with pytest.raises(NotFoundError, match=r"other\.jpg isn't here; get it from http.*--pictures"):
        open_photograph("other", "http://127.0.0.1:1/", folder=None, settings=Settings(), may_fetch=False)


@pytest.mark.parametrize(
    "name", [*(f"shapes/{name}.ppm" for name in SHAPES), *(f"naflex_circles/{n}.png" for n in CIRCLES)]
)
def test_drawn_pictures_are_those_that_the_numbers_are_of(name: str) -> None:
    expected = np.asarray(Image.open(optional_data(f"images/{name}")))
    assert np.array_equal(np.asarray(draw_picture(Path(name).stem)), expected)


def test_the_test_card_stays_as_it_is() -> None:
    """Figures that databases keep are of these pixels."""
    pixels = np.asarray(draw_test_card())
    assert (pixels.shape, pixels.dtype) == ((200, 300, 3), np.uint8)
    assert hashlib.sha256(pixels.tobytes()).hexdigest().startswith("897db19658fa72b4")


def test_the_table_of_published_numbers_is_whole() -> None:
    table = load_table()
    assert {"google/siglip-base-patch16-224", "google/siglip2-base-patch16-224"} <= table.keys()
    for published in table.values():
        for scores in published.facts.get("scores", []):
            values = scores.get("logits", scores.get("probabilities"))
            assert len(values) == len(scores["texts"])
            assert scores["source"]
            assert scores["picture"] in {*SHAPES, *CIRCLES, *published.photographs}
        for ids in published.tokens.values():
            assert ids[-1] == 1


def test_the_published_token_ids_of_siglip_2_are_those_of_the_published_tokenizer() -> None:
    from siglip_ingest.preprocess.text import load_tokenizer

    published = load_table()["google/siglip2-base-patch16-naflex"]
    tokenizer = load_tokenizer(optional_data("tokenizers/siglip2/tokenizer.json").parent, max_length=64)
    for text, ids in published.tokens.items():
        assert tokenizer([text])[0].tolist() == ids + [0] * (64 - len(ids)), text


NAFLEX = "google/siglip2-base-patch16-naflex"
NAFLEX_SNAPSHOT = "/cache/models--google--siglip2-base-patch16-naflex/snapshots/0"
NAFLEX_HASH = "sha256:ac5f28bbdf92c0c1696ccbd3ce716426049cd67ad8045b66d0d938b0f9c8bbec"


@pytest.mark.parametrize(
    ("name", "revision", "folder", "named_as", "expected"),
    [
        pytest.param(NAFLEX, "0" * 40, None, None, NAFLEX, id="a name on the hub"),
        pytest.param("/x", "0" * 40, Path(NAFLEX_SNAPSHOT), None, NAFLEX, id="a folder of the hub's cache"),
        pytest.param("/x", NAFLEX_HASH, Path("/x"), None, NAFLEX, id="the hash of the weights"),
        pytest.param("/x", "sha256:0", Path("/x"), NAFLEX, NAFLEX, id="as a person says"),
        pytest.param("/x", "sha256:0", Path("/x"), None, None, id="unknown"),
    ],
)
def test_published_numbers_are_found(
    name: str, revision: str, folder: Path | None, named_as: str | None, expected: str | None
) -> None:
    found = find_published(name, revision, folder, named_as=named_as)
    assert (None if found is None else found.name) == expected


def test_a_name_that_nothing_is_published_of_is_refused() -> None:
    with pytest.raises(InvalidInputError, match=r"published of 'google/none'\. There are: google/siglip-"):
        find_published("/x", "sha256:0", named_as="google/none")


def test_figures_are_kept_by_revision_and_a_folder_s_by_name(tmp_path: Path, tiny_checkpoint: Path) -> None:
    kept = KeptFigures(tmp_path / "home" / "figures")
    figures = take_figures(TorchEmbedder.from_checkpoint(tiny_checkpoint, name="tiny", device="cpu"))
    assert kept.read("/photos model", figures.revision) is None
    kept.write("/photos model", figures)
    found = kept.read("/photos model", "sha256:another")
    assert found is not None
    assert found.to_dict() == figures.to_dict()
    assert kept.read("/other", figures.revision) is None

    of_hub = replace(figures, revision="1" * 40)
    kept.write("google/a", of_hub)
    assert kept.read("google/a", "2" * 40) is None
    kept.write("google/a", replace(figures, revision="2" * 40))
    assert kept.read("google/a", "1" * 40) is not None
    replaced = kept.write("/photos model", replace(figures, revision="sha256:another"))
    assert len(list(replaced.parent.iterdir())) == 3
    replaced.write_text("{")
    with pytest.raises(InvalidInputError, match=r"can't be read .*--update"):
        kept.read("/photos model", "sha256:another")
    (tmp_path / "file").touch()
    with pytest.raises(InvalidInputError, match=r"can't be written.*SIGLIP_HOME"):
        KeptFigures(tmp_path / "file" / "figures").write("x", figures)


def test_another_dimension_differs_and_does_not_raise(tmp_path: Path, tiny_checkpoint: Path) -> None:
    other = write_tiny_checkpoint(tmp_path / "wide", hidden=48)
    one, two = (
        take_figures(TorchEmbedder.from_checkpoint(folder, name="x", device="cpu"))
        for folder in (tiny_checkpoint, other)
    )
    verdicts = {row.what: row.verdict for row in compare_figures(two, one)}
    assert verdicts["vector of test_card (cosine)"] is Verdict.MISMATCH


def test_what_is_no_number_never_matches() -> None:
    assert compare_numbers("x", 1.0, float("nan"), atol=1.0).verdict is Verdict.MISMATCH
    assert compare_numbers("x", 1.0, float("inf"), atol=float("inf")).verdict is Verdict.MISMATCH


def test_vectors_of_another_length_are_refused(tiny_checkpoint: Path) -> None:
    class Twice(TorchEmbedder):
        def embed_texts(self, texts: Any) -> Any:
            return 2 * super().embed_texts(texts)

    with pytest.raises(CheckpointError, match="vectors of length 1 to 2, expected 1"):
        take_figures(Twice.from_checkpoint(tiny_checkpoint, name="twice", device="cpu"))


def test_weights_are_counted_and_summed_without_torch(tiny_checkpoint: Path, tmp_path: Path) -> None:
    path = tiny_checkpoint / "model.safetensors"
    expected = load_file(path)
    weights = read_weights([path])
    assert weights.parameters == sum(tensor.numel() for tensor in expected.values())
    assert weights.tensors.keys() == expected.keys()
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(CheckpointError, match=r"is cut off: 10 bytes of .* are missing"):
        read_weights([cut])
    cut.write_bytes(b"\x10\x00")
    with pytest.raises(CheckpointError, match="can't be read as safetensors"):
        read_weights([cut])
