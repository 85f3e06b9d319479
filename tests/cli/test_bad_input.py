"""What goes wrong gets a sentence that says what was wrong and what to do, and the right exit status."""

import json
import shutil
import socket
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from siglip_ingest.siglip.checkpoint.names import DEMO_FOLDER
from tests.cli.conftest import Terminal, clean_environment
from tests.programs import wait_until

MISTAKES = {
    "a missing file": (["index", "nowhere.jpg"], 1, "nowhere.jpg"),
    "a folder without images": (["index", "empty"], 1, "empty"),
    "an unknown option": (["classify", "photos", "--labels", "a", "--modle", "demo"], 2, "--modle"),
    "an empty query": (["search", ""], 1, "empty"),
    "a query of spaces": (["search", "   "], 1, "empty"),
    "a limit of 0": (["search", "a boat", "--limit", "0"], 1, "limit"),
    "a limit of 10^9": (["search", "a boat", "--limit", "1000000000"], 1, "limit"),
    "a missing query image": (["search", "--image", "nowhere.jpg"], 1, "nowhere.jpg"),
    "an empty path, as an unset variable is": (["index", ""], 1, "empty path"),
    "a page that can't be written": (["search", "a boat", "--html", "/proc/none/found.html"], 1, "can't be written"),
    "a label set to delete that isn't there": (["label", "delete", "no such set"], 1, "no such set"),
    "an unknown image id": (["search", "--like", "999999"], 1, "999999"),
    "nothing that is wanted": (["search", "--not", "people", "--unlike", "1"], 2, "one of"),
    "an empty part": (["search", "a boat", "--not", " "], 1, "empty"),
    "a part that is not there": (["search", "a boat", "--like", "999999"], 1, "999999"),
    "a demo in a file": (["demo", "--folder", "/etc/hostname"], 2, "hostname"),
    "no query": (["search"], 2, "one of"),
    "a filter that is not JSON": (["search", "a boat", "--filter", "album"], 2, "JSON"),
    "an unknown label set": (["label", "scores", "no such set", "1"], 1, "no such set"),
    "a template without a label": (["label", "create", "x", "a", "--template", "a photo"], 1, "{label}"),
    "a label twice": (["label", "create", "x", "a", "a"], 1, "a"),
    "labels of commas only": (["classify", "photos", "--labels", ", ,"], 1, "label"),
    "an unknown command": (["serach", "a boat"], 2, "serach"),
    "an unknown schema revision": (["migrate", "--revision", "9999", "--yes"], 1, "9999"),
}


@pytest.mark.parametrize(("arguments", "status", "word"), MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_gets_a_sentence_and_its_exit_status(
    terminal: Terminal, arguments: list[str], status: int, word: str
) -> None:
    (terminal.folder / "empty").mkdir(exist_ok=True)
    done = terminal.run(*arguments)
    assert done.returncode == status, done.stderr
    assert word in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


ENVIRONMENTS = {
    "nobody at the database's URL": (
        {"SIGLIP_DATABASE_URL": "postgresql://me:secret@127.0.0.1:{free_port}/photos"},
        "127.0.0.1",
    ),
    "a database URL that is none": ({"SIGLIP_DATABASE_URL": "photos"}, "SIGLIP_DATABASE_URL"),
    "a setting that is no number": ({"SIGLIP_BATCH_SIZE": "many"}, "SIGLIP_BATCH_SIZE"),
    "another model than the active one": ({"SIGLIP_MODEL": "google/siglip-base-patch16-224"}, "models use"),
    "a model name that is none": ({"SIGLIP_MODEL": "no such model"}, "no such model"),
}


@pytest.mark.parametrize(("settings", "word"), ENVIRONMENTS.values(), ids=ENVIRONMENTS.keys())
def test_a_wrong_setting_gets_a_sentence(terminal: Terminal, settings: dict[str, str], word: str) -> None:
    image = next(iter(sorted((terminal.folder / "photos").iterdir())))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound but not listening: nobody answers there, and nobody else takes it
        filled = {name: value.format(free_port=taken.getsockname()[1]) for name, value in settings.items()}
        done = terminal.run("index", str(image), **filled)
    assert done.returncode == 1, done.stdout
    assert word in done.stderr
    assert "secret" not in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "command", [["search", "a boat"], ["label", "create", "x", "a"]], ids=["search", "label create"]
)
def test_another_model_than_the_active_one_is_refused_and_the_worker_goes_on(
    terminal: Terminal, command: list[str]
) -> None:
    done = terminal.run(*command, SIGLIP_MODEL="google/no-such-model")
    assert done.returncode == 1
    assert "google/no-such-model" in done.stderr
    assert json.loads(terminal.run("status", "--json").stdout)["services"]["worker"] == "ready"


def test_a_model_that_does_not_exist_changes_nothing(terminal: Terminal, tmp_path: Path) -> None:
    before = terminal.run("models", "list", "--json").stdout
    done = terminal.run("models", "use", str(tmp_path))
    assert done.returncode == 1
    assert "config.json" in done.stderr
    assert terminal.run("models", "list", "--json").stdout == before
    assert json.loads(terminal.run("status", "--json").stdout)["services"]["worker"] == "ready"


def test_a_model_that_fails_is_taken_out_again_and_the_worker_goes_on(terminal: Terminal, tmp_path: Path) -> None:
    broken = Path(shutil.copytree(DEMO_FOLDER, tmp_path / "broken"))
    weights = load_file(broken / "model.safetensors")
    save_file({name: np.full_like(values, np.nan) for name, values in weights.items()}, broken / "model.safetensors")
    before = terminal.run("models", "list", "--json").stdout
    done = terminal.run("models", "use", str(broken))
    assert done.returncode == 1
    assert "finite" in done.stderr
    assert terminal.run("models", "list", "--json").stdout == before

    def serves_demo() -> bool:
        services = json.loads(terminal.run("status", "--json").stdout)["services"]
        assert services["worker_model"] == "demo"
        return bool(services["worker"] == "ready")

    wait_until(serves_demo)


def test_a_number_of_patches_that_a_model_does_not_have_is_refused_before_anything_changes(terminal: Terminal) -> None:
    done = terminal.run("models", "use", "demo", SIGLIP_MAX_NUM_PATCHES="64")
    assert done.returncode == 1
    assert "SIGLIP_MAX_NUM_PATCHES is 64" in done.stderr


def test_down_where_nothing_runs_is_no_error(tmp_path: Path) -> None:
    done = Terminal(tmp_path, clean_environment(tmp_path / "home")).run("down")
    assert done.returncode == 0, done.stderr
    assert "Nothing was running" in done.stdout


def test_index_says_at_once_that_the_worker_cannot_start(terminal: Terminal, embedded_home: Path) -> None:
    """The images stay queued, and the command doesn't wait for them."""
    done = terminal.run("index", "photos", SIGLIP_HOME=str(embedded_home), SIGLIP_DEVICE="cuda:77")
    assert done.returncode == 1
    assert "The worker could not start: There is no device 'cuda:77'" in done.stderr
    assert "No image has been embedded" not in done.stderr
