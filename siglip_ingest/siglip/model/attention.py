"""Scaled dot-product attention (Vaswani et al., 2017, section 3.2.1): eager, sdpa and flash_attention_2.

Letters in shapes: B batch, H heads, M queries, N positions, c width of a head.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F  # noqa: N812  (the name everybody reads)
from torch import Tensor

from siglip_ingest.errors import ConfigurationError

DEFAULT_ATTENTION = "sdpa"


@dataclass
class Trace:
    """Collects what a forward pass goes through.

    Attributes:
        hidden_states: The embeddings and each layer's output, (B, N, C).
        attentions: Each layer's weights, (B, H, N, N); only the implementation "eager" has them.
        needs_attentions: Compute by "eager", whatever the model's implementation is, so that there are weights.
    """

    hidden_states: list[Tensor] = field(default_factory=list)
    attentions: list[Tensor] = field(default_factory=list)
    needs_attentions: bool = False


Attend = Callable[[Tensor, Tensor, Tensor, Tensor | None, float, Trace | None], Tensor]


def attend(
    implementation: str,
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    mask: Tensor | None = None,
    *,
    dropout: float = 0.0,
    trace: Trace | None = None,
) -> Tensor:
    """Let each query look at the positions that are no padding.

    Args:
        implementation: A key of `ATTENTIONS`.
        queries: (B, H, M, c).
        keys: (B, H, N, c).
        values: (B, H, N, c).
        mask: (B, 1, 1, N) bool, false for positions to ignore; see `make_attention_mask`.
        dropout: Of attention weights, in training.
        trace: Gets the weights appended, where the implementation has them.

    Returns:
        (B, H, M, c).
    """
    function = ATTENTIONS["eager" if trace is not None and trace.needs_attentions else implementation]
    return function(queries, keys, values, mask, dropout, trace)


def make_attention_mask(padding_mask: Tensor | None) -> Tensor | None:
    """Turn (B, N), 1 for what is there and 0 for padding, into (B, 1, 1, N) bool; None where nothing is padding."""
    if padding_mask is None or bool(padding_mask.all()):
        return None
    return padding_mask.bool()[:, None, None, :]


def check_attention(implementation: str) -> None:
    """Refuse an implementation that isn't there.

    Raises:
        ConfigurationError: If it is unknown, or needs a package or a device that this machine lacks.
    """
    if implementation not in ATTENTIONS:
        raise ConfigurationError(f"attn_implementation must be one of {', '.join(ATTENTIONS)}, not {implementation!r}.")
    if implementation != "flash_attention_2":
        return
    if importlib.util.find_spec("flash_attn") is None:
        raise ConfigurationError(
            "attn_implementation 'flash_attention_2' needs the package flash-attn and an NVIDIA GPU: pip install "
            "flash-attn, or choose 'sdpa', which uses the flash kernels that come with torch."
        )
    if not torch.cuda.is_available():
        raise ConfigurationError("attn_implementation 'flash_attention_2' needs an NVIDIA GPU: choose 'sdpa' here.")


def _attend_eager(
    queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None, dropout: float, trace: Trace | None
) -> Tensor:
    """Write the formula out: softmax(q k^T / sqrt(c)) v, with the softmax in float32."""
    logits = queries @ keys.transpose(-1, -2) * queries.shape[-1] ** -0.5
    if mask is not None:
        logits = logits.masked_fill(~mask, torch.finfo(logits.dtype).min)
    weights = logits.softmax(dim=-1, dtype=torch.float32).to(queries.dtype)
    if trace is not None:
        trace.attentions.append(weights)
    return F.dropout(weights, p=dropout) @ values if dropout else weights @ values


def _attend_sdpa(
    queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None, dropout: float, _trace: Trace | None
) -> Tensor:
    return F.scaled_dot_product_attention(queries, keys, values, attn_mask=mask, dropout_p=dropout)


def _attend_flash(
    queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None, dropout: float, _trace: Trace | None
) -> Tensor:
    from flash_attn import flash_attn_func

    if mask is not None:
        raise ConfigurationError("flash_attention_2 takes no padded batches: choose attn_implementation 'sdpa'.")
    if queries.dtype not in {torch.float16, torch.bfloat16}:
        raise ConfigurationError(f"flash_attention_2 computes in float16 or bfloat16, not {queries.dtype}.")
    attended: Tensor = flash_attn_func(*(x.transpose(1, 2) for x in (queries, keys, values)), dropout_p=dropout)
    return attended.transpose(1, 2)


ATTENTIONS: dict[str, Attend] = {
    "eager": _attend_eager,
    "sdpa": _attend_sdpa,
    "flash_attention_2": _attend_flash,
}
