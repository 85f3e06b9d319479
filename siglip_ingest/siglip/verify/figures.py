"""Records what a checkpoint gives for known inputs, keeps that as JSON, and compares two records.

A record is a dict that is ready for JSON:

    revision, logit_scale, logit_bias, image_settings, text_settings    as in `ModelInfo`
    dtype, device    what it was computed in, and where
    texts      by the text: `ids`, padded, and `vector`
    images     by the image's name: `pixels` (height x width and hash of the prepared ones), and `vector`
    tensors    dtype, shape and CRC-32 by the tensor's name; empty where the weights weren't read for it

A vector (D,) is of length 1 and stands as base64 of little-endian float32.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from siglip_ingest.errors import CheckpointError, InvalidInputError
from siglip_ingest.siglip.verify.comparison import EARLIER, Comparison
from siglip_ingest.siglip.verify.inputs import QUICK_TEXTS, TEST_CARD, draw_image

if TYPE_CHECKING:
    from siglip_ingest.siglip.embedder import TorchEmbedder

Figures = Mapping[str, Any]

# How far the same weights may stray between devices, batch sizes and builds: least cosine, most of a logit; the
# coarsest first. int8 is held to 0.99 of float32 when it is prepared, and stands beside bfloat16, which strays as well;
# measured on the demo checkpoint: 0.999 and 0.7.
TOLERANCES = {"int8": (0.98, 3.0), "bfloat16": (0.99, 2.0), "float16": (0.998, 0.5), "float32": (0.9999, 0.02)}
_CONSTANT_ATOL = 1e-4
_UNIT_ATOL = 1e-3


def take_figures(
    embedder: TorchEmbedder,
    *,
    texts: Sequence[str] = QUICK_TEXTS,
    images: Sequence[str] = (TEST_CARD,),
    folder: Path | None = None,
) -> dict[str, Any]:
    """Put known texts and drawn images through a loaded checkpoint. The defaults are what a worker affords.

    Args:
        embedder: The loaded checkpoint.
        texts: What to embed.
        images: Names of `DRAWN_IMAGES` to embed.
        folder: Whose weights to add up; None for none.

    Raises:
        CheckpointError: If a vector isn't finite or not of length 1, or the weights can't be read.
    """
    ids, drawn = embedder.tokenize(texts), [draw_image(name) for name in images]
    vectors = np.concatenate([embedder.embed_tokens(ids), embedder.embed_images(drawn)])
    lengths, info = np.linalg.norm(vectors, axis=1), embedder.info
    if not np.isfinite(vectors).all() or np.abs(lengths - 1).max() > _UNIT_ATOL:
        raise CheckpointError(
            f"The model {info.name} gives vectors of length {lengths.min():.4g} to {lengths.max():.4g}, expected 1: "
            "its weights are damaged, or this build of torch computes wrongly."
        )
    packed = [base64.b64encode(vector.astype("<f4").tobytes()).decode() for vector in vectors]
    pixels = [embedder.prepare_image(image) for image in drawn]
    hashes = [f"{x.shape[0]}x{x.shape[1]} sha256:{hashlib.sha256(x.tobytes()).hexdigest()}" for x in pixels]
    text_rows = zip(texts, ids.tolist(), packed, strict=False)
    image_rows = zip(images, hashes, packed[len(texts) :], strict=True)
    return {
        "revision": info.revision,
        "dtype": embedder.dtype,
        "device": embedder.device,
        "logit_scale": info.logit_scale,
        "logit_bias": info.logit_bias,
        "image_settings": dict(info.image_settings),
        "text_settings": dict(info.text_settings),
        "texts": {text: {"ids": row, "vector": vector} for text, row, vector in text_rows},
        "images": {name: {"pixels": said, "vector": vector} for name, said, vector in image_rows},
        "tensors": {} if folder is None else sum_tensors(folder),
    }


def sum_tensors(folder: Path) -> dict[str, str]:
    """Describe each tensor of a checkpoint's weights: dtype, shape, and CRC-32 of its bytes.

    Raises:
        CheckpointError: If a file can't be read.
    """
    import torch

    from siglip_ingest.siglip.checkpoint.weights import WeightReader

    reader, sums = WeightReader(folder), {}
    for name, stored in reader.tensors.items():
        content = reader.read(name).contiguous().flatten().view(torch.uint8).numpy()
        sums[name] = f"{stored.dtype} {list(stored.shape)} {zlib.crc32(content.data):08x}"
    return sums


def compare_figures(found: Figures, earlier: Figures, *, source: str = EARLIER) -> list[Comparison]:
    """Compare what both records have: what goes in exactly, what comes out within the coarser dtype's tolerance.

    Args:
        found: Those of now.
        earlier: What they should be.
        source: What the comparisons name as the origin of `earlier`.

    Raises:
        InvalidInputError: If `earlier` is no such record.
    """
    try:
        return list(_compare(found, earlier, source))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InvalidInputError(
            f"The {source} figures can't be read ({error!r}). `siglip-ingest verify MODEL --update` replaces them."
        ) from error


def _compare(found: Figures, earlier: Figures, source: str) -> Iterator[Comparison]:
    least_cosine, most_logit = TOLERANCES[find_coarsest(found["dtype"], earlier["dtype"])]
    for kind in ("image_settings", "text_settings"):
        for name in sorted(earlier[kind].keys() & found[kind].keys()):  # another version of ours may know more of them
            row = Comparison(f"{kind.replace('_', ' ')}: {name}", earlier[kind][name], found[kind][name], source)
            yield from [row] if row.is_mismatch else []
    for name in ("logit_scale", "logit_bias"):
        yield Comparison(name, earlier[name], found[name], source, _CONSTANT_ATOL)
    if earlier["tensors"] and found["tensors"]:
        changed = [name for name, said in earlier["tensors"].items() if found["tensors"].get(name) != said]
        changed += found["tensors"].keys() - earlier["tensors"].keys()
        more = f" and {len(changed) - 3:,} more" if len(changed) > 3 else ""
        said = f"changed: {', '.join(changed[:3])}{more}" if changed else "as before"
        yield Comparison(f"weights of {len(earlier['tensors']):,} tensors", "as before", said, source)
    texts, images = ([key for key in earlier[kind] if key in found[kind]] for kind in ("texts", "images"))
    for text in texts:
        yield Comparison(f"tokens of {text!r}", earlier["texts"][text]["ids"], found["texts"][text]["ids"], source)
    for name in images:
        before, now = (figures["images"][name]["pixels"] for figures in (earlier, found))
        yield Comparison(f"pixels of {name}", before, now, source)
    before, now = (_unpack_vectors(figures, texts, images) for figures in (earlier, found))
    if before.shape != now.shape:
        yield Comparison("dimension of the vectors", before.shape[1], now.shape[1], source)
        return
    for name, cosine in zip([*map(repr, texts), *images], (before * now).sum(axis=1).tolist(), strict=True):
        yield Comparison(f"vector of {name} (cosine)", 1.0, cosine, source, 1 - least_cosine)
    logits = [
        np.exp(figures["logit_scale"]) * vectors[len(texts) :] @ vectors[: len(texts)].T + figures["logit_bias"]
        for figures, vectors in ((earlier, before), (found, now))
    ]
    pairs = zip(product(images, texts), *(values.ravel().tolist() for values in logits), strict=True)
    for (name, text), expected, logit in pairs:
        yield Comparison(f"logit of {name} and {text!r}", expected, logit, source, most_logit)


def _unpack_vectors(figures: Figures, texts: Sequence[str], images: Sequence[str]) -> NDArray[np.float64]:
    """Give (T + I, D): the vectors of T texts and then of I images."""
    kept = [*(figures["texts"][text] for text in texts), *(figures["images"][name] for name in images)]
    vectors = [np.frombuffer(base64.b64decode(row["vector"], validate=True), "<f4") for row in kept]
    return np.stack(vectors).astype(np.float64)


def find_coarsest(*dtypes: str) -> str:
    """Name the coarsest of some dtypes; one that isn't known counts as float32."""
    return next((dtype for dtype in TOLERANCES if dtype in dtypes), "float32")


