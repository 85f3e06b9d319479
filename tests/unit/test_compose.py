"""docker-compose.yml and the worker's Dockerfile name things that exist."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from siglip_ingest.settings import Settings

_ROOT = Path(__file__).parents[2]
_COMPOSE = (_ROOT / "docker-compose.yml").read_text()


def test_containers_get_only_settings_that_exist() -> None:
    given = set(re.findall(r"^ +(SIGLIP_\w+):", _COMPOSE, flags=re.MULTILINE))
    assert {"SIGLIP_DATABASE_URL", "SIGLIP_BROKER_URL"} <= given <= Settings.variables().keys()


def test_every_variable_that_can_be_set_has_a_default_and_is_explained() -> None:
    head, _, body = _COMPOSE.partition("\nname:")
    variables = set(re.findall(r"\$\{(\w+)", body))
    assert len(re.findall(r"\$\{\w+:-", body)) == len(re.findall(r"\$\{\w+", body))
    assert variables <= set(re.findall(r"^#   (\w+)  ", head, flags=re.MULTILINE))


def test_the_image_is_built_from_files_that_are_there() -> None:
    for source in re.findall(r"^COPY (?!--)(.*) \S+$", (_ROOT / "workers/Dockerfile").read_text(), flags=re.MULTILINE):
        for path in source.split():
            assert (_ROOT / path).exists()


def test_docker_compose_accepts_the_file() -> None:
    command = ["docker", "compose", "--file", str(_ROOT / "docker-compose.yml"), "--profile", "gpu"]
    try:
        subprocess.run([*command, "version"], check=True, capture_output=True)
    except (FileNotFoundError, subprocess.CalledProcessError):
        pytest.skip("no docker compose on this machine")
    result = subprocess.run([*command, "config", "--quiet"], check=False, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
