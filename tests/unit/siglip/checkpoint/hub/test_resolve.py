"""Names to folders."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from siglip_ingest.errors import CheckpointError, DownloadError, HubUnavailableError, SiglipError
from siglip_ingest.siglip.checkpoint.hub import DEMO_FOLDER, HubName, model_name, parse_name, resolve_checkpoint
from tests.unit.siglip.checkpoint.hub.conftest import NAME, Computer
from tests.unit.siglip.checkpoint.hub_server import COMMIT, OLDER_COMMIT

BAD_REVISIONS = ["a/b@", "a/b@../x", "a/b@x/../y", "a/b@/x", "a/b@x/", "a/b@x y", "@main", "a/b@x@y"]
FETCH = """
import json, sys
from siglip_ingest.siglip.checkpoint.hub import resolve_checkpoint
print(json.dumps(str(resolve_checkpoint(sys.argv[1]))))
"""


def fail(name: str, kind: type[SiglipError]) -> str:
    """Resolve a name that can't be; gives the sentence."""
    with pytest.raises(SiglipError) as raised:
        resolve_checkpoint(name)
    assert type(raised.value) is kind, raised.value
    return str(raised.value)


def fetch_with_environment(name: str, **environment: str) -> Path:
    """Resolve a name in a fresh process that knows the hub and the cache from its environment."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "HUGGING"))}
    done = subprocess.run(
        [sys.executable, "-c", FETCH, name],
        env=inherited | {"NO_PROXY": "127.0.0.1,localhost"} | environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return Path(json.loads(done.stdout.splitlines()[-1]))


def test_the_environment_says_which_hub_which_cache_and_whether_to_ask(computer: Computer, tmp_path: Path) -> None:
    computer.hub.gated.add(NAME)
    environment = {"HF_ENDPOINT": computer.hub.endpoint, "HF_HOME": str(tmp_path / "home")}
    folder = fetch_with_environment(NAME, HF_TOKEN="good", **environment)
    assert folder.name == COMMIT
    assert folder.is_relative_to(tmp_path / "home")
    computer.hub.requested.clear()
    assert fetch_with_environment(NAME, HF_HUB_OFFLINE="1", **environment) == folder
    assert not computer.hub.requested


def test_only_what_a_model_needs_is_fetched(computer: Computer) -> None:
    names = {path.name for path in resolve_checkpoint(NAME).iterdir()}
    assert {"config.json", "model.safetensors", "spiece.model", "preprocessor_config.json"} <= names
    assert not names & {"pytorch_model.bin", "onnx"}
    assert not any("pytorch_model" in path or "onnx" in path for path in computer.hub.requested)


def test_what_was_fetched_is_found_without_asking_the_hub(computer: Computer) -> None:
    folder = resolve_checkpoint(NAME)
    computer.hub.requested.clear()
    assert resolve_checkpoint(NAME) == folder
    assert not computer.hub.requested
    computer.connect("http://127.0.0.1:9")
    assert resolve_checkpoint(NAME) == folder


def test_a_name_stays_at_the_commit_that_was_fetched_first(computer: Computer) -> None:
    folder = resolve_checkpoint(NAME)
    computer.publish(OLDER_COMMIT, text="newer")
    assert resolve_checkpoint(NAME) == folder
    assert resolve_checkpoint(f"{NAME}@main").name == OLDER_COMMIT  # another name, and never fetched before


def test_a_pinned_snapshot_that_lost_a_file_is_completed_at_its_commit(computer: Computer) -> None:
    computer.hub.commits[NAME] = COMMIT
    folder = resolve_checkpoint(NAME)
    computer.publish(OLDER_COMMIT, text="newer")
    computer.blob("model.safetensors").unlink()
    assert resolve_checkpoint(NAME) == folder
    assert (folder / "model.safetensors").is_file()


@pytest.mark.parametrize("revision", [OLDER_COMMIT, "v1.0", "refs/pr/3"])
def test_a_name_with_a_revision_means_that_revision(computer: Computer, revision: str) -> None:
    computer.publish(OLDER_COMMIT, text="the one")
    computer.hub.revisions[f"{NAME}@{revision}"] = (OLDER_COMMIT, computer.published)
    computer.publish(COMMIT, text="newer")
    folder = resolve_checkpoint(f"{NAME}@{revision}")
    assert folder.name == OLDER_COMMIT
    assert "the one" in (folder / "config.json").read_text(encoding="utf-8")
    assert resolve_checkpoint(NAME).name == COMMIT
    computer.go_offline()
    assert resolve_checkpoint(f"{NAME}@{revision}") == folder


def test_what_another_program_left_in_the_cache_is_used_offline(computer: Computer) -> None:
    from huggingface_hub import snapshot_download

    folder = Path(snapshot_download(NAME))
    computer.go_offline()
    assert resolve_checkpoint(NAME) == folder


@pytest.mark.parametrize("missing", ["preprocessor_config.json", "spiece.model"])
def test_what_another_program_fetched_only_a_part_of_is_completed_or_said_to_be_a_part(
    computer: Computer, missing: str
) -> None:
    from huggingface_hub import snapshot_download

    folder = Path(snapshot_download(NAME, ignore_patterns=[missing]))
    with computer.patch.context() as patch:
        patch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        message = fail(NAME, HubUnavailableError)
        assert f"{folder} has no {missing}" in message
        assert f"models pull {NAME}" in message
    assert resolve_checkpoint(NAME) == folder
    assert (folder / missing).is_file()


@pytest.mark.parametrize("missing", ["preprocessor_config.json", "spiece.model"])
def test_what_a_repository_never_had_is_not_missing(computer: Computer, missing: str) -> None:
    (computer.published / missing).unlink()
    folder = resolve_checkpoint(NAME)
    computer.hub.requested.clear()
    assert resolve_checkpoint(NAME) == folder
    assert not computer.hub.requested
    computer.go_offline()
    assert resolve_checkpoint(NAME) == folder


def test_an_unfinished_download_is_no_checkpoint_offline(computer: Computer) -> None:
    computer.hub.cut_off.add("model.safetensors")
    with pytest.raises(DownloadError):
        resolve_checkpoint(NAME)
    computer.go_offline()
    assert "HF_HUB_OFFLINE" in fail(NAME, HubUnavailableError)


def test_an_unknown_hub_name_says_so(computer: Computer) -> None:
    assert "no model someone/tinny" in fail("someone/tinny", DownloadError)


def test_a_misspelt_name_of_the_family_is_suggested_right(computer: Computer) -> None:
    assert "Did you mean google/siglip2-base-patch16-224" in fail("google/siglip2-base-patch16-244", DownloadError)
    assert "Did you mean google/siglip2-base-patch16-224" in fail("siglip2-base-patch16-224", CheckpointError)
    assert "Did you mean" not in fail("someone/tinny", DownloadError)


def test_an_unknown_revision_is_named(computer: Computer) -> None:
    assert "no revision 'v9'" in fail(f"{NAME}@v9", DownloadError)


@pytest.mark.parametrize("token", ["", "bad"], ids=["no_token", "token_without_access"])
def test_a_gated_model_says_how_to_get_access(computer: Computer, token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    computer.hub.gated.add(NAME)
    monkeypatch.setenv("HF_TOKEN", token)
    assert "HF_TOKEN" in fail(NAME, DownloadError)


def test_a_gated_model_is_fetched_with_a_token_that_no_other_host_sees(
    computer: Computer, monkeypatch: pytest.MonkeyPatch
) -> None:
    computer.hub.gated.add(NAME)
    monkeypatch.setenv("HF_TOKEN", "good")
    assert resolve_checkpoint(NAME).name == COMMIT
    assert computer.hub.tokens_elsewhere == []


def test_a_token_that_is_no_longer_valid_is_to_be_unset(computer: Computer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "expired")
    assert "no longer valid" in fail(NAME, DownloadError)


def test_no_network_and_no_cache_says_what_to_do(computer: Computer) -> None:
    computer.connect("http://127.0.0.1:9")
    message = fail(NAME, HubUnavailableError)
    assert "http://127.0.0.1:9 can't be used" in message
    assert "folder" in message


def test_offline_without_a_cache_says_what_to_do(computer: Computer) -> None:
    computer.go_offline()
    assert "HF_HUB_OFFLINE" in fail(NAME, HubUnavailableError)
    assert not computer.hub.requested


def test_a_hub_that_answers_500_is_reported_with_its_status(computer: Computer) -> None:
    computer.hub.is_broken = True
    assert "500" in fail(NAME, HubUnavailableError)


def test_another_architecture_is_refused_before_its_weights_are_fetched(computer: Computer, tmp_path: Path) -> None:
    folder = tmp_path / "clip"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "clip"}')
    (folder / "model.safetensors").write_bytes(b"large")
    computer.hub.repositories["someone/clip"] = folder
    assert "'clip'" in fail("someone/clip", CheckpointError)
    assert not any(path.endswith("safetensors") for path in computer.hub.requested)


def test_a_model_without_safetensors_is_refused(computer: Computer) -> None:
    (computer.published / "model.safetensors").unlink()
    message = fail(NAME, DownloadError)
    assert "no usable weights" in message
    assert "run code" in message


def test_a_repository_without_a_config_is_refused(computer: Computer) -> None:
    (computer.published / "config.json").unlink()
    assert "no config.json" in fail(NAME, DownloadError)


def test_without_the_hubs_client_a_hub_name_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert "pip install 'siglip-ingest[model]'" in fail(NAME, CheckpointError)


def test_a_folder_is_itself_under_its_absolute_name(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tiny_checkpoint.parent)
    assert model_name(tiny_checkpoint.name) == str(tiny_checkpoint.resolve())
    assert resolve_checkpoint(f"./{tiny_checkpoint.name}") == tiny_checkpoint.resolve()


def test_demo_is_the_checkpoint_that_comes_along() -> None:
    assert model_name("demo") == "demo"
    assert resolve_checkpoint("demo") == DEMO_FOLDER
    assert (DEMO_FOLDER / "config.json").is_file()


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("google/siglip2-base-patch16-224", HubName("google/siglip2-base-patch16-224")),
        ("a/b@main", HubName("a/b", "main")),
        ("a/b@v1.0-rc", HubName("a/b", "v1.0-rc")),
        ("a/b@refs/pr/1", HubName("a/b", "refs/pr/1")),
        (f"a/b@{COMMIT}", HubName("a/b", COMMIT)),
    ],
)
def test_a_hub_name_may_have_a_revision(name: str, parts: HubName) -> None:
    assert parse_name(name) == parts
    assert model_name(name) == str(parts) == name
    assert parts.is_commit == (parts.revision == COMMIT)


@pytest.mark.parametrize(
    "name", ["", "siglip", "/no/such/folder", "./missing", "a/b/c", "~nobody-here/x", "org/", "x\0y", *BAD_REVISIONS]
)
def test_a_name_of_nothing_says_what_is_accepted(name: str) -> None:
    with pytest.raises(CheckpointError, match="names no checkpoint") as raised:
        resolve_checkpoint(name)
    for accepted in ("folder", "hub name", "demo"):
        assert accepted in str(raised.value)
