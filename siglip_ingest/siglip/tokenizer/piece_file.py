"""Reading a sentencepiece file of byte-pair pieces: what is in it, and the merges that it implies.

The layout is that of sentencepiece's `sentencepiece_model.proto`. Its own library doesn't tell which pieces are
user-defined, and protobuf isn't needed for so little.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from enum import IntEnum
from pathlib import Path
from typing import NamedTuple

from siglip_ingest.errors import CheckpointError
from siglip_ingest.siglip.git_lfs import describe_pointer

BYTE_PAIR = 2  # TrainerSpec.ModelType.BPE
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # protobuf's wire types


class PieceKind(IntEnum):
    """ModelProto.SentencePiece.Type."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


class Piece(NamedTuple):
    """One row of the vocabulary; its id is its place.

    Attributes:
        text: With `▁` for a space.
        score: The higher, the earlier it is merged.
        kind: Of `PieceKind`.
    """

    text: str
    score: float
    kind: int


def read_pieces(path: Path) -> list[Piece]:
    """Read the vocabulary of a sentencepiece file, in the order of ids.

    Raises:
        CheckpointError: If it isn't a whole sentencepiece file of byte-pair pieces.
    """
    pieces: list[Piece] = []
    algorithm = 1
    try:
        for number, value in _read_fields(path.read_bytes()):
            if number == 1 and isinstance(value, bytes):
                pieces.append(_read_piece(value))
            elif number == 2 and isinstance(value, bytes):
                algorithm = next((int(kind) for field, kind in _read_fields(value) if field == 3), algorithm)
    except (OSError, ValueError) as error:
        raise CheckpointError(
            describe_pointer(path) or f"{path} is not a whole sentencepiece file ({error}). Fetch it again."
        ) from error
    if not pieces:
        raise CheckpointError(f"{path} is not a whole sentencepiece file (it holds no pieces). Fetch it again.")
    if algorithm != BYTE_PAIR:
        raise CheckpointError(f"{path} holds no byte-pair pieces: it is not SigLIP 2's tokenizer.")
    return pieces


def list_merges(pieces: Sequence[Piece]) -> list[tuple[str, str]]:
    """List which two pieces become one, the first to be merged first.

    Every way to cut a piece into two known ones is a merge. Pieces of higher score come first; of one score, the longer
    left half and then the longer right half: this is the order in which published tokenizer.json files have them.
    """
    known = {piece.text for piece in pieces}
    found = []
    for text, score, _kind in pieces:
        for cut in range(len(text) - 1, 0, -1):
            left = text[:cut]
            if left in known and (right := text[cut:]) in known:
                found.append((-score, -cut, -len(right), left, right))
    found.sort(key=lambda merge: merge[:3])
    return [(left, right) for _, _, _, left, right in found]


def _read_piece(content: bytes) -> Piece:
    text, score, kind = "", 0.0, int(PieceKind.NORMAL)
    for number, value in _read_fields(content):
        if number == 1 and isinstance(value, bytes):
            text = value.decode()
        elif number == 2 and isinstance(value, bytes):
            (score,) = struct.unpack("<f", value)
        elif number == 3 and isinstance(value, int):
            kind = value
    return Piece(text, score, kind)


def _read_fields(content: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Read the fields of one protobuf message: their numbers, and integers or bytes.

    Raises:
        ValueError: If the bytes are no message or end too early.
    """
    position, end = 0, len(content)
    while position < end:
        tag, position = _read_varint(content, position)
        wire_type = tag & 7
        if wire_type == _VARINT:
            value, position = _read_varint(content, position)
            yield tag >> 3, value
            continue
        if wire_type == _BYTES:
            size, position = _read_varint(content, position)
        elif wire_type in {_FIXED32, _FIXED64}:
            size = 4 if wire_type == _FIXED32 else 8
        else:
            raise ValueError(f"unknown wire type {wire_type} at byte {position}")
        if position + size > end:
            raise ValueError(f"it ends {position + size - end} bytes too early")
        yield tag >> 3, content[position : position + size]
        position += size


def _read_varint(content: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while position < len(content) and shift < 64:
        byte = content[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
    raise ValueError(f"a number is cut off at byte {position}")
