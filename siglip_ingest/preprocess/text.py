"""Strings to token ids, as the two generations of SigLIP were trained.

Every text is padded to the model's full length and no mask goes with it: the model saw padding in training and pools
the last position. A text that is too long loses its end, but never its end-of-text token.
"""

from __future__ import annotations

import json
import re
import string
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from siglip_ingest.errors import CheckpointError

if TYPE_CHECKING:
    import tokenizers

SENTENCEPIECE_FILE = "spiece.model"
TOKENIZER_FILE = "tokenizer.json"
TOKENIZER_CONFIG_FILE = "tokenizer_config.json"

WORD_START = "▁"
_PUNCTUATION_TO_NOTHING = str.maketrans("", "", string.punctuation)


class Tokenizer(Protocol):
    """Texts as typed to padded token ids."""

    @property
    def settings(self) -> dict[str, Any]:
        """What the database keeps of it: kind, size, length, lower-casing, pad and eos ids."""
        ...

    def __call__(self, texts: Sequence[str]) -> NDArray[np.int64]:
        """Turn N texts into ids (N, max_length)."""
        ...


def load_tokenizer(folder: Path, *, max_length: int) -> Tokenizer:
    """Load a checkpoint's tokenizer.

    Args:
        folder: Holds `spiece.model` (SigLIP: sentencepiece) or else `tokenizer.json` (SigLIP 2: Gemma's).
        max_length: `max_position_embeddings` of the text tower; every text is padded or cut to it.

    Raises:
        CheckpointError: If there is no such file or it can't be read.
    """
    if (folder / SENTENCEPIECE_FILE).is_file():
        return SentencePieceTokenizer(folder, max_length=max_length)
    if (folder / TOKENIZER_FILE).is_file():
        return LowerCaseTokenizer(folder / TOKENIZER_FILE, max_length=max_length)
    raise CheckpointError(f"{folder} has no tokenizer: neither {SENTENCEPIECE_FILE} nor {TOKENIZER_FILE} is there.")


def canonicalize_text(text: str, *, is_lower_case: bool = True) -> str:
    """Lower-case a text, drop ASCII punctuation and make every run of white space one space.

    This is what SigLIP's captions went through (big_vision, evaluators/proj/image_text/prompt_engineering.py).
    """
    if is_lower_case:
        text = text.lower()
    return re.sub(r"\s+", " ", text.translate(_PUNCTUATION_TO_NOTHING)).strip()


class SentencePieceTokenizer:
    """SigLIP's tokenizer: canonicalised text, sentencepiece, `</s>` at the end and as padding.

    Equal to transformers' `SiglipTokenizer`, its surprises included: text gets a word start in front, special tokens
    that somebody typed stay tokens, and what follows one has no word start of its own.
    """

    def __init__(self, folder: Path, *, max_length: int) -> None:
        from sentencepiece import SentencePieceProcessor

        path = folder / SENTENCEPIECE_FILE
        self._processor = SentencePieceProcessor()
        try:
            self._processor.Load(str(path))
        except (OSError, RuntimeError) as error:
            raise CheckpointError(f"{path} is not a whole sentencepiece model ({error}). Fetch it again.") from error
        config = _read_tokenizer_config(folder)
        self._max_length = max_length
        self._is_lower_case = bool(config.get("do_lower_case", True))
        self._unk = _token_text(config.get("unk_token"), "<unk>")
        self._eos = _token_text(config.get("eos_token"), "</s>")
        self._eos_id = int(self._processor.PieceToId(self._eos))
        self._pad_id = int(self._processor.PieceToId(_token_text(config.get("pad_token"), "</s>")))
        self._special = re.compile(f"({re.escape(self._eos)}|{re.escape(self._unk)})")
        self._unk_length = len(self._processor.EncodeAsIds(self._unk))

    @property
    def settings(self) -> dict[str, Any]:
        """What the database keeps of it: kind, size, length, lower-casing, pad and eos ids."""
        return {
            "kind": "sentencepiece",
            "vocab_size": int(self._processor.GetPieceSize()),
            "max_length": self._max_length,
            "is_lower_case": self._is_lower_case,
            "pad_id": self._pad_id,
            "eos_id": self._eos_id,
        }

    def __call__(self, texts: Sequence[str]) -> NDArray[np.int64]:
        """Turn N texts into ids (N, max_length)."""
        input_ids = np.full((len(texts), self._max_length), self._pad_id, dtype=np.int64)
        for row, text in zip(input_ids, texts, strict=True):
            ids = self._encode(text)[: self._max_length - 1]
            if not ids or ids[-1] != self._eos_id:
                ids = [*ids, self._eos_id]
            row[: len(ids)] = ids
        return input_ids

    def _encode(self, text: str) -> list[int]:
        parts = self._special.split(WORD_START + text.replace(WORD_START, " "))
        ids: list[int] = []
        for index, part in enumerate(parts):
            if index % 2:
                ids.append(int(self._processor.PieceToId(part)))
            elif part == WORD_START and len(parts) > 1 and index == 0:
                continue
            elif part:
                ids.extend(self._encode_plain(part))
        return ids

    def _encode_plain(self, text: str) -> list[int]:
        """Encode text without special tokens.

        sentencepiece drops a leading word start, so the pieces of a known text go in front and are cut off again.
        """
        text = canonicalize_text(text, is_lower_case=self._is_lower_case)
        ids: list[int] = self._processor.EncodeAsIds(self._unk + text)
        return ids[self._unk_length :]


