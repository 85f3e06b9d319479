"""A hub on the loopback interface and an empty cache, for this process: the hub's client reads its environment once."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest
from huggingface_hub import constants

from siglip_ingest.siglip.checkpoint.hub import Progress
from tests.unit.siglip.checkpoint.hub_server import Hub, serve

NAME = "someone/tiny"


@dataclass
class Computer:
    """What a computer has: a hub that it can reach, and the cache's folder.

    Attributes:
        hub: Serves `NAME` and its files.
        cache: What HF_HUB_CACHE would name.
        patch: Sets what HF_ENDPOINT, HF_HUB_OFFLINE and HF_TOKEN would set.
    """

    hub: Hub
    cache: Path
    patch: pytest.MonkeyPatch

    def go_offline(self) -> None:
        self.patch.setattr(constants, "HF_HUB_OFFLINE", True)

    def connect(self, endpoint: str) -> None:
        self.patch.setattr(constants, "ENDPOINT", endpoint)
        self.patch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", endpoint + "/{repo_id}/resolve/{revision}/{filename}"
        )

    @property
    def published(self) -> Path:
        """The folder of the newest files on the hub."""
        return self.hub.repositories[NAME]

    def publish(self, commit: str, *, text: str) -> None:
        """Put a new commit on the hub, whose config.json has one field more; the one before stays to be had."""
        before = self.hub.commits.get(NAME), self.published
        folder = shutil.copytree(self.published, self.published.with_name(commit))
        config = folder / "config.json"
        values = json.loads(config.read_text(encoding="utf-8"))
        config.write_text(json.dumps(values | {"comment": text}), encoding="utf-8")
        if before[0]:
            self.hub.revisions[f"{NAME}@{before[0]}"] = (before[0], before[1])
        self.hub.repositories[NAME], self.hub.commits[NAME] = folder, commit

    def blob(self, file: str) -> Path:
        """Where the cache has a file's content; the file must be there."""
        (link,) = self.cache.glob(f"models--someone--tiny/snapshots/*/{file}")
        return link.resolve()


class Counter(Progress):
    """Adds up what it is told."""

    def __init__(self) -> None:
        self.total_bytes = 0
        self.done_bytes = 0

    def start(self, total_bytes: int) -> None:
        self.total_bytes = total_bytes

    def advance(self, count: int) -> None:
        self.done_bytes += count


def spoil(path: Path) -> None:
    """Turn a bit of a file's last byte; its length stays."""
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


@pytest.fixture
def hub(tiny_checkpoint: Path, tmp_path: Path) -> Iterator[Hub]:
    folder = tmp_path / "hub" / "tiny"
    shutil.copytree(tiny_checkpoint, folder)
    (folder / "pytorch_model.bin").write_bytes(b"never fetched")
    (folder / "onnx").mkdir()
    (folder / "onnx" / "model.safetensors").write_bytes(b"never fetched")
    with serve(Hub(repositories={NAME: folder})) as running:
        yield running


@pytest.fixture
def computer(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Computer:
    cache = tmp_path / "cache"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no token"))
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 4096)  # so that small files come in several
    for variable in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(variable, raising=False)
    # The client waits a second before each of its retries.
    monkeypatch.setattr("huggingface_hub.file_download.time", SimpleNamespace(**vars(time) | {"sleep": lambda _: None}))
    made = Computer(hub, cache, monkeypatch)
    made.connect(hub.endpoint)
    return made
