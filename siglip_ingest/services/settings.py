"""Settings of the embedded services."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from siglip_ingest.process import find_home_folder
from siglip_ingest.process.environment import EnvironmentSettings, setting


def _find_default_home() -> Path | None:
    folder = find_home_folder()
    return None if folder is None else folder / ".local/share/siglip_ingest"


@dataclass(frozen=True, kw_only=True)
class ServiceSettings(EnvironmentSettings):
    """Where the embedded services keep their data."""

    home: Path | None = setting(  # noqa: RUF009  # it makes a dataclass's field
        factory=_find_default_home,
        meaning="Folder of the embedded services' data, and of what is remembered of checkpoints. A user without a "
        "home folder, as in some containers, has none by default.",
        unset="`$XDG_DATA_HOME/siglip_ingest`, else `~/.local/share/siglip_ingest`",
    )

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Read the settings; `XDG_DATA_HOME` counts where `SIGLIP_HOME` isn't set."""
        data = environment.get("XDG_DATA_HOME", "").strip()
        if data and not environment.get("SIGLIP_HOME", "").strip():
            environment = {**environment, "SIGLIP_HOME": str(Path(data) / "siglip_ingest")}
        return super().from_environment(environment)
