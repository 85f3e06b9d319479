"""Scores one image against labels, without a database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from siglip_ingest.siglip.preprocess.opening import DEFAULT_LIMITS, ImageLimits, open_image
from siglip_ingest.siglip.prompts import DEFAULT_TEMPLATE, check_labels, embed_labels, make_prompts
from siglip_ingest.siglip.scores import score_similarities
from siglip_ingest.types import Embedder, LabelScore

if TYPE_CHECKING:
    from PIL import Image


def classify(
    image: Path | bytes | Image.Image,
    labels: Sequence[str] | Mapping[str, Sequence[str]],
    *,
    embedder: Embedder,
    template: str = DEFAULT_TEMPLATE,
    limits: ImageLimits = DEFAULT_LIMITS,
) -> list[LabelScore]:
    """Score one image against labels, best first.

    Each score is the model's probability that the image fits that label's prompt, sigmoid(exp(logit_scale) * similarity
    + logit_bias). They are independent: they don't sum to 1, and all may be near 0.

    Args:
        image: A Path, the bytes of an image file, or a PIL image.
        labels: What to look for; at least one, none twice. Or a mapping from each label to prompts of its own, whose
            mean stands for it.
        embedder: Embeds the image and the prompts.
        template: Makes the prompt of a label that has none of its own; contains `{label}`. SigLIP 2's tokenizer
            lower-cases what comes out.
        limits: Larger images are refused.

    Raises:
        InvalidInputError: If there are no labels, one is empty or there twice, the model reads nothing of one, or the
            template lacks `{label}`.
        ImageError: If the image can't be read.
    """
    prompts = make_prompts(labels, template)
    check_labels(embedder, labels)
    opened = open_image(image, limits)
    similarities = embed_labels(embedder, list(prompts.values())) @ embedder.embed_images([opened])[0]
    info = embedder.info
    scores = score_similarities(similarities, logit_scale=info.logit_scale, logit_bias=info.logit_bias)
    labeled = [LabelScore(label, score) for label, score in zip(prompts, scores.tolist(), strict=True)]
    return sorted(labeled, key=lambda each: -each.score)
