"""Checkpoints from the hub, over HTTP: downloaded, pinned, found again, and what is said where that fails."""

from __future__ import annotations

import errno
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest
from huggingface_hub import constants, file_download, snapshot_download
from huggingface_hub.utils import _http as http

from siglip_ingest.errors import (
    CheckpointError,
    DownloadError,
    HubUnavailableError,
    InvalidInputError,
    SiglipError,
)
from siglip_ingest.siglip.checkpoint.download import (
    find_cached,
    is_complete,
    list_pinned_repositories,
    pull,
    resolve_checkpoint,
)
from siglip_ingest.siglip.checkpoint.names import HubName
from tests.unit.siglip.checkpoint.hub_server import COMMIT, OLDER_COMMIT, Hub, serve

NAME = "someone/tiny"
TINY = HubName(NAME)
WEIGHTS = "model.safetensors"
FETCH = """
import json, sys
from siglip_ingest.siglip.checkpoint.download import resolve_checkpoint
print(json.dumps(str(resolve_checkpoint(sys.argv[1]))))
"""


@dataclass
class Computer:
    """What a computer has: a hub that it can reach, and the cache's folder.

    Attributes:
        hub: Serves `NAME` and its files.
        cache: What HF_HUB_CACHE would name.
        patch: Sets what HF_ENDPOINT, HF_HUB_OFFLINE and HF_TOKEN would set: the client reads its environment once.
    """

    hub: Hub
    cache: Path
    patch: pytest.MonkeyPatch

    def go_offline(self, *, is_offline: bool = True) -> None:
        self.patch.setattr(constants, "HF_HUB_OFFLINE", is_offline)
        getattr(http, "reset_sessions", lambda: None)()  # in 0.x a session is made for the one or the other

    def connect(self, endpoint: str) -> None:
        self.patch.setattr(constants, "ENDPOINT", endpoint)
        template = endpoint + "/{repo_id}/resolve/{revision}/{filename}"
        for module in (constants, file_download):  # the lowest version has it in both
            self.patch.setattr(module, "HUGGINGFACE_CO_URL_TEMPLATE", template, raising=False)

    @property
    def published(self) -> Path:
        """The folder of the newest files on the hub."""
        return self.hub.repositories[NAME]

    def publish(self, commit: str, *, text: str) -> None:
        """Put a new commit on the hub, whose config.json has one field more; the one before stays to be had."""
        before = self.hub.commits.get(NAME, COMMIT), self.published
        folder = shutil.copytree(self.published, self.published.with_name(text))
        config = folder / "config.json"
        config.write_text(json.dumps(json.loads(config.read_text()) | {"comment": text}))
        self.hub.revisions[f"{NAME}@{before[0]}"] = before
        self.hub.repositories[NAME], self.hub.commits[NAME] = folder, commit


@pytest.fixture
def computer(tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Computer]:
    folder = shutil.copytree(tiny_checkpoint, tmp_path / "hub" / "tiny")
    (folder / "pytorch_model.bin").write_bytes(b"never downloaded")
    (folder / "onnx").mkdir()
    (folder / "onnx" / WEIGHTS).write_bytes(b"never downloaded")
    cache = tmp_path / "cache"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no token"))
    for variable in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(variable, raising=False)
    # The client waits a second before each of its retries.
    monkeypatch.setattr("huggingface_hub.file_download.time", SimpleNamespace(**vars(time) | {"sleep": lambda _: None}))
    with serve(Hub(repositories={NAME: folder})) as hub:
        made = Computer(hub, cache, monkeypatch)
        made.connect(hub.endpoint)
        made.go_offline(is_offline=False)
        yield made


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
    folder = resolve_checkpoint(NAME)
    computer.publish(OLDER_COMMIT, text="newer")
    (folder / WEIGHTS).resolve().unlink()
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
    folder = Path(snapshot_download(NAME))
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
    assert "pip install '.[model]' in a clone of siglip_ingest" in fail(NAME, CheckpointError)


def test_a_part_that_another_program_downloaded_is_completed_or_said_to_be_one(computer: Computer) -> None:
    folder = Path(snapshot_download(NAME, ignore_patterns=[WEIGHTS]))
    computer.go_offline()
    message = fail(NAME, HubUnavailableError)
    assert f"only a part of {NAME} ({folder})" in message
    assert f"models pull {NAME}" in message
    computer.go_offline(is_offline=False)
    assert resolve_checkpoint(NAME) == folder
    assert (folder / WEIGHTS).is_file()


