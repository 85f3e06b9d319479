"""Decides which files, hosts and stores a worker may read."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import ip_network
from pathlib import Path
from typing import NamedTuple

from siglip_ingest.errors import ConfigurationError
from siglip_ingest.sources.addresses import IPAddress, IPNetwork, is_public
from siglip_ingest.sources.settings import ALL_STORES, SourceSettings

# Where objects are stored, and the extra that reads them; SIGLIP_ALLOWED_STORES=* means these.
STORE_EXTRAS = {
    "s3": "s3",
    "s3a": "s3",
    "gs": "gcs",
    "gcs": "gcs",
    "az": "azure",
    "abfs": "azure",
    "abfss": "azure",
    "adl": "azure",
}

_STORE = re.compile(r"[a-z][a-z0-9+.-]*://[^/]+(/.*)?", re.DOTALL)
_NAME = re.compile(r"[a-z0-9_]([a-z0-9_.-]*[a-z0-9_])?")


@dataclass(frozen=True, slots=True, kw_only=True)
class SourcePolicy:
    """The files, hosts and stores that images are fetched from.

    Attributes:
        allowed_roots: Folders below which files are read; none where it is empty. None means whatever the user that the
            process runs as may read.
        allowed_hosts: Where http(s) goes besides public addresses: `host`, `host:port`, an IP address or a network such
            as `10.0.0.0/8`, whatever name leads there.
        allowed_stores: Prefixes of addresses such as `s3://bucket/photos/` below which objects are read; `*` is every
            bucket of the stores in `STORE_EXTRAS`. None means any address of any protocol that isn't refused to all.
    """

    allowed_roots: tuple[Path, ...] | None
    allowed_hosts: frozenset[str]
    allowed_stores: frozenset[str] | None = frozenset()

    def __post_init__(self) -> None:
        for entry in self.allowed_hosts:
            _parse_host(entry)
        for entry in self.allowed_stores or ():
            if entry != ALL_STORES and not _STORE.fullmatch(entry):
                raise ConfigurationError(
                    f"SIGLIP_ALLOWED_STORES has {entry!r}. An entry is a bucket or a prefix in one, such as "
                    "s3://bucket/photos/, or * for every bucket."
                )

    @classmethod
    def for_worker(cls, settings: SourceSettings) -> SourcePolicy:
        """What a worker may read: no files and no stores unless it is told which. The embedded worker is told all.

        Raises:
            ConfigurationError: If an allowed host or store isn't one.
        """
        return cls(
            allowed_roots=settings.allowed_roots or (),
            allowed_hosts=settings.allowed_hosts,
            allowed_stores=settings.allowed_stores or frozenset(),
        )

    @classmethod
    def for_user(cls, settings: SourceSettings) -> SourcePolicy:
        """What a program may read for the person who started it: any file and store, unless it is told which.

        Raises:
            ConfigurationError: If an allowed host or store isn't one.
        """
        return cls(
            allowed_roots=settings.allowed_roots,
            allowed_hosts=settings.allowed_hosts,
            allowed_stores=settings.allowed_stores,
        )

    def allows_file(self, real_path: str) -> bool:
        """Whether a file may be read, given its path without links and `..`."""
        if self.allowed_roots is None:
            return True
        path = Path(real_path)
        return path.is_absolute() and any(path.is_relative_to(os.path.realpath(root)) for root in self.allowed_roots)

    def allows_object(self, uri: str) -> bool:
        """Whether an object of a store may be read, given its address, which has no `..`."""
        if self.allowed_stores is None:
            return True
        scheme, separator, rest = uri.partition("://")
        uri = f"{scheme.lower()}{separator}{rest}"
        return any(
            uri == entry.rstrip("/") or uri.startswith(entry.rstrip("/") + "/")
            if entry != ALL_STORES
            else scheme.lower() in STORE_EXTRAS
            for entry in self.allowed_stores
        )

    def allows_address(self, host: str, port: int, address: IPAddress) -> bool:
        """Whether http(s) may go to an address that a host name leads to."""
        return is_public(address) or any(
            entry.port in {None, port} and (entry.name == host if entry.network is None else address in entry.network)
            for entry in map(_parse_host, self.allowed_hosts)
        )


class _AllowedHost(NamedTuple):
    """One entry of `allowed_hosts`: a name or a network, and a port or None for all."""

    name: str
    network: IPNetwork | None
    port: int | None


@lru_cache(maxsize=1024)
def _parse_host(entry: str) -> _AllowedHost:
    """Take an entry apart.

    Raises:
        ConfigurationError: If it isn't one of the four kinds.
    """
    text, port = entry.strip().lower(), None
    if parts := re.fullmatch(r"(\[[^\]]*\]|[^:]*):(\d{1,5})", text):
        text, port = parts[1], int(parts[2])
    try:
        return _AllowedHost("", ip_network(text.strip("[]"), strict=False), port)
    except ValueError:
        name = text.rstrip(".")
    if not _NAME.fullmatch(name) or (port is not None and not 0 < port < 65536):
        raise ConfigurationError(
            f"SIGLIP_ALLOWED_HOSTS has {entry!r}. An entry is a host, host:port, an IP address, or a network such as "
            "10.0.0.0/8; a name beyond ASCII is written in its xn-- form."
        )
    return _AllowedHost(name, None, port)
