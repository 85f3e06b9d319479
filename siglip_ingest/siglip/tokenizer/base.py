"""The base class of both tokenizers: pads texts to the full length and reports those that are cut.

Every text is padded to the model's full length and no mask goes with it: the model saw padding in training and pools
the last position. A text that is too long loses its end, but never its end-of-text token, and the caller is told.
"""

from __future__ import annotations

import json
import logging
import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from siglip_ingest.errors import CheckpointError, InvalidInputError

TOKENIZER_CONFIG_FILE = "tokenizer_config.json"
SHOWN_CHARACTERS = 120
MARGIN_CHARACTERS = 64  # more than any piece of either vocabulary has
# Unicode's categories of what can't be seen: control and format characters, and spaces.
_INVISIBLE = ("Cc", "Cf", "Zs", "Zl", "Zp")

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Truncation:
    """A text that has more tokens than the model reads.

    Attributes:
        index: Its place among the texts of the call.
        token_count: Tokens of the whole text, the final one included.
        max_length: Tokens that the model reads, the final one included.
        dropped: The end of the text that it doesn't read. Begins with `…` where the cut goes through a word.
    """

    index: int
    token_count: int
    max_length: int
    dropped: str


@dataclass(frozen=True, slots=True)
class TokenizedTexts:
    """N texts as the text tower takes them.

    Attributes:
        input_ids: (N, max_length) int64.
        truncations: The texts that lost their ends, in order.
    """

    input_ids: NDArray[np.int64]
    truncations: tuple[Truncation, ...]

    @property
    def warning(self) -> str | None:
        """One sentence or two about the texts that lost their ends; None where none did."""
        if not self.truncations:
            return None
        first, count = self.truncations[0], len(self.input_ids)
        which = (
            "The text" if count == 1 else f"{len(self.truncations)} of {count} texts are cut. Text {first.index + 1}"
        )
        return (
            f"{which} has {first.token_count} tokens, but the model reads {first.max_length}. Its end is dropped: "
            f"{shorten(first.dropped)!r}"
        )


class Tokenizer(ABC):
    """Texts as typed to padded token ids. Thread-safe.

    Attributes:
        max_length: `max_position_embeddings` of the text tower.
        eos_id: The final token of every text.
        pad_id: What follows it up to `max_length`; SigLIP 1's is the final token again.
    """

    max_length: int
    eos_id: int
    pad_id: int

    @property
    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """What the database keeps of it: kind, size, length, lower-casing, pad and eos ids."""

    @property
    @abstractmethod
    def backend(self) -> Any:
        """The object of the library that cuts, which knows the vocabulary: sentencepiece's or tokenizers'."""

    @abstractmethod
    def split_text(self, text: str) -> list[str]:
        """Cut a text into pieces as they are written, whole and without a final token."""

    @abstractmethod
    def _encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Turn texts into ids, whole and without a final token."""

    @abstractmethod
    def _find_end(self, text: str, kept: int) -> str:
        """Give what follows the first `kept` tokens of a text; `…` in front where they end inside a word."""

    def __call__(self, texts: Sequence[str]) -> NDArray[np.int64]:
        """Turn N texts into ids (N, max_length); one logged warning says which lost their ends.

        Raises:
            InvalidInputError: If a text isn't a string, or holds half a character (a lone surrogate).
        """
        tokenized = self.tokenize(texts)
        if tokenized.warning:
            _logger.warning("%s", tokenized.warning)
        return tokenized.input_ids

    def tokenize(self, texts: Sequence[str]) -> TokenizedTexts:
        """Turn N texts into ids, and return what was cut off instead of logging it.

        Raises:
            InvalidInputError: As for a call.
        """
        check_texts(texts)
        input_ids = np.full((len(texts), self.max_length), self.pad_id, dtype=np.int64)
        truncations = []
        for index, ids in enumerate(self._encode(texts)):
            kept = self.add_final_token(ids[: self.max_length - 1])
            input_ids[index, : len(kept)] = kept
            if (token_count := len(self.add_final_token(ids))) > self.max_length:
                end = self._find_end(texts[index], self.max_length - 1)
                truncations.append(Truncation(index, token_count, self.max_length, end))
        return TokenizedTexts(input_ids, tuple(truncations))

    def encode(self, texts: Sequence[str], *, has_final_token: bool = True) -> list[list[int]]:
        """Turn texts into ids of their own lengths: whole, with or without the final token, without padding.

        Raises:
            InvalidInputError: As for a call.
        """
        check_texts(texts)
        return [self.add_final_token(ids) if has_final_token else ids for ids in self._encode(texts)]

    def has_content(self, texts: Sequence[str], input_ids: NDArray[np.int64]) -> list[bool]:
        """Say for each text whether the model reads anything of it.

        It doesn't where nothing but final tokens and padding is left, as SigLIP 1 leaves of punctuation, or where
        nothing of the text can be seen: spaces, control characters, characters of no width.

        Args:
            texts: N texts as typed.
            input_ids: Their ids (N, max_length).
        """
        is_token = (input_ids != self.eos_id) & (input_ids != self.pad_id)
        return [any(row) and _has_visible(text) for text, row in zip(texts, is_token.tolist(), strict=True)]

    def is_settled(self, prefix: str) -> bool:
        """True where text that follows `prefix` can't change what the model reads: it is full well before that.

        More text changes how the end of a prefix is cut, but not what lies `MARGIN_CHARACTERS` in front of it.

        Raises:
            InvalidInputError: As for a call.
        """
        shorter, whole = self.encode([prefix[:-MARGIN_CHARACTERS], prefix])
        kept = self.max_length - 1
        return len(shorter) > self.max_length and shorter[:kept] == whole[:kept]

    def add_final_token(self, ids: list[int]) -> list[int]:
        """Give the ids with the end-of-text token behind them."""
        return [*ids, self.eos_id]


def shorten(text: str) -> str:
    """Give a text in one line, cut where it is longer than a message should be."""
    shown = text[:SHOWN_CHARACTERS] + ("…" if len(text) > SHOWN_CHARACTERS else "")
    return " ".join(shown.split())


def check_texts(texts: Sequence[str]) -> None:
    """Refuse what tokenizers can't take.

    Raises:
        InvalidInputError: If it isn't a sequence of strings, or one holds a lone surrogate.
    """
    if isinstance(texts, str):
        raise InvalidInputError("A tokenizer takes a list of texts, not one text.")
    for index, text in enumerate(texts):
        if not isinstance(text, str):
            raise InvalidInputError(f"Text {index + 1} must be a string, not {type(text).__name__}.")
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise InvalidInputError(
                f"Text {index + 1} holds half a character, {text[error.start]!r} at position {error.start}: it was "
                "decoded wrongly before it came here."
            ) from error


def read_tokenizer_config(folder: Path) -> dict[str, Any]:
    """Read tokenizer_config.json, which a checkpoint may leave out.

    Raises:
        CheckpointError: If it is there and can't be read.
    """
    path = folder / TOKENIZER_CONFIG_FILE
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} can't be read as JSON ({error}). Fetch the checkpoint again.") from error
    return config if isinstance(config, dict) else {}


def _has_visible(text: str) -> bool:
    return any(unicodedata.category(character) not in _INVISIBLE for character in text)


def token_text(value: object, default: str) -> str:
    """Give a special token's text; files hold it bare or as an object with `content`."""
    if isinstance(value, dict):
        value = value.get("content")
    return value if isinstance(value, str) else default
