"""Small checkpoints with random weights, in the published layout."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import sentencepiece
import tokenizers
import torch

from siglip_ingest.siglip.checkpoint.loading import save_checkpoint
from siglip_ingest.siglip.model import SiglipModel, config_from_dict

WORDS = """
    sunset over water night sky cloudy clear storm mountains desert forest city field snow boat house tree moon cat dog
    red green blue yellow purple dark bright small large round square left right above below beside behind photo image
    drawing painting river lake beach road bridge window garden flower bird horse train car bicycle people child morning
""".split()  # noqa: SIM905  (sixty quotation marks read worse)
SENTENCES = [f"this is a photo of a {first} and a {second}" for first in WORDS for second in WORDS]
FOREIGN_SENTENCES = ["Zürich", "İstanbul ΣΑΣ ß", "北京的日落", "日本語", "غروب الشمس", "🦄 unicorn"]
PIECES = 72

# What stands first in Gemma's vocabulary, and pieces of it that are found before any other.
GEMMA_SPECIAL = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "<start_of_turn>", "<end_of_turn>"]
GEMMA_ADDED = ["\n", "\n\n", "▁▁", "▁▁▁", "</s>", "\t\t"]


def tiny_config(*, image_size: int = 32, hidden: int = 32, **text: Any) -> dict[str, Any]:
    """Content of a config.json with two small layers a tower."""
    tower = {
        "hidden_size": hidden,
        "intermediate_size": 2 * hidden,
        "num_attention_heads": 4,
        "num_hidden_layers": 2,
    }
    return {
        "model_type": "siglip",
        "text_config": tower | {"vocab_size": PIECES, "max_position_embeddings": 16} | text,
        "vision_config": tower | {"image_size": image_size, "patch_size": 8},
    }


def tiny_naflex_config(*, hidden: int = 32, vocab_size: int = 600) -> dict[str, Any]:
    """Content of a NaFlex checkpoint's config.json: as `tiny_config`, with positions on a grid of 4 x 4."""
    config = tiny_config(hidden=hidden, vocab_size=vocab_size)
    vision = {key: value for key, value in config["vision_config"].items() if key != "image_size"}
    return config | {"model_type": "siglip2", "vision_config": vision | {"num_patches": 16}}


def write_tiny_checkpoint(
    folder: Path, *, seed: int = 0, image_size: int = 32, hidden: int = 32, is_naflex: bool = False
) -> Path:
    """Save a small SigLIP with random weights, its tokenizer and its image settings; returns `folder`.

    With `is_naflex`, a SigLIP 2 NaFlex with its kind of tokenizer, which cuts an image into at most 16 patches.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if is_naflex:
        pieces = write_gemma_style_tokenizer(folder)
        _write_json(
            folder / "tokenizer_config.json",
            {
                "eos_token": "<eos>",
                "model_input_names": ["input_ids"],
                "pad_token": "<pad>",
                "padding_side": "right",
                "tokenizer_class": "Siglip2Tokenizer",
            },
        )
        write_naflex_preprocessor(folder)
        config = tiny_naflex_config(hidden=hidden, vocab_size=pieces)
    else:
        write_processor(folder, image_size=image_size)
        config = tiny_config(image_size=image_size, hidden=hidden)
    generator_state = torch.random.get_rng_state()
    torch.manual_seed(seed)
    model = SiglipModel(config_from_dict(config))
    model.init_weights()
    torch.random.set_rng_state(generator_state)
    save_checkpoint(model, folder, dtype=torch.float32)
    return folder


def write_processor(folder: Path, *, image_size: int, is_multilingual: bool = False) -> None:
    """Write the tokenizer's and the image processor's files of a SigLIP 1 checkpoint."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.Train(
        sentence_iterator=iter([*SENTENCES, *(FOREIGN_SENTENCES if is_multilingual else [])]),
        model_writer=model,
        vocab_size=90 if is_multilingual else PIECES,
        model_type="unigram",
        pad_id=0,
        eos_id=1,
        unk_id=2,
        bos_id=-1,
        num_threads=1,
        minloglevel=2,
    )
    (folder / "spiece.model").write_bytes(model.getvalue())
    token = {"lstrip": True, "normalized": False, "rstrip": True, "single_word": False}
    special_tokens = {
        "eos_token": {"content": "</s>", **token},
        "pad_token": {"content": "</s>", **token},
        "unk_token": {"content": "<unk>", **token},
    }
    _write_json(folder / "special_tokens_map.json", special_tokens)
    _write_json(
        folder / "tokenizer_config.json",
        {
            "do_lower_case": True,
            "eos_token": "</s>",
            "model_input_names": ["input_ids"],
            "model_max_length": 16,
            "pad_token": "</s>",
            "tokenizer_class": "SiglipTokenizer",
            "unk_token": "<unk>",
        },
    )
    _write_json(
        folder / "preprocessor_config.json",
        {
            "do_normalize": True,
            "do_rescale": True,
            "do_resize": True,
            "image_mean": [0.5, 0.5, 0.5],
            "image_processor_type": "SiglipImageProcessor",
            "image_std": [0.5, 0.5, 0.5],
            "resample": 3,
            "rescale_factor": 0.00392156862745098,
            "size": {"height": image_size, "width": image_size},
        },
    )


