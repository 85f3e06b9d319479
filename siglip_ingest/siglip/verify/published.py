"""Numbers that are published of checkpoints, and comparing with them. The facts stand in published.json."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from siglip_ingest.errors import InvalidInputError, NotFoundError
from siglip_ingest.siglip.verify.figures import TOLERANCES, coarser_dtype
from siglip_ingest.siglip.verify.inputs import DRAWN_IMAGES, draw_image
from siglip_ingest.siglip.verify.report import Comparison, compare_numbers, compare_values, not_compared

if TYPE_CHECKING:
    from PIL import Image

    from siglip_ingest.siglip.embedder import TorchEmbedder
    from siglip_ingest.types import ModelInfo

OpenPhotograph = Callable[[str, str], "Image.Image"]
_CONSTANTS = ("logit_scale", "logit_bias")


@dataclass(frozen=True, slots=True)
class Published:
    """What is published of one checkpoint.

    Attributes:
        name: Its name on the hub.
        facts: `parameters`, `weights_sha256`, `logit_scale`, `logit_bias`, each an object of `value` and `source`, and
            `scores`, a list of objects; each where it is known.
        tokens: Token ids by text, without padding.
        tokens_source: Where they are from.
        photographs: File name without suffix and address of each image that isn't drawn here.
    """

    name: str
    facts: Mapping[str, Any]
    tokens: Mapping[str, list[int]] = field(default_factory=dict)
    tokens_source: str = ""
    photographs: Mapping[str, tuple[str, str]] = field(default_factory=dict)


@cache
def load_table() -> Mapping[str, Published]:
    """Everything that is known, by checkpoint."""
    content = json.loads((files("siglip_ingest.siglip.verify") / "published.json").read_text(encoding="utf-8"))
    photographs = {name: (place["file"], place["url"]) for name, place in content["images"].items()}
    none = {"texts": {}, "source": ""}
    kinds = {name: content["tokens"].get(facts.get("tokens"), none) for name, facts in content["checkpoints"].items()}
    return {
        name: Published(name, facts, kinds[name]["texts"], kinds[name]["source"], photographs)
        for name, facts in content["checkpoints"].items()
    }


def find_published(
    name: str, revision: str, folder: Path | None = None, *, named_as: str | None = None
) -> Published | None:
    """Find what is published of a checkpoint.

    Args:
        name: What it was asked for as; a name on the hub decides.
        revision: For other folders `sha256:` and the hash of the weights, which decides where it is known.
        folder: A snapshot in the hub's cache is known by its place.
        named_as: The name that a person says it has.

    Raises:
        InvalidInputError: If nothing is published under `named_as`.
    """
    table = load_table()
    if named_as is not None:
        if named_as not in table:
            raise InvalidInputError(f"No numbers are published of {named_as!r}. There are: {', '.join(sorted(table))}.")
        return table[named_as]
    names = [name.partition("@")[0]]  # a revision may follow
    if folder is not None and folder.parent.name == "snapshots":
        names.append(folder.parent.parent.name.removeprefix("models--").replace("--", "/"))
    digest = revision.removeprefix("sha256:")
    known = [entry.name for entry in table.values() if entry.facts.get("weights_sha256", {}).get("value") == digest]
    return next((table[candidate] for candidate in (*names, *known) if candidate in table), None)


def compare_quickly(
    published: Published, info: ModelInfo, ids_by_text: Mapping[str, list[int]] | None = None
) -> Iterator[Comparison]:
    """Compare what needs no forward pass: logit_scale, logit_bias and the token ids that are given.

    Args:
        published: What to compare with.
        info: The loaded checkpoint's.
        ids_by_text: Padded token ids of some of `published.tokens`.
    """
    for name in _CONSTANTS:
        if fact := published.facts.get(name):
            yield compare_numbers(name, fact["value"], getattr(info, name), atol=fact["atol"], source=fact["source"])
    for text, found in (ids_by_text or {}).items():
        expected = published.tokens[text]
        padding = [int(info.text_settings["pad_id"])] * (len(found) - len(expected))
        yield compare_values(f"tokens of {text!r}", expected + padding, found, source=published.tokens_source)


def tokenize_published(published: Published, embedder: TorchEmbedder) -> dict[str, list[int]]:
    """Give the padded token ids of the published texts that fit into the model's length uncut."""
    length = embedder.tokenize([""]).shape[1]
    texts = [text for text, ids in published.tokens.items() if len(ids) <= length]
    return dict(zip(texts, embedder.tokenize(texts).tolist(), strict=True)) if texts else {}


def compare_with_published(
    published: Published, embedder: TorchEmbedder, *, parameters: int, open_photograph: OpenPhotograph
) -> Iterator[Comparison]:
    """Compare a loaded checkpoint with all that is published of it.

    Args:
        published: What to compare with.
        embedder: The loaded checkpoint.
        parameters: How many its files hold.
        open_photograph: Opens an image by the name of its file and its address; a `NotFoundError` says why it can't.
    """
    facts, info = published.facts, embedder.info
    if fact := facts.get("parameters"):
        yield compare_values("parameters", fact["value"], parameters, source=fact["source"])
    if (fact := facts.get("weights_sha256")) and info.revision.startswith("sha256:"):
        found = info.revision.removeprefix("sha256:")
        yield compare_values("sha256 of the weights", fact["value"], found, source=fact["source"])
    yield from compare_quickly(published, info, tokenize_published(published, embedder))
    for scores in facts.get("scores", []):
        yield from _compare_scores(published, scores, embedder, open_photograph)


def _compare_scores(
    published: Published, scores: Mapping[str, Any], embedder: TorchEmbedder, open_photograph: OpenPhotograph
) -> Iterator[Comparison]:
    """Compare the logits or the probabilities of one image with some texts."""
    name, kind = scores["image"], "logits" if "logits" in scores else "probabilities"
    expected, texts, source = scores[kind], scores["texts"], scores["source"]
    whats = [
        f"{kind.removesuffix('s').replace('probabilitie', 'probability')} of {name} and {text!r}" for text in texts
    ]
    try:
        image = draw_image(name) if name in DRAWN_IMAGES else open_photograph(*published.photographs[name])
    except NotFoundError as error:
        for what, value in zip(whats, expected, strict=True):
            yield not_compared(what, value, str(error), source=source)
        return
    info = embedder.info
    similarities = embedder.embed_texts(texts) @ embedder.embed_images([image])[0]
    most_logit = TOLERANCES[coarser_dtype(embedder.dtype)][1] if coarser_dtype(embedder.dtype) != "float32" else 0.0
    for what, value, similarity in zip(whats, expected, similarities.tolist(), strict=True):
        logit = math.exp(info.logit_scale) * similarity + info.logit_bias
        if kind == "logits":
            yield compare_numbers(what, value, logit, atol=max(scores["atol"], most_logit), source=source)
        else:  # a sigmoid is nowhere steeper than 1/4
            atol = max(scores["atol"], most_logit / 4)
            yield compare_numbers(what, value, _sigmoid(logit), atol=atol, source=source)


def _sigmoid(logit: float) -> float:
    """Compute 1 / (1 + exp(-logit)) without overflow."""
    return 1 / (1 + math.exp(-logit)) if logit >= 0 else math.exp(logit) / (1 + math.exp(logit))
