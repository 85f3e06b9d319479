"""The library's warnings appear on the command line."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

from tests.cli.conftest import Terminal

LONG = "a red boat on a lake under a dark sky " * 10


def count_warnings(stderr: str) -> int:
    return len(re.findall(r"^Warning: .* tokens, but the model reads \d+\. Its end is dropped: ", stderr, re.MULTILINE))


def test_a_search_says_once_that_its_text_is_too_long(terminal: Terminal) -> None:
    found = terminal.run("search", LONG, "--limit", "3", "--json")
    assert found.returncode == 0, found.stderr
    assert len(json.loads(found.stdout)) == 3
    assert count_warnings(found.stderr) == 1, found.stderr
    assert "Warning" not in terminal.run("search", "a red boat").stderr


def test_index_says_which_images_of_a_folder_it_skipped(terminal: Terminal, tmp_path: Path) -> None:
    (tmp_path / "pillow_heif.py").write_text("raise ImportError")  # found before the real one
    folder = tmp_path / "folder"
    folder.mkdir()
    shutil.copy(next((terminal.folder / "photos").glob("*.*")), folder)
    (folder / "a.heic").touch()
    path = os.pathsep.join([str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = terminal.run("index", str(folder), "--collection", "skipped", PYTHONPATH=path)
    assert done.returncode == 0, done.stderr
    assert "Warning: In the folder" in done.stderr
    assert "1 .heic file was skipped, for which pillow-heif is needed" in done.stderr


def test_classify_says_once_that_a_prompt_is_too_long(terminal: Terminal) -> None:
    image = next((terminal.folder / "photos").glob("*.*"))
    scored = terminal.run("classify", str(image), "--labels", f"a boat,{LONG}")
    assert scored.returncode == 0, scored.stderr
    assert count_warnings(scored.stderr) == 1, scored.stderr
    assert "Warning" not in terminal.run("classify", str(image), "--labels", "a boat,a house").stderr
