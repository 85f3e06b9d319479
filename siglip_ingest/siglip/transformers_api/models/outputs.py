"""The outputs of models: values by name, by key and by place, as in transformers.

Letters in shapes: I images, T texts, B batch, N positions (patches or tokens), C hidden size, D dimension of an
embedding, H heads.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import ItemsView, Iterator, KeysView, ValuesView
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor


@dataclass(eq=False)
class ModelOutput:
    """Values that are attributes, keys and places at once; those that weren't asked for are None and are left out.

    It reads as a mapping (`output["logits"]`, `**output`), and by place (`output[0]`, `output[:2]`). To unpack it, call
    `to_tuple()`: iterating gives the keys, as a mapping's does.
    """

    def _present(self) -> dict[str, Any]:
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {name: value for name, value in values.items() if value is not None}

    def keys(self) -> KeysView[str]:
        """Names of the values that are there, in order."""
        return self._present().keys()

    def values(self) -> ValuesView[Any]:
        """The values that are there, in order."""
        return self._present().values()

    def items(self) -> ItemsView[str, Any]:
        """Names and values, in order."""
        return self._present().items()

    def get(self, name: str, default: Any = None) -> Any:
        """The value of that name, or `default` where it isn't there."""
        return self._present().get(name, default)

    def to_tuple(self) -> tuple[Any, ...]:
        """The values that are there, in order; outputs inside become tuples too."""
        return tuple(value.to_tuple() if isinstance(value, ModelOutput) else value for value in self.values())

    def __getitem__(self, key: str | int | slice) -> Any:
        return self._present()[key] if isinstance(key, str) else self.to_tuple()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._present())

    def __len__(self) -> int:
        return len(self._present())

    def __contains__(self, name: object) -> bool:
        return name in self._present()


@dataclass(eq=False)
class BaseModelOutputWithPooling(ModelOutput):
    """What a tower gives.

    Attributes:
        last_hidden_state: (B, N, C), the last layer's output, normalised.
        pooler_output: (B, D), the embedding, not of unit length; None where the tower has no pooling head.
        hidden_states: The embeddings and each layer's output, (B, N, C) each, before the last normalisation.
        attentions: Each layer's weights, (B, H, N, N) each.
    """

    last_hidden_state: Tensor | None = None
    pooler_output: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None


@dataclass(eq=False)
class SiglipOutput(ModelOutput):
    """What both towers give together.

    Attributes:
        loss: The sigmoid loss of the batch, where the i-th text belongs to the i-th image.
        logits_per_image: (I, T), exp(logit_scale) * cosine + logit_bias; their sigmoid is the score.
        logits_per_text: (T, I), the same transposed.
        text_embeds: (T, D) unit vectors.
        image_embeds: (I, D) unit vectors.
        text_model_output: The text tower's own output.
        vision_model_output: The vision tower's own output.
    """

    loss: Tensor | None = None
    logits_per_image: Tensor | None = None
    logits_per_text: Tensor | None = None
    text_embeds: Tensor | None = None
    image_embeds: Tensor | None = None
    text_model_output: BaseModelOutputWithPooling | None = None
    vision_model_output: BaseModelOutputWithPooling | None = None


@dataclass(eq=False)
class ImageClassifierOutput(ModelOutput):
    """What an image classifier gives.

    Attributes:
        loss: Of the labels that came along.
        logits: (B, num_labels).
        hidden_states: See `BaseModelOutputWithPooling`.
        attentions: See `BaseModelOutputWithPooling`.
    """

    loss: Tensor | None = None
    logits: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None


class Features(Tensor):
    """Embeddings (B, D), not of unit length, that also know the tower's whole output.

    transformers 4 returns a plain tensor here and transformers 5 an object with `pooler_output`; this serves the code
    of both. Whatever is computed from it is a plain tensor. It keeps the last hidden state alive, which is as large as
    a batch: keep `pooler_output` where you collect many.
    """

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]  # as Parameter does
    _tower_output: BaseModelOutputWithPooling

    @classmethod
    def from_output(cls, output: BaseModelOutputWithPooling) -> Self:
        """Make the embeddings of a tower's output carry the rest of it.

        Raises:
            TypeError: If the output has no embeddings.
        """
        if output.pooler_output is None:
            raise TypeError("This output has no pooler_output.")
        features = output.pooler_output.as_subclass(cls)
        # Without the embeddings themselves, which are the tensor: no cycle keeps them alive.
        features._tower_output = dataclasses.replace(output, pooler_output=None)
        return features

    @property
    def pooler_output(self) -> Tensor:
        """The embeddings as a plain tensor."""
        return self.as_subclass(Tensor)

    @property
    def last_hidden_state(self) -> Tensor | None:
        """(B, N, C), the last layer's output, normalised."""
        return self._tower_output.last_hidden_state

    @property
    def hidden_states(self) -> tuple[Tensor, ...] | None:
        """The embeddings of the input and each layer's output, where they were asked for."""
        return self._tower_output.hidden_states

    @property
    def attentions(self) -> tuple[Tensor, ...] | None:
        """Each layer's weights, where they were asked for."""
        return self._tower_output.attentions

    # Copies, on the disk or in another process too, are plain tensors, without the tower's states.
    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        return copy.deepcopy(self.pooler_output, memo)

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.pooler_output.__reduce_ex__(protocol)  # type: ignore[no-untyped-call]
