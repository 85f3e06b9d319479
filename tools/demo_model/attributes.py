"""Attributes of images as classes: they teach the vision tower to see.

The sigmoid loss alone is slow at first: for a thousand steps a small tower tells little more than skies and grounds
apart. Told the attributes one by one, it finds things, colours and places within a few hundred. So the first lesson is
attributes alone, the second captions and attributes together. The head that names them is then thrown away.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn, tensor

from siglip_ingest.demo.description import (
    BACKGROUNDS,
    COLOURS,
    FLYERS,
    GROUNDS,
    PLACES,
    SHAPES,
    SKIES,
    THINGS,
    Description,
    Item,
)
from siglip_ingest.siglip.model import SiglipModel
from siglip_ingest.siglip.training import score_embeddings

_NOTHING = Item("")
_COLOURS = tuple(COLOURS)
_RELATIONS = ("left of", "above", "inside")
_ITEM_WORDS = ((THINGS, _COLOURS, PLACES), (FLYERS, _COLOURS, PLACES), (SHAPES, _COLOURS), (SHAPES, _COLOURS))

# The words of each attribute.
ATTRIBUTES: tuple[Sequence[str], ...] = (
    SKIES,
    GROUNDS,
    BACKGROUNDS,
    _RELATIONS,
    *(words for item in _ITEM_WORDS for words in item),
)


class DemoBatch(NamedTuple):
    """Images, what each of their attributes is, and texts.

    Attributes:
        pixel_values: (B, 3, height, width) float32, normalised.
        targets: (B, A) int64, one column per attribute: 0 where an image lacks it, else 1 + the word's index.
        input_ids: (T, L) int64; None in the first lesson.
        is_match: (B, T) bool, which texts are true of which images; None in the first lesson.
    """

    pixel_values: Tensor
    targets: Tensor
    input_ids: Tensor | None = None
    is_match: Tensor | None = None


class ModelWithHeads(nn.Module):
    """A SigLIP model and, on its image embedding, one linear head that names all attributes.

    Args:
        siglip: Trained in place.
    """

    def __init__(self, siglip: SiglipModel) -> None:
        super().__init__()
        self.siglip = siglip
        self.sizes = [1 + len(words) for words in ATTRIBUTES]
        self.head = nn.Linear(siglip.config.dimension, sum(self.sizes))


def compute_demo_loss(model_with_heads: ModelWithHeads, batch: DemoBatch) -> Tensor:
    """Return the attributes' cross entropy, summed over attributes, plus the sigmoid loss where there are texts."""
    image_embeds = model_with_heads.siglip.get_image_features(batch.pixel_values)
    logits = model_with_heads.head(image_embeds).float().split(model_with_heads.sizes, dim=1)
    losses = [F.cross_entropy(z, target) for z, target in zip(logits, batch.targets.T, strict=True)]
    if batch.input_ids is not None:
        text_embeds = model_with_heads.siglip.get_text_features(batch.input_ids)
        losses.append(score_embeddings(model_with_heads.siglip, image_embeds, text_embeds, batch.is_match))
    total: Tensor = sum(losses[1:], start=losses[0])
    return total


def find_targets(descriptions: Sequence[Description]) -> Tensor:
    """Return the targets of a `DemoBatch` for some images: (B, A) int64."""
    return tensor([_find_row(description) for description in descriptions])


def _find_row(description: Description) -> list[int]:
    first, second = description.shapes or (_NOTHING, _NOTHING)
    thing, flyer = description.thing or _NOTHING, description.flyer or _NOTHING
    values = (
        *(description.sky, description.ground, description.background, description.relation),
        *(thing.kind, thing.colour, thing.place, flyer.kind, flyer.colour, flyer.place),
        *(first.kind, first.colour, second.kind, second.colour),
    )
    return [words.index(value) + 1 if value else 0 for words, value in zip(ATTRIBUTES, values, strict=True)]
