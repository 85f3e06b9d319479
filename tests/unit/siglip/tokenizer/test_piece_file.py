"""Sentencepiece files, read without sentencepiece."""

from __future__ import annotations

from pathlib import Path

import pytest
import sentencepiece

from siglip_ingest.errors import CheckpointError
from siglip_ingest.siglip.tokenizer.piece_file import Piece, PieceKind, list_merges, read_pieces
from tests.checkpoints import write_gemma_style_piece_file, write_processor


def test_pieces_are_what_sentencepiece_reads(tmp_path: Path) -> None:
    write_gemma_style_piece_file(tmp_path)
    path = tmp_path / "tokenizer.model"
    pieces = read_pieces(path)
    library = sentencepiece.SentencePieceProcessor(model_file=str(path))
    numbers = range(library.GetPieceSize())
    assert [piece.text for piece in pieces] == [library.IdToPiece(number) for number in numbers]
    assert [piece.score for piece in pieces] == [library.GetScore(number) for number in numbers]
    assert [piece.kind == PieceKind.BYTE for piece in pieces] == [library.IsByte(number) for number in numbers]
    assert [piece.kind == PieceKind.CONTROL for piece in pieces] == [library.IsControl(number) for number in numbers]
    assert {piece.text for piece in pieces if piece.kind == PieceKind.USER_DEFINED} >= {"<mask>", "<b>", "▁▁", "\n"}


def test_merges_come_by_score_and_then_with_the_longer_left_half_first() -> None:
    texts = ["a", "b", "c", "ab", "bc", "abc"]
    pieces = [Piece(text, score, PieceKind.NORMAL) for text, score in zip(texts, [0, 0, 0, -2, -1, -3], strict=True)]
    assert list_merges(pieces) == [("b", "c"), ("a", "b"), ("ab", "c"), ("a", "bc")]


@pytest.mark.parametrize("kept", [1, 1000, -1], ids=["one byte", "the start", "all but one byte"])
def test_a_cut_off_file_is_named(tmp_path: Path, kept: int) -> None:
    write_gemma_style_piece_file(tmp_path)
    path = tmp_path / "tokenizer.model"
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(CheckpointError, match=r"tokenizer\.model"):
        read_pieces(path)


@pytest.mark.parametrize("content", [b"", b"{}", b"garbage" * 100, bytes(100), b"\xff" * 100])
def test_what_is_no_sentencepiece_file_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "tokenizer.model"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"tokenizer\.model is not a whole sentencepiece file"):
        read_pieces(path)


def test_a_file_of_another_algorithm_is_refused(tmp_path: Path) -> None:
    write_processor(tmp_path, image_size=32)
    with pytest.raises(CheckpointError, match="no byte-pair pieces"):
        read_pieces(tmp_path / "spiece.model")
