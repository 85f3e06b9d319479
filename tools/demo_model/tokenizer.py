"""The demo checkpoint's tokenizer: sentencepiece pieces learned from the world's captions, in SigLIP 1's layout."""

from __future__ import annotations

import io
import json
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from siglip_ingest.demo.captions import label_captions, write_caption
from siglip_ingest.demo.description import describe_scene
from siglip_ingest.siglip.tokenizer.base import TOKENIZER_CONFIG_FILE
from siglip_ingest.siglip.tokenizer.sentencepiece import SENTENCEPIECE_FILE, WORD_START, canonicalize_text

VOCABULARY_SIZE = 448
TEXT_LENGTH = 30
_SPECIAL_TOKENS = {"eos_token": "</s>", "pad_token": "</s>", "unk_token": "<unk>"}


def train_tokenizer(folder: Path, *, captions: int = 20_000) -> None:
    """Learn the pieces and write spiece.model, tokenizer_config.json and special_tokens_map.json into `folder`.

    Ids are SigLIP 1's: 1 is `</s>` (also padding), 2 is `<unk>`. Every letter and digit is a piece, so that a word the
    captions lack is spelt instead of lost.
    """
    import sentencepiece

    folder.mkdir(parents=True, exist_ok=True)
    sentences = list(_write_sentences(captions))
    # sentencepiece's own seeds are strings that occur in two different words at least: whole words must be given.
    counts = Counter(f"{WORD_START}{word}" for sentence in sentences for word in sentence.split())
    counts.update(letter for word in list(counts) for letter in word)
    seeds = folder / "seeds.tsv"
    seeds.write_text("".join(f"{piece}\t{count}\n" for piece, count in counts.most_common()), encoding="utf-8")
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.Train(
        sentence_iterator=iter(sentences),
        model_writer=model,
        seed_sentencepieces_file=str(seeds),
        model_type="unigram",
        vocab_size=VOCABULARY_SIZE,
        hard_vocab_limit=False,
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        character_coverage=1.0,
        required_chars="abcdefghijklmnopqrstuvwxyz0123456789",
        normalization_rule_name="identity",
        num_threads=1,
        minloglevel=2,
    )
    seeds.unlink()
    (folder / SENTENCEPIECE_FILE).write_bytes(_forget_seeds(model.getvalue()))
    settings = {
        **_SPECIAL_TOKENS,
        "additional_special_tokens": [],
        "clean_up_tokenization_spaces": True,
        "do_lower_case": True,
        "model_input_names": ["input_ids"],
        "model_max_length": TEXT_LENGTH,
        "processor_class": "SiglipProcessor",
        "sp_model_kwargs": {},
        "tokenizer_class": "SiglipTokenizer",
    }
    write_json(folder / TOKENIZER_CONFIG_FILE, settings)
    write_json(folder / "special_tokens_map.json", _SPECIAL_TOKENS)


def _forget_seeds(content: bytes) -> bytes:
    """Take the path of the seeds' file out of a sentencepiece model: it would differ from run to run."""
    from sentencepiece import sentencepiece_model_pb2

    model = sentencepiece_model_pb2.ModelProto.FromString(content)  # type: ignore[attr-defined]  # made at import
    model.trainer_spec.ClearField("seed_sentencepieces_file")
    return bytes(model.SerializeToString(deterministic=True))


def count_pieces(folder: Path) -> int:
    """Return the size of the vocabulary in a checkpoint's spiece.model."""
    import sentencepiece

    return int(sentencepiece.SentencePieceProcessor(str(folder / SENTENCEPIECE_FILE)).GetPieceSize())


def write_json(path: Path, values: dict[str, Any]) -> None:
    """Write a checkpoint's JSON file, keys sorted."""
    path.write_text(json.dumps(values, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _write_sentences(count: int) -> Iterator[str]:
    rng = random.Random("tokenizer")  # noqa: S311  # captions, not secrets
    for seed in range(count):
        yield canonicalize_text(write_caption(describe_scene(seed), rng, is_partial=seed % 2 == 1).text)
    for _ in range(20):
        yield from (canonicalize_text(caption.text) for caption in label_captions(rng))