def write_naflex_preprocessor(folder: Path, *, patch_size: int = 8, max_num_patches: int = 16) -> None:
    """Write the image processor's file of a NaFlex checkpoint."""
    _write_json(
        folder / "preprocessor_config.json",
        {
            "do_convert_rgb": None,
            "do_normalize": True,
            "do_rescale": True,
            "do_resize": True,
            "image_mean": [0.5, 0.5, 0.5],
            "image_processor_type": "Siglip2ImageProcessor",
            "image_std": [0.5, 0.5, 0.5],
            "max_num_patches": max_num_patches,
            "patch_size": patch_size,
            "resample": 2,
            "rescale_factor": 0.00392156862745098,
        },
    )


def write_gemma_style_tokenizer(folder: Path) -> int:
    """Write a small tokenizer.json that is built as Gemma's, SigLIP 2's, is: BPE of bytes where there is no piece.

    Returns how many pieces it has.
    """
    trained = tokenizers.Tokenizer(tokenizers.models.BPE())
    trained.normalizer = tokenizers.normalizers.Replace(" ", "▁")
    trainer = tokenizers.trainers.BpeTrainer(vocab_size=600, show_progress=False)
    trained.train_from_iterator([*SENTENCES, *FOREIGN_SENTENCES], trainer)
    learned = json.loads(trained.to_str())["model"]
    pieces = [*GEMMA_SPECIAL, *GEMMA_ADDED, *(f"<0x{byte:02X}>" for byte in range(256)), *learned["vocab"]]
    made = tokenizers.Tokenizer(
        tokenizers.models.BPE(
            vocab={piece: number for number, piece in enumerate(dict.fromkeys(pieces))},
            merges=[tuple(merge) for merge in learned["merges"]],
            unk_token="<unk>",
            fuse_unk=True,
            byte_fallback=True,
        )
    )
    made.normalizer = tokenizers.normalizers.Replace(" ", "▁")
    made.pre_tokenizer = tokenizers.pre_tokenizers.Split(" ", "merged_with_previous")
    made.post_processor = tokenizers.processors.TemplateProcessing(single="$A <eos>", special_tokens=[("<eos>", 1)])
    made.add_special_tokens([tokenizers.AddedToken(token, normalized=False) for token in GEMMA_SPECIAL])
    made.add_tokens([tokenizers.AddedToken(token, normalized=False) for token in GEMMA_ADDED])
    made.save(str(folder / "tokenizer.json"))
    return int(made.get_vocab_size())


def _write_json(path: Path, values: dict[str, Any]) -> None:
    path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
