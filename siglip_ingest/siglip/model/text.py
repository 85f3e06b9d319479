"""The text tower: tokens, encoder, last position.

Letters in shapes: B batch, L text length, C hidden size, D dimension of an embedding.
"""

from __future__ import annotations

from torch import Tensor, nn

from siglip_ingest.errors import InvalidInputError
from siglip_ingest.siglip.model.attention import Trace, make_attention_mask
from siglip_ingest.siglip.model.config import SiglipTextConfig
from siglip_ingest.siglip.model.layers import Encoder, init_lecun_normal, make_embedding


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

    def forward(self, input_ids: Tensor, position_ids: Tensor | None = None) -> Tensor:
        """Map ids (B, L) to (B, L, C); positions are 0 to L - 1, or else `position_ids`, (B, L) or (1, L).

        Raises:
            InvalidInputError: If there are too many, or on the CPU, if one is beyond the vocabulary: a GPU doesn't say.
        """
        length, longest = input_ids.shape[1], self.position_embedding.num_embeddings
        if length > longest:
            raise InvalidInputError(f"Texts of {length} tokens are too long for this model, which takes {longest}.")
        positions = self.position_embedding.weight[:length]
        try:
            if position_ids is not None:
                positions = self.position_embedding(position_ids)
            return self.token_embedding(input_ids) + positions  # type: ignore[no-any-return]
        except IndexError as error:
            raise InvalidInputError(
                f"This model knows the ids 0 to {self.token_embedding.num_embeddings - 1} and the positions 0 to "
                f"{longest - 1}, and was given others: the tokenizer belongs to another checkpoint."
            ) from error


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

    def encode(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        *,
        is_last_position_only: bool = False,
        trace: Trace | None = None,
    ) -> Tensor:
        """Map ids (B, L) int64 to the last layer's normalised states (B, L, C), or (B, 1, C) of the last position.

        Args:
            input_ids: Tokens padded to `max_position_embeddings`, the only length that the model was trained with.
            attention_mask: (B, L), 0 for positions that none looks at. SigLIP was trained without one: leave it out.
            position_ids: See `TextEmbeddings`.
            is_last_position_only: Compute no more than the last position needs.
            trace: Gets the token embeddings and each layer's output and weights appended, where given.
        """
        x = self.encoder(
            self.embeddings(input_ids, position_ids),
            mask=make_attention_mask(attention_mask),
            is_last_position_only=is_last_position_only,
            trace=trace,
        )
        return self.final_layer_norm(x)  # type: ignore[no-any-return]

    def pool(self, states: Tensor) -> Tensor:
        """Map normalised states (B, L, C) to embeddings (B, D), not normalised."""
        # SigLIP pools the last position even when it is padding.
        return self.head(states[:, -1])  # type: ignore[no-any-return]

    def forward(self, input_ids: Tensor) -> Tensor:
        """Map ids (B, L) int64, padded to `max_position_embeddings`, to embeddings (B, D), not normalised."""
        return self.pool(self.encode(input_ids, is_last_position_only=True))
