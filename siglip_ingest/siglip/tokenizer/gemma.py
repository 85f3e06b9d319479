"""SigLIP 2's tokenizer: lower-cased text, cut into the pieces of Gemma's byte-pair encoding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from siglip_ingest.errors import CheckpointError
from siglip_ingest.siglip.git_lfs import describe_pointer
from siglip_ingest.siglip.tokenizer.base import Tokenizer, read_tokenizer_config, token_text

if TYPE_CHECKING:
    import tokenizers

TOKENIZER_FILE = "tokenizer.json"


class LowerCaseTokenizer(Tokenizer):
    """SigLIP 2's tokenizer: lower-cased text, Gemma's pieces, `<eos>` at the end, `<pad>` after it.

    The published tokenizer.json doesn't lower-case, though the model was trained on lower-cased text: transformers'
    `Siglip2Tokenizer` adds it, and so does this. Control tokens that somebody typed stay tokens where they are typed
    as they are written; in capitals they are plain text.
    """

    def __init__(self, path: Path, *, max_length: int, config: Mapping[str, Any] | None = None) -> None:
        """Load a tokenizer.json.

        Args:
            path: Of the file.
            max_length: `max_position_embeddings` of the text tower.
            config: Content of tokenizer_config.json; None reads the file beside it.

        Raises:
            CheckpointError: If the file can't be read or lacks the two special tokens.
        """
        from tokenizers import normalizers

        tokenizer = _load(path)
        config = read_tokenizer_config(path.parent) if config is None else config
        eos, pad = token_text(config.get("eos_token"), "<eos>"), token_text(config.get("pad_token"), "<pad>")
        eos_id, pad_id = tokenizer.token_to_id(eos), tokenizer.token_to_id(pad)
        if eos_id is None or pad_id is None:
            raise CheckpointError(f"{path} lacks {eos} or {pad}: it is not SigLIP 2's tokenizer.")
        self.max_length, self.eos_id, self.pad_id = max_length, eos_id, pad_id
        steps = [normalizers.Lowercase(), *([tokenizer.normalizer] if tokenizer.normalizer else [])]
        tokenizer.normalizer = normalizers.Sequence(steps)
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self._tokenizer = tokenizer

    @property
    def settings(self) -> dict[str, Any]:
        """What the database keeps of it: kind, size, length, lower-casing, pad and eos ids."""
        return {
            "kind": "tokenizers",
            "vocab_size": self._tokenizer.get_vocab_size(),
            "max_length": self.max_length,
            "is_lower_case": True,
            "pad_id": self.pad_id,
            "eos_id": self.eos_id,
        }

    @property
    def backend(self) -> Any:
        """The tokenizer of the library tokenizers, which lower-cases."""
        return self._tokenizer

    def split_text(self, text: str) -> list[str]:
        """Cut a text into pieces as they are written, whole and without a final token."""
        pieces: list[str] = self._tokenizer.encode(text, add_special_tokens=False).tokens
        return pieces

    def _encode(self, texts: Sequence[str]) -> list[list[int]]:
        encodings = self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        return [encoding.ids for encoding in encodings]

    def _find_end(self, text: str, kept: int) -> str:
        start, _end = self._tokenizer.encode(text, add_special_tokens=False).offsets[kept]
        begins_inside_word = not (text[start - 1 : start] or " ").isspace() and not text[start : start + 1].isspace()
        return ("…" if begins_inside_word else "") + text[start:].strip()


def _load(path: Path) -> tokenizers.Tokenizer:
    from tokenizers import Tokenizer as LoadedTokenizer

    try:
        tokenizer: tokenizers.Tokenizer = LoadedTokenizer.from_file(str(path))
    except Exception as error:  # tokenizers raises nothing narrower
        raise CheckpointError(
            describe_pointer(path) or f"{path} is not a whole tokenizer file ({error}). Fetch it again."
        ) from error
    return tokenizer
