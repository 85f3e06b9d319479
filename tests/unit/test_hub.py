"""Names to folders. The hub's client reads its environment at import, so each fetch runs in a process of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from siglip_ingest.errors import CheckpointError
from siglip_ingest.hub import DEMO_FOLDER, model_name, resolve_checkpoint
from tests.unit.hub_server import COMMIT, Hub, serve

FETCH = """
import json, sys, time
from siglip_ingest.errors import SiglipError
from siglip_ingest.hub import resolve_checkpoint
time.sleep = lambda seconds: None  # the client waits a second before each retry
try:
    print(json.dumps({"folder": str(resolve_checkpoint(sys.argv[1]))}))
except SiglipError as error:
    print(json.dumps({"error": type(error).__name__, "message": str(error), "is_retryable": error.is_retryable}))
"""


@pytest.fixture
def hub(tiny_checkpoint: Path, tmp_path: Path) -> Iterator[Hub]:
    folder = tmp_path / "hub" / "tiny"
    shutil.copytree(tiny_checkpoint, folder)
    (folder / "pytorch_model.bin").write_bytes(b"never fetched")
    (folder / "onnx").mkdir()
    (folder / "onnx" / "model.safetensors").write_bytes(b"never fetched")
    with serve(Hub(repositories={"someone/tiny": folder})) as running:
        yield running


def fetch(name: str, hub: Hub, home: Path, **environment: str) -> dict[str, str]:
    """Resolve a name in a fresh process whose hub is ours and whose cache is `home`."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "HUGGING"))}
    done = subprocess.run(
        [sys.executable, "-c", FETCH, name],
        env=inherited | {"HF_ENDPOINT": hub.endpoint, "HF_HOME": str(home), "NO_PROXY": "127.0.0.1,localhost"} | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_a_hub_name_is_fetched_once_and_then_found_without_a_network(hub: Hub, tmp_path: Path) -> None:
    first = fetch("someone/tiny", hub, tmp_path)
    folder = Path(first["folder"])
    assert folder.name == COMMIT
    names = {path.name for path in folder.iterdir()}
    assert {"config.json", "model.safetensors", "spiece.model", "preprocessor_config.json"} <= names
    assert not names & {"pytorch_model.bin", "onnx"}
    hub.requested.clear()
    offline = fetch("someone/tiny", hub, tmp_path, HF_HUB_OFFLINE="1")
    assert offline == first
    assert not hub.requested
    unreachable = fetch("someone/tiny", Hub(endpoint="http://127.0.0.1:9"), tmp_path)
    assert unreachable == first


def test_an_unknown_hub_name_says_so(hub: Hub, tmp_path: Path) -> None:
    result = fetch("someone/tinny", hub, tmp_path)
    assert result["error"] == "DownloadError"
    assert "no model someone/tinny" in result["message"]


@pytest.mark.parametrize("token", ["", "bad"], ids=["no_token", "token_without_access"])
def test_a_gated_model_says_how_to_get_access(hub: Hub, tmp_path: Path, token: str) -> None:
    hub.gated.add("someone/tiny")
    result = fetch("someone/tiny", hub, tmp_path, HF_TOKEN=token)
    assert result["error"] == "DownloadError"
    assert "HF_TOKEN" in result["message"]


def test_a_gated_model_is_fetched_with_a_token(hub: Hub, tmp_path: Path) -> None:
    hub.gated.add("someone/tiny")
    assert Path(fetch("someone/tiny", hub, tmp_path, HF_TOKEN="good")["folder"]).name == COMMIT


def test_no_network_and_no_cache_says_what_to_do(tmp_path: Path) -> None:
    result = fetch("someone/tiny", Hub(endpoint="http://127.0.0.1:9"), tmp_path)
    assert result["error"] == "HubUnavailableError"
    assert "http://127.0.0.1:9 can't be used" in result["message"]
    assert "folder" in result["message"]


def test_offline_without_a_cache_says_what_to_do(hub: Hub, tmp_path: Path) -> None:
    result = fetch("someone/tiny", hub, tmp_path, HF_HUB_OFFLINE="1")
    assert result["error"] == "HubUnavailableError"
    assert "HF_HUB_OFFLINE" in result["message"]
    assert not hub.requested


def test_a_hub_that_answers_500_is_reported_with_its_status(hub: Hub, tmp_path: Path) -> None:
    hub.is_broken = True
    result = fetch("someone/tiny", hub, tmp_path)
    assert result["error"] == "HubUnavailableError"
    assert "500" in result["message"]


def test_a_cut_off_download_is_an_error_and_is_not_kept(hub: Hub, tmp_path: Path) -> None:
    hub.cut_off.add("model.safetensors")
    result = fetch("someone/tiny", hub, tmp_path)
    assert result["error"] == "DownloadError"
    assert "whole" in result["message"]
    hub.cut_off.clear()
    assert Path(fetch("someone/tiny", hub, tmp_path)["folder"]).name == COMMIT


def test_another_architecture_is_refused_before_its_weights_are_fetched(hub: Hub, tmp_path: Path) -> None:
    folder = tmp_path / "clip"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "clip"}')
    (folder / "model.safetensors").write_bytes(b"large")
    hub.repositories["someone/clip"] = folder
    result = fetch("someone/clip", hub, tmp_path)
    assert result["error"] == "CheckpointError"
    assert "'clip'" in result["message"]
    assert not any(path.endswith("safetensors") for path in hub.requested)


def test_a_model_without_safetensors_is_refused(hub: Hub, tmp_path: Path) -> None:
    (hub.repositories["someone/tiny"] / "model.safetensors").unlink()
    result = fetch("someone/tiny", hub, tmp_path)
    assert result["error"] == "DownloadError"
    assert "weights" in result["message"]


def test_a_repository_without_a_config_is_refused(hub: Hub, tmp_path: Path) -> None:
    (hub.repositories["someone/tiny"] / "config.json").unlink()
    assert "no config.json" in fetch("someone/tiny", hub, tmp_path)["message"]


def test_a_folder_is_itself_under_its_absolute_name(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tiny_checkpoint.parent)
    assert model_name(tiny_checkpoint.name) == str(tiny_checkpoint.resolve())
    assert resolve_checkpoint(f"./{tiny_checkpoint.name}") == tiny_checkpoint.resolve()


def test_demo_is_the_checkpoint_that_comes_along() -> None:
    assert model_name("demo") == "demo"
    assert resolve_checkpoint("demo") == DEMO_FOLDER


@pytest.mark.parametrize(
    "name", ["", "siglip", "/no/such/folder", "./missing", "a/b/c", "~nobody-here/x", "org/", "x\0y"]
)
def test_a_name_of_nothing_says_what_is_accepted(name: str) -> None:
    with pytest.raises(CheckpointError, match="names no checkpoint") as raised:
        resolve_checkpoint(name)
    for accepted in ("folder", "hub name", "demo"):
        assert accepted in str(raised.value)
