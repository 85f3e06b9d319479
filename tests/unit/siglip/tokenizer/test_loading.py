"""Tokenizers: what doesn't need the reference to be checked."""

from __future__ import annotations

from pathlib import Path

import pytest

from siglip_ingest.errors import CheckpointError
from siglip_ingest.siglip.tokenizer.loading import load_tokenizer
from siglip_ingest.siglip.tokenizer.sentencepiece import canonicalize_text
from tests.checkpoints import write_gemma_style_tokenizer, write_processor


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("Sunset over Water!", "sunset over water"),
        ("  a \t photo\nof   a cat ", "a photo of a cat"),
        ("don't-stop", "dontstop"),
        ("ZÜRICH…", "zürich…"),
        ("?!", ""),
    ],
)
def test_canonical_text_is_lower_case_without_punctuation(text: str, canonical: str) -> None:
    assert canonicalize_text(text) == canonical


def test_texts_are_padded_to_the_full_length_with_the_end_token(tiny_checkpoint: Path) -> None:
    ids = load_tokenizer(tiny_checkpoint, max_length=16)(["a cat", "", "cat " * 50])
    assert ids.shape == (3, 16)
    assert (ids[1] == 1).all()
    assert ids[2, -1] == 1
    assert (ids[2, :-1] != 1).all()


def test_no_texts_give_an_empty_array(tiny_checkpoint: Path) -> None:
    assert load_tokenizer(tiny_checkpoint, max_length=16)([]).shape == (0, 16)


def test_settings_say_what_the_tokenizer_does(tiny_checkpoint: Path) -> None:
    settings = load_tokenizer(tiny_checkpoint, max_length=16).settings
    assert settings["max_length"] == 16
    assert settings["is_lower_case"]
    assert settings["eos_id"] == settings["pad_id"] == 1


def test_a_folder_without_a_tokenizer_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="has no tokenizer"):
        load_tokenizer(tmp_path, max_length=16)


def test_tokenizer_model_alone_is_refused_with_what_to_fetch(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.model").write_bytes(b"sentencepiece's")
    with pytest.raises(CheckpointError, match=r"tokenizer\.model alone isn't enough: fetch .*tokenizer\.json"):
        load_tokenizer(tmp_path, max_length=16)


@pytest.mark.parametrize("name", ["spiece.model", "tokenizer.json"])
@pytest.mark.parametrize("content", [b"", b"{}", b"garbage" * 100], ids=["empty", "braces", "garbage"])
def test_a_broken_tokenizer_file_is_named(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=name):
        load_tokenizer(tmp_path, max_length=16)


@pytest.mark.parametrize("name", ["spiece.model", "tokenizer.json"])
def test_a_git_lfs_pointer_is_recognized(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    with pytest.raises(CheckpointError, match=rf"{name} is a Git LFS pointer, .* run `git lfs pull`"):
        load_tokenizer(tmp_path, max_length=16)


def test_a_tokenizer_without_siglips_tokens_is_refused(tmp_path: Path) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    tokenizers.Tokenizer(tokenizers.models.BPE()).save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(CheckpointError, match="not SigLIP 2's"):
        load_tokenizer(tmp_path, max_length=16)


def test_spiece_model_goes_before_tokenizer_json(tmp_path: Path) -> None:
    write_gemma_style_tokenizer(tmp_path)
    assert load_tokenizer(tmp_path, max_length=16).settings["kind"] == "tokenizers"
    write_processor(tmp_path, image_size=32)
    assert load_tokenizer(tmp_path, max_length=16).settings["kind"] == "sentencepiece"


def test_capitals_make_no_difference_to_siglip2_but_to_control_tokens(tmp_path: Path) -> None:
    write_gemma_style_tokenizer(tmp_path)
    tokenizer = load_tokenizer(tmp_path, max_length=16)
    capitals, small, token, no_token = tokenizer.encode(["Sunset over WATER", "sunset over water", "<bos>", "<BOS>"])
    assert capitals == small
    assert len(token) == 2
    assert len(no_token) > 2
