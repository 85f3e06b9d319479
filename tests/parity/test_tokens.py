"""Token ids, on texts that trip tokenizers up."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import transformers
from numpy.typing import NDArray

from siglip_ingest.preprocess.text import load_tokenizer
from tests.checkpoints import write_gemma_style_tokenizer, write_processor
from tests.parity.pairs import PUBLISHED, optional_data

HARD_TEXTS = [
    "the real mountain view",
    "Zürich",
    "  Hello,   WORLD\t\n!! ",
    "I don't know: a_b-c/d, 0.5 + 3 = 3.5",
    "",
    " ",
    "▁",
    " ▁",
    "▁▁ a▁b",
    "!!!",
    "'''",
    "a </s> b",
    "</s>",
    "a</s>b</s>",
    "   </s>   x",
    "foo<unk>bar",
    "<unk> </s>",
    "<pad> <s> <bos> <eos> <extra_id_0> <start_of_turn>user",
    "北京的日落",
    "日本語",
    "غروب الشمس",
    "🦄 unicorn 🦄🦄 👩‍👩‍👧",
    "İstanbul ΣΑΣ ß ﬁ",
    "ａｂｃ ＡＢＣ ½ ² ① ﷺ",
    "e\u0301 a\u00a0b\u3000c\u200bd\ufeff",
    "\x00a\x01",
    "{label}",
    "x" * 500,
    "word " * 200,
    "a photo of " + "very " * 70 + "big cat</s>",
]
FRAGMENTS = [
    "a", "B", "c ", "▁", " ", "  ", "</s>", "<unk>", "!", "é", "日", "🦄", "\n", "the ", "Sunset ", "over", "<", ">",
    "/", "s", "ß", "Σ", "<pad>", "<eos>", "\u00a0", "\u200d", "1", ".",
]  # fmt: skip

Encode = Callable[[Sequence[str]], NDArray[np.int64]]


def random_texts(count: int) -> list[str]:
    draw = random.Random(0)
    return ["".join(draw.choices(FRAGMENTS, k=draw.randint(1, 90))) for _ in range(count)]


def assert_same_ids(folder: Path, reference: transformers.PreTrainedTokenizerBase, max_length: int) -> None:
    texts = HARD_TEXTS + random_texts(500)
    ours = load_tokenizer(folder, max_length=max_length)(texts)
    encoded = reference(texts, padding="max_length", truncation=True, max_length=max_length, return_tensors="np")
    assert ours.dtype == np.int64
    assert ours.shape == (len(texts), max_length)
    for text, our_ids, reference_ids in zip(texts, ours, encoded["input_ids"], strict=True):
        assert our_ids.tolist() == reference_ids.tolist(), f"ids of {text!r} differ"


# The reference warns about texts that end with </s>, which is what some of these do.
@pytest.mark.filterwarnings("ignore:This sequence already has </s>")
@pytest.mark.parametrize("max_length", [16, 64])
def test_sentencepiece_ids_equal_the_references(tmp_path: Path, max_length: int) -> None:
    write_processor(tmp_path, image_size=32)
    assert_same_ids(tmp_path, transformers.SiglipTokenizer.from_pretrained(tmp_path), max_length)


@pytest.mark.filterwarnings("ignore:This sequence already has </s>")
def test_ids_under_the_published_settings_equal_the_references(tmp_path: Path) -> None:
    write_processor(tmp_path, image_size=32)
    shutil.copytree(PUBLISHED["siglip-base-patch16-256"], tmp_path, dirs_exist_ok=True)
    assert_same_ids(tmp_path, transformers.SiglipTokenizer.from_pretrained(tmp_path), 64)


@pytest.mark.filterwarnings("ignore:This sequence already has </s>")
@pytest.mark.parametrize("max_length", [16, 64])
def test_ids_of_t5s_vocabulary_equal_the_references(tmp_path: Path, max_length: int) -> None:
    shutil.copy(optional_data("tokenizers/t5/spiece.model"), tmp_path)
    reference = transformers.SiglipTokenizer(str(tmp_path / "spiece.model"))
    assert_same_ids(tmp_path, reference, max_length)


@pytest.fixture(params=["small", "published"])
def siglip2_tokenizer(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A folder with SigLIP 2's kind of tokenizer: a small one made here, or the published one where it is at hand."""
    if request.param == "small":
        write_gemma_style_tokenizer(tmp_path)
    else:
        shutil.copy(optional_data("tokenizers/siglip2/tokenizer.json"), tmp_path)
    return tmp_path


@pytest.mark.parametrize("has_map", [False, True], ids=["bare", "with special_tokens_map"])
@pytest.mark.parametrize("max_length", [16, 64])
def test_siglip2_ids_equal_the_references(siglip2_tokenizer: Path, max_length: int, has_map: bool) -> None:
    if has_map:
        shutil.copy(PUBLISHED["siglip2-base-patch16-224"] / "special_tokens_map.json", siglip2_tokenizer)
    reference = transformers.Siglip2Tokenizer.from_pretrained(siglip2_tokenizer)
    reference.padding_side = "right"  # as the published tokenizer.json has it
    assert_same_ids(siglip2_tokenizer, reference, max_length)


def test_siglip2_ids_end_with_eos_and_are_padded_with_0(siglip2_tokenizer: Path) -> None:
    ids = load_tokenizer(siglip2_tokenizer, max_length=64)(["Sunset over WATER", "sunset over water", "x " * 200])
    (end,) = (ids[0] == 1).nonzero()[0]
    assert ids[0].tolist() == ids[1].tolist()
    assert not ids[0, end + 1 :].any()
    assert ids[0, :end].all()
    assert ids[2, -1] == 1


def test_a_character_without_a_piece_is_encoded_as_its_bytes(tmp_path: Path) -> None:
    write_gemma_style_tokenizer(tmp_path)
    content = json.loads((tmp_path / "tokenizer.json").read_text(encoding="utf-8"))
    names = {number: piece for piece, number in content["model"]["vocab"].items()}
    ids = load_tokenizer(tmp_path, max_length=8)(["ж"])[0]
    assert [names[number] for number in ids.tolist()[:3]] == ["<0xD0>", "<0xB6>", "<eos>"]
