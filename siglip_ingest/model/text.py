"""The text tower: tokens, encoder, last position.

Letters in shapes: B batch, L text length, C hidden size, D dimension of an embedding.
"""

from __future__ import annotations

from torch import Tensor, nn

from siglip_ingest.errors import InvalidInputError
from siglip_ingest.model.config import SiglipTextConfig
from siglip_ingest.model.layers import Encoder, init_lecun_normal, make_embedding


class TextEmbeddings(nn.Module):
    """Looks up each token and adds a learned position."""

    def __init__(self, config: SiglipTextConfig) -> None:
        super().__init__()
        self.token_embedding = make_embedding(config.vocab_size, config.hidden_size)
        self.position_embedding = make_embedding(config.max_position_embeddings, config.hidden_size)

    def init_weights(self) -> None:
        """Draw new weights: normal of variance 1 / C."""
        for embedding in (self.token_embedding, self.position_embedding):
            nn.init.normal_(embedding.weight, std=embedding.embedding_dim**-0.5)

    def forward(self, input_ids: Tensor) -> Tensor:
        """Map ids (B, L) to (B, L, C)."""
        length, longest = input_ids.shape[1], self.position_embedding.num_embeddings
        if length > longest:
            raise InvalidInputError(f"Texts of {length} tokens are too long for this model, which takes {longest}.")
        return self.token_embedding(input_ids) + self.position_embedding.weight[:length]  # type: ignore[no-any-return]


class TextModel(nn.Module):
    """Token ids to text embeddings."""

    def __init__(self, config: SiglipTextConfig) -> None:
        super().__init__()
        self.embeddings = TextEmbeddings(config)
        self.encoder = Encoder(config)
        self.final_layer_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.head = nn.Linear(config.hidden_size, config.dimension)

    def init_weights(self) -> None:
        """Draw a new head; the bias starts at 0."""
        init_lecun_normal(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, input_ids: Tensor, *, hidden_states: list[Tensor] | None = None) -> Tensor:
        """Map ids (B, L) int64 to embeddings (B, D), not normalised.

        Args:
            input_ids: Tokens padded to `max_position_embeddings`, the only length that the model was trained with.
            hidden_states: Gets the token embeddings and each layer's output appended, where given, each (B, L, C).
        """
        # SigLIP pools the last position even when it is padding, so the last layer needs no other.
        x = self.encoder(
            self.embeddings(input_ids), is_last_position_only=hidden_states is None, hidden_states=hidden_states
        )
        return self.head(self.final_layer_norm(x[:, -1]))  # type: ignore[no-any-return]
