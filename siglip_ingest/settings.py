"""All settings of the parts in one. Only the composition roots call `Settings.from_environment`."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from siglip_ingest.db.settings import DatabaseSettings
from siglip_ingest.embedders.settings import QuerySettings
from siglip_ingest.process.environment import PREFIX, EnvironmentSettings, setting
from siglip_ingest.sources.settings import SourceSettings

logger = logging.getLogger(__name__)

_MISSPELT = 0.91  # difflib's ratio: one letter or two


@dataclass(frozen=True, kw_only=True)
class WorkerSettings(EnvironmentSettings):
    """How workers take queued images."""

    # Here because the library doesn't import siglip_workers.

    chunk_size: int = setting(
        256,
        at_least=1,
        unit="images",
        meaning="Most images that a worker claims at a time. It claims ahead, some seconds of work.",
    )
    connections: int = setting(
        16,
        at_least=1,
        unit="connections",
        meaning="How many images a worker fetches at a time from elsewhere than local files.",
    )
    decode_threads: int = setting(
        0,
        at_least=0,
        unit="threads",
        meaning="Threads of a worker that decode; 0 means one a core, at most 16.",
    )
    jpeg_decoding: str = setting(
        "reduced",
        choices=("reduced", "exact"),
        meaning="How workers decode JPEGs that are far larger than what the model takes: `reduced` at 1/2, 1/4 or 1/8 "
        "of their size, at least twice the model's; `exact` all pixels.",
    )
    lease_s: float = setting(
        7.0,
        above=0,
        unit="seconds",
        meaning="How long a worker may be silent before the images that it has are queued again.",
    )
    maintenance: str = setting(
        "on",
        choices=("on", "off"),
        meaning="Whether workers build and merge the indexes of the vectors. Where they don't, `siglip-ingest "
        "maintain` or `SELECT siglip.maintain()` has to be run now and then.",
    )
    max_attempts: int = setting(
        3, at_least=1, unit="attempts", meaning="How often an image is tried before it counts as failed."
    )
    max_decoding_pixels: int = setting(
        256_000_000,
        at_least=1,
        unit="pixels",
        meaning="Most pixels that a worker decodes at a time; a larger image is decoded alone. A pixel takes 4 bytes, "
        "for a moment 8: the default is 1 to 2 GB.",
    )


@dataclass(frozen=True, kw_only=True)
class WebSettings(EnvironmentSettings):
    """How the gallery and the web API answer."""

    # Here because what is below an edge doesn't import it.

    web_host: str = setting(
        "127.0.0.1", meaning="Address that `siglip-ingest serve` listens on; other ones than this machine's need keys."
    )
    web_port: int = setting(
        0, at_least=0, at_most=65_535, meaning="Port that `siglip-ingest serve` listens on; 0 is any that is free."
    )
    web_keys: str = setting(
        "auto",
        choices=("auto", "required", "off"),
        meaning="Whether requests need a key (`siglip-ingest keys create`). `auto`: where the address isn't loopback.",
    )
    web_origins: frozenset[str] = setting(
        frozenset(),
        meaning="Origins whose pages may call the API from a browser, such as `https://app.example`.",
        unset="none but its own",
    )
    web_hosts: frozenset[str] = setting(
        frozenset(),
        meaning="Host names under which requests are answered, besides this machine's own addresses, such as "
        "`photos.example`; `*` is every name.",
        unset="any name where keys are needed, else `localhost` and IP addresses",
    )
    web_rate: float = setting(
        0.0,
        at_least=0,
        unit="requests/s",
        meaning="Requests that a key, or without keys an address, may send in the mean; ten seconds' worth at once. 0 "
        "is no limit.",
    )
    max_upload_bytes: int = setting(
        200_000_000, at_least=1, unit="bytes", meaning="Largest body of a request, all its files together."
    )
    thumbnail_cache_bytes: int = setting(
        500_000_000, at_least=0, unit="bytes", meaning="Most bytes of thumbnails that are kept in SIGLIP_HOME."
    )


@dataclass(frozen=True, kw_only=True)
class Settings(WebSettings, WorkerSettings, SourceSettings, QuerySettings, DatabaseSettings):
    """Every setting. docs/settings.md lists them, made from the fields by `make docs`."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Read the settings from a mapping such as `os.environ`; warns of a name that looks like a misspelt setting.

        Raises:
            ConfigurationError: If a value can't be read as its field's type or is out of range.
        """
        known = cls.variables()
        for name in (name for name in environment if name.startswith(PREFIX) and name not in known):
            # Variables of other programs, docker-compose.yml's for instance, are like none of ours.
            if nearest := difflib.get_close_matches(name, known, n=1, cutoff=_MISSPELT):
                logger.warning("%s is not a setting and is ignored. Did you mean %s?", name, nearest[0])
        return super().from_environment(environment)
