"""Compares a checkpoint with the numbers that are published of it, which stand in published.json.

What is published of one checkpoint is a dict: its `name`; where known `parameters`, `weights_sha256`, `logit_scale` and
`logit_bias`, each of `value` and `source`; `scores`, a list; `tokens` of `source` and `texts` (ids without padding);
`images`, the `file` (without suffix) and `url` of those that aren't drawn here.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from siglip_ingest.errors import InvalidInputError, NotFoundError
from siglip_ingest.siglip.scores import sigmoid
from siglip_ingest.siglip.verify.comparison import Comparison
from siglip_ingest.siglip.verify.figures import TOLERANCES, find_coarsest
from siglip_ingest.siglip.verify.inputs import DRAWN_IMAGES, draw_image

if TYPE_CHECKING:
    from PIL import Image

    from siglip_ingest.siglip.embedder import TorchEmbedder

Published = Mapping[str, Any]
OpenPhotograph = Callable[[str, str], "Image.Image"]


@cache
def load_table() -> dict[str, Published]:
    """Everything that is known, by checkpoint."""
    content = json.loads((files("siglip_ingest.siglip.verify") / "published.json").read_text(encoding="utf-8"))
    return {
        name: {**facts, "name": name, "tokens": content["tokens"].get(facts.get("tokens")), "images": content["images"]}
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
    names += [known for known, facts in table.items() if facts.get("weights_sha256", {}).get("value") == digest]
    return next((table[candidate] for candidate in names if candidate in table), None)


def compare_quickly(published: Published, embedder: TorchEmbedder) -> Iterator[Comparison]:
    """Compare what needs no forward pass: logit_scale, logit_bias, and the ids of texts that fit the model's length."""
    info = embedder.info
    for name in ("logit_scale", "logit_bias"):
        if fact := published.get(name):
            yield Comparison(name, fact["value"], getattr(info, name), fact["source"], fact["atol"])
    tokens, length = published["tokens"] or {"texts": {}}, info.text_settings["max_length"]
    texts = {text: ids for text, ids in tokens["texts"].items() if len(ids) <= length}
    for (text, ids), found in zip(texts.items(), embedder.tokenize(list(texts)).tolist(), strict=True):
        padding = [int(info.text_settings["pad_id"])] * (length - len(ids))
        yield Comparison(f"tokens of {text!r}", ids + padding, found, tokens["source"])


def compare_published(
    published: Published, embedder: TorchEmbedder, *, parameters: int, open_photograph: OpenPhotograph
) -> Iterator[Comparison]:
    """Compare a loaded checkpoint with all that is published of it.

    Args:
        published: What to compare with.
        embedder: The loaded checkpoint.
        parameters: How many its files hold.
        open_photograph: Opens an image by the name of its file and its address; a `NotFoundError` says why it can't.
    """
    kind, _, digest = embedder.info.revision.partition(":")
    if fact := published.get("parameters"):
        yield Comparison("parameters", fact["value"], parameters, fact["source"])
    if (fact := published.get("weights_sha256")) and kind == "sha256":
        yield Comparison("sha256 of the weights", fact["value"], digest, fact["source"])
    yield from compare_quickly(published, embedder)
    for scores in published.get("scores", []):
        yield from _compare_scores(published, scores, embedder, open_photograph)


def _compare_scores(
    published: Published, scores: Mapping[str, Any], embedder: TorchEmbedder, open_photograph: OpenPhotograph
) -> Iterator[Comparison]:
    """Compare the logits or the probabilities of one image with some texts."""
    image, texts, source, info = scores["image"], scores["texts"], scores["source"], embedder.info
    is_logit = "logits" in scores
    expected = dict(zip(texts, scores["logits" if is_logit else "probabilities"], strict=True))
    what = "logit" if is_logit else "probability"
    try:
        place = published["images"].get(image, {})
        opened = draw_image(image) if image in DRAWN_IMAGES else open_photograph(place["file"], place["url"])
    except NotFoundError as error:
        for text, value in expected.items():
            yield Comparison(f"{what} of {image} and {text!r}", value, None, source, reason=str(error))
        return
    dtype = find_coarsest(embedder.dtype)
    most = 0.0 if dtype == "float32" else TOLERANCES[dtype][1]
    tolerance = max(scores["atol"], most if is_logit else most / 4)  # a sigmoid is nowhere steeper than 1/4
    similarities = embedder.embed_texts(texts) @ embedder.embed_images([opened])[0]
    for (text, value), similarity in zip(expected.items(), similarities.tolist(), strict=True):
        logit = math.exp(info.logit_scale) * similarity + info.logit_bias
        found = logit if is_logit else float(sigmoid(logit))
        yield Comparison(f"{what} of {image} and {text!r}", value, found, source, tolerance)
