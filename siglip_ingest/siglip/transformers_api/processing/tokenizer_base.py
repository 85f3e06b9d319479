"""What the tokenizers of SigLIP and SigLIP 2 share: the methods of transformers' `PreTrainedTokenizer`."""

from __future__ import annotations

import copy
import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self, overload

from siglip_ingest.errors import InvalidInputError
from siglip_ingest.siglip.tokenizer.base import TOKENIZER_CONFIG_FILE, Tokenizer, token_text
from siglip_ingest.siglip.transformers_api.folders import (
    Name,
    check_options,
    drop_save_options,
    find_folder,
    write_json,
)
from siglip_ingest.siglip.transformers_api.processing.batches import BatchFeature

DEFAULT_LENGTH = 64
_logger = logging.getLogger(__name__)


class PreTrainedTokenizer(ABC):
    """Texts to token ids and back. An attention mask is made only where it is asked for: the models had none.

    Special tokens are attributes (`eos_token` ends every text, `pad_token` fills what is left, `unk_token` stands for
    what has no piece), and their ids are too (`eos_token_id`).

    Attributes:
        model_max_length: What padding="max_length" pads to, and truncation cuts to.
        padding_side: "right", as the models were trained, or "left".
        special_tokens_map: Special tokens by their part, such as `eos_token`.
    """

    tokenizer_class: ClassVar[str]
    model_input_names: ClassVar[list[str]] = ["input_ids"]
    changeable: ClassVar[frozenset[str]] = frozenset({"model_max_length", "padding_side"})
    default_tokens: ClassVar[dict[str, str]]

    def __init__(
        self, tokenizer: Tokenizer, path: Path, *, padding_side: str, special_tokens: Mapping[str, str]
    ) -> None:
        self.model_max_length = tokenizer.max_length
        self.padding_side = padding_side
        self.special_tokens_map = dict(special_tokens)
        self.vocab_file = str(path)
        self._tokenizer = tokenizer
        self._library = tokenizer.backend

    @classmethod
    @abstractmethod
    def from_folder(cls, folder: Path, **changes: Any) -> Self:
        """Load the tokenizer that lies in a folder."""

    @classmethod
    def from_pretrained(cls, name: Name, *, revision: str | None = None, **changes: Any) -> Self:
        """Load a checkpoint's tokenizer.

        Args:
            name: `demo`, a folder, or a hub name.
            revision: A branch, tag or commit of the hub's.
            changes: Constructor arguments to have another value, such as `model_max_length`.

        Raises:
            CheckpointError: If there is no such checkpoint, or it has no tokenizer of this kind.
        """
        return cls.from_folder(find_folder(name, revision), **check_options(changes, cls.changeable))

    def __getattr__(self, name: str) -> Any:
        part = name.removesuffix("_id")
        if part not in self.default_tokens:
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r}.")
        token = self.special_tokens_map[part]
        return token if part == name else self.convert_tokens_to_ids(token)

    @classmethod
    def read_special_tokens(cls, values: Mapping[str, Any]) -> dict[str, str]:
        """Take the special tokens out of a parsed tokenizer_config.json; missing ones get their defaults."""
        return {part: token_text(values.get(part), default) for part, default in cls.default_tokens.items()}

    @property
    def all_special_tokens(self) -> list[str]:
        """Special tokens, none twice."""
        return list(dict.fromkeys(self.special_tokens_map.values()))

    @property
    def all_special_ids(self) -> list[int]:
        """Ids of the special tokens."""
        return self.convert_tokens_to_ids(self.all_special_tokens)

    @property
    @abstractmethod
    def vocab_size(self) -> int:
        """How many pieces there are."""

    def __len__(self) -> int:
        return self.vocab_size

    def get_vocab(self) -> dict[str, int]:
        """Ids by piece."""
        return {self._to_piece(number): number for number in range(self.vocab_size)}

    def tokenize(self, text: str, *, add_special_tokens: bool = False) -> list[str]:
        """Cut a text into pieces as they are written; with the final token where `add_special_tokens`."""
        ids = self._tokenizer.encode([text])[0]  # checks the text, and knows whether it ends by itself
        pieces = self._tokenizer.split_text(text)
        return (
            [*pieces, self.special_tokens_map["eos_token"]] if add_special_tokens and len(ids) > len(pieces) else pieces
        )

    def __call__(
        self,
        text: str | Sequence[str],
        *,
        add_special_tokens: bool = True,
        padding: bool | str = False,
        truncation: bool | str | None = None,
        max_length: int | None = None,
        padding_side: str | None = None,
        return_tensors: str | None = None,
        return_attention_mask: bool | None = None,
    ) -> BatchFeature:
        """Turn one text or several into ids.

        Args:
            text: One or several.
            add_special_tokens: Put the final token behind each.
            padding: "max_length", as the models were trained; True or "longest"; False.
            truncation: True cuts texts to `max_length`, keeps the final token, and says so in the log.
            max_length: Other than `model_max_length`.
            padding_side: Other than the tokenizer's.
            return_tensors: "pt", "np" or None, which gives lists.
            return_attention_mask: True also gives 1 for tokens and 0 for padding. The models had no such thing: don't.

        Returns:
            `input_ids`, int64 (B, L), or a list of one text's.

        Raises:
            InvalidInputError: If an argument can't be used, or rows of different lengths can't be one tensor.
        """
        texts = [text] if isinstance(text, str) else list(text)
        length = max_length or self.model_max_length
        if truncation is None:  # as in transformers, a length alone cuts
            truncation = max_length is not None and _read_padding(padding) is None
        rows = self._tokenizer.encode(texts, has_final_token=add_special_tokens)
        if truncation not in {False, "do_not_truncate"}:
            rows = self._truncate(texts, rows, length, has_final_token=add_special_tokens)
        ids, mask = self._pad(rows, _read_padding(padding), length, padding_side or self.padding_side)
        if return_tensors is None and isinstance(text, str):
            ids, mask = ids[0], mask[0]
        inputs = {"input_ids": ids} | ({"attention_mask": mask} if return_attention_mask else {})
        return BatchFeature(inputs, return_tensors)

    def encode(self, text: str, **options: Any) -> Any:
        """Turn one text into a list of ids, or a tensor (1, L) where `return_tensors` says so; see a call."""
        return self(text, **options)["input_ids"]

    def _truncate(
        self, texts: list[str], rows: list[list[int]], length: int, *, has_final_token: bool
    ) -> list[list[int]]:
        if all(len(row) <= length for row in rows):
            return rows
        shorter = copy.copy(self._tokenizer)
        shorter.max_length = length
        _logger.warning("%s", shorter.tokenize(texts).warning)
        if not has_final_token:
            return [row[:length] for row in rows]
        return [row if len(row) <= length else shorter.add_final_token(row[: length - 1]) for row in rows]

    def _pad(self, rows: list[list[int]], padding: str | None, length: int, side: str) -> tuple[list[Any], list[Any]]:
        """Fill rows up to the length asked for; also gives 1 for tokens and 0 for padding."""
        width = {"max_length": length, "longest": max(map(len, rows), default=0), None: 0}[padding]
        ids, mask = [], []
        for row in rows:
            missing = width - len(row)
            fill, zeros, ones = [self._tokenizer.pad_id] * missing, [0] * missing, [1] * len(row)
            ids.append(fill + row if side == "left" else row + fill)
            mask.append(zeros + ones if side == "left" else ones + zeros)
        return ids, mask

    @overload
    def convert_tokens_to_ids(self, tokens: str) -> int: ...  # type: ignore[overload-overlap]  # str is a sequence
    @overload
    def convert_tokens_to_ids(self, tokens: Sequence[str]) -> list[int]: ...
    def convert_tokens_to_ids(self, tokens: str | Sequence[str]) -> int | list[int]:
        """Look up one piece or several; an unknown one is `unk_token`."""
        return self._to_id(tokens) if isinstance(tokens, str) else [self._to_id(token) for token in tokens]

    @overload
    def convert_ids_to_tokens(self, ids: int, *, skip_special_tokens: bool = ...) -> str: ...
    @overload
    def convert_ids_to_tokens(self, ids: Sequence[int], *, skip_special_tokens: bool = ...) -> list[str]: ...
    def convert_ids_to_tokens(self, ids: int | Sequence[int], *, skip_special_tokens: bool = False) -> str | list[str]:
        """Give one id's piece, or those of several, without special tokens where they are to be skipped."""
        if isinstance(ids, int):
            return self._to_piece(ids)
        skipped = set(self.all_special_ids) if skip_special_tokens else set()
        return [self._to_piece(int(number)) for number in ids if int(number) not in skipped]

    def decode(self, ids: Any, *, skip_special_tokens: bool = False) -> str:
        """Turn ids (a number, a list, an array or a tensor) into a text."""
        numbers = ids.tolist() if hasattr(ids, "tolist") else ids
        return self._join([numbers] if isinstance(numbers, int) else list(numbers), skip_special_tokens)

    def batch_decode(self, rows: Any, *, skip_special_tokens: bool = False) -> list[str]:
        """Turn rows of ids into texts."""
        return [self.decode(row, skip_special_tokens=skip_special_tokens) for row in rows]

    @abstractmethod
    def convert_tokens_to_string(self, tokens: Sequence[str]) -> str:
        """Put pieces together to a text."""

    def build_inputs_with_special_tokens(
        self, token_ids_0: list[int], token_ids_1: list[int] | None = None
    ) -> list[int]:
        """Put the final token behind one text's ids, or behind each of two texts'."""
        ids = list(self._tokenizer.add_final_token(token_ids_0))
        return ids if token_ids_1 is None else ids + self._tokenizer.add_final_token(token_ids_1)

    def get_special_tokens_mask(
        self,
        token_ids_0: list[int],
        token_ids_1: list[int] | None = None,
        already_has_special_tokens: bool = False,
    ) -> list[int]:
        """Say which ids of `build_inputs_with_special_tokens`'s result are special: 1, others 0.

        Args:
            token_ids_0: A text's ids.
            token_ids_1: A second text's.
            already_has_special_tokens: `token_ids_0` is that result.
        """
        if already_has_special_tokens:
            special = set(self.all_special_ids)
            return [int(number in special) for number in token_ids_0]
        mask = [0] * len(token_ids_0) + [1]
        return mask if token_ids_1 is None else mask + [0] * len(token_ids_1) + [1]

    def create_token_type_ids_from_sequences(
        self, token_ids_0: list[int], token_ids_1: list[int] | None = None
    ) -> list[int]:
        """Give zeros, one for each token with the final ones: the models don't tell texts apart."""
        return [0] * len(self.get_special_tokens_mask(token_ids_0, token_ids_1))

    @abstractmethod
    def save_vocabulary(self, save_directory: Name, filename_prefix: str | None = None) -> tuple[str, ...]:
        """Write the vocabulary's file into a folder that exists; returns its path."""

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """Give what tokenizer_config.json says of this kind of tokenizer."""

    def save_pretrained(self, save_directory: Name, **others: Any) -> tuple[str, ...]:
        """Write the tokenizer's files, as transformers and `from_pretrained` read them; returns their paths.

        Args:
            save_directory: Made where it doesn't exist.
            others: Go into tokenizer_config.json.
        """
        others = drop_save_options(others)
        folder = Path(save_directory)
        folder.mkdir(parents=True, exist_ok=True)
        config = {
            "tokenizer_class": self.tokenizer_class,
            "model_input_names": self.model_input_names,
            "model_max_length": self.model_max_length,
            "padding_side": self.padding_side,
        }
        path = folder / TOKENIZER_CONFIG_FILE
        write_json(path, config | self.special_tokens_map | self.describe() | others)
        return (str(path), *self.save_vocabulary(folder))

    def _join(self, ids: list[int], is_skipping: bool) -> str:
        return self.convert_tokens_to_string(self.convert_ids_to_tokens(ids, skip_special_tokens=is_skipping))

    @abstractmethod
    def _to_id(self, token: str) -> int: ...

    @abstractmethod
    def _to_piece(self, number: int) -> str: ...


def _read_padding(padding: bool | str) -> str | None:
    """Give "max_length", "longest", or None for no padding.

    Raises:
        InvalidInputError: If it is something else.
    """
    name = getattr(padding, "value", padding)
    if name in {False, "do_not_pad"}:
        return None
    if name in {True, "longest"}:
        return "longest"
    if name == "max_length":
        return "max_length"
    raise InvalidInputError(f"padding must be 'max_length', 'longest' (True) or False, not {padding!r}.")
