"""Lists the published SigLIP and SigLIP 2 checkpoints, and counts parameters and FLOP from their configs.

Sizes are those of the papers' models (https://arxiv.org/abs/2303.15343, https://arxiv.org/abs/2502.14786) as their
published config.json files have them. Every figure follows from the sizes by a formula; nothing is measured, and
neither torch nor a network is needed.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

MODEL_TYPES = ("siglip", "siglip2")  # images of one size, and NaFlex
BYTES_PER_PARAMETER = {"float32": 4, "bfloat16": 2, "float16": 2}
MAX_NUM_PATCHES = 256  # what a NaFlex checkpoint makes of an image unless told otherwise

# What a published config.json leaves out (transformers, models/siglip/configuration_siglip.py and models/siglip2).
_TOWER_DEFAULTS = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}
_TEXT_DEFAULTS = _TOWER_DEFAULTS | {"vocab_size": 32_000, "max_position_embeddings": 64}
_VISION_DEFAULTS = _TOWER_DEFAULTS | {"num_channels": 3, "patch_size": 16}


@dataclass(frozen=True, slots=True)
class ModelSize:
    """How large a model is, and what it computes.

    Attributes:
        dimension: Numbers in an embedding.
        image_size: Side of its images in pixels; None for NaFlex, which keeps each image's shape.
        num_patches: Patches of an image; for NaFlex the most that it has unless told otherwise.
        max_text_length: Tokens that every text is padded or cut to.
        text_parameters: Numbers in the text tower.
        vision_parameters: Numbers in the vision tower.
        image_flop: Floating-point operations to embed one image of `num_patches` patches.
        text_flop: Floating-point operations to embed one text.
    """

    dimension: int
    image_size: int | None
    num_patches: int
    max_text_length: int
    text_parameters: int
    vision_parameters: int
    image_flop: int
    text_flop: int

    @property
    def parameters(self) -> int:
        """Numbers in the whole model, with `logit_scale` and `logit_bias`."""
        return self.text_parameters + self.vision_parameters + 2

    def memory_bytes(self, dtype: str = "float32") -> int:
        """Bytes that the weights take up in `float32`, `bfloat16` or `float16`."""
        return self.parameters * BYTES_PER_PARAMETER[dtype]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """One published checkpoint.

    Attributes:
        name: What the hub calls it.
        config: Content of its config.json, without the fields that have their default values.
    """

    name: str
    config: Mapping[str, Any]

    @property
    def is_naflex(self) -> bool:
        """True where an image keeps its shape."""
        return bool(self.config["model_type"] == "siglip2")

    @property
    def figures(self) -> ModelSize:
        """Its parameters and FLOP."""
        return measure(self.config)


def measure(config: Mapping[str, Any]) -> ModelSize:
    """Count a model's parameters and FLOP from its config.json, in which fields with defaults may be missing.

    Parameters and operations are counted over the layers of the Vision Transformer (https://arxiv.org/abs/2010.11929,
    equations 1 to 4) and the attention pooling of https://arxiv.org/abs/2106.04560, section 3.2. A multiplication and
    its addition count as two operations; only matrix products count, as usual: what is left out (normalisation,
    activation, softmax) is under 1 %.
    """
    text = _TEXT_DEFAULTS | dict(config.get("text_config") or {})
    vision = _VISION_DEFAULTS | dict(config.get("vision_config") or {})
    patch_values = vision["num_channels"] * vision["patch_size"] ** 2
    image_size = None if config.get("model_type") == "siglip2" else vision.get("image_size", 224)
    num_patches = (
        vision.get("num_patches", MAX_NUM_PATCHES) if image_size is None else (image_size // vision["patch_size"]) ** 2
    )
    tokens, text_width, width = text["max_position_embeddings"], text["hidden_size"], vision["hidden_size"]
    dimension = text.get("projection_size") or text_width
    text_parameters = (
        (text["vocab_size"] + tokens) * text_width
        + text["num_hidden_layers"] * _count_layer_parameters(text)
        + 2 * text_width  # the last normalisation
        + (text_width + 1) * dimension
    )
    vision_parameters = (
        (patch_values + 1) * width
        + num_patches * width
        + vision["num_hidden_layers"] * _count_layer_parameters(vision)
        + 2 * width
    )
    text_flop = text["num_hidden_layers"] * _count_layer_flop(text, tokens) + 2 * text_width * dimension
    image_flop = 2 * num_patches * patch_values * width + vision["num_hidden_layers"] * _count_layer_flop(
        vision, num_patches
    )
    if vision.get("vision_use_head", True):
        # A probe attends over the patches, and an MLP follows: a layer with one normalisation and one query.
        vision_parameters += width + _count_layer_parameters(vision) - 2 * width
        image_flop += 4 * (num_patches + 1) * width**2 + 4 * num_patches * width + 4 * width * _mlp_width(vision)
    return ModelSize(
        dimension=dimension,
        image_size=image_size,
        num_patches=num_patches,
        max_text_length=tokens,
        text_parameters=text_parameters,
        vision_parameters=vision_parameters,
        image_flop=image_flop,
        text_flop=text_flop,
    )


def find_checkpoint(name: str) -> Checkpoint | None:
    """Find a published checkpoint by its name, with or without `@revision`; None where it is none of the family."""
    return _BY_NAME.get(name.partition("@")[0])


def suggest_names(name: str, *, limit: int = 3) -> list[str]:
    """Names of the family that look like `name`, likeliest first; also for a name without its organisation."""
    wanted = name.partition("@")[0].lower()
    names = list(_BY_NAME)
    if exact := [known for known in names if known.partition("/")[2] == wanted.rpartition("/")[2]]:
        return exact
    wanted = wanted if "/" in wanted else f"google/{wanted}"
    return difflib.get_close_matches(wanted, names, n=limit, cutoff=0.8)


def _mlp_width(tower: Mapping[str, Any]) -> int:
    return int(tower["intermediate_size"])


def _count_layer_parameters(tower: Mapping[str, Any]) -> int:
    """Two normalisations, four projections with bias, an MLP with bias."""
    width, mlp = tower["hidden_size"], _mlp_width(tower)
    return int(4 * width + 4 * (width + 1) * width + 2 * width * mlp + width + mlp)


def _count_layer_flop(tower: Mapping[str, Any], length: int) -> int:
    """Four projections, similarities and their weighted sum, an MLP, over a sequence of `length`."""
    width = tower["hidden_size"]
    return int(length * (8 * width**2 + 4 * length * width + 4 * width * _mlp_width(tower)))


def _tower(width: int, mlp: int, layers: int, heads: int) -> dict[str, int]:
    values = {
        "hidden_size": width,
        "intermediate_size": mlp,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
    }
    return {name: value for name, value in values.items() if value != _TOWER_DEFAULTS[name]}


_BASE = _tower(768, 3072, 12, 12)
_LARGE = _tower(1024, 4096, 24, 16)
_SO400M = _tower(1152, 4304, 27, 16)  # "shape-optimised", https://arxiv.org/abs/2305.13035
_GIANT = _tower(1536, 6144, 40, 16)

_T5 = {"vocab_size": 32_000}
_MT5 = {"vocab_size": 250_000}
_GEMMA = {"vocab_size": 256_000}


def _row(
    name: str,
    vision: Mapping[str, int],
    patch_size: int,
    image_size: int | None,
    text: Mapping[str, int],
) -> Checkpoint:
    kind = "siglip2" if image_size is None else "siglip"
    text_config = dict(text) | {"model_type": f"{kind}_text_model"}
    vision_config = dict(vision) | {"patch_size": patch_size, "model_type": f"{kind}_vision_model"}
    if image_size not in {None, 224}:
        vision_config["image_size"] = image_size
    return Checkpoint(
        f"google/{name}",
        {
            "model_type": kind,
            "text_config": {key: value for key, value in text_config.items() if _TEXT_DEFAULTS.get(key) != value},
            "vision_config": {key: value for key, value in vision_config.items() if _VISION_DEFAULTS.get(key) != value},
        },
    )


# name, vision tower, patch size, image size (None: NaFlex), text tower
FAMILY: tuple[Checkpoint, ...] = (
    _row("siglip-base-patch16-224", _BASE, 16, 224, _BASE | _T5),
    _row("siglip-base-patch16-256", _BASE, 16, 256, _BASE | _T5),
    _row("siglip-base-patch16-384", _BASE, 16, 384, _BASE | _T5),
    _row("siglip-base-patch16-512", _BASE, 16, 512, _BASE | _T5),
    _row("siglip-large-patch16-256", _LARGE, 16, 256, _LARGE | _T5),
    _row("siglip-large-patch16-384", _LARGE, 16, 384, _LARGE | _T5),
    _row("siglip-so400m-patch14-224", _SO400M, 14, 224, _SO400M | _T5 | {"max_position_embeddings": 16}),
    _row("siglip-so400m-patch14-384", _SO400M, 14, 384, _SO400M | _T5),
    _row("siglip-base-patch16-256-multilingual", _BASE, 16, 256, _BASE | _MT5),
    _row("siglip-so400m-patch16-256-i18n", _SO400M, 16, 256, _SO400M | _MT5),
    _row("siglip2-base-patch32-256", _BASE, 32, 256, _BASE | _GEMMA),
    _row("siglip2-base-patch16-224", _BASE, 16, 224, _BASE | _GEMMA),
    _row("siglip2-base-patch16-256", _BASE, 16, 256, _BASE | _GEMMA),
    _row("siglip2-base-patch16-384", _BASE, 16, 384, _BASE | _GEMMA),
    _row("siglip2-base-patch16-512", _BASE, 16, 512, _BASE | _GEMMA),
    _row("siglip2-large-patch16-256", _LARGE, 16, 256, _LARGE | _GEMMA),
    _row("siglip2-large-patch16-384", _LARGE, 16, 384, _LARGE | _GEMMA),
    _row("siglip2-large-patch16-512", _LARGE, 16, 512, _LARGE | _GEMMA),
    _row("siglip2-so400m-patch14-224", _SO400M, 14, 224, _SO400M | _GEMMA),
    _row("siglip2-so400m-patch14-384", _SO400M, 14, 384, _SO400M | _GEMMA),
    _row("siglip2-so400m-patch16-256", _SO400M, 16, 256, _SO400M | _GEMMA),
    _row("siglip2-so400m-patch16-384", _SO400M, 16, 384, _SO400M | _GEMMA),
    _row("siglip2-so400m-patch16-512", _SO400M, 16, 512, _SO400M | _GEMMA),
    _row("siglip2-giant-opt-patch16-256", _GIANT, 16, 256, _SO400M | _GEMMA | {"projection_size": 1536}),
    _row("siglip2-giant-opt-patch16-384", _GIANT, 16, 384, _SO400M | _GEMMA | {"projection_size": 1536}),
    _row("siglip2-base-patch16-naflex", _BASE, 16, None, _BASE | _GEMMA),
    _row("siglip2-so400m-patch16-naflex", _SO400M, 16, None, _SO400M | _GEMMA),
)

_BY_NAME = {checkpoint.name: checkpoint for checkpoint in FAMILY}
