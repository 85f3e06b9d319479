"""Answers queries: texts and images that a client waits for, in the layout of `siglip_ingest.broker.tasks`."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from siglip_ingest.broker.tasks import decode_array, encode_array
from siglip_workers.device import Device

logger = logging.getLogger(__name__)

NO_LONGER_AWAITED = {"error": "The client no longer waited for the answer."}


def answer_texts(device: Device, texts: Sequence[str]) -> dict[str, Any]:
    """Embed query texts and write the answer, with a word on those that are too long for the model."""
    answer = _answer(device, lambda: {"embeddings": encode_array(device.embed_texts(texts))})
    if "error" not in answer and (warning := device.describe_truncation(texts)):
        answer["warning"] = warning
    return answer


def answer_query_images(device: Device, pixels: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Embed query images, each (H, W, 3) uint8 of a size that the model takes, and write the answer."""

    def embed() -> dict[str, Any]:
        return {"embeddings": encode_array(device.embed_query_pixels([decode_array(image) for image in pixels]))}

    return _answer(device, embed)


def answer_location(device: Device, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Say where in a query image, of a size that the model takes, a text's vector matched, and write the answer."""

    def locate() -> dict[str, Any]:
        located = device.locate_vector(decode_array(asked["pixels"]), decode_array(asked["text_embedding"]))
        return {"contributions": encode_array(located.contributions), "similarity": located.similarity}

    return _answer(device, locate)


def _answer(device: Device, compute: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    try:
        computed = compute()
    except Exception as error:  # noqa: BLE001  # the asker gets the reason, whatever it is, instead of a time-out
        logger.warning("A query could not be embedded: %s: %s", type(error).__name__, error)
        return {"error": f"{type(error).__name__}: {error}"}
    return {"name": device.info.name, "revision": device.info.revision, **computed}