class LowerCaseTokenizer:
    """SigLIP 2's tokenizer: lower-cased text, Gemma's pieces, `<eos>` at the end, `<pad>` after it.

    The published tokenizer.json doesn't lower-case, though the model was trained on lower-cased text: transformers'
    `Siglip2Tokenizer` adds it, and so does this.
    """

    def __init__(self, path: Path, *, max_length: int) -> None:
        from tokenizers import Tokenizer as LoadedTokenizer
        from tokenizers import normalizers

        try:
            tokenizer: tokenizers.Tokenizer = LoadedTokenizer.from_file(str(path))
        except Exception as error:  # tokenizers raises nothing narrower
            raise CheckpointError(f"{path} is not a whole tokenizer file ({error}). Fetch it again.") from error
        config = _read_tokenizer_config(path.parent)
        self._eos, pad = _token_text(config.get("eos_token"), "<eos>"), _token_text(config.get("pad_token"), "<pad>")
        eos_id, pad_id = tokenizer.token_to_id(self._eos), tokenizer.token_to_id(pad)
        if eos_id is None or pad_id is None:
            raise CheckpointError(f"{path} lacks {self._eos} or {pad}: it is not SigLIP 2's tokenizer.")
        self._max_length, self._eos_id, self._pad_id = max_length, eos_id, pad_id
        steps = [normalizers.Lowercase(), *([tokenizer.normalizer] if tokenizer.normalizer else [])]
        tokenizer.normalizer = normalizers.Sequence(steps)
        tokenizer.enable_truncation(max_length)
        tokenizer.enable_padding(length=max_length, pad_id=pad_id, pad_token=pad, direction="right")
        self._tokenizer = tokenizer

    @property
    def settings(self) -> dict[str, Any]:
        """What the database keeps of it: kind, size, length, lower-casing, pad and eos ids."""
        return {
            "kind": "tokenizers",
            "vocab_size": self._tokenizer.get_vocab_size(),
            "max_length": self._max_length,
            "is_lower_case": True,
            "pad_id": self._pad_id,
            "eos_id": self._eos_id,
        }

    def __call__(self, texts: Sequence[str]) -> NDArray[np.int64]:
        """Turn N texts into ids (N, max_length)."""
        encodings = self._tokenizer.encode_batch(list(texts))
        return np.array([encoding.ids for encoding in encodings], dtype=np.int64).reshape(len(texts), self._max_length)


def _read_tokenizer_config(folder: Path) -> dict[str, Any]:
    """Read tokenizer_config.json, which a checkpoint may leave out."""
    path = folder / TOKENIZER_CONFIG_FILE
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} can't be read as JSON ({error}). Fetch the checkpoint again.") from error
    return config if isinstance(config, dict) else {}


def _token_text(value: object, default: str) -> str:
    """Give a special token's text; files hold it bare or as an object with `content`."""
    if isinstance(value, dict):
        value = value.get("content")
    return value if isinstance(value, str) else default
