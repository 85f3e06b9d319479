"""Measures zero-shot accuracy on folders of classes, and recall between images and captions."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from siglip_ingest.errors import InvalidInputError
from siglip_ingest.siglip.datasets import CaptionedImage, LabeledClass
from siglip_ingest.siglip.evaluation.embedding import (
    Progress,
    SkippedImage,
    count_full_texts,
    embed_files,
    embed_many_texts,
)
from siglip_ingest.siglip.evaluation.ranking import find_ranks, share_within
from siglip_ingest.siglip.preprocess.opening import DEFAULT_LIMITS, ImageLimits
from siglip_ingest.siglip.prompts import DEFAULT_TEMPLATE, embed_labels

if TYPE_CHECKING:
    from siglip_ingest.siglip.embedder import TorchEmbedder

RECALLS = (1, 5, 10)
PROMPTS_AT_A_TIME = 2048

# Begins a bar of so many steps, with a name for it, and gives what to call after some of them.
StartBar = Callable[[str, int], Progress]


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What was measured.

    Attributes:
        task: `zero-shot classification` or `retrieval`.
        figures: Shares in [0, 1] by name, in the order of the papers' tables.
        counts: How many images, classes, prompts, captions.
        by_class: For labels: top-1 accuracy and number of images by the name of each class's folder.
        skipped: The images that couldn't be read.
        images_per_s: Images from file to vector.
        notes: What else there is to know, in sentences.
    """

    task: str
    figures: dict[str, float]
    counts: dict[str, int]
    images_per_s: float
    skipped: Sequence[SkippedImage]
    by_class: dict[str, tuple[float, int]] = field(default_factory=dict)
    notes: Sequence[str] = ()


def read_clip_templates() -> list[str]:
    """The 80 templates that CLIP's paper averages for ImageNet, which SigLIP's papers use as well.

    From openai/CLIP, notebooks/Prompt_Engineering_for_ImageNet.ipynb.
    """
    return (files("siglip_ingest.siglip.evaluation") / "clip_templates.txt").read_text(encoding="utf-8").splitlines()


def measure_labels(
    embedder: TorchEmbedder,
    classes: Sequence[LabeledClass],
    *,
    limits: ImageLimits = DEFAULT_LIMITS,
    decode_threads: int = 0,
    templates: Sequence[str] = (DEFAULT_TEMPLATE,),
    limit: int | None = None,
    start_bar: StartBar,
) -> Evaluation:
    """Measure how often the most similar class of an image is its own.

    A class's vector is the mean of the unit vectors of its prompts, every name in every template, made of length 1.

    Args:
        embedder: The loaded checkpoint.
        classes: Of the data set.
        limits: Larger images are left out.
        decode_threads: Threads that decode; 0 means 8.
        templates: Each contains `{label}`.
        limit: Most images, taken evenly from all; None for all.
        start_bar: Shows progress.

    Raises:
        InvalidInputError: If there are fewer than two classes, a template lacks `{label}`, or no image can be read.
    """
    if len(classes) < 2:
        raise InvalidInputError("A data set of labels needs at least two classes: with one, every answer is right.")
    for template in templates:
        if "{label}" not in template:
            raise InvalidInputError(f"The template {template!r} doesn't contain {{label}}, where each label goes.")
    pairs = _thin_out([(path, index) for index, group in enumerate(classes) for path in group.paths], limit)
    prompts = [
        [template.replace("{label}", name) for name in group.names for template in templates] for group in classes
    ]
    class_vectors = _embed_classes(embedder, prompts, start_bar)
    started = time.perf_counter()
    images = embed_files(
        embedder,
        [path for path, _ in pairs],
        limits=limits,
        decode_threads=decode_threads,
        progress=start_bar("images", len(pairs)),
    )
    images_per_s = len(images.vectors) / (time.perf_counter() - started)
    truths = np.array([index for _, index in pairs], dtype=np.int64)[images.positions]
    ranks = find_ranks(images.vectors, class_vectors, truths, np.arange(len(classes)))
    by_class = {
        group.folder: (share_within(ranks[truths == index], 1), int((truths == index).sum()))
        for index, group in enumerate(classes)
        if (truths == index).any()
    }
    return Evaluation(
        task="zero-shot classification",
        figures={
            "top-1 accuracy": share_within(ranks, 1),
            **({"top-5 accuracy": share_within(ranks, 5)} if len(classes) > 5 else {}),
            "mean accuracy of the classes": float(np.mean([accuracy for accuracy, _ in by_class.values()])),
        },
        counts={
            "images": len(images.vectors),
            "classes": len(classes),
            "prompts": sum(map(len, prompts)),
            "skipped": len(images.skipped),
        },
        images_per_s=images_per_s,
        skipped=images.skipped,
        by_class=by_class,
        notes=_full_text_notes(embedder, [prompt for own in prompts for prompt in own]),
    )


