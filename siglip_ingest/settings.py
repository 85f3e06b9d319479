"""Settings, as the environment gives them. Only the composition roots call `Settings.from_environment`."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from siglip_ingest.errors import ConfigurationError
from siglip_ingest.process import expand_user, find_home_folder

if TYPE_CHECKING:
    from siglip_ingest.siglip.preprocess.opening import ImageLimits

DEFAULT_MODEL = "google/siglip2-base-patch16-224"
ENVIRONMENT_PREFIX = "SIGLIP_"
POOLERS = ("auto", "none", "transaction")
WHOLE_DISK = (Path("/"),)  # as allowed_roots: whatever the user that a worker runs as may read
PATCHES_RANGE = (16, 1024)  # NaFlex was trained with 128, 256, 576, 784 and 1024 ("SigLIP 2", section 2.4.2)


def _find_default_home() -> Path | None:
    folder = find_home_folder()
    return None if folder is None else folder / ".local/share/siglip_ingest"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Every knob, each read from `SIGLIP_<FIELD>` in upper case.

    Attributes:
        database_url: PostgreSQL URL; None means the embedded services.
        direct_database_url: PostgreSQL URL that leads to the server itself, where `database_url` leads to a pooler in
            transaction mode (PgBouncer, a hosted database's pooled port): for what needs a session.
        standby_urls: URLs of hot standbys on which SQL may ask for texts too, separated by blanks.
        pooler: `auto` (recognised by itself), `none`, or `transaction` where one stands before `database_url`.
        broker_url: Celery broker URL (Redis); None means the embedded services, or no broker where `database_url` is
            set.
        home: Folder of the embedded services' data, and of what is remembered of checkpoints; by default
            `$XDG_DATA_HOME/siglip_ingest`, or else in the user's home folder. None where the user has none, as in
            containers: whatever needs the folder says so.
        model: Name of a checkpoint (`demo`, a folder, a hub name); None means the database's active model and, where it
            has none yet, `DEFAULT_MODEL`.
        device: `auto` (CUDA where there is a device, else CPU), `cpu`, `cuda`, `cuda:1`, ...
        dtype: `auto` (bfloat16 on CUDA, float32 on CPU), `float32`, `bfloat16` or `float16`.
        batch_size: Most images in one forward pass; halved and remembered when the device's memory doesn't suffice.
        max_num_patches: Most patches of one image under a NaFlex checkpoint, 16 to 1024: more show more detail and
            take longer. None means what the database's vectors were made with and, where it has none yet, the
            checkpoint's own (256). It is part of what the database holds a model's vectors to be: one model's vectors
            are all made with the same.
        chunk_size: Most images that a worker claims for one ticket.
        decode_threads: Threads that fetch and decode for one worker; 0 means one a core, at most 8.
        lease_s: Seconds without a sign of life from a worker, after which its images are queued again.
        max_attempts: How often an item is tried before it ends as failed.
        max_image_bytes: Larger files are refused.
        max_image_pixels: Images of more pixels are refused before they are decoded.
        max_decoding_pixels: Most pixels that one worker decodes at a time; a larger image is decoded alone. A pixel is
            4 bytes, and for a moment twice that, so that the default is 1 to 2 GB.
        allowed_roots: Folders below which a worker reads files, separated like PATH (by `:`); a lone separator is none.
            Unset, an embedded worker reads what its user may read, and one with a database of its own no file at all.
        allowed_hosts: Where images are fetched from besides public addresses: hosts, `host:port`s, IP addresses and
            networks such as `10.0.0.0/8`, separated by commas.
        fetch_timeout_s: Seconds that an image server has for its whole answer, redirects included.
        embed_timeout_s: Seconds that a query waits for a worker to embed it.
        max_cached_texts: Rows kept in `siglip.texts` for each model.
    """

    database_url: str | None = None
    direct_database_url: str | None = None
    standby_urls: str = ""
    pooler: str = "auto"
    broker_url: str | None = None
    home: Path | None = field(default_factory=_find_default_home)
    model: str | None = None
    device: str = "auto"
    dtype: str = "auto"
    batch_size: int = 32
    max_num_patches: int | None = None
    chunk_size: int = 64
    decode_threads: int = 0
    lease_s: float = 7.0
    max_attempts: int = 3
    max_image_bytes: int = 100_000_000
    max_image_pixels: int = 200_000_000
    max_decoding_pixels: int = 256_000_000
    allowed_roots: tuple[Path, ...] | None = None
    allowed_hosts: frozenset[str] = frozenset()
    fetch_timeout_s: float = 20.0
    embed_timeout_s: float = 10.0
    max_cached_texts: int = 100_000

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Settings:
        """Read the settings from a mapping such as `os.environ`.

        Raises:
            ConfigurationError: If a value can't be read as its field's type or is out of range.
        """
        values: dict[str, Any] = {}
        for setting in dataclasses.fields(cls):
            name = ENVIRONMENT_PREFIX + setting.name.upper()
            text = environment.get(name, "").strip()
            if text:
                values[setting.name] = _parse(name, text, str(setting.type))
        if "home" not in values and environment.get("XDG_DATA_HOME", "").strip():
            values["home"] = Path(environment["XDG_DATA_HOME"]) / "siglip_ingest"
        return cls(**values)

    def __post_init__(self) -> None:
        for name in (
            "batch_size",
            "chunk_size",
            "max_attempts",
            "max_image_bytes",
            "max_image_pixels",
            "max_decoding_pixels",
            "max_cached_texts",
        ):
            if getattr(self, name) < 1:
                raise ConfigurationError(
                    f"{ENVIRONMENT_PREFIX}{name.upper()} must be at least 1, not {getattr(self, name)}."
                )
        for name in ("lease_s", "fetch_timeout_s", "embed_timeout_s"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ConfigurationError(
                    f"{ENVIRONMENT_PREFIX}{name.upper()} must be a number of seconds above 0, not "
                    f"{getattr(self, name)}."
                )
        if self.broker_url is not None and not self.broker_url.startswith(("redis://", "rediss://")):
            raise ConfigurationError(
                "SIGLIP_BROKER_URL must be the URL of a Redis, such as redis://:password@host:6379/0 or rediss://..."
            )
        if self.pooler not in POOLERS:
            raise ConfigurationError(f"SIGLIP_POOLER must be one of {', '.join(POOLERS)}, not {self.pooler!r}.")
        least, most = PATCHES_RANGE
        if self.max_num_patches is not None and not least <= self.max_num_patches <= most:
            raise ConfigurationError(
                f"SIGLIP_MAX_NUM_PATCHES must be from {least} to {most}, not {self.max_num_patches}."
            )
        if self.decode_threads < 0:
            raise ConfigurationError(f"SIGLIP_DECODE_THREADS must be 0 or more, not {self.decode_threads}.")
        # In an environment one such folder would be two.
        if split := [root for root in self.allowed_roots or () if os.pathsep in str(root)]:
            raise ConfigurationError(f"SIGLIP_ALLOWED_ROOTS can't name {str(split[0])!r}: it contains {os.pathsep!r}.")

    @property
    def is_embedded(self) -> bool:
        """True where PostgreSQL and Redis are ours to start."""
        return self.database_url is None

    @property
    def image_limits(self) -> ImageLimits:
        """How large an image may be."""
        from siglip_ingest.siglip.preprocess.opening import ImageLimits

        return ImageLimits(max_image_bytes=self.max_image_bytes, max_image_pixels=self.max_image_pixels)

    def to_environment(self) -> dict[str, str]:
        """Environment variables that make `from_environment` give the same settings, for child processes."""
        return {
            ENVIRONMENT_PREFIX + setting.name.upper(): _write(value)
            for setting in dataclasses.fields(self)
            if (value := getattr(self, setting.name)) not in (None, frozenset())
        }


def _write(value: object) -> str:
    if isinstance(value, tuple):
        return os.pathsep.join(map(str, value)) or os.pathsep
    return ",".join(sorted(value)) if isinstance(value, frozenset) else str(value)


def _parse(name: str, text: str, type_name: str) -> Any:
    try:
        if type_name.startswith("int"):
            return int(text)
        if type_name.startswith("float"):
            return float(text)
    except ValueError as error:
        raise ConfigurationError(f"{name} must be a number, not {text!r}.") from error
    if type_name.startswith("tuple"):
        return tuple(_to_path(name, part).absolute() for part in text.split(os.pathsep) if part.strip())
    if type_name.startswith("frozenset"):
        return frozenset(part.strip() for part in text.split(",") if part.strip())
    return _to_path(name, text) if type_name.startswith("Path") else text


def _to_path(name: str, text: str) -> Path:
    path = expand_user(text)
    if path.parts[:1] == ("~",):
        raise ConfigurationError(f"{name} is {text!r}, but this user has no home folder. Give the whole path.")
    return path
