"""What a checkpoint gives for known inputs, kept as JSON, and what differs between two such records."""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from siglip_ingest.errors import CheckpointError
from siglip_ingest.siglip.verify.inputs import QUICK_TEXTS, TEST_CARD, draw_image
from siglip_ingest.siglip.verify.report import EARLIER, Comparison, compare_numbers, compare_values

if TYPE_CHECKING:
    from siglip_ingest.siglip.embedder import TorchEmbedder

# How far the same weights may stray between devices, batch sizes and builds: least cosine, most of a logit.
TOLERANCES = {"float32": (0.9999, 0.02), "float16": (0.998, 0.5), "bfloat16": (0.99, 2.0)}
_LOOSEST_FIRST = ("bfloat16", "float16", "float32")
_CONSTANT_ATOL = 1e-4
_UNIT_ATOL = 1e-3


@dataclass(frozen=True, slots=True)
class TextFigures:
    """A known text: its token ids without the padding that repeats the last one, and its unit vector (D,)."""

    ids: list[int]
    vector: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class ImageFigures:
    """A known image: height, width and hash of its prepared pixels, and its unit vector (D,)."""

    pixels: str
    vector: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Figures:
    """What one checkpoint gave.

    Attributes:
        revision: As in `ModelInfo`.
        dtype: What was computed in.
        device: Where.
        logit_scale: A logarithm, as in the checkpoint.
        logit_bias: As in the checkpoint.
        image_settings: As in `ModelInfo`.
        text_settings: As in `ModelInfo`.
        texts: By the text.
        images: By the image's name.
        tensors: Checksum of each tensor by its name; empty where the files weren't read for it.
    """

    revision: str
    dtype: str
    device: str
    logit_scale: float
    logit_bias: float
    image_settings: Mapping[str, Any]
    text_settings: Mapping[str, Any]
    texts: Mapping[str, TextFigures]
    images: Mapping[str, ImageFigures]
    tensors: Mapping[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Give plain values, ready for JSON; vectors become base64 of little-endian float32."""
        return asdict(self) | {
            "texts": {text: {"ids": kept.ids, "vector": _pack(kept.vector)} for text, kept in self.texts.items()},
            "images": {
                name: {"pixels": kept.pixels, "vector": _pack(kept.vector)} for name, kept in self.images.items()
            },
        }

    def for_start(self) -> Figures:
        """Keep only what a worker looks at before it serves."""
        return replace(
            self,
            texts={text: self.texts[text] for text in QUICK_TEXTS},
            images={TEST_CARD: self.images[TEST_CARD]},
            tensors={},
        )

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Figures:
        """Take back what `to_dict` gave.

        Raises:
            KeyError: If a field is missing.
            TypeError: If one is of another kind.
            ValueError: If a value can't be read.
        """
        texts = {
            text: TextFigures([int(number) for number in kept["ids"]], _unpack(kept["vector"]))
            for text, kept in values["texts"].items()
        }
        images = {
            name: ImageFigures(str(kept["pixels"]), _unpack(kept["vector"])) for name, kept in values["images"].items()
        }
        plain = {name: values[name] for name in cls.__dataclass_fields__ if name not in {"texts", "images"}}
        return cls(**plain, texts=texts, images=images)


def take_figures(
    embedder: TorchEmbedder,
    *,
    texts: Sequence[str] = QUICK_TEXTS,
    images: Sequence[str] = (TEST_CARD,),
    tensors: Mapping[str, str] | None = None,
) -> Figures:
    """Put known texts and drawn images through a loaded checkpoint. The defaults are what a worker affords.

    Raises:
        CheckpointError: If a vector isn't finite or not of length 1.
    """
    ids, drawn = embedder.tokenize(texts), [draw_image(name) for name in images]
    pixels = [embedder.prepare_image(image) for image in drawn]
    text_vectors, image_vectors = embedder.embed_tokens(ids), embedder.embed_images(drawn)
    info = embedder.info
    _require_unit_length(info.name, np.concatenate([text_vectors, image_vectors]))
    return Figures(
        revision=info.revision,
        dtype=embedder.dtype,
        device=embedder.device,
        logit_scale=info.logit_scale,
        logit_bias=info.logit_bias,
        image_settings=dict(info.image_settings),
        text_settings=dict(info.text_settings),
        texts={t: TextFigures(strip_padding(i.tolist()), v) for t, i, v in zip(texts, ids, text_vectors, strict=True)},
        images={
            name: ImageFigures(_hash_pixels(prepared), vector)
            for name, prepared, vector in zip(images, pixels, image_vectors, strict=True)
        },
        tensors=tensors or {},
    )


def compare_figures(found: Figures, earlier: Figures, *, source: str = EARLIER) -> list[Comparison]:
    """Compare what both records have: what goes in exactly, what comes out within the coarser dtype's tolerance.

    Args:
        found: Those of now.
        earlier: What they should be.
        source: What the comparisons name as the origin of `earlier`.
    """
    return [replace(row, source=source) for row in _compare(found, earlier)]


def _compare(found: Figures, earlier: Figures) -> Iterator[Comparison]:
    least_cosine, most_logit = TOLERANCES[coarser_dtype(found.dtype, earlier.dtype)]
    yield from _compare_settings("image settings", found.image_settings, earlier.image_settings)
    yield from _compare_settings("text settings", found.text_settings, earlier.text_settings)
    for name in ("logit_scale", "logit_bias"):
        yield compare_numbers(name, getattr(earlier, name), getattr(found, name), atol=_CONSTANT_ATOL)
    if earlier.tensors and found.tensors:
        yield _compare_tensors(found.tensors, earlier.tensors)
    texts = [text for text in earlier.texts if text in found.texts]
    for text in texts:
        yield compare_values(f"tokens of {text!r}", earlier.texts[text].ids, found.texts[text].ids)
    images = [name for name in earlier.images if name in found.images]
    for name in images:
        yield compare_values(f"pixels of {name}", earlier.images[name].pixels, found.images[name].pixels)
    for text in texts:
        cosine = _cosine(earlier.texts[text].vector, found.texts[text].vector)
        yield compare_numbers(f"vector of {text!r} (cosine)", 1.0, cosine, atol=1 - least_cosine)
    for name in images:
        cosine = _cosine(earlier.images[name].vector, found.images[name].vector)
        yield compare_numbers(f"vector of {name} (cosine)", 1.0, cosine, atol=1 - least_cosine)
        for text in texts:
            logits = [_logit(record, text, name) for record in (earlier, found)]
            yield compare_numbers(f"logit of {name} and {text!r}", logits[0], logits[1], atol=most_logit)


def coarser_dtype(*names: str) -> str:
    """Name the coarsest of some dtypes; one that isn't known counts as float32."""
    return min((name if name in TOLERANCES else "float32" for name in names), key=_LOOSEST_FIRST.index)


def strip_padding(ids: Sequence[int]) -> list[int]:
    """Cut the padding off token ids: all but the first of what the text ends with."""
    last = len(ids)
    while last > 1 and ids[last - 2] == ids[-1]:
        last -= 1
    return list(ids[:last])


def _compare_settings(what: str, found: Mapping[str, Any], earlier: Mapping[str, Any]) -> Iterator[Comparison]:
    for name in sorted(earlier.keys() & found.keys()):  # another version of ours may know more of them
        if found[name] != earlier[name]:
            yield compare_values(f"{what}: {name}", earlier[name], found[name])


def _compare_tensors(found: Mapping[str, str], earlier: Mapping[str, str]) -> Comparison:
    changed = [name for name in sorted({*found, *earlier}) if found.get(name) != earlier.get(name)]
    what = f"weights of {len(earlier):,} tensors"
    if not changed:
        return compare_values(what, "as before", "as before")
    shown = ", ".join(changed[:3]) + (f" and {len(changed) - 3:,} more" if len(changed) > 3 else "")
    return compare_values(what, "as before", f"changed: {shown}")


def _require_unit_length(name: str, vectors: NDArray[np.float32]) -> None:
    lengths = np.linalg.norm(vectors, axis=1)
    if not np.isfinite(vectors).all() or np.abs(lengths - 1).max() > _UNIT_ATOL:
        raise CheckpointError(
            f"The model {name} gives vectors of length {lengths.min():.4g} to {lengths.max():.4g}, expected 1: its "
            "weights are damaged, or this build of torch computes wrongly."
        )


def _logit(figures: Figures, text: str, image: str) -> float:
    similarity = _cosine(figures.texts[text].vector, figures.images[image].vector)
    return math.exp(figures.logit_scale) * similarity + figures.logit_bias


def _cosine(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    return float(one.astype(np.float64) @ other.astype(np.float64)) if one.shape == other.shape else 0.0


def _hash_pixels(pixels: NDArray[np.uint8]) -> str:
    digest = hashlib.sha256(np.ascontiguousarray(pixels).tobytes()).hexdigest()
    return f"{pixels.shape[0]}x{pixels.shape[1]} sha256:{digest}"


def _pack(vector: NDArray[np.float32]) -> str:
    return base64.b64encode(vector.astype("<f4").tobytes()).decode()


def _unpack(text: str) -> NDArray[np.float32]:
    return np.frombuffer(base64.b64decode(text, validate=True), dtype="<f4").astype(np.float32)
