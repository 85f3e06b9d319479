"""Parses the names of checkpoints: `demo`, a folder, or a hub name with or without `@revision`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from siglip_ingest.errors import CheckpointError
from siglip_ingest.process import expand_user
from siglip_ingest.siglip.checkpoint.family import find_checkpoint, suggest_names
from siglip_ingest.siglip.checkpoint.files import CONFIG_FILE

DEMO_NAME = "demo"
DEMO_FOLDER = Path(__file__).parents[2] / "demo" / "checkpoint"
# A revision is what git calls a ref (git-check-ref-format), or a commit.
_HUB_NAME = re.compile(r"([A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)(?:@(\w[\w./-]*))?")
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, slots=True)
class HubName:
    """A repository on the hub, and which of its revisions is meant.

    Attributes:
        repository: Organisation and model, as in google/siglip2-base-patch16-224.
        revision: A branch, a tag or a commit; None for the one that is pinned, or else the newest.
    """

    repository: str
    revision: str | None = None

    def __str__(self) -> str:
        return self.repository if self.revision is None else f"{self.repository}@{self.revision}"

    @property
    def is_commit(self) -> bool:
        """True where the revision can only ever mean the same files."""
        return self.revision is not None and _COMMIT.fullmatch(self.revision) is not None


def model_name(name: str) -> str:
    """Give the one name that the database keeps for a checkpoint: a folder's becomes its absolute path.

    Raises:
        CheckpointError: If it can't be the name of a checkpoint.
    """
    if name == DEMO_NAME:
        return name
    folder = expand_user(name)
    if name and folder.is_dir():
        return str(folder.resolve())
    return str(parse_name(name))


def is_checkpoint(name: str) -> bool:
    """Whether a name is that of a checkpoint of the family: `demo`, a folder with a config.json, or a published one."""
    return name == DEMO_NAME or find_checkpoint(name) is not None or (expand_user(name) / CONFIG_FILE).is_file()


def parse_name(name: str) -> HubName:
    """Read a hub name, alone or with `@` and a revision.

    Raises:
        CheckpointError: If it isn't one.
    """
    found = _HUB_NAME.fullmatch(name)
    if found is None or ".." in name or name.endswith("/"):
        raise CheckpointError(
            f"{name!r} names no checkpoint. Give an existing folder with config.json and model.safetensors, a hub name "
            f"such as google/siglip2-base-patch16-224, or {DEMO_NAME} for the small one in this package."
            + did_you_mean(name)
        )
    return HubName(found[1], found[2])


def did_you_mean(name: str) -> str:
    """A sentence with the names of the family that are like a misspelt one; empty where there are none."""
    names = [] if find_checkpoint(name) else suggest_names(name)
    return f" Did you mean {' or '.join(names)}?" if names else ""
