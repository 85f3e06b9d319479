"""Settings of the model and of queries."""

from __future__ import annotations

from dataclasses import dataclass

from siglip_ingest.active_model import DEFAULT_MODEL
from siglip_ingest.broker.settings import BrokerSettings
from siglip_ingest.process.environment import setting
from siglip_ingest.services.settings import ServiceSettings

PATCHES_RANGE = (16, 1024)  # NaFlex was trained with 128, 256, 576, 784 and 1024 ("SigLIP 2", section 2.4.2)


@dataclass(frozen=True, kw_only=True)
class EmbedderSettings(ServiceSettings):
    """Which checkpoint computes, and on what."""

    model: str | None = setting(
        meaning="Name of a checkpoint: `demo`, a folder, or a hub name.",
        unset=f"the database's active model, or `{DEFAULT_MODEL}` where it has none yet",
    )
    device: str = setting(
        "auto", meaning="`cpu`, `cuda`, `cuda:1`, ...; `auto` is CUDA where there is such a device, else the CPU."
    )
    dtype: str = setting(
        "auto",
        choices=("auto", "int8", "float32", "bfloat16", "float16"),
        meaning="Type that the model computes in. `auto` is bfloat16 on CUDA; on the CPU int8 for images where the "
        "extra `cpu` is installed, and for all else bfloat16 where the processor is faster in it, or float32.",
    )
    calibration_images: str | None = setting(
        meaning="Folder of images like those to come, by which the model is prepared in int8; some dozens do.",
        unset="images that the package draws",
    )
    compile: str = setting(
        "off",
        choices=("off", "default", "reduce-overhead", "max-autotune"),
        meaning="Mode of torch.compile for the model; `reduce-overhead` and `max-autotune` replay CUDA graphs. Each "
        "batch size is compiled at its first use, for some minutes. Not for int8.",
    )
    batch_size: int = setting(
        0,
        at_least=0,
        unit="images",
        meaning="Most images in one forward pass; 0 means as many as the device's memory holds. Halved, and "
        "remembered for the model and the device, when that doesn't suffice.",
    )
    max_num_patches: int | None = setting(
        at_least=PATCHES_RANGE[0],
        at_most=PATCHES_RANGE[1],
        unit="patches",
        meaning="Most patches of an image under a NaFlex checkpoint: more show more detail and take longer. All "
        "vectors of one model in a database are made with the same number.",
        unset="that of the database's vectors; where it has none yet, the checkpoint's own (256)",
    )


@dataclass(frozen=True, kw_only=True)
class QuerySettings(EmbedderSettings, BrokerSettings):
    """How queries are embedded."""

    embed_timeout_s: float = setting(
        10.0, above=0, unit="seconds", meaning="How long a query waits for a worker to embed it."
    )
    max_cached_texts: int = setting(
        100_000, at_least=1, unit="rows", meaning="Rows that `siglip.texts` keeps for each model."
    )
