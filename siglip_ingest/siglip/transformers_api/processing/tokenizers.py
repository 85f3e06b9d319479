"""`SiglipTokenizer` and `Siglip2Tokenizer` of the transformers API."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

from siglip_ingest.errors import CheckpointError
from siglip_ingest.siglip.checkpoint.files import CONFIG_FILE, read_json
from siglip_ingest.siglip.tokenizer.base import TOKENIZER_CONFIG_FILE, read_tokenizer_config
from siglip_ingest.siglip.tokenizer.gemma import TOKENIZER_FILE, LowerCaseTokenizer
from siglip_ingest.siglip.tokenizer.sentencepiece import SENTENCEPIECE_FILE, SentencePieceTokenizer
from siglip_ingest.siglip.transformers_api.folders import Name, check_options, write_json
from siglip_ingest.siglip.transformers_api.processing.tokenizer_base import DEFAULT_LENGTH, PreTrainedTokenizer

# What files say where they mean that there is no limit.
NO_LIMIT = 1_000_000
SPECIAL_TOKENS_FILE = "special_tokens_map.json"


class SiglipTokenizer(PreTrainedTokenizer):
    """SigLIP's tokenizer: text without capitals and punctuation, cut into sentencepiece's pieces, `</s>` at the end."""

    tokenizer_class = "SiglipTokenizer"
    changeable = PreTrainedTokenizer.changeable | {"do_lower_case"}
    default_tokens: ClassVar[dict[str, str]] = {"eos_token": "</s>", "unk_token": "<unk>", "pad_token": "</s>"}

    def __init__(
        self,
        vocab_file: Name,
        *,
        model_max_length: int = DEFAULT_LENGTH,
        do_lower_case: bool = True,
        padding_side: str = "right",
        **special_tokens: str,
    ) -> None:
        """Load a sentencepiece file.

        Args:
            vocab_file: Published as `spiece.model`.
            model_max_length: What texts are padded to.
            do_lower_case: Lower-case texts first, as the models were trained.
            padding_side: "right" or "left".
            special_tokens: Other ones than `eos_token="</s>"`, `unk_token="<unk>"` and `pad_token="</s>"`.

        Raises:
            CheckpointError: If it can't be read.
        """
        path = Path(vocab_file)
        if not path.is_file():
            raise CheckpointError(f"There is no sentencepiece file {path}.")
        tokens = self.read_special_tokens(check_options(special_tokens, frozenset(self.default_tokens)))
        config = tokens | {"do_lower_case": do_lower_case}
        tokenizer = SentencePieceTokenizer(path, max_length=model_max_length, config=config)
        super().__init__(tokenizer, path, padding_side=padding_side, special_tokens=tokens)
        self.do_lower_case = do_lower_case

    @classmethod
    def from_folder(cls, folder: Path, **changes: Any) -> Self:
        """Load the tokenizer that lies in a folder.

        Raises:
            CheckpointError: If there is none of this kind.
        """
        if not (folder / SENTENCEPIECE_FILE).is_file():
            raise CheckpointError(f"{folder} has no {SENTENCEPIECE_FILE}: it isn't SigLIP's tokenizer.")
        config = _read_settings(folder, changes)
        return cls(
            folder / SENTENCEPIECE_FILE,
            model_max_length=config["model_max_length"],
            do_lower_case=bool(config.get("do_lower_case", True)),
            padding_side=str(config.get("padding_side", "right")),
            **cls.read_special_tokens(config),
        )

    @property
    def vocab_size(self) -> int:
        """How many pieces there are."""
        return int(self._library.GetPieceSize())

    def convert_tokens_to_string(self, tokens: Sequence[str]) -> str:
        """Put pieces together to a text; a special token begins a word of its own."""
        special = set(self.all_special_tokens)
        text, pieces, follows_special = "", list[str](), False
        for token in tokens:
            if token in special:
                text += ("" if follows_special else " ") + str(self._library.DecodePieces(pieces)) + token
                pieces = []
            else:
                pieces.append(token)
            follows_special = token in special
        return (text + str(self._library.DecodePieces(pieces))).strip()

    def save_vocabulary(self, save_directory: Name, filename_prefix: str | None = None) -> tuple[str, ...]:
        """Write the sentencepiece file into a folder that exists; returns its path."""
        prefix = f"{filename_prefix}-" if filename_prefix else ""
        path = Path(save_directory) / (prefix + SENTENCEPIECE_FILE)
        _copy(Path(self.vocab_file), path)
        return (str(path),)

    def describe(self) -> dict[str, Any]:
        """Give what tokenizer_config.json says of this kind of tokenizer."""
        return {"do_lower_case": self.do_lower_case}

    def save_pretrained(self, save_directory: Name, **others: Any) -> tuple[str, ...]:
        """Write the tokenizer's files, as transformers and `from_pretrained` read them; returns their paths."""
        paths = super().save_pretrained(save_directory, **others)
        # White space around a typed special token goes with it: only this file can say so.
        looks = {"lstrip": True, "normalized": False, "rstrip": True, "single_word": False}
        path = Path(save_directory) / SPECIAL_TOKENS_FILE
        write_json(path, {part: {"content": token} | looks for part, token in self.special_tokens_map.items()})
        return (*paths, str(path))

    def _to_id(self, token: str) -> int:
        return int(self._library.PieceToId(token))

    def _to_piece(self, number: int) -> str:
        return str(self._library.IdToPiece(number))


