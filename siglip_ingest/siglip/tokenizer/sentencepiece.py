"""SigLIP 1's tokenizer: text without capitals and punctuation, cut into sentencepiece's unigram pieces."""

from __future__ import annotations

import re
import string
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from siglip_ingest.errors import CheckpointError
from siglip_ingest.siglip.git_lfs import describe_pointer
from siglip_ingest.siglip.tokenizer.base import Tokenizer, read_tokenizer_config, token_text

SENTENCEPIECE_FILE = "spiece.model"
WORD_START = "▁"
_PUNCTUATION_TO_NOTHING = str.maketrans("", "", string.punctuation)

Piece = TypeVar("Piece", int, str)


def canonicalize_text(text: str, *, is_lower_case: bool = True) -> str:
    """Lower-case a text, drop ASCII punctuation and make every run of white space one space.

    This is what SigLIP's captions went through (big_vision, evaluators/proj/image_text/prompt_engineering.py).
    """
    if is_lower_case:
        text = text.lower()
    return re.sub(r"\s+", " ", text.translate(_PUNCTUATION_TO_NOTHING)).strip()


class SentencePieceTokenizer(Tokenizer):
    """SigLIP's tokenizer: canonicalised text, sentencepiece, `</s>` at the end and as padding.

    Equal to transformers' `SiglipTokenizer`, its surprises included: text gets a word start in front, special tokens
    that somebody typed stay tokens, what follows one has no word start of its own, and a text that ends with a typed
    `</s>` gets no second one.
    """

    def __init__(self, folder: Path, *, max_length: int, config: Mapping[str, Any] | None = None) -> None:
        """Load a sentencepiece file.

        Args:
            folder: Holds `spiece.model`; or the path of such a file, whatever its name is.
            max_length: `max_position_embeddings` of the text tower.
            config: Content of tokenizer_config.json; None reads the file beside it.

        Raises:
            CheckpointError: If it can't be read.
        """
        from sentencepiece import SentencePieceProcessor

        path = folder if folder.is_file() else folder / SENTENCEPIECE_FILE
        self._processor = SentencePieceProcessor()
        try:
            self._processor.Load(str(path))
        except (OSError, RuntimeError) as error:
            raise CheckpointError(
                describe_pointer(path) or f"{path} is not a whole sentencepiece model ({error}). Fetch it again."
            ) from error
        config = read_tokenizer_config(path.parent) if config is None else config
        self.max_length = max_length
        self._is_lower_case = bool(config.get("do_lower_case", True))
        self._unk = token_text(config.get("unk_token"), "<unk>")
        eos, pad = token_text(config.get("eos_token"), "</s>"), token_text(config.get("pad_token"), "</s>")
        self.eos_id, self.pad_id = int(self._processor.PieceToId(eos)), int(self._processor.PieceToId(pad))
        special = sorted({eos, pad, self._unk}, key=len, reverse=True)
        self._special = re.compile(f"({'|'.join(map(re.escape, special))})")
        self._unk_length = len(self._processor.EncodeAsIds(self._unk))

    @property
    def settings(self) -> dict[str, Any]:
        """What the database keeps of it: kind, size, length, lower-casing, pad and eos ids."""
        return {
            "kind": "sentencepiece",
            "vocab_size": int(self._processor.GetPieceSize()),
            "max_length": self.max_length,
            "is_lower_case": self._is_lower_case,
            "pad_id": self.pad_id,
            "eos_id": self.eos_id,
        }

    @property
    def backend(self) -> Any:
        """The processor of the library sentencepiece."""
        return self._processor

    def split_text(self, text: str) -> list[str]:
        """Cut a text into pieces as they are written, whole and without a final token."""
        return self._cut(text, str)

    def add_final_token(self, ids: list[int]) -> list[int]:
        """Give the ids with `</s>` behind them, which isn't put behind another one."""
        return ids if ids and ids[-1] == self.eos_id else [*ids, self.eos_id]

    def _encode(self, texts: Sequence[str]) -> list[list[int]]:
        return [self._cut(text, int) for text in texts]

    def _find_end(self, text: str, kept: int) -> str:
        pieces = self._cut(text, str)[kept:]
        begins_inside_word = bool(pieces) and not pieces[0].startswith(WORD_START)
        return ("…" if begins_inside_word else "") + "".join(pieces).replace(WORD_START, " ").strip()

    def _cut(self, text: str, kind: type[Piece]) -> list[Piece]:
        """Cut a text into pieces, given as ids or as they are written."""
        parts = self._special.split(WORD_START + text.replace(WORD_START, " "))
        pieces: list[Piece] = []
        for index, part in enumerate(parts):
            if index % 2:
                pieces.append(kind(part if kind is str else self._processor.PieceToId(part)))
            elif part == WORD_START and len(parts) > 1 and index == 0:
                continue
            elif part:
                pieces.extend(self._cut_plain(part, kind))
        return pieces

    def _cut_plain(self, text: str, kind: type[Piece]) -> list[Piece]:
        """Cut text without special tokens.

        sentencepiece drops a leading word start, so the pieces of a known text go in front and are cut off again.
        """
        text = canonicalize_text(text, is_lower_case=self._is_lower_case)
        pieces: list[Piece] = self._processor.Encode(self._unk + text, out_type=kind)
        return pieces[self._unk_length :]