def measure_retrieval(
    embedder: TorchEmbedder,
    data: Sequence[CaptionedImage],
    *,
    limits: ImageLimits = DEFAULT_LIMITS,
    decode_threads: int = 0,
    limit: int | None = None,
    start_bar: StartBar,
) -> Evaluation:
    """Measure how often a caption finds its image, and an image one of its captions, among the first 1, 5 and 10.

    Args:
        embedder: The loaded checkpoint.
        data: Images and their captions.
        limits: Larger images are left out.
        decode_threads: Threads that decode; 0 means 8.
        limit: Most images, taken evenly from all; None for all. Recall among fewer is higher.
        start_bar: Shows progress.

    Raises:
        InvalidInputError: If no image can be read.
    """
    chosen = _thin_out(data, limit)
    started = time.perf_counter()
    images = embed_files(
        embedder,
        [item.path for item in chosen],
        limits=limits,
        decode_threads=decode_threads,
        progress=start_bar("images", len(chosen)),
    )
    images_per_s = len(images.vectors) / (time.perf_counter() - started)
    kept = [chosen[position] for position in images.positions]
    captions = [caption for item in kept for caption in item.captions]
    groups = np.repeat(np.arange(len(kept)), [len(item.captions) for item in kept])
    texts = embed_many_texts(embedder, captions, progress=start_bar("captions", len(captions)))
    own = np.arange(len(kept))
    directions = {
        "text to image": find_ranks(texts, images.vectors, groups, own),
        "image to text": find_ranks(images.vectors, texts, own, groups),
    }
    return Evaluation(
        task="retrieval",
        figures={
            f"{direction}, recall@{k}": share_within(ranks, k)
            for direction, ranks in directions.items()
            for k in RECALLS
        },
        counts={"images": len(kept), "captions": len(captions), "skipped": len(images.skipped)},
        images_per_s=images_per_s,
        skipped=images.skipped,
        notes=_full_text_notes(embedder, captions),
    )


def _embed_classes(
    embedder: TorchEmbedder, prompts: Sequence[Sequence[str]], start_bar: StartBar
) -> NDArray[np.float32]:
    """Embed every class by its prompts, some classes at a time: an ensemble has 80 prompts a class."""
    progress = start_bar("prompts", sum(map(len, prompts)))
    step = max(1, PROMPTS_AT_A_TIME // max(map(len, prompts)))
    parts = []
    for start in range(0, len(prompts), step):
        parts.append(embed_labels(embedder, prompts[start : start + step]))
        progress(sum(map(len, prompts[start : start + step])))
    return np.concatenate(parts)


def _full_text_notes(embedder: TorchEmbedder, texts: Sequence[str]) -> list[str]:
    count = count_full_texts(embedder, texts)
    length = embedder.info.text_settings["max_length"]
    return [f"{count:,} of {len(texts):,} texts fill the model's {length} positions; longer ones lost their ends."] * (
        count > 0
    )


def _thin_out(items: Sequence[Any], limit: int | None) -> list[Any]:
    """Take at most `limit` items, evenly from all."""
    if limit is None or limit >= len(items):
        return list(items)
    return [items[index * len(items) // limit] for index in range(limit)]
