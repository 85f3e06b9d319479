"""A user without HOME and without an entry in /etc/passwd, as OpenShift and `docker --user 12345` have them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from siglip_ingest.errors import ConfigurationError
from siglip_ingest.services.data_folder import DataFolder
from siglip_ingest.services.logs import suggest_fix
from siglip_ingest.settings import Settings
from tests.images import encode, make_image

UID = 12345
NOBODY_THERE = "postgresql://me:secret@127.0.0.1:1/images"
# The user may pass the folders of root's that Python itself may lie in.
_CAPABILITIES = ("--inh-caps=+dac_override", "--ambient-caps=+dac_override")

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def as_nobody() -> list[str]:
    """What goes in front of a command to run it as a user whom the system doesn't know."""
    if os.geteuid() != 0:
        pytest.skip("only root can run a program as another user")
    if shutil.which("setpriv") is None:
        pytest.skip("setpriv (util-linux) isn't installed")
    prefix = ["setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups"]
    for command in ([*prefix, *_CAPABILITIES], prefix):
        probe = subprocess.run([*command, sys.executable, "-c", ""], check=False, capture_output=True)
        if probe.returncode == 0:
            return command
    pytest.skip(f"another user than root can't run {sys.executable}")


@pytest.fixture
def run(as_nobody: list[str], tmp_path: Path) -> Run:
    """Run a program as that user in an empty folder, and check that it leaves the folder empty."""
    folder = tmp_path / "empty"
    folder.mkdir()
    folder.chmod(0o777)

    def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        dropped = ("HOME", "SIGLIP_", "HF_", "XDG_")
        environment = {name: value for name, value in os.environ.items() if not name.startswith(dropped)} | variables
        done = subprocess.run(
            [*as_nobody, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
        assert "Traceback" not in done.stderr
        assert list(folder.iterdir()) == []
        return done

    return run


@pytest.fixture
def siglip(run: Run) -> Run:
    program = str(Path(sys.executable).with_name("siglip-ingest"))
    return lambda *arguments, **variables: run(program, *arguments, **variables)


def test_the_settings_are_read(run: Run) -> None:
    code = (
        "from siglip_ingest.settings import Settings; s = Settings.from_environment({}); print(s.home, s == Settings())"
    )
    done = run(sys.executable, "-c", code)
    assert (done.stdout, done.stderr) == ("None True\n", "")


@pytest.mark.parametrize("command", [["--help"], ["search", "--help"], ["models", "list"]], ids=" ".join)
def test_what_needs_no_home_works(siglip: Run, command: list[str]) -> None:
    done = siglip(*command)
    assert done.returncode == 0, done.stderr
    assert done.stdout


@pytest.mark.parametrize("command", [["status"], ["search", "a cat"], ["migrate"]], ids=" ".join)
def test_with_a_database_url_only_the_database_is_missed(siglip: Run, command: list[str]) -> None:
    done = siglip(*command, SIGLIP_DATABASE_URL=NOBODY_THERE)
    assert done.returncode == 1
    assert "127.0.0.1" in done.stderr
    assert "SIGLIP_HOME" not in done.stderr


def test_with_a_database_images_are_queued(siglip: Run, database_url: str, tmp_path: Path) -> None:
    (tmp_path / "one.png").write_bytes(encode(make_image(40, 30), "PNG"))
    (tmp_path / "one.png").chmod(0o644)
    url = {"SIGLIP_DATABASE_URL": database_url}
    done = siglip("index", str(tmp_path / "one.png"), "--no-wait", SIGLIP_MODEL="demo", **url)
    assert done.returncode == 0, done.stderr
    assert "1 queued" in siglip("status", **url).stdout


def test_the_checkpoint_that_comes_along_classifies(siglip: Run, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    (tmp_path / "one.png").write_bytes(encode(make_image(40, 30), "PNG"))
    done = siglip("classify", str(tmp_path / "one.png"), "--labels", "a cat,a dog", SIGLIP_MODEL="demo")
    assert done.returncode == 0, done.stderr
    assert "a dog" in done.stdout


@pytest.mark.parametrize("command", [["status"], ["up"], ["down"], ["search", "a cat"]], ids=" ".join)
def test_the_embedded_services_ask_for_siglip_home(siglip: Run, command: list[str]) -> None:
    done = siglip(*command)
    assert done.returncode == 1
    assert done.stderr.startswith("Error: SIGLIP_HOME isn't set, and this user has no home folder")
    assert f"knows no user {UID}. Set SIGLIP_HOME to a folder" in done.stderr


def test_a_home_that_starts_from_no_home_is_refused(siglip: Run) -> None:
    done = siglip("status", SIGLIP_HOME="~/images")
    assert done.returncode == 1
    assert done.stderr == "Error: SIGLIP_HOME is '~/images', but this user has no home folder. Give the whole path.\n"


def test_a_checkpoint_from_the_hub_asks_for_hf_home(siglip: Run, tmp_path: Path) -> None:
    done = siglip("models", "pull", "google/siglip-base-patch16-224")
    assert done.returncode == 1
    assert "this user has none. Set HF_HOME to a folder" in done.stderr
    done = siglip("models", "pull", "google/siglip-base-patch16-224", HF_HOME=str(tmp_path / "hf"), HF_HUB_OFFLINE="1")
    assert done.returncode == 1
    assert "is not in the cache" in done.stderr


def test_a_home_that_is_none_is_refused_wherever_it_is_needed() -> None:
    with pytest.raises(ConfigurationError, match="Set SIGLIP_HOME to a folder"):
        DataFolder.at(None)
    settings = Settings(home=None)
    assert "SIGLIP_HOME" not in settings.to_environment()


def test_the_embedded_postgresql_needs_a_user_that_the_system_knows() -> None:
    advice = suggest_fix("initdb: could not look up effective user ID 12345: user does not exist")
    assert "add this one to /etc/passwd, or set SIGLIP_DATABASE_URL" in advice
