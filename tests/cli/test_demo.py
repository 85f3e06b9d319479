"""`siglip-ingest demo`, where nobody can be asked."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import clean_environment


@pytest.mark.slow
def test_the_demo_ends_by_telling_how_to_open_the_gallery(tmp_path: Path) -> None:
    done = subprocess.run(
        [Path(sys.executable).with_name("siglip-ingest"), "demo", "--folder", "a demo", "--images", "12"],
        cwd=tmp_path,
        env=clean_environment(tmp_path / "unused"),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    home = tmp_path / "a demo" / ".siglip-ingest-demo"
    assert f"SIGLIP_HOME='{home}' SIGLIP_MODEL=demo " in done.stdout
    assert "Open the gallery now?" not in done.stdout
