"""What CI installs and runs: the lowest versions, and the targets and folders that it names."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MAKEFILE = (ROOT / "Makefile").read_text()


def test_the_lowest_versions_are_those_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    parts = {*extras} - {"all", "cloud", "clients", "dev", "docs", "test"}
    stated = [*project["dependencies"], *(entry for part in parts for entry in extras[part])]
    lowest = {re.sub(r"\[.*\]|,<.*", "", entry).replace(">=", "==") for entry in stated}
    pinned = (ROOT / "constraints-lowest.txt").read_text().splitlines()[1:]
    assert set(pinned) == {entry for entry in lowest if not entry.startswith(("torch==", "siglip-ingest"))}


@pytest.mark.parametrize("path", [".ci/run", ".github/workflows/ci.yml"])
def test_ci_runs_targets_that_exist(path: str) -> None:
    targets = set(re.findall(r"^([a-z-]+):", MAKEFILE, flags=re.MULTILINE))
    named = set(re.findall(r"\bmake (?:\w+=\S+ )*([a-z-]+)", (ROOT / path).read_text()))
    assert {"check", "test", "test-lowest"} <= named <= targets


def test_the_tests_that_a_target_names_exist() -> None:
    variables = re.findall(r"_TESTS := \$\(addprefix tests/,([^)]*)\)", MAKEFILE)
    assert len(variables) == 2
    for name in " ".join(variables).replace("\\", "").split():
        assert (ROOT / "tests" / name).exists(), name


def test_no_file_names_a_package_index() -> None:
    files = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False).stdout
    if not files:
        pytest.skip("this is no git checkout")
    for name in files.rstrip("\0").split("\0"):
        content = (ROOT / name).read_bytes() if (ROOT / name).is_file() else b""
        assert not re.search(rb"https?://\S*/(?:simple|whl)\b", content), name
