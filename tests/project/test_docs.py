"""The documents are run: what README.md shows works as it is shown."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import click
import psycopg
import pytest

from siglip_ingest.cli import cli
from siglip_ingest.demo.world import write_images
from siglip_ingest.settings import Settings
from tools import api_page, cli_page, settings_page

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
README = (ROOT / "README.md").read_text()
MODELS = (ROOT / "docs" / "models.md").read_text()
USAGE = (ROOT / "docs" / "usage.md").read_text()
LOCATING = (ROOT / "docs" / "locating.md").read_text()
RUN_HERE = {
    "README.md": {"python", "sql"},
    "docs/usage.md": {"sql"},
    "docs/locating.md": {"python", "sh"},
    "docs/models.md": {"python", "sh"},
}


def code_blocks(language: str, document: str = README) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", document, flags=re.DOTALL)


def shell_lines(document: str) -> list[str]:
    lines = [line.partition(" # ")[0].strip() for block in code_blocks("sh", document) for line in block.splitlines()]
    return [line for line in lines if line]


@pytest.fixture(scope="module")
def readers_machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, dict[str, str]]]:
    """A folder with photos, a home, and the services running: the machine of somebody who reads the README."""
    folder = tmp_path_factory.mktemp("reader")
    write_images(folder / "photos", 12, seed=70_000, size=(160, 120))
    photos = sorted((folder / "photos").iterdir())
    for name in ("one.jpg", "query.jpg"):
        shutil.copy(photos[0], folder / name)
    with (folder / "captions.jsonl").open("w", encoding="utf-8") as captions:
        for number, photo in enumerate(photos):
            home = folder / "photos-by-class" / ("sunset" if number % 2 else "night_sky")
            home.mkdir(parents=True, exist_ok=True)
            shutil.copy(photo, home)
            captions.write(json.dumps({"image": f"photos/{photo.name}", "caption": f"image number {number}"}) + "\n")
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("SIGLIP_")},
        "SIGLIP_HOME": str(folder / "home"),
        "SIGLIP_MODEL": "demo",
    }
    run_cli(folder, environment, "up")
    try:
        yield folder, environment
    finally:
        run_cli(folder, environment, "down")


def run(folder: Path, environment: dict[str, str], command: list[str | Path]) -> str:
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def run_cli(folder: Path, environment: dict[str, str], *arguments: str) -> str:
    return run(folder, environment, [BIN / "siglip-ingest", *arguments])


def test_the_readmes_python_runs_and_its_sql_after_it(readers_machine: tuple[Path, dict[str, str]]) -> None:
    folder, environment = readers_machine
    (code,) = code_blocks("python")
    checked = (
        code
        + "\nassert (counts.done, counts.failed) == (13, 0), counts\nassert similar_images(match.image_id, limit=3)\n"
    )
    assert "file://" in run(folder, environment, [sys.executable, "-W", "error", "-c", checked])

    status = json.loads(run_cli(folder, environment, "status", "--json"))
    with psycopg.connect(status["services"]["database_url"]) as connection:
        row = connection.execute("SELECT image_id FROM siglip.images ORDER BY image_id LIMIT 1").fetchone()
        assert row is not None
        for block in (*code_blocks("sql"), *code_blocks("sql", USAGE)):
            for statement in (part for part in block.split(";\n") if part.strip()):
                runnable = statement.replace("similar_images(1,", f"similar_images({row[0]},")
                assert connection.execute(runnable.encode()).description


@pytest.mark.parametrize("code", code_blocks("python", MODELS))
def test_the_python_of_the_model_family_runs(readers_machine: tuple[Path, dict[str, str]], code: str) -> None:
    folder, environment = readers_machine
    run(folder, environment, [sys.executable, "-W", "error", "-c", code])


# Those that name a published checkpoint would fetch it.
LOCAL_LINES = [line for line in [*shell_lines(MODELS), "siglip-ingest models list"] if "google/" not in line]


@pytest.mark.parametrize("line", [line for line in dict.fromkeys(LOCAL_LINES) if "NAME" not in line])
def test_what_the_model_document_types_works(readers_machine: tuple[Path, dict[str, str]], line: str) -> None:
    folder, environment = readers_machine
    command, *arguments = shlex.split(line.replace("verify demo", "verify demo --no-fetch"))
    environment = environment | {"PATH": f"{BIN}:{environment['PATH']}"}  # torchrun finds the program by its name
    assert run(folder, environment, [BIN / command, *arguments])


def test_what_the_document_of_locating_shows_works(readers_machine: tuple[Path, dict[str, str]]) -> None:
    folder, environment = readers_machine
    (code,) = code_blocks("python", LOCATING)
    run_cli(folder, environment, "index", "one.jpg", "--collection", "located")  # which makes a model the active one
    assert run(folder, environment, [sys.executable, "-W", "error", "-c", code]).startswith("(0.")
    assert (folder / "where.png").exists()
    for line in shell_lines(LOCATING):
        assert run_cli(folder, environment, *shlex.split(line)[1:])


def test_the_readme_has_at_most_800_words() -> None:
    assert len(README.split()) <= 800


def commands(group: click.Group, prefix: str = "") -> Iterator[tuple[str, click.Command]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, f"{prefix}{name} ")
        else:
            yield f"{prefix}{name}", command


@pytest.mark.parametrize(("name", "command"), list(commands(cli)), ids=[name for name, _ in commands(cli)])
def test_every_command_and_option_says_what_it_does(name: str, command: click.Command) -> None:
    assert command.help
    for option in (parameter for parameter in command.params if isinstance(parameter, click.Option)):
        assert option.help, f"{name} {option.opts}"


def test_every_setting_the_readme_names_exists() -> None:
    assert set(re.findall(r"SIGLIP_[A-Z_]+", README + MODELS)) - {"SIGLIP_"} <= Settings.variables().keys()


@pytest.mark.parametrize("page", [settings_page, cli_page, api_page], ids=["settings", "cli", "api"])
def test_a_page_is_made_from_the_code(page: ModuleType) -> None:
    assert page.PAGE.read_text() == page.make_page(), "run `make docs`"


def test_every_make_target_the_documents_name_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    for document in (ROOT / "README.md", ROOT / "CONTRIBUTING.md"):
        assert set(re.findall(r"(?:^|`)make ([a-z-]+)", document.read_text(), flags=re.MULTILINE)) <= targets
