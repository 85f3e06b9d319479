"""Which parameters are trained, by name: locked-image tuning, a head alone, everything but the embeddings, ..."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from torch import nn

from siglip_ingest.errors import InvalidInputError

# What people type for parts whose names in the checkpoint are longer.
SHORT_NAMES = {"vision": ("vision_model",), "text": ("text_model",), "constants": ("logit_scale", "logit_bias")}
NONE = "none"


def freeze(model: nn.Module, patterns: Sequence[str], *, exceptions: Sequence[str] = ()) -> None:
    """Let a model's parameters record gradients, but for those that are frozen.

    Args:
        model: Changed in place.
        patterns: Names of parameters or of what they are part of, such as `vision` (locked-image tuning), `text`,
            `constants` (logit scale and bias), `vision.embeddings`, `text.encoder.layers.[0-5]`, `*.bias`. `none` is
            nothing.
        exceptions: Of the frozen, what is trained nevertheless: patterns as well.

    Raises:
        InvalidInputError: If a pattern is of nothing in the model, or nothing is left to train.
    """
    names = [name for name, _ in model.named_parameters()]
    frozen, kept = _find(names, patterns), _find(names, exceptions)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name not in frozen or name in kept)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise InvalidInputError(f"Nothing is left to train when {', '.join(patterns)} is frozen.")


def _find(names: Sequence[str], patterns: Sequence[str]) -> set[str]:
    """Find the names that patterns stand for.

    Raises:
        InvalidInputError: If a pattern stands for none.
    """
    found: set[str] = set()
    for pattern in patterns:
        if pattern == NONE:
            continue
        first, dot, rest = pattern.partition(".")
        full = [f"{start}{dot}{rest}" for start in SHORT_NAMES.get(first, (first,))]
        matched = {name for name in names for each in full if fnmatchcase(name, each) or fnmatchcase(name, f"{each}.*")}
        if not matched:
            raise InvalidInputError(
                f"No part of the model is called {pattern!r}. Its parts are {', '.join(_list_parts(names))}, and their "
                "own, such as vision.encoder.layers.0; * stands for anything."
            )
        found |= matched
    return found


def _list_parts(names: Sequence[str]) -> list[str]:
    """Name the parts that stand outermost, and what they consist of, as people type them."""
    typed = {name: short for short, full in SHORT_NAMES.items() for name in full}
    parts: dict[str, None] = {}
    for name in names:
        first, *rest = name.split(".")
        parts[typed.get(first, first)] = None
        if len(rest) > 1:
            parts[f"{typed.get(first, first)}.{rest[0]}"] = None
    return sorted(parts)
