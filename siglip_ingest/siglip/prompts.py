"""Makes the prompts that stand for labels, and embeds them: for zero-shot classification and label sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from siglip_ingest.errors import InvalidInputError
from siglip_ingest.types import Embedder, TextChecker

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

DEFAULT_TEMPLATE = "This is a photo of {label}."
PROMPTS_PER_CALL = 256  # bounds what one call of the embedder holds at a time


def make_prompts(labels: Sequence[str] | Mapping[str, Sequence[str]], template: str) -> dict[str, list[str]]:
    """Check labels and give each its prompts, in the same order.

    Args:
        labels: The labels; or a mapping from each label to prompts of its own, used as they are.
        template: Makes the prompt of each label that has none of its own; contains `{label}`.

    Raises:
        InvalidInputError: If there are no labels, one is empty or there twice, one has no prompts or an empty one, or
            the template doesn't contain `{label}`.
    """
    if not isinstance(template, str):
        raise InvalidInputError(f"A template is text, not {type(template).__name__}.")
    if isinstance(labels, str | bytes):
        raise InvalidInputError(f"Labels are a list, not one text: {labels!r}. Write [{labels!r}].")
    prompts: dict[str, list[str]] = {}
    for label in labels:
        if not isinstance(label, str) or not label.strip():
            raise InvalidInputError(f"A label is a text that isn't empty, not {label!r}.")
        if label in prompts:
            raise InvalidInputError(f"The label {label!r} is there twice. Leave one out.")
        if isinstance(labels, Mapping):
            own = labels[label]
            prompts[label] = [own] if isinstance(own, str) else list(own)
        else:
            prompts[label] = [_fill_template(template, label)]
        _check_prompts(label, prompts[label])
    if not prompts:
        raise InvalidInputError("Give at least one label; none was given.")
    return prompts


def check_labels(embedder: Embedder, labels: Sequence[str] | Mapping[str, Sequence[str]]) -> None:
    """Check that the model reads something of each label that a template puts into words.

    Of `!!!`, SigLIP reads the template alone. Labels with prompts of their own are names, which no model reads.

    Raises:
        InvalidInputError: If it reads nothing of one.
    """
    if isinstance(labels, Mapping) or not isinstance(embedder, TextChecker):
        return
    for label, refusal in zip(labels, embedder.describe_refusals(labels), strict=True):
        if refusal is not None:
            raise InvalidInputError(f"The label {label!r} can't be used. {refusal}")


def embed_labels(embedder: Embedder, prompts: Sequence[Sequence[str]]) -> NDArray[np.float32]:
    """Embed labels by their prompts; returns (N, D) float32 unit vectors for N >= 1 labels.

    A label's vector is the mean of its prompts' unit vectors, normalised; of one prompt, that prompt's vector.

    Raises:
        InvalidInputError: If a label's prompts cancel each other out, or the model reads nothing of one.
    """
    import numpy as np

    flat = [prompt for own in prompts for prompt in own]
    embeddings = np.concatenate(
        [
            embedder.embed_texts(flat[start : start + PROMPTS_PER_CALL])
            for start in range(0, len(flat), PROMPTS_PER_CALL)
        ]
    )
    ends = np.cumsum([len(own) for own in prompts])
    means = np.stack([part.mean(axis=0) for part in np.split(embeddings, ends[:-1])])
    norms: NDArray[np.float32] = np.linalg.norm(means, axis=1, keepdims=True)
    if not (norms > 1e-3).all():
        raise InvalidInputError("A label's prompts cancel each other out. Leave some of them out.")
    normalized: NDArray[np.float32] = (means / norms).astype(np.float32)
    return normalized


def _fill_template(template: str, label: str) -> str:
    if "{label}" not in template:
        raise InvalidInputError(f"The template {template!r} doesn't contain {{label}}, where each label goes.")
    return template.replace("{label}", label)


def _check_prompts(label: str, prompts: Sequence[str]) -> None:
    if not prompts:
        raise InvalidInputError(f"The label {label!r} has no prompts. Give it one, or leave it out.")
    for prompt in prompts:
        if not isinstance(prompt, str) or not prompt.strip():
            raise InvalidInputError(f"A prompt of the label {label!r} is empty or isn't text: {prompt!r}.")