def test_the_pin_is_a_ref_that_cleaning_tools_see(computer: Computer) -> None:
    from huggingface_hub import scan_cache_dir

    pull(TINY)
    (repository,) = scan_cache_dir(computer.cache).repos
    (revision,) = repository.revisions
    assert revision.refs == {"siglip_ingest"}
    assert list_pinned_repositories() == [NAME]


def test_other_programs_do_not_move_the_pin(computer: Computer) -> None:
    folder = resolve_checkpoint(NAME)
    computer.publish(OLDER_COMMIT, text="newer")
    assert Path(snapshot_download(NAME)).name == OLDER_COMMIT
    assert resolve_checkpoint(NAME) == find_cached(TINY) == folder


def test_a_pull_moves_the_name_to_the_newest_commit(computer: Computer) -> None:
    assert pull(TINY).name == COMMIT
    computer.publish(OLDER_COMMIT, text="newer")
    assert resolve_checkpoint(NAME).name == COMMIT
    computer.hub.requested.clear()
    assert pull(TINY).name == OLDER_COMMIT
    assert resolve_checkpoint(NAME).name == OLDER_COMMIT
    assert not any(path.startswith("large/") for path in computer.hub.requested)  # the weights are the same in both


def test_a_revision_that_is_pulled_is_what_the_plain_name_means(computer: Computer) -> None:
    computer.publish(OLDER_COMMIT, text="newer")
    computer.hub.revisions[f"{NAME}@v1"] = computer.hub.revisions.pop(f"{NAME}@{COMMIT}")
    pull(TINY, revision="v1")
    computer.hub.requested.clear()
    assert resolve_checkpoint(NAME).name == resolve_checkpoint(f"{NAME}@{COMMIT}").name == COMMIT
    assert not computer.hub.requested
    pull(TINY)
    assert resolve_checkpoint(NAME).name == OLDER_COMMIT
    assert resolve_checkpoint(f"{NAME}@v1").name == COMMIT


def test_a_name_with_a_revision_is_pulled_beside_the_plain_one(computer: Computer) -> None:
    pull(TINY)
    computer.publish(OLDER_COMMIT, text="newer")
    assert pull(HubName(NAME, "main")).name == OLDER_COMMIT
    assert resolve_checkpoint(NAME).name == COMMIT


def test_two_different_revisions_at_once_are_refused(computer: Computer) -> None:
    with pytest.raises(InvalidInputError, match="'v2' is another one"):
        pull(HubName(NAME, "v1"), revision="v2")
    with pytest.raises(DownloadError, match="no revision 'v9'"):
        pull(TINY, revision="v9")


def test_a_failed_pull_leaves_the_pin_where_it_was(computer: Computer) -> None:
    folder = pull(TINY)
    computer.publish(OLDER_COMMIT, text="newer")
    (computer.published / WEIGHTS).write_bytes(b"other weights, cut off on the way")
    computer.hub.cut_off.add(WEIGHTS)
    with pytest.raises(DownloadError, match=r"could not be downloaded whole: .*Try again"):
        pull(TINY)
    assert resolve_checkpoint(NAME) == folder
    computer.hub.cut_off.clear()
    newer = pull(TINY)
    assert is_complete(newer)
    assert newer.name == OLDER_COMMIT


def test_offline_a_pull_gives_what_is_here(computer: Computer) -> None:
    computer.go_offline()
    with pytest.raises(HubUnavailableError, match="HF_HUB_OFFLINE"):
        pull(TINY)
    computer.go_offline(is_offline=False)
    folder = pull(TINY)
    computer.go_offline()
    assert pull(TINY) == folder


@pytest.mark.parametrize(
    ("number", "sentence"), [(errno.ENOSPC, r"is full.*HF_HOME"), (errno.EACCES, r"can't be written.*HF_HOME")]
)
def test_a_disk_that_takes_nothing_is_named(computer: Computer, number: int, sentence: str) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise OSError(number, os.strerror(number))

    computer.patch.setattr("huggingface_hub.file_download.http_get", refuse)
    with pytest.raises(DownloadError, match=sentence):
        pull(TINY)


def test_a_cache_that_can_not_be_made_is_named(computer: Computer) -> None:
    computer.cache.write_text("a file where a folder should be")
    with pytest.raises(DownloadError, match="could not be downloaded"):
        pull(TINY)
