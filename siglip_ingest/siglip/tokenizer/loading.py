"""Loads the tokenizer of a checkpoint: SigLIP's from spiece.model, SigLIP 2's from tokenizer.json."""

from __future__ import annotations

from pathlib import Path

from siglip_ingest.errors import CheckpointError
from siglip_ingest.siglip.tokenizer.base import Tokenizer
from siglip_ingest.siglip.tokenizer.gemma import TOKENIZER_FILE, LowerCaseTokenizer
from siglip_ingest.siglip.tokenizer.sentencepiece import (
    SENTENCEPIECE_FILE,
    SentencePieceTokenizer,
)


def find_tokenizer_file(folder: Path) -> Path:
    """Find a checkpoint's tokenizer: `spiece.model` (SigLIP), or else `tokenizer.json` (SigLIP 2).

    The model_type doesn't tell which it is: SigLIP 2's fixed-resolution checkpoints have SigLIP's.

    Raises:
        CheckpointError: If neither is there.
    """
    for name in (SENTENCEPIECE_FILE, TOKENIZER_FILE):
        if (folder / name).is_file():
            return folder / name
    # sentencepiece would read tokenizer.model, but gives other ids for runs of spaces and for typed control tokens.
    has_piece_file = (folder / "tokenizer.model").is_file()
    hint = (
        f" tokenizer.model alone isn't enough: fetch the checkpoint's {TOKENIZER_FILE} too." if has_piece_file else ""
    )
    raise CheckpointError(f"{folder} has no tokenizer: neither {SENTENCEPIECE_FILE} nor {TOKENIZER_FILE}.{hint}")


def load_tokenizer(folder: Path, *, max_length: int) -> Tokenizer:
    """Load a checkpoint's tokenizer.

    Args:
        folder: Holds `spiece.model` (SigLIP: sentencepiece), or else `tokenizer.json` (SigLIP 2: Gemma's).
        max_length: `max_position_embeddings` of the text tower; every text is padded or cut to it.

    Raises:
        CheckpointError: If there is no such file or it can't be read.
    """
    path = find_tokenizer_file(folder)
    if path.name == SENTENCEPIECE_FILE:
        return SentencePieceTokenizer(folder, max_length=max_length)
    return LowerCaseTokenizer(path, max_length=max_length)
