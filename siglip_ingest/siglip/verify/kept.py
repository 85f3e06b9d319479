"""A checkpoint's own earlier figures, one file a checkpoint, for `siglip-ingest verify`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

from siglip_ingest.errors import InvalidInputError
from siglip_ingest.siglip.verify.figures import Figures


class KeptFigures:
    """The files in one folder. A file is named by the checkpoint's name and revision.

    Args:
        folder: Made where it is missing, at the first write.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, name: str, revision: str) -> Path:
        """Where the figures of a revision are, or would be."""
        return self._folder / f"{self._start(name)}-{hashlib.sha256(revision.encode()).hexdigest()[:16]}.json"

    def read(self, name: str, revision: str) -> Figures | None:
        """The figures of a revision; where there are none of a folder's, those of what it held before.

        A hub's revisions are different checkpoints by intent. A folder whose weights are others than before is what
        this is to find.

        Raises:
            InvalidInputError: If the file can't be read.
        """
        paths = [self.path(name, revision), *(self._others(name) if revision.startswith("sha256:") else ())]
        return next((_read(path) for path in paths if path.is_file()), None)

    def write(self, name: str, figures: Figures) -> Path:
        """Keep figures in place of all earlier ones of that name, or of that revision for a hub's; returns the file.

        Raises:
            InvalidInputError: If the folder can't be written.
        """
        path = self.path(name, figures.revision)
        content = {"name": name, "figures": figures.to_dict()}
        temporary = path.with_suffix(".new")
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            temporary.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
            temporary.replace(path)
            if figures.revision.startswith("sha256:"):
                for other in [found for found in self._others(name) if found != path]:
                    other.unlink()
        except OSError as error:
            raise InvalidInputError(
                f"{path} can't be written: {error.strerror}. Set SIGLIP_HOME to a folder of your own."
            ) from error
        return path

    def _others(self, name: str) -> Iterator[Path]:
        yield from sorted(self._folder.glob(f"{self._start(name)}-*.json"))

    def _start(self, name: str) -> str:
        readable = "".join(letter if letter.isalnum() and letter.isascii() else "-" for letter in name)[-60:].strip("-")
        return f"{readable}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def _read(path: Path) -> Figures:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return Figures.from_dict(content["figures"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InvalidInputError(f"The figures in {path} can't be read ({error}). `--update` replaces them.") from error
