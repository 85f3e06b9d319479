"""Settings of what may be read."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from siglip_ingest.errors import ConfigurationError
from siglip_ingest.process.environment import EnvironmentSettings, setting

if TYPE_CHECKING:
    from siglip_ingest.siglip.preprocess.opening import ImageLimits

ALL_STORES = "*"
EVERY_STORE = frozenset({ALL_STORES})  # as allowed_stores: every bucket that a worker's credentials open
WHOLE_DISK = (Path("/"),)  # as allowed_roots: whatever the user that a worker runs as may read


@dataclass(frozen=True, kw_only=True)
class SourceSettings(EnvironmentSettings):
    """Which files and hosts images may come from, and how large an image may be."""

    allowed_roots: tuple[Path, ...] | None = setting(
        meaning="Folders below which a worker reads files, as in `/photos:/scans`; a lone `:` means none.",
        unset="an embedded worker reads what its user may read, a worker with a database of its own no file",
    )
    allowed_hosts: frozenset[str] = setting(
        frozenset(),
        meaning="Where images are fetched from besides public addresses: hosts, `host:port`, IP addresses, and "
        "networks such as `10.0.0.0/8`.",
        unset="none",
    )
    allowed_stores: frozenset[str] | None = setting(
        meaning="Where in object stores images are read: buckets and prefixes such as `s3://bucket/photos/`, or `*` "
        "for every bucket of S3, Google Cloud Storage and Azure.",
        unset="an embedded worker reads every bucket that its credentials open, a worker with a database of its own "
        "none",
    )
    fetch_timeout_s: float = setting(
        20.0,
        above=0,
        unit="seconds",
        meaning="How long an image's server may take for its whole answer, redirects included.",
    )
    max_image_bytes: int = setting(100_000_000, at_least=1, unit="bytes", meaning="Larger files are refused.")
    max_image_pixels: int = setting(
        200_000_000, at_least=1, unit="pixels", meaning="Larger images are refused before they are decoded."
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        # In an environment variable one such folder would be two.
        if split := [root for root in self.allowed_roots or () if os.pathsep in str(root)]:
            raise ConfigurationError(f"SIGLIP_ALLOWED_ROOTS can't name {str(split[0])!r}: it contains {os.pathsep!r}.")

    @property
    def image_limits(self) -> ImageLimits:
        """How large an image may be."""
        from siglip_ingest.siglip.preprocess.opening import ImageLimits

        return ImageLimits(max_image_bytes=self.max_image_bytes, max_image_pixels=self.max_image_pixels)