class Siglip2Tokenizer(PreTrainedTokenizer):
    """SigLIP 2's tokenizer: lower-cased text, cut into Gemma's pieces, `<eos>` at the end."""

    tokenizer_class = "Siglip2Tokenizer"
    default_tokens: ClassVar[dict[str, str]] = {
        "bos_token": "<bos>", "eos_token": "<eos>", "unk_token": "<unk>", "pad_token": "<pad>", "mask_token": "<mask>",
    }  # fmt: skip

    def __init__(
        self,
        tokenizer_file: Name,
        *,
        model_max_length: int = DEFAULT_LENGTH,
        padding_side: str = "right",
        **special_tokens: str,
    ) -> None:
        """Load a tokenizer.json.

        Args:
            tokenizer_file: Its path.
            model_max_length: What texts are padded to.
            padding_side: "right", as the models were trained, or "left".
            special_tokens: Other ones than `eos_token="<eos>"` and so on.

        Raises:
            CheckpointError: If it can't be read.
        """
        from tokenizers import decoders

        path = Path(tokenizer_file)
        tokens = self.read_special_tokens(check_options(special_tokens, frozenset(self.default_tokens)))
        tokenizer = LowerCaseTokenizer(path, max_length=model_max_length, config=tokens)
        super().__init__(tokenizer, path, padding_side=padding_side, special_tokens=tokens)
        self._library.decoder = decoders.Sequence(
            [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
        )

    @classmethod
    def from_folder(cls, folder: Path, **changes: Any) -> Self:
        """Load the tokenizer that lies in a folder.

        Raises:
            CheckpointError: If there is none of this kind.
        """
        path = folder / TOKENIZER_FILE
        if not path.is_file():
            raise CheckpointError(f"{folder} has no {TOKENIZER_FILE}: it isn't SigLIP 2's tokenizer.")
        config = _read_settings(folder, changes)
        return cls(
            path,
            model_max_length=config["model_max_length"],
            padding_side=str(config.get("padding_side", "right")),
            **cls.read_special_tokens(config),
        )

    @property
    def vocab_size(self) -> int:
        """How many pieces there are."""
        return int(self._library.get_vocab_size())

    def get_vocab(self) -> dict[str, int]:
        """Ids by piece."""
        return dict(self._library.get_vocab())

    def convert_tokens_to_string(self, tokens: Sequence[str]) -> str:
        """Put pieces together to a text."""
        return str(self._library.decoder.decode(list(tokens)))

    def save_vocabulary(self, save_directory: Name, filename_prefix: str | None = None) -> tuple[str, ...]:
        """Write tokenizer.json into a folder that exists; returns its path."""
        prefix = f"{filename_prefix}-" if filename_prefix else ""
        path = Path(save_directory) / (prefix + TOKENIZER_FILE)
        _copy(Path(self.vocab_file), path)
        return (str(path),)

    def describe(self) -> dict[str, Any]:
        """Give what tokenizer_config.json says of this kind of tokenizer."""
        return {}

    def _join(self, ids: list[int], is_skipping: bool) -> str:
        # The file marks tokens as special that have no part, such as <start_of_turn>, and doesn't mark <mask>.
        skipped = set(self.all_special_ids) if is_skipping else set()
        kept = [number for number in ids if number not in skipped]
        return str(self._library.decode(kept, skip_special_tokens=is_skipping))

    def _to_id(self, token: str) -> int:
        number = self._library.token_to_id(token)
        return int(self._library.token_to_id(self.special_tokens_map["unk_token"]) if number is None else number)

    def _to_piece(self, number: int) -> str:
        return str(self._library.id_to_token(number))


def _copy(source: Path, target: Path) -> None:
    if not target.exists() or not target.samefile(source):
        shutil.copyfile(source, target)


def _read_length(folder: Path, config: Mapping[str, Any]) -> int:
    """Find the length that a checkpoint's texts have: its tokenizer's, its text tower's, or 64.

    Raises:
        CheckpointError: If a file can't be read, or the length isn't a number.
    """
    length = config.get("model_max_length", NO_LIMIT)
    if not isinstance(length, int):
        raise CheckpointError(f"{folder / TOKENIZER_CONFIG_FILE}: model_max_length must be a number, not {length!r}.")
    if length < NO_LIMIT:
        return length
    sizes = read_json(folder / CONFIG_FILE) if (folder / CONFIG_FILE).is_file() else {}
    found = (sizes.get("text_config") or sizes).get("max_position_embeddings", DEFAULT_LENGTH)
    return int(found)


def _read_settings(folder: Path, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Read tokenizer_config.json, with `changes` going before it, and the length in any case."""
    config = read_tokenizer_config(folder)
    return config | {"model_max_length": _read_length(folder, config)} | dict(changes)
