"""A terminal with the services running, as after `siglip-ingest up`."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from siglip_ingest.demo.world import write_images

IMAGES = 24


@dataclass(frozen=True)
class Terminal:
    """Runs `siglip-ingest` in a folder with an environment of its own."""

    folder: Path
    environment: dict[str, str]

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [Path(sys.executable).with_name("siglip-ingest"), *arguments],
            cwd=self.folder,
            env={**self.environment, **environment},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )


def clean_environment(home: Path, model: str = "demo") -> dict[str, str]:
    """This process's environment without its settings, for the embedded services in `home`."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("SIGLIP_")}
    return {**inherited, "SIGLIP_HOME": str(home), "SIGLIP_MODEL": model}


@contextmanager
def opened_terminal(folder: Path) -> Iterator[Terminal]:
    """Services of their own in a folder, with indexed images; stopped at the end."""
    write_images(folder / "photos", IMAGES, seed=60_000, size=(200, 150))
    opened = Terminal(folder, clean_environment(folder / "home"))
    started = opened.run("up")
    assert started.returncode == 0, started.stderr
    try:
        indexed = opened.run("index", "photos", "--collection", "holiday", "--metadata", '{"album": "2026"}')
        assert indexed.returncode == 0, indexed.stderr
        yield opened
    finally:
        assert opened.run("down").returncode == 0


@pytest.fixture(scope="session")
def terminal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Terminal]:
    with opened_terminal(
        tmp_path_factory.mktemp("a terminal")
    ) as opened:  # with a space, as people's folders have them
        yield opened
