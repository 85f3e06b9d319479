"""The transformer that both towers share: pre-norm attention and MLP (ViT of Dosovitskiy et al., 2021).

Letters in shapes: B batch, N positions, C hidden size, H heads.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F  # noqa: N812  (the name everybody reads)
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from siglip_ingest.siglip.model.attention import DEFAULT_ATTENTION, Trace, attend, check_attention
from siglip_ingest.siglip.model.config import SiglipTextConfig, VisionConfig


def _gelu_tanh(x: Tensor) -> Tensor:
    return F.gelu(x, approximate="tanh")


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"gelu_pytorch_tanh": _gelu_tanh, "gelu": F.gelu}


def split_heads(x: Tensor, num_heads: int) -> Tensor:
    """Turn (B, N, C) into (B, H, N, C / H)."""
    return x.view(*x.shape[:-1], num_heads, -1).transpose(1, 2)


def merge_heads(x: Tensor) -> Tensor:
    """Turn (B, H, N, C / H) into (B, N, C)."""
    return x.transpose(1, 2).flatten(2)


def make_embedding(count: int, width: int) -> nn.Embedding:
    """Make a table (count, width) of undefined weights.

    `nn.Embedding` alone would draw them, which on the meta device imports torch's compiler: a second of start-up, and a
    folder in /tmp.
    """
    return nn.Embedding(count, width, _weight=torch.empty(count, width))


def init_lecun_normal(weight: Tensor) -> None:
    """Draw a weight (outputs, ...) from a normal of variance 1 / fan_in, cut at two of its deviations.

    The cut takes some of the deviation away; 0.8796 (that of a unit normal cut at 2) gives it back, as in flax.
    """
    deviation = weight[0].numel() ** -0.5 / 0.87962566103423978
    nn.init.trunc_normal_(weight, std=deviation, a=-2 * deviation, b=2 * deviation)


class Attention(nn.Module):
    """Multi-head self-attention. SigLIP masks nothing, not even a text's padding; NaFlex masks its padding."""

    implementation = DEFAULT_ATTENTION

    def __init__(self, config: SiglipTextConfig | VisionConfig) -> None:
        super().__init__()
        self.num_heads = config.num_attention_heads
        self.dropout = config.attention_dropout
        self.q_proj = nn.Linear(config.hidden_size, config.hidden_size)
        self.k_proj = nn.Linear(config.hidden_size, config.hidden_size)
        self.v_proj = nn.Linear(config.hidden_size, config.hidden_size)
        self.out_proj = nn.Linear(config.hidden_size, config.hidden_size)

    def init_weights(self) -> None:
        """Draw new weights: Xavier uniform, biases 0 (big_vision's `MultiHeadDotProductAttention`)."""
        for linear in (self.q_proj, self.k_proj, self.v_proj, self.out_proj):
            nn.init.xavier_uniform_(linear.weight)
            nn.init.zeros_(linear.bias)

    def forward(self, x: Tensor, queries: Tensor, mask: Tensor | None = None, trace: Trace | None = None) -> Tensor:
        """Let `queries` (B, M, C) look at `x` (B, N, C); returns (B, M, C). Self-attention is `queries = x`."""
        attended = attend(
            self.implementation,
            split_heads(self.q_proj(queries), self.num_heads),
            split_heads(self.k_proj(x), self.num_heads),
            split_heads(self.v_proj(x), self.num_heads),
            mask,
            dropout=self.dropout if self.training else 0.0,
            trace=trace,
        )
        return self.out_proj(merge_heads(attended))  # type: ignore[no-any-return]


class Mlp(nn.Module):
    """Two linear layers with the activation between them, at each position alone."""

    def __init__(self, config: SiglipTextConfig | VisionConfig) -> None:
        super().__init__()
        self.activation = ACTIVATIONS[config.hidden_act]
        self.fc1 = nn.Linear(config.hidden_size, config.intermediate_size)
        self.fc2 = nn.Linear(config.intermediate_size, config.hidden_size)

    def init_weights(self) -> None:
        """Draw new weights: Xavier uniform, biases normal with deviation 1e-6 (big_vision's `MlpBlock`)."""
        for linear in (self.fc1, self.fc2):
            nn.init.xavier_uniform_(linear.weight)
            nn.init.normal_(linear.bias, std=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., C) to (..., C)."""
        return self.fc2(self.activation(self.fc1(x)))  # type: ignore[no-any-return]


class EncoderLayer(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x))."""

    def __init__(self, config: SiglipTextConfig | VisionConfig) -> None:
        super().__init__()
        self.layer_norm1 = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.self_attn = Attention(config)
        self.layer_norm2 = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.mlp = Mlp(config)

    def forward(
        self,
        x: Tensor,
        *,
        mask: Tensor | None = None,
        is_last_position_only: bool = False,
        trace: Trace | None = None,
    ) -> Tensor:
        """Map (B, N, C) to (B, N, C), or to its last position alone, (B, 1, C).

        The last position's result needs every position's keys and values but no other position's query or MLP, so the
        short form is exact.
        """
        normed = self.layer_norm1(x)
        queries = normed
        if is_last_position_only:
            x, queries = x[:, -1:], normed[:, -1:]
        x = x + self.self_attn(normed, queries, mask, trace)
        return x + self.mlp(self.layer_norm2(x))  # type: ignore[no-any-return]


class Encoder(nn.Module):
    """The stack of layers.

    Attributes:
        is_recomputed: In training, keep each layer's input alone and compute the rest again for gradients.
    """

    is_recomputed: bool = False

    def __init__(self, config: SiglipTextConfig | VisionConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(EncoderLayer(config) for _ in range(config.num_hidden_layers))

    def forward(
        self,
        x: Tensor,
        *,
        mask: Tensor | None = None,
        is_last_position_only: bool = False,
        trace: Trace | None = None,
    ) -> Tensor:
        """Map (B, N, C) to (B, N, C), or to (B, 1, C) where only the last position is asked for.

        Args:
            x: The embeddings.
            mask: (B, 1, 1, N) bool, false for positions to ignore.
            is_last_position_only: Spare the last layer what only other positions need.
            trace: Gets `x`, each layer's output and its attention weights appended, where given.
        """
        last = len(self.layers) - 1
        if trace is not None:
            trace.hidden_states.append(x)
        for index, layer in enumerate(self.layers):
            is_shortened = is_last_position_only and index == last
            if self.is_recomputed and self.training and trace is None:  # a trace would be written twice
                x = checkpoint(layer, x, mask=mask, is_last_position_only=is_shortened, use_reentrant=False)
            else:
                x = layer(x, mask=mask, is_last_position_only=is_shortened, trace=trace)
            if trace is not None:
                trace.hidden_states.append(x)
        return x


def set_attention(model: nn.Module, implementation: str) -> None:
    """Choose how a model computes attention: "eager", "sdpa" or "flash_attention_2".

    Raises:
        ConfigurationError: If it is unknown, or needs a package or a device that this machine lacks.
    """
    check_attention(implementation)
    for module in model.modules():
        if isinstance(module, Attention):
            module.implementation = implementation
