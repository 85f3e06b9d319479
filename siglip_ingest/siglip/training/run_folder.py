"""The folder that a run writes: a checkpoint that loads at any time, the state to go on from, and a log.

    config.json, model.safetensors, ...   the checkpoint, as of the last save; the source's tokenizer and preprocessor
    train.json                            the recipe and, at the end, what came of it
    train_log.jsonl                       a line per interval
    train_state.safetensors               weights and optimiser state as of the last save; gone when the run is finished

Each file is replaced at once, so a process that is killed leaves whole ones. Until the first save there is nothing to
go on with, and the folder is free for another run. One run at a time writes it: the folder is locked (`flock`), where
its file system can lock.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from siglip_ingest.errors import InvalidInputError
from siglip_ingest.siglip.checkpoint.files import CONFIG_FILE, WEIGHTS_FILE
from siglip_ingest.siglip.preprocess.image import PREPROCESSOR_FILE, PROCESSOR_FILE, read_image_processor

RECIPE_FILE = "train.json"
LOG_FILE = "train_log.jsonl"
STATE_FILE = "train_state.safetensors"
PROCESSOR_FILES = (PREPROCESSOR_FILE, PROCESSOR_FILE)
TOKENIZER_FILES = (
    "added_tokens.json", "special_tokens_map.json", "spiece.model", "tokenizer.json",
    "tokenizer_config.json",
)  # fmt: skip
PARTIAL_FILES = {
    f"{name}.partial"
    for name in (RECIPE_FILE, LOG_FILE, STATE_FILE, CONFIG_FILE, WEIGHTS_FILE, *PROCESSOR_FILES, *TOKENIZER_FILES)
}
SAFETENSORS_PARTIAL = re.compile(r"\.tmp\w{6}")  # what safetensors' save_file writes before it renames it


class RunFolder:
    """A run's files. One process writes them.

    Args:
        path: The folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.state = path / STATE_FILE
        self._log = path / LOG_FILE
        self._lock: int | None = None

    def begin(self, recipe: Mapping[str, Any], *, is_resumed: bool) -> None:
        """Make the folder for a new run, or check that it holds the run to go on with.

        Args:
            recipe: All that decides what the run computes.
            is_resumed: Whether an earlier run goes on. Where none has saved anything, a new one begins.

        Raises:
            InvalidInputError: If the folder is taken by something else, or can't be written.
        """
        earlier = self._read_recipe()
        is_saved = earlier is not None and ("result" in earlier or self._has_saved())
        if earlier is None and self._is_taken():
            raise InvalidInputError(f"{self.path} is not an empty folder: name another folder.")
        if is_saved and not is_resumed:
            raise InvalidInputError(
                f"{self.path} holds a training run: add --resume to go on with it, or name another folder."
            )
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._take()
            self._remove_leftovers()
            if earlier is None or not is_saved:
                self._log.unlink(missing_ok=True)
                self._replace(RECIPE_FILE, json.dumps({"recipe": recipe}, indent=2) + "\n")
                return
        except OSError as error:
            raise InvalidInputError(f"{self.path} can't be written: {error.strerror}.") from error
        recipe = json.loads(json.dumps(recipe))
        if changed := [key for key in recipe if earlier.get("recipe", {}).get(key) != recipe[key]]:
            differences = ", ".join(f"{key} {earlier['recipe'].get(key)!r}, not {recipe[key]!r}" for key in changed)
            raise InvalidInputError(
                f"The run in {self.path} was started with {differences}. Resume it as it was started, or name another "
                "folder."
            )

    def close(self) -> None:
        """Let another run have the folder."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def find_result(self) -> dict[str, Any] | None:
        """Return what came of the run, where it is finished."""
        result: dict[str, Any] | None = (self._read_recipe() or {}).get("result")
        return result

    def copy_processor(self, source: Path, *, has_text: bool, max_num_patches: int | None) -> None:
        """Copy the tokenizer's and the preprocessor's files of another checkpoint.

        Args:
            source: The checkpoint's folder.
            has_text: Whether the model has a text tower.
            max_num_patches: What the model was trained with, where it isn't what the preprocessor says.
        """
        for name in (*PROCESSOR_FILES, *(TOKENIZER_FILES if has_text else ())):
            if (source / name).is_file():
                partial = self.path / f"{name}.partial"
                shutil.copyfile(source / name, partial)
                partial.replace(self.path / name)
        if max_num_patches is not None:
            values = read_image_processor(self.path / PREPROCESSOR_FILE)
            values["max_num_patches"] = max_num_patches
            self._replace(PREPROCESSOR_FILE, json.dumps(values, indent=2) + "\n")

    def append_log(self, line: Mapping[str, Any]) -> None:
        """Add a line to the log."""
        with self._log.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def cut_log(self, step: int) -> None:
        """Drop the lines of later steps than this one: they are to come again."""
        if not self._log.exists():
            return
        kept = []
        for line in self._log.read_text(encoding="utf-8").splitlines(keepends=True):
            if not line.endswith("\n") or json.loads(line)["step"] > step:
                break  # the first one may be cut off: it was being written
            kept.append(line)
        self._replace(LOG_FILE, "".join(kept))

    def find_last_loss(self) -> float | None:
        """Return the loss of the last interval in the log."""
        if not self._log.exists():
            return None
        loss: float = json.loads(self._log.read_text(encoding="utf-8").splitlines()[-1])["loss"]
        return loss

    def finish(self, result: Mapping[str, Any]) -> None:
        """Note what came of the run, and remove the state."""
        self._replace(RECIPE_FILE, json.dumps({**(self._read_recipe() or {}), "result": result}, indent=2) + "\n")
        self.state.unlink(missing_ok=True)

    def _is_taken(self) -> bool:
        if not self.path.is_dir():
            return self.path.exists()
        return any(path.name != f"{RECIPE_FILE}.partial" for path in self.path.iterdir())

    def _has_saved(self) -> bool:
        return self.state.exists() or (self.path / WEIGHTS_FILE).exists()

    def _take(self) -> None:
        """Lock the folder until `close`, or until this process ends.

        Raises:
            InvalidInputError: If another run has it.
        """
        if self._lock is not None:
            return
        self._lock = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self.close()
            raise InvalidInputError(f"Another run is writing {self.path}: wait for its end, or stop it.") from error
        except OSError:
            return  # some network file systems lock no folders

    def _remove_leftovers(self) -> None:
        """Remove what a run that was killed had begun to write: it can be as large as the state."""
        for path in self.path.iterdir():
            if path.name in PARTIAL_FILES or SAFETENSORS_PARTIAL.fullmatch(path.name):
                path.unlink()

    def _read_recipe(self) -> dict[str, Any] | None:
        try:
            values = json.loads((self.path / RECIPE_FILE).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return values if isinstance(values, dict) and "recipe" in values else None

    def _replace(self, name: str, text: str) -> None:
        partial = self.path / f"{name}.partial"
        partial.write_text(text, encoding="utf-8")
        partial.replace(self.path / name)
