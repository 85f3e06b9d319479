"""The folder that a run writes: a checkpoint that loads at any time, the state to go on from, and a log.

    config.json, model.safetensors, ...   the checkpoint, as of the last save; the source's tokenizer and preprocessor
    train.json                            the recipe and, at the end, what came of it
    train_log.jsonl                       a line per interval
    train_state.safetensors               weights and optimiser state as of the last save; gone when the run is finished

Each file is replaced at once, so a process that is killed leaves whole ones.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from siglip_ingest.errors import InvalidInputError
from siglip_ingest.preprocess.image import PREPROCESSOR_FILE, PROCESSOR_FILE, read_image_processor

RECIPE_FILE = "train.json"
LOG_FILE = "train_log.jsonl"
STATE_FILE = "train_state.safetensors"
PROCESSOR_FILES = (PREPROCESSOR_FILE, PROCESSOR_FILE)
TOKENIZER_FILES = (
    "added_tokens.json", "special_tokens_map.json", "spiece.model", "tokenizer.json", "tokenizer.model",
    "tokenizer_config.json",
)  # fmt: skip


class RunFolder:
    """A run's files. One process writes them.

    Args:
        path: The folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.state = path / STATE_FILE
        self._log = path / LOG_FILE

    def begin(self, recipe: Mapping[str, Any], *, is_resumed: bool) -> None:
        """Make the folder for a new run, or check that it holds the run to go on with.

        Args:
            recipe: All that decides what the run computes.
            is_resumed: Whether an earlier run goes on. Where the folder is empty, there was none and a new one begins.

        Raises:
            InvalidInputError: If the folder is taken by something else, or can't be written.
        """
        earlier = self._read_recipe()
        if earlier is None or not is_resumed:
            if self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir())):
                advice = "add --resume to go on with it, or name another folder" if earlier else "name another folder"
                what = "holds a training run" if earlier else "is not an empty folder"
                raise InvalidInputError(f"{self.path} {what}: {advice}.")
            try:
                self.path.mkdir(parents=True, exist_ok=True)
                self._replace(RECIPE_FILE, json.dumps({"recipe": recipe}, indent=2) + "\n")
            except OSError as error:
                raise InvalidInputError(f"{self.path} can't be written: {error.strerror}.") from error
            return
        recipe = json.loads(json.dumps(recipe))
        if changed := [key for key in recipe if earlier.get("recipe", {}).get(key) != recipe[key]]:
            differences = ", ".join(f"{key} {earlier['recipe'].get(key)!r}, not {recipe[key]!r}" for key in changed)
            raise InvalidInputError(
                f"The run in {self.path} was started with {differences}. Resume it as it was started, or name another "
                "folder."
            )

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