def read_figures(home: Path, name: str, revision: str) -> Figures | None:
    """Read what was kept of a checkpoint; None where nothing was.

    A hub's revisions are different checkpoints by intent, and each has figures of its own. A folder has the figures of
    what it held before: other weights under its name are what this is to find.

    Raises:
        InvalidInputError: If the file can't be read.
    """
    path = _figures_path(home, name, revision)
    try:
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
    except (OSError, ValueError) as error:
        raise InvalidInputError(f"The figures in {path} can't be read ({error}). `--update` replaces them.") from error


def write_figures(home: Path, name: str, figures: Figures) -> Path:
    """Keep figures for the next time, in place of earlier ones; gives the file.

    Raises:
        InvalidInputError: If the folder can't be written.
    """
    path = _figures_path(home, name, figures["revision"])
    temporary = path.with_suffix(".new")
    try:
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        temporary.write_text(json.dumps(figures, ensure_ascii=False), encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        raise InvalidInputError(
            f"{path} can't be written: {error.strerror}. Set SIGLIP_HOME to a folder of your own."
        ) from error
    return path


def _figures_path(home: Path, name: str, revision: str) -> Path:
    key = name if revision.startswith("sha256:") else f"{name}@{revision}"
    return home / f"{re.sub('[^a-zA-Z0-9]+', '-', name)[-60:]}-{hashlib.sha256(key.encode()).hexdigest()[:16]}.json"
